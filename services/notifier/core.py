"""What is to be mailed: from one notice, transcript or CRM outcome to one mail, or none.

The one rule: the same record gives the same mail, byte for byte, whenever and wherever it is handled again, so ids, the
date and the recipients' hashes all come from the record. Nothing here trusts what a visitor typed.
"""

import hmac
import re
from base64 import b32encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, TypeAlias

from schemas.addresses import usual_form
from schemas.envelope import Envelope, to_ms
from schemas.notices import (
    Letter,
    NoticeCrmConfigured,
    NoticeCrmRequested,
    NoticeFeedback,
    NoticeIpBlocked,
    NoticeReply,
    NoticeUnattended,
)
from schemas.outcomes import CrmSettled, MailKind
from schemas.transcripts import TranscriptCompleted
from schemas.types import Language

RECIPIENTS_MAX = 50
RESENT: Final = "/services/local/resend"
"""The source of a record that an operator has put back to be mailed again; the rest of it is as it was."""
AGAIN: Final = ".again"
"""How ids of second lives end."""
_ID_DIGITS = 26
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Told:
    """A notice of a digest, and the address of its chat's page."""

    envelope: Envelope[str, NoticeUnattended]
    link: str | None


@dataclass(frozen=True, slots=True)
class Digest:
    """Chats of one department that were missed within a window, oldest first."""

    told: tuple[Told, ...]


Content: TypeAlias = (
    NoticeUnattended | NoticeIpBlocked | NoticeFeedback | NoticeReply | TranscriptCompleted | CrmSettled
)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody a mail goes to. `target` is the hash that stands for them; `refused` says why they get none."""

    address: str
    target: str
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail to be written and sent; `effect_id` names it for ever."""

    effect_id: str
    kind: MailKind
    workspace_id: str
    chat_id: str | None
    at_ms: int
    language: Language
    timezone: str
    from_address: str | None
    from_name: str
    list_of: tuple[str, ...]
    to: tuple[Recipient, ...]
    cc: tuple[Recipient, ...]
    link: str | None
    content: Content | Digest

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """Everybody it goes to."""
        return self.to + self.cc


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What composing depends on beyond the record: the installation's secrets and defaults."""

    salt: bytes
    link: Callable[[str, str, int, int], str]
    """Gives the address of a transcript page: workspace, chat, revision, and the milliseconds its lifetime counts from."""
    default_language: Language = "en"


def compose(envelope: Envelope[str, Any], rules: Rules) -> Mail | None:
    """Return the mail that follows from a record, or None where nobody is to be told."""
    data = envelope.data
    match data:
        case NoticeUnattended():
            link = _page(envelope, rules, data.chat_id, data.revision)
            return _noticed(envelope, rules, "unattended", data.letter, link=link)
        case NoticeIpBlocked():
            return _noticed(envelope, rules, "ip_blocked", data.letter)
        case NoticeFeedback():
            return _noticed(envelope, rules, "feedback", data.letter)
        case NoticeReply():
            return _noticed(envelope, rules, "reply", data.letter)
        case TranscriptCompleted():
            return _transcript(envelope, rules)
        case CrmSettled():
            return _crm_note(envelope, rules)
        case NoticeCrmRequested() | NoticeCrmConfigured():
            return None
    raise AssertionError(f"{type(data).__name__} is on no topic the notifier reads")


def compose_digest(
    envelopes: Sequence[Envelope[str, NoticeUnattended]], rules: Rules, *, digest_id: str
) -> Mail:
    """Return the mail for notices whose letters are the same, oldest first; a single one has its mail as if it were alone."""
    mails = [mail for envelope in envelopes if (mail := compose(envelope, rules)) is not None]
    assert len(mails) == len(envelopes) > 0, "what is for nobody waits for no digest"
    last = mails[-1]
    if len(mails) == 1:
        return last
    told = tuple(Told(envelope, mail.link) for envelope, mail in zip(envelopes, mails, strict=True))
    return replace(last, effect_id=digest_id, chat_id=None, link=None, content=Digest(told))


def _noticed(
    envelope: Envelope[str, Any], rules: Rules, kind: MailKind, letter: Letter, *, link: str | None = None
) -> Mail | None:
    data = envelope.data
    return _mail(
        envelope,
        rules,
        effect_id=data.notice_id,
        kind=kind,
        letter=letter,
        from_name=data.department.name,
        list_of=() if kind == "reply" else (data.department.id, envelope.workspaceid),
        link=link,
    )


