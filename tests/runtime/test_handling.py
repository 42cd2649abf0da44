"""Records that are handled, turned away, parked and brought again; without Kafka."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from schemas import codec
from schemas.outcomes import MailSettled
from services.runtime.effect_settings import EffectSettings
from services.runtime.effects import PARKED, Away
from services.runtime.failures import WorkerFailed
from services.runtime.handling import WORKED_OFF_MAX, Handling
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics
from services.runtime.ports import InputRecord
from tests import waiting

LIMIT_S = 30
until = partial(waiting.until, limit_s=LIMIT_S)
TOPIC = "chat.deliveries.v1"


def record(number: int, *, value: bytes | None = None) -> InputRecord:
    data = MailSettled(notice_id=f"n{number}", kind="feedback", recipient="r", result="sent")
    encoded = codec.encode(data, event_id=f"e{number}", source="/test", at_ms=0, workspace_id="acme")
    return InputRecord(TOPIC, 0, number, number, b"acme", value or encoded)


class Server:
    """Takes what is sent to it, unless it is away or hangs."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.hanging: asyncio.Event | None = None
        self.taken: list[str] = []
        self.at_a_time = 0

    async def handle(self, envelope: Any) -> None:
        if self.away:
            raise Away("server", retry_s=0.01)
        if self.hanging is not None:
            await self.hanging.wait()
        self.taken.append(envelope.data.notice_id)


@asynccontextmanager
async def handling(
    url: str,
    handle: Callable[[Any], Awaitable[None]],
    *,
    metrics: Metrics | None = None,
    owner: str | None = None,
    lease_ms: int = 6_000,
    **settings: Any,
) -> AsyncIterator[Handling]:
    async def send(*_values: Any, **_named: Any) -> None:
        raise AssertionError("everything can be read")

    async with Ledger(url, group="effects", owner=owner, lease_ms=lease_ms) as ledger:
        made = Handling(EffectSettings(**settings), metrics or Metrics(), ledger, send)
        made.on(TOPIC, codec.deliveries, handle)
        working_off = asyncio.create_task(made.work_off())
        try:
            yield made
        finally:
            working_off.cancel()
            await asyncio.wait({working_off})
            await made.end(limit_s=LIMIT_S)


def names(count: int) -> list[str]:
    return sorted(f"n{number}" for number in range(count))


async def test_what_is_turned_away_frees_its_place_and_is_brought_again(database_url: str) -> None:
    server, metrics, count = Server(away=True), Metrics(), 3 * WORKED_OFF_MAX
    async with handling(database_url, server.handle, metrics=metrics) as handled, asyncio.timeout(LIMIT_S):
        await asyncio.gather(*(handled.settled(record(number)) for number in range(count)))
        await until(lambda: metrics.value("effects_parked") == count)
        assert not server.taken
        server.away = False
        await until(lambda: len(server.taken) == count)
        await until(lambda: metrics.value("effects_parked") == 0)
    assert sorted(server.taken) == names(count)
    assert metrics.value("records_in_total", topic=TOPIC, partition="0") == count


async def test_what_is_parked_outlives_the_process(database_url: str) -> None:
    server = Server(away=True)
    for _ in range(2):
        async with handling(database_url, server.handle) as handled:
            for number in range(5):
                await handled.settled(record(number))  # the same ones again: their acknowledgement was lost
    server.away = False
    async with handling(database_url, server.handle):
        await until(lambda: len(server.taken) == 5)
    assert sorted(server.taken) == names(5)
    async with handling(database_url, server.handle) as handled:
        await handled.settled(record(5))
    assert sorted(server.taken) == names(6)


async def test_what_a_dead_worker_parked_is_adopted_and_what_a_living_one_parked_is_not(
    database_url: str,
) -> None:
    away, here = Server(away=True), Server()
    async with (
        handling(database_url, here.handle),
        handling(database_url, away.handle, lease_ms=600) as handled,
    ):
        await handled.settled(record(0))
        await asyncio.sleep(1.5)  # longer than its lease, which it renews, and than anybody waits to look
        assert not here.taken
    await asyncio.sleep(0)
    async with handling(database_url, here.handle):
        await until(lambda: here.taken == ["n0"])


