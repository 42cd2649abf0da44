"""Decides what the CRM is asked to do for a finished conversation or an agent's request, and what is reported about it.

The one rule: every effect's id follows from the record that caused it, so a second run asks for the same effect and never for another.
"""

from base64 import b32encode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal

import phonenumbers

from schemas.events import Visitor
from schemas.notices import NoticeCrmConfigured, NoticeCrmRequested
from schemas.outcomes import CrmOwner, CrmRecord, CrmSettled
from schemas.transcripts import TranscriptCompleted
from services.crm_sync.addresses import email_key, usable_address
from services.crm_sync.connectors.records import Declaration, NewLead, Person, PersonKind

ID_DIGITS = 26
INTERNATIONAL = ("+", "＋")
"""What a number with its country's code begins with; Japanese keyboards write the wide one."""
LEAD_SOURCE = "chat"
ATTACHED_MAX = 20
"""Feeds one conversation goes into, where the settings want all that match."""
Tickets = Literal["off", "missed", "all"]
"""Which conversations become tickets, where the connector can make some."""
RANKS: dict[str, tuple[PersonKind, ...]] = {
    "leads_first": ("lead", "deal", "contact"),
    "contacts_first": ("contact", "deal", "lead"),
}
"""Whose feed goes before whose, by the workspace's `match_order`."""
NO_EMAIL = "visitor_email_unknown"
PICKED = "newest_of_many"
"""Why one of several was taken."""
OFF = "none"
"""The connector's name in the settings of a workspace that has switched its CRM off."""


def effect_id(workspace_id: str, *parts: str | int) -> str:
    """The id of an effect: the first 26 base32 digits of sha256 over the workspace and what the effect is about."""
    # A length before each part keeps ("ab", "c") and ("a", "bc") apart.
    text = "".join(f"{len(str(part))}:{part}" for part in (workspace_id, *parts))
    return b32encode(sha256(text.encode()).digest()).decode()[:ID_DIGITS]


def activity_id(transcript: TranscriptCompleted, *, workspace_id: str) -> str:
    """The id of a conversation's entry in the feed: one per chat and revision."""
    return effect_id(workspace_id, "activity", transcript.chat_id, transcript.revision)


def activity_marker(
    record: CrmRecord, *, effect: str, workspace_id: str, settings: NoticeCrmConfigured
) -> str:
    """The marker of the entry in this record's feed.

    The effect's own id where one person gets it, so that another choice in a second run meets the entry of the first.
    """
    if settings.match_many == "newest":
        return effect
    return effect_id(workspace_id, effect, record.type, record.id)


def joining_id(transcript: TranscriptCompleted, *, workspace_id: str) -> str:
    """The id of a conversation's way to its chat's lead, after it ended in no feed."""
    return effect_id(workspace_id, "joining", transcript.chat_id, transcript.revision)


def ticket_id(transcript: TranscriptCompleted, *, workspace_id: str) -> str:
    """The id of a conversation's ticket: one per chat and revision."""
    return effect_id(workspace_id, "ticket", transcript.chat_id, transcript.revision)


def request_id(request: NoticeCrmRequested, *, workspace_id: str) -> str:
    """The id of an agent's request as an effect."""
    return effect_id(workspace_id, "request", request.request_id)


def lead_id(email: str, *, workspace_id: str) -> str:
    """The id of the lead made for an address: one per address, so two chats that end together make one lead."""
    return effect_id(workspace_id, "lead", email_key(email))


def is_wanted(transcript: TranscriptCompleted) -> bool:
    """Whether this part stands for its conversation: the first does, since it alone is longer than any CRM's text."""
    return transcript.part == 1


def wants_ticket(transcript: TranscriptCompleted, tickets: Tickets, *, declared: Declaration) -> bool:
    """Whether the conversation becomes a ticket too, with or without an address."""
    wanted = tickets == "all" or (tickets == "missed" and transcript.outcome == "missed")
    return wanted and "ticket" in declared.capabilities


# ---------------------------------------------------------------- whom a conversation belongs to


@dataclass(frozen=True, slots=True)
class Attach:
    """The conversation goes into the feed of these people; `picked` when others matched as well."""

    people: tuple[Person, ...]
    picked: bool = False
    others: tuple[Person, ...] = field(default=(), compare=False)
    """Who else matched: an earlier run may have chosen one of them."""


@dataclass(frozen=True, slots=True)
class CreateLead:
    """Nobody matches, and the workspace wants a lead for everybody."""

    email: str


@dataclass(frozen=True, slots=True)
class NoMatch:
    """Nobody matches and nothing is created; `code` says why."""

    code: str


def next_step(
    people: Sequence[Person], settings: NoticeCrmConfigured, *, email: str | None
) -> Attach | CreateLead | NoMatch:
    """What to do with a conversation once the people with the visitor's address are known."""
    if email is None:
        return NoMatch("no_email")
    if people:
        return choose(people, settings)
    if settings.lead_policy == "always":
        return CreateLead(email)
    return NoMatch("nobody_found")


def choose(people: Sequence[Person], settings: NoticeCrmConfigured) -> Attach:
    """Of at least one person the right one, or several where the setting says so.

    Open records go before closed ones (a converted lead is closed, and its deal or contact is where sales looks), then the kinds
    as the setting orders them, then the newest.
    """
    rank = RANKS[settings.match_order].index
    ranked = sorted(
        people,
        key=lambda one: (not one.open, rank(one.kind), -one.created_ms, one.record.type, one.record.id),
    )
    best = ranked[0]
    alike = tuple(one for one in ranked if (one.open, one.kind) == (best.open, best.kind))
    if settings.match_many == "all":
        return _attach(ranked, alike[:ATTACHED_MAX], picked=len(alike) > ATTACHED_MAX)
    return _attach(ranked, (best,), picked=len(alike) > 1)


