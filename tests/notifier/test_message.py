"""The mails as bytes: headers, escaping, and what hostile text can't do. How they look: `tests/local/test_mail_preview.py`."""

import email
import email.policy
import re
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import pytest

from schemas.decisions import AgentCard, DepartmentRef
from schemas.events import Sender
from schemas.types import Language
from services.notifier.core import compose
from services.notifier.headers import TEXT_CHARS_MAX, header_text
from services.notifier.message import Scribe
from tests.notifier import samples
from tests.notifier.samples import RULES, envelope, letter, transcript, unattended, visitor

HEADERS = {
    "message-id",
    "date",
    "from",
    "to",
    "cc",
    "subject",
    "list-id",
    "auto-submitted",
    "mime-version",
    "content-type",
}
SCRIBE = Scribe(default_from="chats@example.com")


def written(data: Any) -> bytes:
    mail = compose(envelope(data), RULES)
    assert mail is not None
    return SCRIBE.write(mail, tuple(each for each in mail.recipients if each.refused is None)).message


def parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def part(raw: bytes, kind: str) -> str:
    body = parsed(raw).get_body((kind,))
    assert body is not None
    content: str = body.get_content()
    return content


def header_names(raw: bytes) -> list[str]:
    """Return the names of all header lines as a server sees them."""
    head = raw.split(b"\r\n\r\n", 1)[0]
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert b"\r" not in head.replace(b"\r\n", b"")
    return [line.split(b":", 1)[0].decode().lower() for line in head.split(b"\r\n") if line[:1] not in b" \t"]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_whisper_is_in_no_mail(language: Language) -> None:
    """Transcripts are passed on to visitors, like links."""
    data = transcript(language)
    (whisper,) = (message for message in data.messages if message.internal)
    raw = written(data)
    for kind in ("plain", "html"):
        assert whisper.text not in part(raw, kind)


def test_headers_of_a_mail_by_a_machine() -> None:
    message = parsed(written(unattended()))
    assert message["Message-ID"] == "<jbswy3dpehpk3pxp.unattended@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"] == "Sat, 21 Nov 2026 09:00:05 +0000"
    assert message["List-Id"] == "<sales.acme.chats.example.com>"
    assert message["From"] == "Sales <support@example.com>"
    assert [content.get_content_type() for content in message.iter_parts()] == ["text/plain", "text/html"]


def test_an_answer_is_neither_automatic_nor_a_list() -> None:
    message = parsed(written(samples.reply()))
    assert message["Auto-Submitted"] is None
    assert message["List-Id"] is None
    assert message["From"] == "Sales <support@example.com>"
    assert message["To"] == "ann@example.org"
    assert message["Cc"] == "archive@example.com"


@pytest.mark.parametrize(
    ("from_address", "sender"), [("help@example.net", "help@example.net"), (None, "chats@example.com")]
)
def test_the_sender_is_the_departments_or_the_default_one(from_address: str | None, sender: str) -> None:
    mail = compose(envelope(samples.reply(letter=replace(letter(), from_address=from_address))), RULES)
    assert mail is not None
    told = SCRIBE.write(mail, mail.recipients)
    assert told.sender == sender
    assert parsed(told.message)["From"] == f"Sales <{sender}>"
    assert parsed(told.message)["Message-ID"].endswith(f"@{sender.partition('@')[2]}>")


def test_refused_recipients_are_not_named() -> None:
    message = parsed(written(unattended(letter=letter("en", "a@example.com", "bad", "b@example.com"))))
    assert message["To"] == "a@example.com, b@example.com"


def test_japanese_headers_come_out_as_they_went_in() -> None:
    raw = written(unattended("ja"))
    assert raw.isascii()
    assert parsed(raw)["Subject"] == "未対応チャット：山田 花子（営業部）"
    assert parsed(raw)["From"].addresses[0].display_name == "営業部"


def test_visitors_text_is_escaped_in_html() -> None:
    hostile = '<script>alert(1)</script><img src=x onerror="x">" onmouseover="y" \' {{ 7*7 }} {% raw %}'
    data = transcript(visitor=visitor().__class__("v", name=hostile), question=hostile)
    html = part(written(data), "html")
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html
    assert "{{ 7*7 }}" in html
    assert re.search(r"<[^>]*onmouseover", html) is None


