"""Who is slow, for how long, how many connections they may hold, and that nobody else waits for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from services.notifier import slow, smtp
from services.notifier.slow import SlowLane
from services.runtime.effects import Away
from tests.notifier.samples import envelope, letter, unattended
from tests.notifier.sink import Sink
from tests.notifier.test_mailer import Written, mailer, patient

LIMIT_S = 10


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow, "SLOW_AFTER_S", 0.01)


def to(*recipients: str) -> frozenset[str]:
    return frozenset(recipients)


@asynccontextmanager
async def taking_long(lane: SlowLane, recipients: frozenset[str]) -> AsyncIterator[None]:
    """A mail that has been found to be slow."""
    with lane.entered(recipients):
        async with asyncio.timeout(LIMIT_S):
            while not lane.is_slow(recipients):  # noqa: ASYNC110  a timer, which sets no event
                await asyncio.sleep(0.001)
        yield


@pytest.mark.parametrize(("connections", "places"), [(1, 1), (2, 1), (8, 6), (32, 24)])
async def test_slow_recipients_hold_three_quarters_of_the_connections(connections: int, places: int) -> None:
    lane = SlowLane("sink/slow", connections_max=connections)
    async with AsyncExitStack() as stack:
        for number in range(places):
            await stack.enter_async_context(taking_long(lane, to(f"slow{number}")))
        with pytest.raises(Away) as away, lane.entered(to("slow0")):
            pytest.fail("there is no place for it")
        assert away.value.queue == "sink/slow"
        with lane.entered(to("quick")):
            pass
    with lane.entered(to("slow0")):
        pass


async def test_who_is_quick_again_is_slow_no_more() -> None:
    lane = SlowLane("sink/slow", connections_max=1)
    async with taking_long(lane, to("a")):
        pass
    assert lane.is_slow(to("a"))
    with lane.entered(to("a")):
        pass
    assert not lane.is_slow(to("a"))


async def test_a_mail_that_fails_at_once_says_nothing_about_its_recipients() -> None:
    lane = SlowLane("sink/slow", connections_max=1)
    async with taking_long(lane, to("a")):
        pass
    with pytest.raises(ConnectionError), lane.entered(to("a")):
        raise ConnectionError
    assert lane.is_slow(to("a"))
    with lane.entered(to("a")):
        pass  # its place is free again


async def test_slow_recipients_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow, "REMEMBERED_MAX", 2)
    lane = SlowLane("sink/slow", connections_max=4)
    for name in "abc":
        async with taking_long(lane, to(name)):
            pass
    assert [lane.is_slow(to(name)) for name in "abc"] == [False, True, True]
    monkeypatch.setattr(slow, "REMEMBERED_S", 0.0)
    with lane.entered(to("d")):
        async with asyncio.timeout(LIMIT_S):
            while lane.is_slow(to("b")):  # noqa: ASYNC110  d takes b's place in the memory
                await asyncio.sleep(0.001)
    assert not lane.is_slow(to("d"))


async def test_a_list_with_a_slow_one_in_it_is_slow_and_its_others_are_not() -> None:
    lane = SlowLane("sink/slow", connections_max=1)
    async with taking_long(lane, to("quick", "slow")):
        with lane.entered(to("quick")):
            pass


async def test_a_recipient_about_whom_the_server_is_silent_keeps_the_mail_from_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "RECIPIENT_S_MAX", 0.2)
    silent = ["silent@example.com"]

    async def rcpt(address: str) -> None:
        if address in silent:
            await asyncio.get_running_loop().create_future()

    written = Written()
    data = unattended(letter=letter("en", "a@example.com", "silent@example.com", "b@example.com"))
    async with Sink(rcpt=rcpt).open() as sink, mailer(tmp_path, sink.port, written) as mails:
        handling = asyncio.create_task(patient(mails, envelope(data)))
        async with asyncio.timeout(LIMIT_S):
            while not sink.mails:  # noqa: ASYNC110  a server, which sets no event
                await asyncio.sleep(0.01)
        assert not handling.done()
        silent.clear()
        await asyncio.wait_for(handling, LIMIT_S)
    assert [recipients for recipients, _message in sink.mails] == [
        ("a@example.com", "b@example.com"),
        ("silent@example.com",),
    ]
    assert set(written.outcomes.values()) == {"sent"}
