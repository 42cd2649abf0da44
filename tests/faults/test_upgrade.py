"""All workers go to the next version, host after host, and back again, while days are acted out: nothing is lost, nothing doubled.

The one rule: versions take over from each other in both directions, partitions as well as mails and CRM entries that wait, and what
only the newer one knows is still there after the older one has written it; otherwise this proves nothing.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from random import Random
from threading import Event
from time import monotonic
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console

from schemas import events as e
from schemas.envelope import from_ms
from schemas.topics import ROUTER_STATE, TRANSCRIPT_STATE
from services.local.publishing import Publisher, wall_ms
from services.local.sample_company import COMPANIES
from services.local.topic_log import TopicLog
from services.router.core.state import Chat, Profile
from services.runtime.ports import InputRecord
from tests.faults.effect_workers import encoded
from tests.faults.judgement import judge
from tests.faults.next_version import NEXT, REVISION, SLOGAN_SET, make
from tests.faults.outside import AWAY, Outside
from tests.faults.side_effects import look
from tests.faults.stage import (
    CRM_SYNC,
    LIMIT_S,
    NOTIFIER,
    PARTITIONS,
    POLL_INTERVAL_S,
    ROUTER,
    TRANSCRIPT,
    Stage,
    name_of,
)
from tests.faults.test_acted_day import Acting
from tests.local.programs import eventually

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(600)]

HOSTS, CHATS, DAY_MS = 2, 30, 8_000
SLOGAN_INTERVAL_S = 0.2
PATIENT = "patient"
"""A workspace whose chats wait for longer than all this takes."""
STATES = (ROUTER_STATE, TRANSCRIPT_STATE)
LEDGERS = (NOTIFIER, CRM_SYNC)
SERVICES = (*LEDGERS, TRANSCRIPT, ROUTER)
"""Readers before writers."""
FIRST, LAST = AWAY
"""Whose servers are back when all is of the next version, and whose when nothing is any more."""
PARKED = "SELECT CAST(record_key AS TEXT) FROM effects_parked"
PARKED_BY_THIS, PARKED_BY_NEXT = (f"{PARKED} WHERE parked_by IS {by}" for by in ("NULL", f"'{NEXT}'"))
BEGUN_BY_NEXT = f"SELECT effect_id FROM effects WHERE begun_by = '{NEXT}'"
LEFT_BY_NEXT, DONE = (f"{BEGUN_BY_NEXT} AND state = '{state}'" for state in ("claimed", "reported"))
STORED_BY_NEXT = (
    f"SELECT workspace_id FROM crm_sync_settings WHERE json_extract(settings, '$.stored_by') = '{NEXT}'"
)


@dataclass
class Rolling:
    """The upgrade and the way back. When it is over all are of this version again, and it says what they have found."""

    stage: Stage
    outside: Outside
    following: Path
    written: Mapping[TopicPartition, int] = field(default_factory=dict)
    """How far the states had been written when the last one of the next version had stopped."""
    begun: dict[str, set[Any]] = field(default_factory=dict)
    """Effects that the next version had begun and not ended by then, by service."""
    stored: set[Any] = field(default_factory=set)
    """Workspaces whose CRM settings were found as the next version had stored them."""

    def __call__(self) -> None:
        self._await(lambda parked: FIRST in parked, PARKED)
        self._go_to(self.following)
        self.outside.back(FIRST)
        self._await(lambda parked: FIRST not in parked, PARKED_BY_THIS)
        self._await(lambda parked: LAST in parked, PARKED_BY_NEXT)
        self._go_to(None)
        self.outside.back(LAST)

    def _await(self, condition: Callable[[set[Any]], bool], question: str) -> None:
        """Return when what both ledgers answer is as it should be."""
        for service in LEDGERS:
            eventually(
                lambda: condition(self.told(service, question)),  # noqa: B023 - it is over before the next
                what=f"{service}: {question}",
                limit_s=LIMIT_S,
            )

    def told(self, service: str, question: str) -> set[Any]:
        """Return what a ledger answers."""
        with closing(sqlite3.connect(self.stage.ledger(service), timeout=LIMIT_S)) as database:
            return {answer for (answer,) in database.execute(question)}

    def _go_to(self, code: Path | None) -> None:
        for host in range(HOSTS):
            names = [name_of(service, host) for service in SERVICES]
            for name in names:
                assert self.stage.stop(name) == 0, f"{name} did not stop in order"
            if code is None:
                self._look_back()
            for name in names:
                self.stage.start(name, code=code)
            self.stage.await_ready(*names)

    def _look_back(self) -> None:
        self.written = asyncio.run(ends(self.stage))
        self.begun = {service: self.told(service, LEFT_BY_NEXT) for service in LEDGERS}
        self.stored |= self.told(CRM_SYNC, STORED_BY_NEXT)


def test_a_rolling_upgrade_and_the_way_back(tmp_path: Path, seed: int, console: Console) -> None:
    following = make(tmp_path / "next")
    with (
        Outside(tmp_path) as outside,
        Stage(tmp_path, brokers=1, hosts=HOSTS, services=SERVICES, overrides=outside.environment) as stage,
    ):
        names = [name_of(service, host) for host in range(HOSTS) for service in SERVICES]
        for name in names:
            stage.start(name)
        stage.await_ready(*names)
        rolling = Rolling(stage, outside, following)
        acting = Acting(stage, Random(seed), console, chats=CHATS, day_ms=DAY_MS)
        asyncio.run(act_out(acting, rolling))
        codes = {name: stage.stop(name) for name in stage.running}
        assert set(codes.values()) == {0}, codes
        found = asyncio.run(judge(stage))
        kept = asyncio.run(remembered(stage, since=rolling.written))
        done = asyncio.run(look(stage.bootstrap, *outside.mails))
    console.print(f"{found.decisions} decisions, {found.transcripts} transcripts, {kept}", soft_wrap=True)
    console.print(
        f"{done.arrived.total()} mails, {sum(map(len, outside.crm.activities.values()))} activities; begun by the next version and "
        f"ended by this one: { {service: len(effects) for service, effects in rolling.begun.items()} }",
        soft_wrap=True,
    )
    assert found.wrong == []
    assert list(done.wrong(outside.crm)) == []
    assert not stage.ended
    assert found.transcripts
    assert all(kept[topic] for topic in STATES), "what the next version knows was written back by this one"
    assert rolling.stored, "this version has started with settings as the next one had stored them"
    for service, begun in rolling.begun.items():
        assert begun, "the next version has left something to be ended"
        assert begun <= rolling.told(service, DONE)
        assert not rolling.told(service, PARKED)
    assert stage.count("archive_of_a_newer_version") >= HOSTS
    with closing(sqlite3.connect(stage.archive)) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]


async def act_out(acting: Acting, rolling: Rolling) -> None:
    """Act days out while all goes to the next version and back; in the end everybody is there again, and nothing is left to do."""
    stage, outside, back = rolling.stage, rolling.outside, Event()

    def roll() -> None:
        try:
            rolling()
        finally:
            back.set()

    async with outside.crm.open():
        await acting.act_out(roll, partial(go_on_publishing, stage, until=back))
        deadline_s = monotonic() + LIMIT_S
        while missing := (await look(stage.bootstrap, *outside.mails)).missing:
            assert monotonic() < deadline_s, f"{len(missing)} are missing: {sorted(missing)[:5]}"
            await asyncio.sleep(POLL_INTERVAL_S)


def go_on_publishing(stage: Stage, *, until: Event) -> None:
    """Publish events of a type that only the next version knows, and chats that outlast it: each hears one message in the end."""

    async def publish() -> None:
        async with Publisher(stage.bootstrap) as publisher:

            async def tell(event: Any) -> None:
                await publisher.send(PATIENT.encode(), encoded(event, PATIENT, f"patient-{publisher.count}"))

            patience = e.Routing(wait_timeout_s=3_600.0)
            await tell(e.DepartmentConfigured("desk", "Desk", agent_ids=("ann",), routing=patience))
            chats = 0
            while not await asyncio.to_thread(until.wait, SLOGAN_INTERVAL_S):
                for company in COMPANIES:
                    name = company.workspace_id
                    await publisher.send(name.encode(), slogan_set(name, publisher.count))
                await tell(e.ChatRequested(f"c{chats}", "web", "?", e.Visitor("v")))
                chats += 1
            for number in range(chats):
                await tell(e.ChatMessage(f"c{number}", "m", e.Sender("visitor"), "!"))

    asyncio.run(publish())


def slogan_set(workspace_id: str, number: int) -> bytes:
    """An event as a frontend of the next version publishes it."""
    event = {
        "specversion": "1.0",
        "id": f"slogan-{number}",
        "source": "/tests",
        "type": SLOGAN_SET,
        "time": from_ms(wall_ms()),
        "workspaceid": workspace_id,
        "data": {"slogan": "We answer."},
    }
    return json.dumps(event).encode()


async def ends(stage: Stage) -> Mapping[TopicPartition, int]:
    """Return how far the states have been written."""
    partitions = [TopicPartition(topic, number) for topic in STATES for number in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=stage.bootstrap) as consumer:
        found: Mapping[TopicPartition, int] = await consumer.end_offsets(partitions)
        return found


async def remembered(stage: Stage, *, since: Mapping[TopicPartition, int]) -> Mapping[str, int]:
    """Return how many stored values since then hold what the next version has put there. Fails where one has lost it."""
    async with TopicLog(stage.bootstrap, STATES) as log:
        await log.catch_up()
    last: dict[tuple[str, bytes | None], Any] = {}
    kept = dict.fromkeys(STATES, 0)
    for record in (record for topic in STATES for record in log.all_of(topic)):
        of_next, place = of_next_version(record), (record.topic, record.key)
        known = last.get(place)
        assert record.value is None or known in (None, of_next), f"{record.key!r} has lost {known!r}"
        last[place] = of_next
        if of_next is not None and record.offset >= since[TopicPartition(record.topic, record.partition)]:
            kept[record.topic] += 1
    return kept


def of_next_version(record: InputRecord) -> Any:
    """Return the value of the field that only the next version has; None where it has none."""
    assert record.key is not None
    if record.value is None:
        return None
    stored = orjson.loads(record.value)
    if record.topic == TRANSCRIPT_STATE:
        return stored.get("begun_by") if isinstance(stored, dict) else None
    kind = {b"chat": Chat, b"profile": Profile}.get(record.key.split(b"/")[0])
    if kind is None:
        return None
    return next(iter(stored[1][len(fields(kind)) :]), None)
