"""From a record to the wire and to its outcomes, against a real SMTP server on loopback."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas import codec
from schemas.outcomes import MailSettled
from schemas.topics import DELIVERIES
from services.notifier.core import RECIPIENTS_MAX, RESENT, again, recipient_hash
from services.notifier.digest import Digests
from services.notifier.mailer import UNKNOWN_TRIES_MAX, Mailer
from services.notifier.message import Scribe
from services.notifier.servers import Outlet
from services.notifier.slow import SlowLane
from services.notifier.smtp import ANSWER_S_MAX, COMMAND_S_MAX, MAIL_LIMITS, RECIPIENT_S_MAX, Post, Server
from services.runtime.effects import Away, Downstream, Limits
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics
from tests.notifier.samples import RULES, WORKSPACE, envelope, letter, reply, transcript, unattended, visitor
from tests.notifier.sink import Sink

LIMIT_S = 20
LIMITS = Limits(
    attempts_max=6,
    wait_initial_ms=2,
    wait_max_ms=10,
    wait_jitter_ms=0,
    failures_to_open=2,
    open_ms=50,
    calls_max=4,
)


GREY_LIST_MS = 300_000
"""What grey lists commonly want a sender to wait."""


class ForgetfulLedger(Ledger):
    """A ledger whose database takes no outcome as often as told to."""

    failures = 0

    async def settle(self, effect_id: str, outcomes: Mapping[str, str], *, now_ms: int) -> None:
        if outcomes and self.failures:
            self.failures -= 1
            raise OSError("the disk is full")
        await super().settle(effect_id, outcomes, now_ms=now_ms)


class Written:
    """Outcomes as they would stand in the topic; fails as often as told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.envelopes: list[Any] = []

    async def __call__(self, topic: str, *, workspace_id: str, value: bytes) -> None:
        assert (topic, workspace_id) == (DELIVERIES, WORKSPACE)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("Kafka is away")
        self.envelopes.append(codec.deliveries.decode(value))

    @property
    def outcomes(self) -> dict[str, str]:
        """Return the result or code of each recipient's hash."""
        settled: list[MailSettled] = [each.data for each in self.envelopes]
        return {each.recipient: each.code or each.result for each in settled}


def hashed(address: str) -> str:
    return recipient_hash(address, workspace_id=WORKSPACE, salt=RULES.salt)


@asynccontextmanager
async def mailer(
    folder: Path,
    port: int,
    written: Written,
    *,
    unsettled: int = 0,
    answer_s_max: float = LIMIT_S,
    metrics: Metrics | None = None,
    **server: Any,
) -> AsyncIterator[Mailer]:
    metrics = metrics or Metrics()
    async with (
        ForgetfulLedger(f"sqlite:///{folder / 'ledger.db'}", group="effects") as ledger,
        Post(
            Server(host="127.0.0.1", port=port, **server), answer_s_max=answer_s_max, unknown_wait_s=0.002
        ) as post,
    ):
        ledger.failures = unsettled
        downstream = Downstream("sink", kind="mail", limits=LIMITS, metrics=metrics)
        outlet = Outlet(post, downstream, SlowLane("sink/slow", connections_max=LIMITS.calls_max))
        yield Mailer(
            rules=RULES,
            scribe=Scribe(default_from="chats@example.com"),
            ledger=ledger,
            digests=Digests(ledger),
            outlet_of=lambda _workspace_id: outlet,
            write=written,
            metrics=metrics,
            now_ms=lambda: 1_000,
        )


async def patient(mails: Mailer, record: Any) -> None:
    """Bring a record again as often as it is turned away, as `Handling` does."""
    while True:
        try:
            return await mails.handle(record)
        except Away as away:
            await asyncio.sleep(away.retry_s)


async def test_a_mail_arrives_and_each_recipient_has_an_outcome(tmp_path: Path) -> None:
    written = Written()
    async with Sink().open() as sink, mailer(tmp_path, sink.port, written) as mails:
        await mails.handle(envelope(unattended(letter=letter("ja", "a@example.com", "b@example.com"))))
    assert [recipients for recipients, _message in sink.mails] == [("a@example.com", "b@example.com")]
    assert written.outcomes == {hashed("a@example.com"): "sent", hashed("b@example.com"): "sent"}
    settled = written.envelopes[0]
    assert (settled.data.notice_id, settled.data.kind, settled.data.chat_id) == (
        "jbswy3dpehpk3pxp",
        "unattended",
        "c1",
    )
    assert settled.source == "/services/notifier"