async def test_what_takes_long_frees_its_place_and_goes_on(database_url: str) -> None:
    server = Server()
    server.hanging = asyncio.Event()
    async with handling(database_url, server.handle, slot_limit_ms=20) as handled, asyncio.timeout(LIMIT_S):
        await asyncio.gather(*(handled.settled(record(number)) for number in range(5)))
        assert handled.in_flight == 5
        assert not server.taken
        server.hanging.set()
        # Each is looked at again once it has ended: only then is its row deleted. A ledger keeps it from being done again.
        await until(lambda: len(server.taken) == 10)
    assert sorted(set(server.taken)) == names(5)


async def test_when_too_many_wait_their_partition_waits(database_url: str) -> None:
    server = Server(away=True)
    async with (
        handling(database_url, server.handle, parked_records_max=3) as handled,
        asyncio.timeout(LIMIT_S),
    ):
        for number in range(3):
            await handled.settled(record(number))
        waiting = asyncio.create_task(handled.settled(record(3)))
        done, _ = await asyncio.wait({waiting}, timeout=1)
        assert not done
        server.away = False
        await waiting
        await until(lambda: len(server.taken) == 4)
    assert sorted(server.taken) == names(4)


async def test_what_cannot_be_handled_is_neither_acknowledged_nor_passed_over(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.runtime.handling.WAIT_MAX_S", 0.01)

    async def handle(_envelope: Any) -> None:
        raise ConnectionError("the database is away")

    async with handling(database_url, handle) as handled:
        settling = asyncio.create_task(handled.settled(record(0)))
        with pytest.raises(WorkerFailed, match=r"Record 0 of chat\.deliveries\.v1"):
            await asyncio.wait_for(handled.failure, LIMIT_S)
        assert not settling.done()
        settling.cancel()
        await asyncio.wait({settling})


async def test_what_is_cancelled_at_the_end_is_not_begun_again(database_url: str) -> None:
    """It is left as a crash would leave it."""
    begun: list[str] = []

    async def hang(envelope: Any) -> None:
        begun.append(envelope.data.notice_id)
        await asyncio.get_running_loop().create_future()

    async with handling(database_url, hang, slot_limit_ms=10) as handled, asyncio.timeout(LIMIT_S):
        await handled.settled(record(1))
        await handled.end(limit_s=0.5)
        assert handled.in_flight == 0
    assert begun == ["n1"]


async def test_a_queue_with_a_bound_is_brought_only_so_far_and_its_records_know_that_they_were_parked(
    database_url: str,
) -> None:
    room, inside, most, count = 3, 0, 0, 20
    seen: list[bool] = []

    async def handle(_envelope: Any) -> None:
        nonlocal inside, most
        seen.append(PARKED.get())
        if not PARKED.get():
            raise Away("narrow", retry_s=0.01)
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.01)
        inside -= 1

    async with handling(database_url, handle) as handled, asyncio.timeout(LIMIT_S):
        handled.bound(lambda queue: room - inside if queue == "narrow" else None)
        assert not handled.waits("narrow")
        await asyncio.gather(*(handled.settled(record(number)) for number in range(count)))
        await until(lambda: handled.waits("narrow"))
        await until(lambda: seen.count(True) == count)
        await until(lambda: not handled.waits("narrow"))
    assert (seen.count(False), most) == (count, room)


async def test_while_there_is_no_room_nothing_is_brought(database_url: str) -> None:
    server, room = Server(away=True), 0
    async with handling(database_url, server.handle) as handled, asyncio.timeout(LIMIT_S):
        handled.bound(lambda _queue: room)
        await handled.settled(record(0))
        server.away = False
        await until(lambda: handled.waits("server"))
        assert not server.taken
        room = 1
        await until(lambda: server.taken == ["n0"])
