"""The notifier under faults: killed while it sends, a server that is away, workers that come and go, a ledger without room.

The one rule: what arrived is read from the mail server's own files, and judged against what was published: nothing is missing, and
whatever came twice was in flight at a kill, and came with the same bytes.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from rich.console import Console

from schemas import topics
from services.local.mailbox import Mailbox
from services.local.ports import free_ports
from tests.faults.conftest import LONG
from tests.faults.effect_workers import (
    EffectWorker,
    begun,
    encoded,
    lag,
    outcomes,
    publish,
    until,
    workspaces,
)
from tests.faults.small_disk import small_disk
from tests.notifier.samples import letter, unattended
from tests.notifier.sink import Sink

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(900)]

MAILS = 2_000 if LONG else 300
KILLS = 8 if LONG else 2
GROUP = "chat-notifier"
CIRCUIT_OPEN_MS = 300
OPEN_TIMES = 10
AWAY_MAILS = 400 if LONG else 60
SHARED_EFFECTS = 500
CHANGES = 5
"""How often a worker comes or goes; for each there is a part of the mails."""
SLOW_EVERY, SLOW_S = 20, 2.5
"""Some mails take longer than a rebalance waits."""
ROOM_MAILS = 300
DISK_MB = 32
"""Enough for the ledger, with the 4 MB of log that SQLite keeps before it tidies up."""


def notices(names: Sequence[str], count: int, *, stem: str) -> list[tuple[str, bytes]]:
    """Records of notices, named by number, for these workspaces in turn."""
    return [
        (
            workspace_id := names[number % len(names)],
            encoded(
                unattended(notice_id=f"{stem}{number}", letter=letter("en", f"to{number}@example.com")),
                workspace_id,
                f"e-{stem}{number}",
            ),
        )
        for number in range(count)
    ]


@contextmanager
def notifier(
    bootstrap: str, folder: Path, port: int, *, name: str = "notifier", **more: str
) -> Iterator[EffectWorker]:
    (folder / "secret").write_text("the secret of the tests")
    environment = {
        "CHAT_BOOTSTRAP": bootstrap,
        "CHAT_GROUP": GROUP,
        "CHAT_HTTP_PORT": "0",
        "CHAT_SMTP_PORT": str(port),
        "CHAT_LEDGER_URL": f"sqlite:///{folder / 'ledger.db'}",
        "CHAT_LINK_SECRET_FILE": str(folder / "secret"),
        "CHAT_CIRCUIT_OPEN_MS": str(CIRCUIT_OPEN_MS),
    }
    with EffectWorker("services.notifier.worker", environment | more, folder=folder, name=name) as worker:
        yield worker


def arrived(box: Mailbox) -> int:
    return sum(1 for _ in box.folder.glob("*.eml"))


def effects_of(messages: Sequence[bytes]) -> Counter[str]:
    """How often each notice's mail is among these, by the Message-ID."""
    return Counter(
        line.split(b"<", 1)[1].split(b".unattended@", 1)[0].decode()
        for message in messages
        for line in message.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
        if line.lower().startswith(b"message-id:")
    )


async def settled(bootstrap: str, stem: str, count: int, *workers: EffectWorker) -> None:
    """Returns when so many notices have their outcomes in the topic; each must say `sent`."""

    async def all_there() -> bool:
        found = [
            each["data"]
            for each in await outcomes(bootstrap, topics.DELIVERIES)
            if each["data"]["notice_id"].startswith(stem)
        ]
        assert {each["result"] for each in found} <= {"sent"}
        return len({each["notice_id"] for each in found}) >= count

    await until(all_there, *workers)


async def read_to_the_end(bootstrap: str) -> None:
    async def nothing_left() -> bool:
        return await lag(bootstrap, topics.NOTICES, GROUP) == 0

    await until(nothing_left)


def judge(messages: Sequence[bytes], *, stem: str, count: int, in_flight: set[str]) -> str:
    """Say what was lost and what came twice; fail where more did than was in flight."""
    sent = effects_of(messages)
    lost = {f"{stem}{number}" for number in range(count)} - set(sent)
    twice = {effect: times for effect, times in sent.items() if times > 1}
    assert not lost
    assert set(twice) <= in_flight, "only what a kill interrupted may come twice"
    assert len(sent) == count
    assert len(set(messages)) == len(sent), "the same mail is the same bytes, Message-ID included"
    return f"{count} mails, 0 lost, {len(twice)} twice, {len(in_flight)} in flight"