async def test_nothing_is_sent_or_reported_twice_even_after_a_restart(tmp_path: Path) -> None:
    written = Written()
    async with Sink().open() as sink:
        for _ in range(2):
            async with mailer(tmp_path, sink.port, written) as mails:
                await mails.handle(envelope(transcript()))
                await mails.handle(envelope(transcript()))
    assert len(sink.mails) == 1
    assert len(written.envelopes) == 1


async def test_an_outcome_that_was_not_written_is_written_again_without_a_second_mail(tmp_path: Path) -> None:
    written = Written(failures=1)
    async with Sink().open() as sink:
        async with mailer(tmp_path, sink.port, written) as mails:
            with pytest.raises(ConnectionError):
                await mails.handle(envelope(transcript()))
        async with mailer(tmp_path, sink.port, written) as mails:
            await mails.handle(envelope(transcript()))
    assert len(sink.mails) == 1
    assert written.outcomes == {hashed("sales@example.com"): "sent"}


async def test_an_unknown_outcome_is_sent_again_under_the_same_message_id(tmp_path: Path) -> None:
    written, metrics = Written(), Metrics()
    async with (
        Sink(drop_after_data=1).open() as sink,
        mailer(tmp_path, sink.port, written, metrics=metrics) as mails,
    ):
        await mails.handle(envelope(unattended()))
    assert metrics.value("effects_repeated_total", kind="unattended") == 1, "it may be a doubled mail"
    assert len(sink.mails) == 2
    assert sink.messages[0] == sink.messages[1]
    assert written.outcomes == {hashed("sales@example.com"): "sent"}


async def test_a_mail_that_was_sent_but_not_settled_is_not_sent_again(tmp_path: Path) -> None:
    written = Written()
    async with Sink().open() as sink, mailer(tmp_path, sink.port, written, unsettled=2) as mails:
        for _ in range(2):
            with pytest.raises(OSError, match="the disk is full"):
                await mails.handle(envelope(unattended()))
        await mails.handle(envelope(unattended()))
    assert len(sink.mails) == 1
    assert written.outcomes == {hashed("sales@example.com"): "sent"}


async def test_a_mail_put_back_goes_once_more_to_those_alone_whom_it_has_not_reached(tmp_path: Path) -> None:
    away = ["550 no such user"]
    data = unattended(letter=letter("en", "a@example.com", "b@example.com", "bad"))
    resent = replace(envelope(data), source=RESENT)
    written = Written()
    async with Sink(
        rcpt=lambda address: away.pop() if address == "b@example.com" and away else None
    ).open() as sink:
        async with mailer(tmp_path, sink.port, written) as mails:
            await mails.handle(envelope(data))
            await asyncio.gather(mails.handle(resent), mails.handle(resent))
        async with mailer(tmp_path, sink.port, written) as mails:
            await mails.handle(resent)
    assert [recipients for recipients, _message in sink.mails] == [("a@example.com",), ("b@example.com",)]
    assert b"a@example.com" not in sink.messages[1]
    assert [
        (each.data.notice_id, each.data.recipient, each.data.result)
        for each in written.envelopes
        if each.data.notice_id != data.notice_id
    ] == [
        (again(data.notice_id), hashed("bad"), "failed"),
        (again(data.notice_id), hashed("b@example.com"), "sent"),
    ]


async def test_what_reached_everybody_or_was_never_sent_has_no_second_life(tmp_path: Path) -> None:
    written = Written()
    async with Sink().open() as sink, mailer(tmp_path, sink.port, written) as mails:
        await mails.handle(replace(envelope(unattended()), source=RESENT))
        assert sink.mails == []
        await mails.handle(envelope(unattended()))
        await mails.handle(replace(envelope(unattended()), source=RESENT))
    assert len(sink.mails) == 1
    assert written.outcomes == {hashed("sales@example.com"): "sent"}


async def test_who_has_the_mail_is_settled_before_the_others_are_waited_for(tmp_path: Path) -> None:
    standing: list[str] = []

    def rcpt(address: str) -> str | None:
        if address != "busy@example.com":
            return None
        with sqlite3.connect(tmp_path / "ledger.db") as database:
            rows = database.execute("SELECT state FROM effects WHERE target = ?", [hashed("a@example.com")])
            standing.append(rows.fetchone()[0])
        database.close()
        return "451 later"

    written = Written()
    async with Sink(rcpt=rcpt).open() as sink, mailer(tmp_path, sink.port, written) as mails:
        await mails.handle(envelope(unattended(letter=letter("en", "a@example.com", "busy@example.com"))))
    assert standing[0] == "claimed"
    assert set(standing[1:]) == {"settled"}
    assert [recipients for recipients, _message in sink.mails] == [("a@example.com",)]
    assert written.outcomes == {hashed("a@example.com"): "sent", hashed("busy@example.com"): "smtp_451"}