def _attach(ranked: Sequence[Person], chosen: tuple[Person, ...], *, picked: bool) -> Attach:
    others = tuple(one for one in ranked if one not in chosen)
    return Attach(chosen, picked, others[: ATTACHED_MAX - len(chosen)])


def new_lead(
    visitor: Visitor, *, email: str, owner_id: str | None, note: str | None, declared: Declaration
) -> NewLead:
    """The lead for a visitor: their name, or their address where they gave none."""
    name = " ".join((visitor.name or "").split()) or email
    return NewLead(
        name=name[: declared.limits.name_chars_max],
        email=email,
        source=LEAD_SOURCE,
        owner_id=owner_id,
        phone=visitor.phone,
        note=note,
    )


def lead_owner(settings: NoticeCrmConfigured, *, turn: int) -> str | None:
    """Who gets the workspace's lead number `turn` (from 0): the fixed owner, or the pool's next; None leaves it to the CRM."""
    if settings.owner_id is not None:
        return settings.owner_id
    return settings.pool[turn % len(settings.pool)] if settings.pool else None


# ---------------------------------------------------------------- agents' requests


RequestKind = Literal["lead", "note", "phone"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An agent's request that is not carried out; `code` says why."""

    code: str


def refusal(
    kind: RequestKind,
    settings: NoticeCrmConfigured,
    *,
    email: str | None,
    declared: Declaration,
) -> Refusal | None:
    """Why a request can't be carried out, as far as that is known before the CRM is asked; None if it may be.

    Who may ask for what is not decided here: the router has done so.
    """
    if kind not in declared.capabilities:
        return Refusal("not_supported")
    if kind == "lead" and settings.lead_policy == "never":
        return Refusal("not_permitted")
    if email is None:
        return Refusal(NO_EMAIL)
    return None


def phone_number(typed: str, *, region: str | None) -> str | Refusal:
    """A phone number as E.164, where it is one; without a country's code it is one of `region` (ISO 3166, two letters)."""
    home = (region or "").strip().upper()
    known = home in phonenumbers.SUPPORTED_REGIONS
    try:
        number = phonenumbers.parse(typed, home if known else None)
    except phonenumbers.NumberParseException as error:
        lacks_region = error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE
        international = typed.strip().startswith(INTERNATIONAL)
        return Refusal(
            "region_unknown" if lacks_region and not known and not international else "phone_invalid"
        )
    if not phonenumbers.is_valid_number(number):
        return Refusal("phone_invalid")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def no_crm(settings: NoticeCrmConfigured | None) -> str:
    """Why there is no CRM to ask, where these settings name no connector that is known."""
    return "crm_not_configured" if settings is None or settings.connector == OFF else "unknown_connector"


@dataclass(frozen=True, slots=True)
class OwnerToTell:
    """Who is told of a note: by the CRM, by mail, or not at all, which `code` explains."""

    owner: CrmOwner | None
    by_mail: bool = False
    code: str | None = None


def owner_to_tell(owners: Sequence[CrmOwner | None], *, declared: Declaration) -> OwnerToTell:
    """How the owner hears of a note; the CRM names them with the person and with the note, not always with an address."""
    named = [one for one in owners if one is not None]
    owner = next((one for one in named if one.email), named[0] if named else None)
    if owner is None:
        return OwnerToTell(None, code="owner_unknown")
    if "tells_owner" in declared.capabilities:
        return OwnerToTell(owner)
    if usable_address(owner.email) is None:
        return OwnerToTell(owner, code="owner_email_unknown")
    return OwnerToTell(owner, by_mail=True)


# ---------------------------------------------------------------- what is reported


@dataclass(frozen=True, slots=True)
class Report:
    """A record for `crm.activities.v1` with its id, which is the same in every run."""

    id: str
    settled: CrmSettled


Result = Literal["done", "no_match", "refused", "failed"]


def conversation_report(
    kind: Literal["activity", "lead", "ticket"],
    transcript: TranscriptCompleted,
    *,
    workspace_id: str,
    result: Result,
    code: str | None = None,
    record: CrmRecord | None = None,
    owner: CrmOwner | None = None,
) -> Report:
    """What became of a conversation, of its ticket, or of the lead that the policy asked for: one of a kind for each chat and revision."""
    return Report(
        effect_id(workspace_id, "settled", kind, transcript.chat_id, transcript.revision),
        CrmSettled(
            kind=kind,
            result=result,
            code=code,
            chat_id=transcript.chat_id,
            revision=transcript.revision,
            record=record,
            owner=owner,
        ),
    )


def joined_report(report: Report, transcript: TranscriptCompleted, *, workspace_id: str) -> Report:
    """The report of a conversation in its chat's lead's feed, under another id: that it had no match was reported before."""
    return replace(
        report, id=effect_id(workspace_id, "settled", "joined", transcript.chat_id, transcript.revision)
    )


def request_report(
    request: NoticeCrmRequested,
    *,
    workspace_id: str,
    result: Result,
    code: str | None = None,
    record: CrmRecord | None = None,
    owner: CrmOwner | None = None,
    tell_owner_by_mail: bool = False,
) -> Report:
    """What became of an agent's request: exactly one for each."""
    return Report(
        effect_id(workspace_id, "settled", request.kind, request.request_id),
        CrmSettled(
            kind=request.kind,
            result=result,
            code=code,
            tell_owner_by_mail=tell_owner_by_mail,
            request_id=request.request_id,
            chat_id=request.chat_id,
            record=record,
            owner=owner,
        ),
    )
