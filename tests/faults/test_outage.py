"""All routers are down for longer than every time-out while chats go on arriving: nobody is to suffer for it afterwards.

The one rule: every decision names its cause, so what a deadline has decided is told from what somebody did; whatever a
deadline decides must come a whole time-out of running routers after it was armed, however long the outage was.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from schemas import codec
from schemas.decisions import ChatAssigned, ChatOffered, ChatUnassigned, RequestRefused
from schemas.envelope import Envelope, to_ms
from schemas.events import (
    AgentConfigured,
    AgentHeartbeat,
    AgentPresence,
    ChatMessage,
    ChatRequested,
    DepartmentConfigured,
    OfferAccepted,
    Routing,
    Sender,
    Visitor,
)
from schemas.topics import EVENTS, ROUTING
from schemas.types import Mode
from services.local.export import is_tick
from services.local.publishing import Publisher, wall_ms
from services.local.topic_log import TopicLog
from tests.faults.conftest import LONG
from tests.faults.judgement import drain, judge
from tests.faults.stage import LIMIT_S, POLL_INTERVAL_S, TICK_INTERVAL_MS, Stage

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(900)]

WORKSPACE = "outage"
TIME_OUT_S = 6
"""Of an offer, of waiting, of the first reply, of an agent who has gone offline."""
OUTAGE_S = 70.0 if LONG else 8.0
"""The long one is longer than the heartbeat's time-out too, which no setting shortens."""
BACKLOG = [f"backlog-{number}" for number in range(12)]
UNHEARD_MS = 3 * TICK_INTERVAL_MS
"""So far the deadline clock may run on after the last tick, and again at the first one after the outage."""
ROUTERS = ("router-0", "router-1")


class People:
    """Publishes what agents and visitors do, and reads what was decided."""

    def __init__(self, log: TopicLog, publisher: Publisher) -> None:
        self._log = log
        self._publisher = publisher
        self._numbers = count()

    async def do(self, *happenings: Any) -> None:
        for data in happenings:
            value = codec.encode(
                data,
                event_id=f"e-{next(self._numbers)}",
                source="/tests",
                at_ms=wall_ms(),
                workspace_id=WORKSPACE,
            )
            await self._publisher.send(WORKSPACE.encode(), value)

    def decisions(self) -> Iterator[Envelope[str, Any]]:
        for record in self._log.all_of(ROUTING):
            yield codec.decisions.decode(record.value)

    async def until(self, *wanted: tuple[type, str]) -> None:
        """Return when each of these was decided, for the chat of that name."""
        async with asyncio.timeout(LIMIT_S):
            while not set(wanted) <= {
                (type(each.data), getattr(each.data, "chat_id", "")) for each in self.decisions()
            }:
                await asyncio.sleep(POLL_INTERVAL_S / 5)
                await self._log.catch_up()

    async def until_a_deadline(self) -> None:
        """Return when a deadline has decided something."""
        async with asyncio.timeout(LIMIT_S):
            while not any(map(by_deadline, self.decisions())):
                await asyncio.sleep(POLL_INTERVAL_S)
                await self._log.catch_up()

    def ticks_ms(self) -> list[int]:
        return [record.timestamp_ms for record in self._log.all_of(EVENTS) if is_tick(record)]


def by_deadline(decision: Envelope[str, Any]) -> bool:
    return decision.data.cause.timer is not None


def request(chat_id: str, department_id: str = "support") -> ChatRequested:
    return ChatRequested(chat_id, "web", "?", Visitor("v"), department_id=department_id)


def company() -> Iterator[Any]:
    """One agent in each of two departments that assign at once; two who are asked, of whom one has not come yet."""
    for agent_id, max_chats in (("hana", 1), ("taro", 1), ("ken", 1), ("mika", 100)):
        yield AgentConfigured(agent_id, agent_id, max_chats=max_chats)
    short = Routing(
        offer_timeout_s=TIME_OUT_S,
        wait_timeout_s=TIME_OUT_S,
        first_reply_timeout_s=TIME_OUT_S,
        offline_grace_s=TIME_OUT_S,
        no_answer_limit=1,
    )
    departments: tuple[tuple[str, Mode, tuple[str, ...]], ...] = (
        ("support", "offer", ("hana", "mika")),
        ("billing", "auto", ("taro",)),
        ("returns", "auto", ("ken",)),
    )
    for department_id, mode, agent_ids in departments:
        yield DepartmentConfigured(
            department_id, department_id, agent_ids=agent_ids, routing=replace(short, mode=mode)
        )


