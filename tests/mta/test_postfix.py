"""The notifier and a real mail server: what it takes, what it turns away, what breaks; all of it read from its mailboxes."""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.decisions import DepartmentRef
from schemas.events import Sender
from schemas.transcripts import TranscriptMessage
from services.notifier.core import compose
from services.notifier.mailer import UNKNOWN_TRIES_MAX
from services.notifier.message import Scribe, Written
from services.notifier.smtp import Post, Server
from services.runtime.effects import Away, Unavailable
from tests.mta.postfix import PASSWORD, USER, Postfix
from tests.mta.wire import Break, Wire
from tests.notifier import test_mailer
from tests.notifier.samples import RULES, envelope, feedback, letter, reply, transcript, unattended, visitor
from tests.notifier.test_mailer import LIMIT_S, hashed, mailer, patient
from tests.notifier.test_message import parsed, part
from tests.waiting import until

pytestmark = pytest.mark.mta

ACCOUNT = {"user": USER, "password": PASSWORD}
SLOW_S = 0.3
LONG_BYTES = 5_000_000
LONG_MESSAGE_CHARS = 5_000
SALES = "sales@example.com"
POLITELY_LEFT = "quit=1"
"""What Postfix logs of a client that said QUIT before it went."""
JAPANESE = ("山田@example.com", "受付@例え.jp")


def written(data: Any) -> Written:
    """Return the mail as the notifier writes it, to all its recipients."""
    mail = compose(envelope(data), RULES)
    assert mail is not None
    return Scribe(default_from="chats@example.com").write(mail, mail.recipients)


def same(delivered: Sequence[bytes], sent: Written, *, times: int = 1) -> None:
    """The mail is there so many times, byte for byte, below what the server writes on top; lines end as in a file."""
    assert len(delivered) == times
    for mail in delivered:
        assert mail.endswith(b"\n" + sent.message.replace(b"\r\n", b"\n"))


async def outcomes_of(folder: Path, port: int, data: Any, **named: Any) -> dict[str, str]:
    """Handle a record until it is done. Return the outcome of each recipient's hash."""
    outcomes = test_mailer.Written()
    async with mailer(folder, port, outcomes, **named) as mails:
        await asyncio.wait_for(patient(mails, envelope(data)), LIMIT_S)
    return outcomes.outcomes


def sockets() -> int:
    """Return how many this process has open."""
    return sum(str(Path(each).readlink()).startswith("socket:") for each in os.scandir("/proc/self/fd"))


@pytest.fixture
def trusted(postfix: Postfix, monkeypatch: pytest.MonkeyPatch) -> Postfix:
    """Return the server, its CA trusted as an operator does it: OpenSSL's own variable."""
    monkeypatch.setenv("SSL_CERT_FILE", str(postfix.authority))
    return postfix


@pytest.mark.parametrize(("door", "tls"), [("secure", "starttls"), ("tls", "tls")])
async def test_a_mail_goes_over_tls_with_a_login(
    trusted: Postfix, tmp_path: Path, door: str, tls: str
) -> None:
    left = trusted.log().count(POLITELY_LEFT)
    outcomes = await outcomes_of(tmp_path, trusted.ports[door], unattended(), tls=tls, **ACCOUNT)
    assert outcomes == {hashed(SALES): "sent"}
    delivered = await trusted.mails(SALES)
    same(delivered, written(unattended()))
    received = str(parsed(delivered[0])["Received"])
    assert "using TLSv1.3" in received
    assert "with ESMTPSA" in received
    await until(lambda: trusted.log().count(POLITELY_LEFT) == left + 1, limit_s=LIMIT_S)


@pytest.mark.parametrize(
    ("door", "host", "named", "code"),
    [
        ("secure", "127.0.0.1", {"tls": "off"}, "smtp_530"),
        ("plain", "127.0.0.1", {"tls": "starttls"}, "smtp_smtpexception"),
        ("plain", "127.0.0.1", {"tls": "tls"}, "smtp_smtpconnecterror"),
        ("secure", "localhost", {"tls": "starttls", **ACCOUNT}, "smtp_tls"),
        ("secure", "127.0.0.1", {"tls": "starttls", "user": USER, "password": "wrong"}, "smtp_login"),
        ("secure", "127.0.0.1", {"tls": "starttls", "user": "nobody", "password": PASSWORD}, "smtp_login"),
    ],
    ids=["no TLS", "no STARTTLS there", "no TLS there", "another name", "wrong password", "wrong user"],
)
async def test_what_is_wrong_between_us_and_the_server_costs_no_mail(
    trusted: Postfix, door: str, host: str, named: dict[str, Any], code: str
) -> None:
    before = sockets()
    async with Post(Server(host=host, port=trusted.ports[door], **named)) as post:
        with pytest.raises(Unavailable, match=f"^{code}$"):
            await post.send(written(unattended()), [SALES])
        await asyncio.sleep(0)  # a turn of the loop; no answer of the server's would be here by then
        assert sockets() <= before
    assert await trusted.mails(SALES) == []