async def test_a_mail_whose_answer_never_comes_is_given_up_after_its_tries(tmp_path: Path) -> None:
    written = Written()
    async with (
        Sink(silent_after_data=True).open() as sink,
        mailer(tmp_path, sink.port, written, answer_s_max=0.05) as mails,
    ):
        await asyncio.wait_for(mails.handle(envelope(unattended())), LIMIT_S)
    assert len(sink.mails) == UNKNOWN_TRIES_MAX
    assert written.outcomes == {hashed("sales@example.com"): "smtp_unknown"}


async def test_settled_without_an_outcome_is_never_reported_as_sent(tmp_path: Path) -> None:
    written = Written(failures=1)
    async with Sink().open() as sink, mailer(tmp_path, sink.port, written) as mails:
        with pytest.raises(ConnectionError):
            await mails.handle(envelope(unattended()))
        with sqlite3.connect(tmp_path / "ledger.db") as database:
            database.execute("UPDATE effects SET outcome = NULL")
        database.close()
        with pytest.raises(AssertionError, match="without an outcome"):
            await mails.handle(envelope(unattended()))
    assert written.outcomes == {}


def test_servers_get_the_time_they_may_take() -> None:
    waits_ms = [
        min(MAIL_LIMITS.wait_initial_ms * 2**number, MAIL_LIMITS.wait_max_ms)
        for number in range(MAIL_LIMITS.attempts_max - 1)
    ]
    assert sum(waits_ms) > GREY_LIST_MS
    assert ANSWER_S_MAX >= 600
    assert RECIPIENT_S_MAX >= 300
    assert MAIL_LIMITS.call_ms_max > 1000 * (COMMAND_S_MAX + RECIPIENTS_MAX * RECIPIENT_S_MAX + ANSWER_S_MAX)


async def test_good_addresses_get_theirs_and_bad_ones_an_outcome(tmp_path: Path) -> None:
    def rcpt(address: str) -> str | None:
        return {"gone@example.com": "550 gone", "full@example.com": "452 full"}.get(address)

    written = Written()
    to = ("good@example.com", "gone@example.com", "full@example.com", "not an address", "fine@example.com")
    async with Sink(rcpt=rcpt).open() as sink, mailer(tmp_path, sink.port, written) as mails:
        await mails.handle(envelope(unattended(letter=letter("en", *to))))
    assert [recipients for recipients, _message in sink.mails] == [("good@example.com", "fine@example.com")]
    assert written.outcomes == {
        hashed("good@example.com"): "sent",
        hashed("fine@example.com"): "sent",
        hashed("gone@example.com"): "smtp_550",
        hashed("full@example.com"): "smtp_452",
        hashed("not an address"): "bad_address",
    }


async def test_only_bad_addresses_send_nothing(tmp_path: Path) -> None:
    written = Written()
    async with Sink().open() as sink, mailer(tmp_path, sink.port, written) as mails:
        await mails.handle(envelope(unattended(letter=letter("en", "nonsense"))))
    assert (sink.connections, written.outcomes) == (0, {hashed("nonsense"): "bad_address"})


async def test_a_recipient_who_is_busy_gets_the_mail_later_and_nobody_gets_it_twice(tmp_path: Path) -> None:
    answers = ["451 later", "451 later"]
    written = Written()

    def rcpt(address: str) -> str | None:
        return answers.pop() if address == "busy@example.com" and answers else None

    async with Sink(rcpt=rcpt).open() as sink, mailer(tmp_path, sink.port, written) as mails:
        await mails.handle(envelope(unattended(letter=letter("en", "a@example.com", "busy@example.com"))))
    assert [recipients for recipients, _message in sink.mails] == [("a@example.com",), ("busy@example.com",)]
    assert set(written.outcomes.values()) == {"sent"}