async def before(people: People) -> None:
    """Let every kind of deadline begin to run: a heartbeat's, an offer's, a wait's, a first reply's, an absence's."""
    await people.do(
        *company(),
        *(AgentPresence(agent_id, "online") for agent_id in ("hana", "taro", "ken")),
        AgentHeartbeat("hana"),
        request("offered"),
        request("waiting"),
        request("owned", "billing"),
        request("absent", "returns"),
        ChatMessage("absent", "m-1", Sender("agent", "ken"), "one moment"),
        AgentPresence("ken", "offline"),
    )
    await people.until((ChatOffered, "offered"), (ChatAssigned, "owned"), (ChatAssigned, "absent"))


async def during(people: People) -> None:
    """Chats go on arriving; at last everybody does what would be too late if deadlines had run."""
    await people.do(AgentPresence("mika", "online"))
    for chat_id in BACKLOG:
        await people.do(request(chat_id))
        await asyncio.sleep(OUTAGE_S / len(BACKLOG))
    (offer_id,) = {
        each.data.offer_id
        for each in people.decisions()
        if isinstance(each.data, ChatOffered) and each.data.chat_id == "offered"
    }
    await people.do(
        OfferAccepted(offer_id, "offered", "hana"),
        ChatMessage("offered", "m-2", Sender("agent", "hana"), "here I am"),
        ChatMessage("owned", "m-3", Sender("agent", "taro"), "sorry, I was long"),
        AgentPresence("ken", "online"),
    )


async def act(stage: Stage, console: Console) -> None:
    """Act the outage out, and check what was decided."""
    async with TopicLog(stage.bootstrap, (EVENTS, ROUTING)) as log, Publisher(stage.bootstrap) as publisher:
        people = People(log, publisher)
        began_ms = wall_ms()
        await before(people)
        for name in ROUTERS:
            stage.kill(name)
        await log.catch_up()
        assert not any(map(by_deadline, people.decisions())), "the machine is too slow for these time-outs"
        last_tick_ms = max(people.ticks_ms())
        ran_ms = last_tick_ms - began_ms
        await during(people)
        for name in ROUTERS:
            await asyncio.to_thread(stage.start, name)
        await people.until(
            (ChatAssigned, "offered"), *((ChatOffered, chat) for chat in ("waiting", *BACKLOG))
        )
        await people.until_a_deadline()

    return_ms = min(at_ms for at_ms in people.ticks_ms() if at_ms > last_tick_ms)
    outage_s = (return_ms - last_tick_ms) / 1000
    first_ms = min(to_ms(each.time) for each in people.decisions() if by_deadline(each))
    console.print(
        f"no tick for {outage_s:.1f} s; the first deadline decided {(first_ms - return_ms) / 1000:.1f} s after the return"
    )
    assert outage_s > TIME_OUT_S + UNHEARD_MS / 1000
    assert first_ms - return_ms >= TIME_OUT_S * 1000 - max(0, ran_ms) - 2 * UNHEARD_MS
    assert not [each.data for each in people.decisions() if isinstance(each.data, RequestRefused)]
    owned = [each.data for each in people.decisions() if isinstance(each.data, ChatAssigned | ChatUnassigned)]
    assert {(each.chat_id, each.agent_id): type(each) for each in owned} == {
        ("offered", "hana"): ChatAssigned,
        ("owned", "taro"): ChatAssigned,
        ("absent", "ken"): ChatAssigned,
    }
    await drain(stage)


def test_nobody_is_timed_out_for_an_outage_and_the_backlog_is_rung(tmp_path: Path, console: Console) -> None:
    with Stage(tmp_path, brokers=1, hosts=2) as stage:
        for name in (*ROUTERS, "transcript-0"):
            stage.start(name)
        stage.await_ready(*ROUTERS)
        asyncio.run(act(stage, console))
        for name in stage.running:
            assert stage.stop(name) == 0
        assert asyncio.run(judge(stage)).wrong == []
        assert stage.ended == []
