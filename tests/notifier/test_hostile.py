"""What a visitor types, in every field of every mail, stays in its place: read off the wire, byte by byte.

The one rule: a mail with hostile text has the headers, the parts, the tags and the attributes of the same mail with harmless text,
no more and no fewer. What is in the texts alone may differ.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from email import message_from_bytes
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import default
from html.parser import HTMLParser
from typing import Any

import pytest

from schemas import codec
from schemas.codec import Poison
from schemas.events import Sender, Visitor
from schemas.outcomes import CrmOwner, CrmRecord
from schemas.transcripts import TranscriptMessage
from services.notifier.core import Mail, compose, compose_digest
from services.notifier.headers import TEXT_CHARS_MAX
from services.notifier.message import Scribe
from services.notifier.smtp import Post, Server
from tests.notifier.hostile import ADDRESSING, BREAKS, EVIL, hostile
from tests.notifier.samples import (
    RULES,
    crm_settled,
    envelope,
    feedback,
    ip_blocked,
    letter,
    reply,
    transcript,
    unattended,
)
from tests.notifier.sink import Sink

LINE_BYTES_MAX = 998
"""Without its end: RFC 5322, 2.1.1."""
HARMLESS = "harmless"
STRINGS = tuple(dict.fromkeys(hostile()))
SCRIBE = Scribe(default_from="chats@example.com")


def visitor(text: str) -> Visitor:
    """Return a visitor who typed this everywhere."""
    return Visitor(visitor_id=text, name=text, email=text, phone=text, ip=text, location=text)


def said(text: str) -> tuple[TranscriptMessage, ...]:
    sender = Sender("visitor", name=text)
    return (TranscriptMessage(text, "2026-11-21T08:58:01.000Z", sender, text), *transcript().messages)


def digest(text: str) -> Mail:
    """Return the mail of several missed chats at once."""
    first = unattended(visitor=visitor(text), question=text)
    notices = (first, replace(first, visitor=replace(first.visitor, name=None)), unattended())
    return compose_digest([envelope(notice) for notice in notices], RULES, digest_id="d1")


def mail_of(record: Any) -> Mail:
    mail = compose(envelope(record), RULES)
    assert mail is not None
    return mail


MAILS: dict[str, Callable[[str], Mail]] = {
    "unattended": lambda text: mail_of(unattended(visitor=visitor(text), question=text)),
    "unattended, nameless": lambda text: mail_of(
        unattended("ja", visitor=replace(visitor(text), name=None), question=text)
    ),
    "digest": digest,
    "transcript": lambda text: mail_of(transcript(visitor=visitor(text), question=text, messages=said(text))),
    "ip_blocked": lambda text: mail_of(ip_blocked(visitor=visitor(text), ip=text)),
    "feedback": lambda text: mail_of(feedback(visitor=visitor(text), comment=text)),
    "reply": lambda text: mail_of(reply("ja", visitor=visitor(text), question=text, text=text)),
    "crm_note": lambda text: mail_of(
        crm_settled(
            record=CrmRecord(text, text, "https://crm.example.com/leads/77"),
            owner=CrmOwner("u1", text, "carol@example.com"),
        )
    ),
}
"""Every kind of mail, with a text in each field that a visitor has a hand in."""


class Arrived:
    """A mail as it came over the wire, and to whom."""

    def __init__(self, recipients: tuple[str, ...], raw: bytes) -> None:
        self.recipients = recipients
        self.raw = raw
        self.message = message_from_bytes(raw)

    @property
    def headers(self) -> list[bytes]:
        """All header lines but the subject's, as a server sees them."""
        head, _, _ = self.raw.partition(b"\r\n\r\n")
        lines = head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n")
        return [line for line in lines if not line.startswith(b"Subject:")]

    @property
    def boundary(self) -> str:
        boundary = self.message.get_boundary()
        assert boundary is not None
        return boundary

    def text(self, number: int) -> str:
        """The plain part (0) or the page (1), decoded."""
        part = self.message.get_payload(number)
        assert isinstance(part, Message)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        return content.decode().replace("\r\n", "\n")

    @property
    def shape(self) -> list[object]:
        """What its reader's program is told to make of it: headers, parts, tags, attributes."""
        parts = [(each.get_content_type(), sorted(each.keys())) for each in self.message.walk()][1:]
        delimiters = self.raw.count(b"\r\n--" + self.boundary.encode())
        page = self.text(1).replace("<br>", "")
        tags = Tags()
        tags.feed(page)
        tags.close()
        return [self.recipients, self.headers, parts, delimiters, tags.seen, page.count("<"), page.count(">")]