async def test_a_server_whose_authority_is_not_trusted_gets_nothing(postfix: Postfix) -> None:
    server = Server(
        host="127.0.0.1", port=postfix.ports["secure"], tls="starttls", user=USER, password=PASSWORD
    )
    async with Post(server) as post:
        with pytest.raises(Unavailable, match="smtp_tls"):
            await post.send(written(unattended()), [SALES])
    assert await postfix.mails(SALES) == []


async def test_a_mail_waits_until_the_password_is_right(trusted: Postfix, tmp_path: Path) -> None:
    outcomes, port = test_mailer.Written(), trusted.ports["secure"]
    async with mailer(tmp_path, port, outcomes, tls="starttls", user=USER, password="wrong") as mails:
        for _time in range(3):
            with pytest.raises(Away):
                await mails.handle(envelope(unattended()))
    assert outcomes.envelopes == []
    assert "authentication failed" in trusted.log()
    assert await outcomes_of(tmp_path, port, unattended(), tls="starttls", **ACCOUNT) == {
        hashed(SALES): "sent"
    }
    same(await trusted.mails(SALES), written(unattended()))


@pytest.mark.parametrize(
    ("stage", "action", "times", "outcome"),
    [
        ("RCPT", "450 4.2.0 greylisted", 2, "sent"),
        ("RCPT", "421 4.3.2 closing", 1, "sent"),
        ("RCPT", "550 5.7.1 not wanted", 1, "smtp_550"),
        ("RCPT", "450 4.2.0 greylisted", 9, "smtp_450"),
        ("END-OF-MESSAGE", "451 4.3.0 later", 2, "sent"),
        ("END-OF-MESSAGE", "421 4.3.2 closing", 1, "sent"),
        ("END-OF-MESSAGE", "554 5.7.1 spam", 1, "smtp_554"),
        ("END-OF-MESSAGE", "451 4.3.0 later", 9, "smtp_451"),
    ],
)
async def test_answers_to_a_recipient_and_to_the_message(
    postfix: Postfix, tmp_path: Path, stage: str, action: str, times: int, outcome: str
) -> None:
    left = [action] * times

    async def judge(asked: dict[str, str]) -> str:
        return left.pop() if left and asked["protocol_state"] == stage else "DUNNO"

    async with postfix.judged_by(judge):
        outcomes = await outcomes_of(tmp_path, postfix.ports["judged"], unattended())
    assert outcomes == {hashed(SALES): outcome}
    same(await postfix.mails(SALES), written(unattended()), times=1 if outcome == "sent" else 0)


async def test_each_recipient_of_a_list_gets_what_the_server_says_of_them(
    postfix: Postfix, tmp_path: Path
) -> None:
    left = ["450 4.2.0 greylisted"] * 2

    async def judge(asked: dict[str, str]) -> str:
        return left.pop() if left and asked["recipient"] == "busy@example.com" else "DUNNO"

    to = (SALES, "gone@example.com", "busy@example.com", "elsewhere@example.net", "nonsense")
    data = unattended(letter=letter("ja", *to))
    async with postfix.judged_by(judge):
        outcomes = await outcomes_of(tmp_path, postfix.ports["judged"], data)
    assert outcomes == {
        hashed(SALES): "sent",
        hashed("gone@example.com"): "smtp_550",
        hashed("busy@example.com"): "sent",
        hashed("elsewhere@example.net"): "smtp_554",
        hashed("nonsense"): "bad_address",
    }
    for address in (SALES, "busy@example.com"):
        assert len(await postfix.mails(address)) == 1


@pytest.mark.parametrize(("broken", "copies"), [(Break.IN_THE_MIDDLE, 1), (Break.AFTER_THE_END, 2)])
async def test_a_connection_dropped_after_data(
    postfix: Postfix, tmp_path: Path, broken: Break, copies: int
) -> None:
    """What may have been taken is sent again, under the same Message-ID; what was not whole is never delivered."""
    async with Wire(postfix.ports["plain"], breaks=[broken]).open() as wire:
        outcomes = await outcomes_of(tmp_path, wire.port, unattended("ja"))
    assert outcomes == {hashed(SALES): "sent"}
    assert wire.breaks == []
    same(await postfix.mails(SALES), written(unattended("ja")), times=copies)


async def test_a_server_that_answers_slowly_gets_its_time(postfix: Postfix, tmp_path: Path) -> None:
    async with Wire(postfix.ports["plain"], delay_s=SLOW_S).open() as wire:
        outcomes = await outcomes_of(tmp_path, wire.port, feedback("ja"))
    assert outcomes == {hashed(SALES): "sent"}
    same(await postfix.mails(SALES), written(feedback("ja")))