@pytest.mark.parametrize(
    ("answers", "outcome", "mails_sent"),
    [
        (["451 later"], "sent", 1),
        (["554 spam"], "smtp_554", 0),
        (["451 later"] * 9, "smtp_451", 0),
        (["421 bye"], "sent", 1),
    ],
)
async def test_answers_to_the_message(
    tmp_path: Path, answers: list[str], outcome: str, mails_sent: int
) -> None:
    left = list(answers)
    written = Written()
    sink = Sink(data=lambda _message: left.pop() if left else None)
    async with sink.open(), mailer(tmp_path, sink.port, written) as mails:
        await patient(mails, envelope(unattended()))
    assert written.outcomes == {hashed("sales@example.com"): outcome}
    assert len(sink.mails) == mails_sent


async def test_while_the_server_is_away_everything_waits_and_then_arrives(tmp_path: Path) -> None:
    async with Sink().open() as closed:
        port = closed.port
    written = Written()
    async with mailer(tmp_path, port, written) as mails:
        records = [
            envelope(unattended(notice_id=f"n{number}"), event_id=f"e{number}") for number in range(20)
        ]
        waiting = [asyncio.create_task(patient(mails, record)) for record in records]
        done, _ = await asyncio.wait(waiting, timeout=6 * LIMITS.open_ms / 1000)
        assert not done
        async with Sink(port=port).open() as sink:
            await asyncio.wait_for(asyncio.gather(*waiting), LIMIT_S)
    assert len(sink.mails) == 20
    assert len({each.data.notice_id for each in written.envelopes}) == 20


async def test_connections_are_used_again_and_renewed(tmp_path: Path) -> None:
    written = Written()
    async with Sink().open() as sink, mailer(tmp_path, sink.port, written) as mails:
        for number in range(120):
            await mails.handle(envelope(unattended(notice_id=f"n{number}")))
        assert len(sink.mails) == 120
        assert sink.connections == 3


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
async def test_login_with_the_right_and_the_wrong_password(tmp_path: Path) -> None:
    written = Written()
    async with Sink(login=True).open() as sink:
        async with mailer(tmp_path, sink.port, written, user="user", password="wrong") as mails:
            waiting = asyncio.create_task(patient(mails, envelope(unattended())))
            done, _ = await asyncio.wait({waiting}, timeout=0.3)
            assert not done, "a wrong password is for the operator to mend: nothing is dropped"
            assert sink.logins > 0
            waiting.cancel()
            await asyncio.wait({waiting})
        async with mailer(tmp_path, sink.port, written, user="user", password="right") as mails:
            await mails.handle(envelope(unattended()))
    assert len(sink.mails) == 1


async def test_addresses_beyond_ascii_need_and_use_smtputf8(tmp_path: Path) -> None:
    written = Written()
    async with Sink().open() as sink, mailer(tmp_path, sink.port, written) as mails:
        await mails.handle(envelope(unattended(letter=letter("ja", "山田@example.com"))))
    assert [recipients for recipients, _message in sink.mails] == [("山田@example.com",)]
    assert "To: 山田@example.com".encode() in sink.messages[0]


async def test_off_this_machine_a_server_without_tls_gets_nothing(tmp_path: Path) -> None:
    assert Server(host="127.0.0.1", port=25).on_loopback
    assert Server(host="localhost", port=25).on_loopback
    assert Server(host="::1", port=25).on_loopback
    assert not Server(host="mail.example.com", port=25).on_loopback
    assert not Server(host="10.0.0.1", port=25).on_loopback
    written = Written()
    async with Sink().open() as sink, mailer(tmp_path, sink.port, written, tls="starttls") as mails:
        waiting = asyncio.create_task(patient(mails, envelope(unattended())))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        waiting.cancel()
        await asyncio.wait({waiting})
    assert sink.mails == []


async def test_no_header_of_a_visitors_making_reaches_the_wire(tmp_path: Path) -> None:
    hostile = "=?utf-8?q?hi=0D=0ABcc:=20evil@example.net=0D=0A?="
    written = Written()
    data = unattended(
        visitor=visitor().__class__("v", name=hostile), question=f"{hostile}\r\n.\r\nMAIL FROM:<x@x>"
    )
    async with Sink().open() as sink, mailer(tmp_path, sink.port, written) as mails:
        await mails.handle(envelope(data))
        await mails.handle(envelope(reply()))
    assert [recipients for recipients, _message in sink.mails] == [
        ("sales@example.com",),
        ("ann@example.org", "archive@example.com"),
    ]
    head = sink.messages[0].split(b"\r\n\r\n", 1)[0]
    assert not [line for line in head.split(b"\r\n") if line.lower().startswith(b"bcc")]
    assert b"Subject: Missed chat: hi Bcc: evil@example.net (Sales)" in head
