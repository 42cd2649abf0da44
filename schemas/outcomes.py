"""Outcomes of external effects: the `data` of `chat.deliveries.v1` (mail) and `crm.activities.v1` (CRM).

The one rule: every effect that was asked for ends in exactly one outcome record per recipient or target.
"""

from typing import ClassVar, Literal

from schemas.frozen import dataclass
from schemas.types import Id, Name

MailKind = Literal["unattended", "transcript", "ip_blocked", "feedback", "reply", "crm_note"]


@dataclass(frozen=True, slots=True)
class MailSettled:
    """What became of one mail to one recipient; `recipient` is a hash, never the address."""

    TYPE: ClassVar = "mail.settled.v1"
    notice_id: Id
    kind: MailKind
    recipient: Id
    result: Literal["sent", "failed"]
    chat_id: Id | None = None
    code: Name | None = None


@dataclass(frozen=True, slots=True)
class CrmRecord:
    """A record in the CRM."""

    type: Id
    id: Id
    url: str | None = None


@dataclass(frozen=True, slots=True)
class CrmOwner:
    """Who owns a record in the CRM."""

    id: Id
    name: Name | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class CrmSettled:
    """What became of one thing asked of the CRM: an agent's request, or a conversation's activity."""

    TYPE: ClassVar = "crm.settled.v1"
    kind: Literal["activity", "lead", "note", "phone", "ticket"]
    result: Literal["done", "no_match", "refused", "failed"]
    tell_owner_by_mail: bool = False
    request_id: Id | None = None
    chat_id: Id | None = None
    revision: int | None = None
    record: CrmRecord | None = None
    owner: CrmOwner | None = None
    code: Name | None = None


EffectOutcome = MailSettled | CrmSettled