@pytest.mark.parametrize(
    ("times", "copies", "outcome"), [(1, 2, "sent"), (9, UNKNOWN_TRIES_MAX, "smtp_unknown")]
)
async def test_a_server_that_takes_a_mail_too_late_gets_it_again_but_not_for_ever(
    postfix: Postfix, tmp_path: Path, times: int, copies: int, outcome: str
) -> None:
    """Postfix takes a whole message, though nobody is there any more to hear of it."""
    left = [2 * SLOW_S] * times

    async def judge(asked: dict[str, str]) -> str:
        if left and asked["protocol_state"] == "END-OF-MESSAGE":
            await asyncio.sleep(left.pop())
        return "DUNNO"

    async with postfix.judged_by(judge):
        outcomes = await outcomes_of(tmp_path, postfix.ports["judged"], unattended(), answer_s_max=SLOW_S)
        same(await postfix.mails(SALES), written(unattended()), times=copies)
    assert outcomes == {hashed(SALES): outcome}


async def test_addresses_beyond_ascii_arrive(postfix: Postfix, tmp_path: Path) -> None:
    data = unattended("ja", letter=letter("ja", SALES, *JAPANESE))
    outcomes = await outcomes_of(tmp_path, postfix.ports["plain"], data)
    assert outcomes == {hashed(address): "sent" for address in (SALES, *JAPANESE)}
    for address in (SALES, *JAPANESE):
        delivered = await postfix.mails(address)
        same(delivered, written(data))
        assert f"To: {', '.join((SALES, *JAPANESE))}\n".encode() in delivered[0]


@pytest.mark.parametrize("to", [(SALES,), JAPANESE, (*JAPANESE, SALES, "busy@example.com")])
async def test_without_smtputf8_who_can_be_named_is_not_kept_waiting(
    postfix: Postfix, tmp_path: Path, to: tuple[str, ...]
) -> None:
    outcomes = await outcomes_of(tmp_path, postfix.ports["ascii"], unattended(letter=letter("ja", *to)))
    named = tuple(address for address in to if address.isascii())
    assert outcomes == {
        hashed(address): "sent" if address in named else "smtputf8_not_supported" for address in to
    }
    for address in named:
        same(await postfix.mails(address), written(unattended(letter=letter("ja", *named))))


async def test_japanese_names_come_out_as_they_went_in(postfix: Postfix, tmp_path: Path) -> None:
    data = unattended(
        "ja",
        visitor=replace(visitor("ja"), name="髙橋 𠮷野（はるか）"),
        department=DepartmentRef("sales", "営業部 第二課, 東京"),
        question="見積書（最終版）①.pdf を送りました。ご確認ください。",
    )
    assert await outcomes_of(tmp_path, postfix.ports["plain"], data) == {hashed(SALES): "sent"}
    (raw,) = await postfix.mails(SALES)
    message = parsed(raw)
    assert message["Subject"] == "未対応チャット：髙橋 𠮷野（はるか）（営業部 第二課, 東京）"
    assert message["From"].addresses[0].display_name == "営業部 第二課, 東京"
    for kind in ("plain", "html"):
        assert data.question in part(raw, kind)


async def test_an_answer_to_a_visitor_and_its_copy_arrive(postfix: Postfix, tmp_path: Path) -> None:
    outcomes = await outcomes_of(tmp_path, postfix.ports["plain"], reply("ja"))
    assert set(outcomes.values()) == {"sent"}
    for address in ("ann@example.org", "archive@example.com"):
        same(await postfix.mails(address), written(reply("ja")))


async def test_a_transcript_of_five_megabytes_arrives_whole(postfix: Postfix, tmp_path: Path) -> None:
    texts = [
        f"{number} 長い会話です <b> & ".ljust(LONG_MESSAGE_CHARS, "あ" if number % 2 else "x")
        for number in range(1 + LONG_BYTES // (2 * LONG_MESSAGE_CHARS))
    ]
    assert sum(len(text.encode()) for text in texts) > LONG_BYTES
    messages = tuple(
        TranscriptMessage(f"m{number}", "2026-11-21T08:58:00.000Z", Sender("visitor"), text)
        for number, text in enumerate(texts)
    )
    data = transcript("ja", messages=messages)
    assert await outcomes_of(tmp_path, postfix.ports["plain"], data) == {hashed(SALES): "sent"}
    (raw,) = await postfix.mails(SALES)
    same([raw], written(data))
    shown = Counter(map(str.strip, part(raw, "plain").splitlines()))
    assert all(shown[text] == 1 for text in texts)