FORGED = "Yes\nReason: none\r\n\r\n-- \n[now] Bob Agent:\u2028[now] Bob Agent:\rReason: none\n-- "


def test_typed_text_passes_for_no_row_and_no_speaker_and_does_not_end_the_mail() -> None:
    """In plain text what is typed is indented from its second line on; `-- ` at the start of a line begins the footer."""
    somebody = visitor().__class__("v", name=FORGED)
    said = replace(transcript().messages[0], sender=Sender("visitor", name=FORGED), text=FORGED)
    for data in (
        unattended(question=FORGED, visitor=somebody),
        samples.feedback(comment=FORGED, visitor=somebody),
        transcript(question=FORGED, visitor=somebody, messages=(said,)),
    ):
        lines = part(written(data), "plain").splitlines()
        assert "    Reason: none" in lines
        assert not [line for line in lines if line.startswith(("Reason: none", "[now]"))]
        assert [number for number, line in enumerate(lines) if line == "-- "] == [len(lines) - 2]


def test_lines_stay_lines_where_a_mail_client_drops_the_styles() -> None:
    html = part(written(transcript(question="one\r\ntwo <\u2028\nthree")), "html")
    assert ">one<br>two &lt;<br><br>three<" in html


def test_rules_for_narrow_windows_are_not_lost_when_styles_are_written_into_elements() -> None:
    assert "@media (max-width: 480px)" in part(written(unattended()), "html")


HOSTILE = [
    "=?utf-8?q?hi=0ABcc:=20x@x?=",
    "=?utf-8?q?hi=0D=0ABcc:=20x@x?=",
    "=?utf-8?b?aGkKQmNjOiB4QHg=?=",
    "=?UTF-8?Q?hi=0ABcc:_x@x?= tail",
    "=?utf-8?q?=3D=3Futf-8=3Fq=3Fhi=3D0ABcc:=3D20x@x=3F=3D?=",
    "=?utf-8?q?a?= =?utf-8?q?=0ABcc:=20x@x?=",
    "=?utf-8*en?q?hi=0ABcc:=20x@x?=",
    "=?nonsense?q?hi=0ABcc:=20x@x?=",
    "=?utf-8?b?!!!?=",
    "=?iso-2022-jp?b?GyRCJDMbKEI=?=\r\nBcc: x@x",
    "hi\r\nBcc: x@x",
    "hi\nBcc: x@x",
    "hi\rBcc: x@x",
    "hi\u2028Bcc: x@x",
    "hi\u0085Bcc: x@x",
    "hi\x0bBcc: x@x\x0c\x1c\x1d\x1e",
    "\x00\x1b[31m\u202egnp.exe",
    "hi\r\n\r\n<html>",
    '"quoted" <x@x>, Bcc: x@x',
    "a" * 5_000,
    "あ" * 5_000,
    "=?utf-8?q?" + "=0A" * 300 + "?=",
    "=?utf-8?q?=?utf-8?q?x=0ABcc:y?=?=",
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_text_can_not_start_a_header(hostile: str) -> None:
    line = header_text(hostile)
    assert "=?" not in line
    assert len(line) <= TEXT_CHARS_MAX
    assert line.isprintable()
    named = DepartmentRef(samples.department().id, hostile)
    for data in (
        unattended(visitor=visitor().__class__("v", name=hostile), question=hostile, department=named),
        samples.feedback(agent=AgentCard("a", hostile), comment=hostile),
        samples.ip_blocked(ip=hostile),
        samples.unattended(notice_id=hostile, department=DepartmentRef(hostile, "Sales")),
    ):
        raw = written(data)
        names = header_names(raw)
        assert set(names) <= HEADERS
        assert len(names) == len(set(names))
        assert not [name for name in names if name == "bcc"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("=?utf-8?b?5bGx55Sw?=", "山田"),
        ("  a\t b\n", "a b"),
        ("山田 花子", "山田 花子"),
        ("👩‍💻 ok", "👩💻 ok"),
        ("1 =? 2", "1 = ? 2"),
        ("", ""),
    ],
)
def test_harmless_text_stays_readable(text: str, line: str) -> None:
    assert header_text(text) == line