async def test_killed_while_it_sends(contract: str, tmp_path: Path, seed: int, console: Console) -> None:
    chance = random.Random(f"{seed} mails")
    (port,) = free_ports(1)
    in_flight: set[str] = set()
    moments = sorted(chance.sample(range(MAILS // 20, MAILS * 9 // 10), KILLS))
    with (
        Mailbox(tmp_path / "mails", port=port) as box,
        notifier(contract, tmp_path, port, CHAT_INSTANCE_ID="notifier-1") as worker,
    ):
        await publish(contract, topics.NOTICES, notices(workspaces(20), MAILS, stem="k"))
        began_s = monotonic()
        for moment in moments:
            worker.start()
            await until(lambda: arrived(box) >= moment, worker)  # noqa: B023
            await asyncio.sleep(chance.uniform(0, 0.05))
            worker.kill()
            in_flight |= begun(tmp_path / "ledger.db")
        worker.start()
        await settled(contract, "k", MAILS, worker)
        took_s = monotonic() - began_s
        await read_to_the_end(contract)
        assert await worker.stop() == 0
        messages = [mail.path.read_bytes() for mail in box.mails()]
    said = judge(messages, stem="k", count=MAILS, in_flight=in_flight)
    console.print(f"kill -9 while it sends: {KILLS} kills, {said}, {took_s:.0f} s")


async def test_a_server_that_is_away_holds_up_nobody_else(
    contract: str, tmp_path: Path, seed: int, console: Console
) -> None:
    chance = random.Random(f"{seed} away")
    port, away_port = free_ports(2)
    # In one partition, those whose server answers and those whose server does not; and one in another partition.
    *here, mine, shared = workspaces(4, partition=0)
    (elsewhere,) = workspaces(1, partition=1)
    servers = tmp_path / "servers"
    own_server = {"host": "127.0.0.1", "port": away_port}
    servers.write_text(json.dumps({mine: own_server, shared: own_server}))
    away = notices([mine, shared], AWAY_MAILS, stem="a")
    well = notices([*here, elsewhere], AWAY_MAILS, stem="b")
    records = [*away, *well]
    chance.shuffle(records)
    with (
        Mailbox(tmp_path / "mails", port=port) as box,
        notifier(
            contract,
            tmp_path,
            port,
            CHAT_INSTANCE_ID="notifier-1",
            CHAT_SMTP_SERVERS_FILE=str(servers),
        ) as worker,
    ):

        async def left_alone(waiting: int) -> bool:
            is_open = await worker.metric(f'circuit_open{{target="127.0.0.1:{away_port}"}}')
            return is_open == bool(waiting) and await worker.metric("effects_parked") == waiting

        worker.start()
        await publish(contract, topics.NOTICES, records)
        began_s = monotonic()
        await settled(contract, "b", AWAY_MAILS, worker)
        unaffected_s = monotonic() - began_s
        await read_to_the_end(contract)  # the partition goes on: what waits stands in the ledger's database
        await until(lambda: left_alone(AWAY_MAILS), worker)
        worker.kill()  # and there it outlives the process
        worker.start()
        await until(lambda: left_alone(AWAY_MAILS), worker)
        await asyncio.sleep(max(0.0, began_s + OPEN_TIMES * CIRCUIT_OPEN_MS / 1000 - monotonic()))
        down_s = monotonic() - began_s
        with Mailbox(tmp_path / "own", port=away_port) as own_box:
            back_s = monotonic()
            await settled(contract, "a", AWAY_MAILS, worker)
            delivered_s = monotonic() - back_s
            await until(lambda: left_alone(0), worker)
            assert await worker.stop() == 0
            own = [mail.path.read_bytes() for mail in own_box.mails()]
        messages = [mail.path.read_bytes() for mail in box.mails()]
        assert "example.com" not in worker.told()
    assert delivered_s < 60
    said = judge(own, stem="a", count=AWAY_MAILS, in_flight=set())
    judge(messages, stem="b", count=AWAY_MAILS, in_flight=set())
    console.print(
        f"a server away for {down_s:.1f} s ({down_s * 1000 / CIRCUIT_OPEN_MS:.0f} open times): {said}; all {AWAY_MAILS} of the "
        f"others after {unaffected_s:.1f} s; delivered {delivered_s:.1f} s after its return"
    )


FEW = {"CHAT_SMTP_CONNECTIONS_MAX": "8"}
"""With more of them all mails are gone before the workers have come and gone."""


class SlowSink(Sink):
    """Some mails take longer than a rebalance waits for them."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  aiosmtpd's name
        number = int(next(iter(effects_of([envelope.original_content])))[1:])
        await asyncio.sleep(SLOW_S if number % SLOW_EVERY == 0 else 0.12)
        return await super().handle_DATA(server, session, envelope)


async def test_workers_that_come_and_go_do_nothing_twice(
    contract: str, tmp_path: Path, seed: int, console: Console
) -> None:
    chance = random.Random(f"{seed} rebalances")
    ledger, under_way = tmp_path / "ledger.db", 0
    async with SlowSink().open() as sink:
        with (
            notifier(contract, tmp_path, sink.port, name="one", **FEW) as one,
            notifier(contract, tmp_path, sink.port, name="two", **FEW) as two,
        ):
            one.start()
            await until(one.ready)
            records, part = notices(workspaces(20), SHARED_EFFECTS, stem="s"), SHARED_EFFECTS // CHANGES
            for first in range(0, SHARED_EFFECTS, part):
                await publish(contract, topics.NOTICES, records[first : first + part])
                await until(lambda: bool(begun(ledger)))
                under_way += len(begun(ledger))
                stopped = [worker for worker in (one, two) if not worker.running]
                for worker in stopped:
                    worker.start()
                if not stopped:
                    assert await chance.choice([one, two]).stop() == 0
                for worker in (one, two):
                    if worker.running:
                        await until(worker.ready)
            await settled(contract, "s", SHARED_EFFECTS)
            await read_to_the_end(contract)
            for worker in (one, two):
                if worker.running:
                    assert await worker.stop() == 0
    said = judge(sink.messages, stem="s", count=SHARED_EFFECTS, in_flight=set())
    console.print(f"{CHANGES} joins and leaves, {under_way} under way at them: {said}")


async def test_a_ledger_without_room(contract: str, tmp_path: Path, console: Console) -> None:
    (port,) = free_ports(1)
    records = notices(workspaces(20), ROOM_MAILS, stem="r")
    before = ROOM_MAILS // 4
    with (
        small_disk(tmp_path / "disk", megabytes=DISK_MB) as disk,
        Mailbox(tmp_path / "mails", port=port) as box,
        notifier(
            contract,
            tmp_path,
            port,
            CHAT_INSTANCE_ID="notifier-1",
            CHAT_LEDGER_URL=f"sqlite:///{disk.folder / 'ledger.db'}",
        ) as worker,
    ):
        worker.start()
        await publish(contract, topics.NOTICES, records[:before])
        await until(lambda: arrived(box) > before // 2, worker)
        disk.fill()
        await publish(contract, topics.NOTICES, records[before:])
        in_flight: set[str] = set()
        if LONG:
            assert await worker.ended() == 1
            assert '"worker_failed"' in worker.told()
        else:
            await until(lambda: '"handling_failed"' in worker.told(), worker)
        full = arrived(box)
        assert full < ROOM_MAILS
        disk.make_room()
        if LONG:
            in_flight = begun(disk.folder / "ledger.db")
            worker.start()
        back_s = monotonic()
        await settled(contract, "r", ROOM_MAILS, worker)
        took_s = monotonic() - back_s
        await read_to_the_end(contract)
        assert await worker.stop() == 0
        messages = [mail.path.read_bytes() for mail in box.mails()]
    said = judge(messages, stem="r", count=ROOM_MAILS, in_flight=in_flight)
    console.print(
        f"no room for the ledger after {full} mails: {said}; delivered {took_s:.1f} s after there was room"
    )