class Tags(HTMLParser):
    """All of a page that is not text; line breaks inside texts aside."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        self.seen.append(tag)

    def handle_comment(self, data: str) -> None:
        self.seen.append(("comment", data))

    def handle_decl(self, decl: str) -> None:
        self.seen.append(("declaration", decl))

    def unknown_decl(self, data: str) -> None:
        self.seen.append(("unknown", data))

    def handle_pi(self, data: str) -> None:
        self.seen.append(("instruction", data))


async def over_the_wire(mails: Iterable[Mail]) -> list[Arrived]:
    """Send mails to a server, and return them as it got them."""
    async with Sink().open() as sink, Post(Server(host="127.0.0.1", port=sink.port)) as post:
        for mail in mails:
            to = tuple(each for each in mail.recipients if each.refused is None)
            if to:
                assert await post.send(SCRIBE.write(mail, to), [each.address for each in to]) == {}
    return [Arrived(*mail) for mail in sink.mails]


def test_there_are_enough_of_them() -> None:
    assert len(STRINGS) >= 200


@pytest.mark.parametrize("name", MAILS)
async def test_hostile_text_stays_text(name: str) -> None:
    write = MAILS[name]
    (harmless,) = await over_the_wire([write(HARMLESS)])
    shape = harmless.shape
    texts = [text.replace("{boundary}", harmless.boundary) for text in STRINGS]
    arrived = await over_the_wire(map(write, texts))
    for text, mail in zip(texts, arrived, strict=True):
        told = ascii(text[:200])
        assert mail.shape == shape, told
        assert mail.raw.isascii(), told
        assert b"\0" not in mail.raw, told
        lines = mail.raw.split(b"\r\n")
        assert not any(b"\r" in line or b"\n" in line for line in lines), told
        assert max(map(len, lines)) <= LINE_BYTES_MAX, told
        check_subject(mail.raw, told)


def check_subject(raw: bytes, told: str) -> None:
    """It is one line of text for whoever decodes it, once or twice."""
    subject = str(BytesHeaderParser(policy=default).parsebytes(raw)["Subject"])
    assert subject.isprintable(), told
    assert len(subject) <= TEXT_CHARS_MAX, told
    for decoded, charset in decode_header(subject):
        assert charset is None, told
        assert isinstance(decoded, str), told


async def test_what_was_typed_can_be_read() -> None:
    """Nothing is made safe by being thrown away."""
    texts = [text for text in STRINGS if text.isprintable() and len(text) < LINE_BYTES_MAX]
    arrived = await over_the_wire(mail_of(unattended(question=text)) for text in texts)
    for text, mail in zip(texts, arrived, strict=True):
        assert text in mail.text(0)
    assert len(texts) > 100


@pytest.mark.parametrize(
    "text", [*ADDRESSING, *(f"ann@example.org{ending}{EVIL}" for ending in BREAKS)], ids=ascii
)
async def test_an_answer_goes_to_one_visitor_or_to_nobody(text: str) -> None:
    """An address is what the visitor typed: it gets no further mailbox, no header and no command in."""
    copy = "archive@example.com"
    addressed = reply(letter=replace(letter("en", text), cc=(copy,)))
    addressless = reply(letter=replace(letter("en"), to=(), cc=(copy,)))
    mail, plain = await over_the_wire([mail_of(addressed), mail_of(addressless)])
    assert mail.recipients in {(copy,), (text, copy)}
    assert [line for line in mail.headers if not line.startswith(b"To:")] == plain.headers


@pytest.mark.parametrize("text", [r"\ud800", r"\udc0a", r"hi\udc0d\udc0aBcc: x", r"\ude00\ud83d"])
def test_half_characters_are_no_record(text: str) -> None:
    """JSON can spell halves of a surrogate pair; no bytes could be made of them. They never get as far as a mail."""
    raw = codec.encode(
        unattended(question=HARMLESS),
        event_id="e1",
        source="/services/router",
        at_ms=1_000,
        workspace_id="acme",
    )
    codec.notices.decode(raw)
    with pytest.raises(Poison):
        codec.notices.decode(raw.replace(HARMLESS.encode(), text.encode()))
