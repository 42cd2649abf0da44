"""The mails as bytes: golden files, escaping, and what hostile text can't do."""

import email
import email.policy
import os
import re
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from schemas.decisions import AgentCard, DepartmentRef
from schemas.types import Language
from services.notifier.core import Rules, compose
from services.notifier.headers import TEXT_CHARS_MAX, header_text
from services.notifier.message import Scribe
from tests.notifier import samples
from tests.notifier.samples import RULES, envelope, letter, transcript, unattended, visitor

GOLDEN = Path(__file__).parents[1] / "golden" / "mail"
KINDS = {
    "unattended": samples.unattended,
    "transcript": samples.transcript,
    "ip_blocked": samples.ip_blocked,
    "feedback": samples.feedback,
    "reply": samples.reply,
    "crm_note": samples.crm_settled,
}
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
@pytest.mark.parametrize("kind", KINDS)
def test_mails_are_as_their_golden_files(kind: str, language: Language) -> None:
    data = KINDS[kind](language)
    rules = RULES if kind != "crm_note" else Rules(salt=b"s", link=RULES.link, default_language=language)
    mail = compose(envelope(data), rules)
    assert mail is not None
    raw = SCRIBE.write(mail, mail.recipients).message
    shown = {"eml": raw, "txt": part(raw, "plain").encode(), "html": part(raw, "html").encode()}
    for suffix, content in shown.items():
        path = GOLDEN / f"{kind}.{language}.{suffix}"
        if "UPDATE_GOLDEN" in os.environ:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        assert content == path.read_bytes(), (
            f"{path.name} has changed: UPDATE_GOLDEN=1 writes it anew; look at the diff"
        )


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
    assert message["Cc"] == "archive@example.com"


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