def _transcript(envelope: Envelope[str, Any], rules: Rules) -> Mail | None:
    """One mail for each finished conversation: from its first part, since the link leads to all of them."""
    data: TranscriptCompleted = envelope.data
    if data.outcome == "missed" or data.part > 1:
        return None
    plan = data.email
    return _mail(
        envelope,
        rules,
        effect_id=digest("transcript", envelope.workspaceid, data.chat_id, str(data.revision)),
        kind="transcript",
        letter=Letter(plan.transcript, plan.language, plan.timezone, plan.from_address),
        from_name=data.department.name,
        list_of=(data.department.id, envelope.workspaceid),
        link=data.link,
    )


def _crm_note(envelope: Envelope[str, Any], rules: Rules) -> Mail | None:
    data: CrmSettled = envelope.data
    if not data.tell_owner_by_mail or data.owner is None or not data.owner.email:
        return None
    return _mail(
        envelope,
        rules,
        effect_id=digest("crm_note", envelope.workspaceid, envelope.id),
        kind="crm_note",
        letter=Letter((data.owner.email,), rules.default_language, "UTC"),
        from_name="",
        list_of=(envelope.workspaceid,),
        link=data.record.url if data.record else None,
    )


def _mail(
    envelope: Envelope[str, Any],
    rules: Rules,
    *,
    effect_id: str,
    kind: MailKind,
    letter: Letter,
    from_name: str,
    list_of: tuple[str, ...],
    link: str | None,
) -> Mail | None:
    known: set[str] = set()
    # A visitor has one address: several in one text would have an answer mailed to strangers.
    listed = letter.to if kind == "reply" else _each(letter.to)
    to = tuple(_recipients(listed, envelope.workspaceid, rules.salt, known))
    cc = tuple(_recipients(_each(letter.cc), envelope.workspaceid, rules.salt, known))
    if not to and not cc:
        return None
    return Mail(
        effect_id=effect_id,
        kind=kind,
        workspace_id=envelope.workspaceid,
        chat_id=getattr(envelope.data, "chat_id", None),
        at_ms=to_ms(envelope.time),
        language=letter.language,
        timezone=letter.timezone,
        from_address=letter.from_address,
        from_name=from_name,
        list_of=list_of,
        to=to,
        cc=cc,
        link=link,
        content=envelope.data,
    )


def _each(lists: Iterable[str]) -> Iterable[str]:
    """The addresses of comma-separated lists."""
    return (address for listed in lists for address in listed.split(","))


def _recipients(
    addresses: Iterable[str], workspace_id: str, salt: bytes, known: set[str]
) -> Iterable[Recipient]:
    """Each address once; those that can't be one, and those beyond the limit, are kept to be reported as failed."""
    for text in map(str.strip, addresses):
        if not text:
            continue
        try:
            address, refused = usual_form(text), None
        except ValueError:
            address, refused = text, "bad_address"
        target = recipient_hash(address, workspace_id=workspace_id, salt=salt)
        if target in known:
            continue
        known.add(target)
        yield Recipient(
            address, target, refused or ("too_many_recipients" if len(known) > RECIPIENTS_MAX else None)
        )


def recipient_hash(address: str, *, workspace_id: str, salt: bytes) -> str:
    """What stands for an address in records: the same within a workspace, and not to be guessed without the salt."""
    named = f"{workspace_id}\n{address.strip().lower()}".encode()
    return hmac.new(salt, named, sha256).hexdigest()[:32]


def digest(*parts: str) -> str:
    """A short id of parts: 26 base32 digits in lower case."""
    hashed = sha256("\n".join(f"{len(part)}:{part}" for part in parts).encode()).digest()
    return b32encode(hashed)[:_ID_DIGITS].decode().lower()


def again(effect_id: str) -> str:
    """The id of an effect's second life, the only other one it may have: a failed mail is sent again once."""
    return effect_id + AGAIN


def header_id(text: str) -> str:
    """The id itself where it may stand in a header as it is, otherwise its hash."""
    return text if _PLAIN_ID.fullmatch(text) and ".." not in text and not text.endswith(".") else digest(text)


def _page(envelope: Envelope[str, Any], rules: Rules, chat_id: str, revision: int) -> str:
    return rules.link(envelope.workspaceid, chat_id, revision, to_ms(envelope.time))
