"""The rate of an account, kept by several workers together: each is a ledger of its own on one database."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic

import pytest

from services.crm_sync import pace as pacing
from services.crm_sync.pace import Pace
from services.runtime.effects import Away
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics

LIMIT_S = 60
PER_S = 10


@asynccontextmanager
async def workers(url: str, count: int, *, per_s_max: float = PER_S) -> AsyncIterator[list[Pace]]:
    async with AsyncExitStack() as stack:
        ledgers = [await stack.enter_async_context(Ledger(url, group="crm")) for _ in range(count)]
        yield [Pace(ledger, name="crm", per_s_max=per_s_max, metrics=Metrics()) for ledger in ledgers]


class Crm:
    """Notes when requests arrive; each takes a while to arrive, another one to be answered, and no two the same."""

    def __init__(self) -> None:
        self.arrived_s: list[float] = []

    async def ask(self, pace: Pace, workspace_id: str = "acme") -> None:
        async with pace.turn(workspace_id):
            number = len(self.arrived_s)
            await asyncio.sleep(number % 7 * 0.01)
            self.arrived_s.append(monotonic())
            await asyncio.sleep(number % 3 * 0.01)


def most_in_a_second(moments_s: Sequence[float]) -> int:
    ordered = sorted(moments_s)
    return max(sum(begin <= moment < begin + 1 for moment in ordered) for begin in ordered)


async def test_no_second_sees_more_than_the_rate_from_any_number_of_workers(database_url: str) -> None:
    crm, asked = Crm(), 3 * PER_S
    began_s = monotonic()
    async with asyncio.timeout(LIMIT_S), workers(database_url, 3) as paces:
        await asyncio.gather(*(crm.ask(paces[number % 3]) for number in range(asked)))
    assert len(crm.arrived_s) == asked
    assert most_in_a_second(crm.arrived_s) == PER_S
    assert monotonic() - began_s < asked / PER_S * 2.5, "the rate is used"


async def test_accounts_have_rates_of_their_own(database_url: str) -> None:
    crm = Crm()
    async with asyncio.timeout(LIMIT_S), workers(database_url, 1) as (pace,):
        waiting = [asyncio.create_task(crm.ask(pace, "busy")) for _ in range(2 * PER_S)]
        began_s = monotonic()
        await asyncio.gather(*(crm.ask(pace, "quiet") for _ in range(PER_S)))
        assert monotonic() - began_s < 1
        assert not all(task.done() for task in waiting)
        await asyncio.gather(*waiting)


async def test_a_rate_below_one_a_second(database_url: str) -> None:
    crm = Crm()
    async with asyncio.timeout(LIMIT_S), workers(database_url, 2, per_s_max=0.8) as paces:
        await asyncio.gather(*(crm.ask(pace) for pace in paces))
    first_s, second_s = crm.arrived_s
    assert second_s - first_s > 1 / 0.8


async def test_a_worker_that_was_killed_loses_its_slots_for_a_while(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "HELD_MS", 1_200)
    async with (
        asyncio.timeout(LIMIT_S),
        workers(database_url, 2, per_s_max=2) as (dying, living),
        dying.turn("acme"),  # nothing here gives anything back before it is over
        dying.turn("acme"),
    ):
        began_s = monotonic()
        async with living.turn("acme"):
            assert monotonic() - began_s > 0.7


async def test_who_gives_up_waiting_holds_nothing(database_url: str) -> None:
    async with asyncio.timeout(LIMIT_S), workers(database_url, 1, per_s_max=1) as (pace,):
        async with pace.turn("acme"):
            waiting = asyncio.create_task(Crm().ask(pace))
            await asyncio.sleep(0)
            waiting.cancel()
        async with pace.turn("acme"):
            pass


async def test_a_turn_that_is_too_far_off_is_not_waited_for(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "WAIT_MAX_S", 0.2)
    async with asyncio.timeout(LIMIT_S), workers(database_url, 1, per_s_max=1) as (pace,):
        async with pace.turn("acme"):
            with pytest.raises(Away) as raised:
                await Crm().ask(pace)
        assert raised.value.queue == "crm/acme"


async def test_a_pause_is_everybodys_and_ends_by_itself(database_url: str) -> None:
    crm = Crm()
    async with asyncio.timeout(LIMIT_S), workers(database_url, 2) as (told, other):
        with pytest.raises(Away) as raised:
            await told.told_to_wait("acme", wait_s=3)
        assert (raised.value.queue, raised.value.retry_s) == ("crm/acme", 3)
        for pace in (told, other):
            with pytest.raises(Away) as raised:
                await crm.ask(pace)
            assert 1 < raised.value.retry_s <= 3
        await crm.ask(other, "bell")
        await asyncio.sleep(raised.value.retry_s)
        await crm.ask(other)


async def test_a_short_pause_is_waited_for(database_url: str) -> None:
    crm = Crm()
    async with asyncio.timeout(LIMIT_S), workers(database_url, 2) as (told, other):
        began_s = monotonic()
        await told.told_to_wait("acme", wait_s=0.5)
        await crm.ask(other)
        assert monotonic() - began_s > 0.5


async def test_a_clock_that_went_back_holds_nobody_up_for_long(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(LIMIT_S), workers(database_url, 1, per_s_max=1) as (pace,):
        now_ms = pacing._Account._now_ms
        with monkeypatch.context() as ahead:
            ahead.setattr(
                pacing._Account,
                "_now_ms",
                lambda account, connection: now_ms(account, connection) + 3_600_000,
            )
            await Crm().ask(pace)
        began_s = monotonic()
        await Crm().ask(pace)
        assert 1 < monotonic() - began_s < 5
