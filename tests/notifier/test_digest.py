"""Missed chats told together: through parking and ledger to a real SMTP server, and what crashes leave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from schemas import codec
from schemas.notices import NoticeUnattended
from schemas.topics import NOTICES
from services.notifier import digest
from services.notifier.core import RESENT
from services.notifier.digest import DIGESTS, NOTICES_MAX, Digests, digest_id_of, due_codec
from services.notifier.mailer import Mailer
from services.notifier.message import Scribe
from services.notifier.servers import Outlet
from services.notifier.slow import SlowLane
from services.notifier.smtp import Post, Server
from services.runtime.effect_settings import EffectSettings
from services.runtime.effects import Downstream
from services.runtime.handling import Handling
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics
from services.runtime.ports import InputRecord
from tests import waiting
from tests.notifier.samples import RULES, WORKSPACE, envelope, letter, unattended
from tests.notifier.sink import Sink
from tests.notifier.test_mailer import LIMIT_S, LIMITS, Written, hashed
from tests.notifier.test_message import parsed, part

DIGEST_S = 60.0
LEASE_MS = 600_000
until = partial(waiting.until, limit_s=LIMIT_S)
"""Longer than the clocks of these tests are moved by: nobody is taken for dead."""
SCRIBE = Scribe(default_from="chats@example.com")


class Clock:
    """A wall clock that stands until it is moved."""

    now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms

    def pass_window(self) -> None:
        self.now_ms += round(DIGEST_S * 1000)


class Worker:
    """A notifier without Kafka: records are handed to it, and it looks at its windows when told to."""

    def __init__(self, handling: Handling, digests: Digests) -> None:
        self.handling = handling
        self.digests = digests

    async def read(self, *notices: NoticeUnattended) -> None:
        """Return when each is acknowledged."""
        async with asyncio.timeout(LIMIT_S):
            for notice in notices:
                await self.handling.settled(record(notice))


def missed(number: int, **changes: Any) -> NoticeUnattended:
    return unattended(
        **{
            "notice_id": f"n{number:03}",
            "chat_id": f"c{number:03}",
            "digest_s": DIGEST_S,
            "letter": letter("en", "a@example.com", "b@example.com"),
            **changes,
        }
    )


def record(notice: NoticeUnattended) -> InputRecord:
    number = int(notice.notice_id[1:])
    value = codec.encode(
        notice, event_id=f"e{number}", source="/services/router", at_ms=number, workspace_id=WORKSPACE
    )
    return InputRecord(NOTICES, 0, number, number, WORKSPACE.encode(), value)


@asynccontextmanager
async def worker(
    url: str, port: int, written: Written, clock: Clock, *, owner: str = "w1", lease_ms: int = 6_000
) -> AsyncIterator[Worker]:
    """A life of a worker; when it is left, whatever it had in hand stays as it is."""

    async def send(*_values: Any, **_named: Any) -> None:
        raise AssertionError("everything can be read")

    metrics = Metrics()
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(
            Ledger(url, group="effects", owner=owner, lease_ms=lease_ms, now_ms=clock)
        )
        post = await stack.enter_async_context(
            Post(Server(host="127.0.0.1", port=port), answer_s_max=LIMIT_S, unknown_wait_s=0.002)
        )
        downstream = Downstream("sink", kind="mail", limits=LIMITS, metrics=metrics)
        outlet = Outlet(post, downstream, SlowLane("sink/slow", connections_max=LIMITS.calls_max))
        digests = Digests(ledger)
        mails = Mailer(
            rules=RULES,
            scribe=SCRIBE,
            ledger=ledger,
            digests=digests,
            outlet_of=lambda _workspace_id: outlet,
            write=written,
            metrics=metrics,
            now_ms=clock,
        )
        handling = Handling(EffectSettings(), metrics, ledger, send)
        handling.on(NOTICES, codec.notices, mails.handle)
        handling.on(DIGESTS, due_codec, mails.handle_digest)
        working_off = asyncio.create_task(handling.work_off())
        try:
            yield Worker(handling, digests)
        finally:
            working_off.cancel()
            await asyncio.wait({working_off})
            await handling.end(limit_s=0.2)


def subjects(sink: Sink) -> list[str]:
    return [str(parsed(message)["Subject"]) for message in sink.messages]


def outcomes(written: Written) -> list[tuple[str, str, str]]:
    """Return notice, chat and recipient of each outcome."""
    return sorted((each.data.notice_id, each.data.chat_id, each.data.recipient) for each in written.envelopes)


def expected(*numbers: int) -> list[tuple[str, str, str]]:
    return sorted(
        (f"n{number:03}", f"c{number:03}", hashed(address))
        for number in numbers
        for address in ("a@example.com", "b@example.com")
    )


async def test_the_first_goes_at_once_and_the_others_together_when_the_window_is_over(
    database_url: str,
) -> None:
    written, clock = Written(), Clock()
    async with Sink().open() as sink, worker(database_url, sink.port, written, clock) as of:
        await of.read(missed(1), missed(2), missed(3), missed(4))
        clock.now_ms += round(DIGEST_S * 1000) - 1
        await of.digests.close()
        await of.read(missed(5))
        assert subjects(sink) == ["Missed chat: Ann Bold (Sales)"]
        clock.now_ms += 1
        await of.digests.close()
        await until(lambda: len(written.envelopes) == 10)
        await of.read(missed(6), missed(7))
        assert subjects(sink)[1:] == ["4 missed chats (Sales)", "Missed chat: Ann Bold (Sales)"]
    assert outcomes(written) == expected(1, 2, 3, 4, 5, 6)
    assert {each.data.result for each in written.envelopes} == {"sent"}
    assert {recipients for recipients, _ in sink.mails} == {("a@example.com", "b@example.com")}
    ids = [f"n{number:03}" for number in (2, 3, 4, 5)]
    assert parsed(sink.messages[1])["Message-ID"] == f"<{digest_id_of(ids)}.unattended@example.com>"
    text = part(sink.messages[1], "plain")
    assert [f"-c00{number}-1-" in text for number in range(1, 7)] == [False, True, True, True, True, False]


async def test_without_digest_each_goes_at_once(database_url: str) -> None:
    written, clock = Written(), Clock()
    async with Sink().open() as sink, worker(database_url, sink.port, written, clock) as of:
        await of.read(missed(1, digest_s=0.0), missed(2, digest_s=0.0))
    assert len(sink.mails) == 2


async def test_who_reads_another_letter_has_a_window_of_their_own(database_url: str) -> None:
    written, clock = Written(), Clock()
    other = letter("ja", "c@example.com")
    async with Sink().open() as sink, worker(database_url, sink.port, written, clock) as of:
        await of.read(missed(1), missed(2), missed(3, letter=other), missed(4, letter=other), missed(5))
        assert len(sink.mails) == 2
        clock.pass_window()
        await of.digests.close()
        await until(lambda: len(sink.mails) == 4)
    assert sorted(subjects(sink)[2:]) == [
        "2 missed chats (Sales)",
        "未対応チャット：Ann Bold（Sales）",
    ], "a single one has the mail it would have had alone"


async def test_a_digest_holds_so_many_and_another_one_the_rest(database_url: str) -> None:
    written, clock = Written(), Clock()
    to = letter("en", "a@example.com")
    async with Sink().open() as sink, worker(database_url, sink.port, written, clock) as of:
        await of.read(*(missed(number, letter=to) for number in range(NOTICES_MAX + 4)))
        clock.pass_window()
        await of.digests.close()
        await of.digests.close()
        await until(lambda: len(written.envelopes) == NOTICES_MAX + 4)
    assert sorted(subjects(sink)[1:]) == [f"{NOTICES_MAX} missed chats (Sales)", "3 missed chats (Sales)"]
    assert len(set(outcomes(written))) == NOTICES_MAX + 4


async def test_what_was_read_is_told_once_by_whoever_comes_after_a_crash(database_url: str) -> None:
    """Each life begins with every record again, as after a crash before anything was acknowledged."""
    written, clock = Written(), Clock()
    notices = [missed(number) for number in range(1, 5)]
    async with Sink().open() as sink:
        for life in range(2):
            async with worker(database_url, sink.port, written, clock, owner=f"w{life}") as of:
                await of.read(*notices)
        assert len(sink.mails) == 1
        clock.pass_window()
        async with worker(database_url, sink.port, written, clock, owner="closer") as of:
            of.handling.on(DIGESTS, due_codec, _never)
            await of.digests.close()
            await of.read(*notices)
        assert len(sink.mails) == 1
        clock.now_ms += 10_000  # the closer's lease runs out
        async with worker(database_url, sink.port, written, clock, owner="heir") as of:
            await of.read(*notices)
            await until(lambda: len(written.envelopes) == 8)
        for life in range(2):
            async with worker(database_url, sink.port, written, clock, owner=f"late{life}") as of:
                await of.digests.close()
                await of.read(*notices)
    assert len(sink.mails) == 2
    assert outcomes(written) == expected(1, 2, 3, 4)


async def _never(_envelope: Any) -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_digest_without_an_answer_is_sent_again_the_same(database_url: str) -> None:
    written, clock = Written(), Clock()
    async with Sink().open() as sink, worker(database_url, sink.port, written, clock) as of:
        await of.read(missed(1), missed(2), missed(3))
        sink.drop_after_data = 1
        clock.pass_window()
        await of.digests.close()
        await until(lambda: len(written.envelopes) == 6)
    assert len(sink.mails) == 3
    assert sink.messages[1] == sink.messages[2]
    assert outcomes(written) == expected(1, 2, 3)


async def test_outcomes_of_a_digest_that_were_not_written_are_written_without_a_second_mail(
    database_url: str,
) -> None:
    written, clock = Written(), Clock()
    async with Sink().open() as sink, worker(database_url, sink.port, written, clock) as of:
        await of.read(missed(1), missed(2), missed(3))
        written.failures = 2
        clock.pass_window()
        await of.digests.close()
        await until(lambda: len(set(outcomes(written))) == 6)
        await of.read(missed(2), missed(3))
    assert len(sink.mails) == 2
    assert set(outcomes(written)) == set(expected(1, 2, 3))
    by_id = {each.id for each in written.envelopes}
    assert len(by_id) == 6, "an outcome written twice has one id"


async def test_two_workers_of_one_database_tell_each_once(database_url: str) -> None:
    written, clock = Written(), Clock()
    async with (
        Sink().open() as sink,
        worker(database_url, sink.port, written, clock, owner="w1", lease_ms=LEASE_MS) as one,
        worker(database_url, sink.port, written, clock, owner="w2", lease_ms=LEASE_MS) as two,
    ):
        await one.read(missed(1), missed(2), missed(3))
        await asyncio.gather(*(of.read(missed(number)) for of in (one, two) for number in range(1, 9)))
        clock.pass_window()
        await asyncio.gather(*(of.digests.close() for of in (one, two) for _ in range(2)))
        await until(lambda: len(written.envelopes) == 16)
    assert outcomes(written) == expected(*range(1, 9))
    assert len(sink.mails) == 2


async def test_some_recipients_of_a_digest_are_refused_and_each_notice_tells_it(database_url: str) -> None:
    written, clock = Written(), Clock()
    sink = Sink(rcpt=lambda address: "550 no such user" if address == "b@example.com" else None)
    async with sink.open(), worker(database_url, sink.port, written, clock) as of:
        await of.read(missed(1), missed(2), missed(3))
        clock.pass_window()
        await of.digests.close()
        await until(lambda: len(written.envelopes) == 6)
    told = {(each.data.notice_id, each.data.recipient): each.data.code for each in written.envelopes}
    assert told == {
        (f"n{number:03}", hashed(address)): code
        for number in (1, 2, 3)
        for address, code in (("a@example.com", None), ("b@example.com", "smtp_550"))
    }


async def test_of_a_digest_one_notice_is_sent_again_to_whom_it_has_not_reached(database_url: str) -> None:
    written, clock = Written(), Clock()
    refusals = ["550 no such user"] * 2
    sink = Sink(rcpt=lambda address: refusals.pop() if address == "b@example.com" and refusals else None)
    async with sink.open(), worker(database_url, sink.port, written, clock) as of:
        await of.read(missed(1), missed(2), missed(3))
        clock.pass_window()
        await of.digests.close()
        await until(lambda: len(written.envelopes) == 6)
        await asyncio.wait_for(_until_done(of), LIMIT_S)
        again = record(missed(3))
        assert again.value is not None
        value = again.value.replace(b"/services/router", RESENT.encode())
        for offset in (103, 104):
            await of.handling.settled(replace(again, offset=offset, value=value))
    assert [recipients for recipients, _ in sink.mails][2:] == [("b@example.com",)]
    assert subjects(sink)[2:] == ["Missed chat: Ann Bold (Sales)"]
    assert len(written.envelopes) == 7


async def _until_done(of: Worker) -> None:
    digest_id = digest_id_of(["n002", "n003"])
    while await of.digests.members(digest_id):  # noqa: ASYNC110  a database has no events
        await asyncio.sleep(0.01)


async def test_a_first_notice_that_crashed_before_its_mail_is_first_again(database_url: str) -> None:
    clock = Clock()
    async with Ledger(database_url, group="effects", now_ms=clock) as ledger:
        digests = Digests(ledger)
        told = [envelope(missed(number)) for number in (1, 2)]
        assert [await digests.keeps(each) for each in (told[0], told[0], told[1], told[1])] == [
            False,
            False,
            True,
            True,
        ]
        clock.pass_window()
        assert await digests.keeps(told[1]), "it is in the digest that is due, and in no other"


async def test_when_too_many_wait_each_goes_at_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "WAITING_MAX", 2)
    async with Ledger(database_url, group="effects", now_ms=Clock()) as ledger:
        digests = Digests(ledger)
        kept = [await digests.keeps(envelope(missed(number))) for number in range(5)]
        assert kept == [False, True, True, False, False]
        await digests.close()
        assert not await digests.keeps(envelope(missed(6))), "what waits is counted"
