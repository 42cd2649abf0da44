"""Decides what the CRM is asked to do for a finished conversation or an agent's request, and what is reported about it.

The one rule: every effect's id follows from the record that caused it, so a second run asks for the same effect and never for another.
"""

from base64 import b32encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from schemas.events import Visitor
from schemas.notices import NoticeCrmConfigured, NoticeCrmRequested
from schemas.outcomes import CrmOwner, CrmRecord, CrmSettled
from schemas.transcripts import TranscriptCompleted
from services.crm_sync.addresses import email_key
from services.crm_sync.connectors.records import Declaration, NewLead, Person

ID_DIGITS = 26
LEAD_SOURCE = "chat"
ATTACHED_MAX = 20
"""Feeds one conversation goes into, where the settings want all that match."""
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


def activity_marker(person: Person, *, effect: str, workspace_id: str, settings: NoticeCrmConfigured) -> str:
    """The marker of the entry in this person's feed.

    The effect's own id where one person gets it, so that another choice in a second run meets the entry of the first.
    """
    if settings.match_many == "newest":
        return effect
    return effect_id(workspace_id, effect, person.record.type, person.record.id)


def request_id(request: NoticeCrmRequested, *, workspace_id: str) -> str:
    """The id of an agent's request as an effect."""
    return effect_id(workspace_id, "request", request.request_id)


def lead_id(email: str, *, workspace_id: str) -> str:
    """The id of the lead made for an address: one per address, so two chats that end together make one lead."""
    return effect_id(workspace_id, "lead", email_key(email))


def is_wanted(transcript: TranscriptCompleted) -> bool:
    """Whether this part stands for its conversation: the first does, since it alone is longer than any CRM's text."""
    return transcript.part == 1


# ---------------------------------------------------------------- whom a conversation belongs to


@dataclass(frozen=True, slots=True)
class Attach:
    """The conversation goes into the feed of these people; `picked` when others matched as well."""

    people: tuple[Person, ...]
    picked: bool = False


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

    Open records go before closed ones (a converted lead is closed, and its contact is where sales looks), then the kind that the
    setting puts first, then the newest.
    """
    first = "lead" if settings.match_order == "leads_first" else "contact"
    ranked = sorted(
        people,
        key=lambda one: (not one.open, one.kind != first, -one.created_ms, one.record.type, one.record.id),
    )
    best = ranked[0]
    alike = tuple(one for one in ranked if (one.open, one.kind) == (best.open, best.kind))
    if settings.match_many == "all":
        return Attach(alike[:ATTACHED_MAX], picked=len(alike) > ATTACHED_MAX)
    return Attach((best,), picked=len(alike) > 1)


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


@dataclass(frozen=True, slots=True)
class Refusal:
    """An agent's request that is not carried out; `code` says why."""

    code: str


def refusal(
    request: NoticeCrmRequested,
    settings: NoticeCrmConfigured,
    *,
    email: str | None,
    declared: Declaration,
) -> Refusal | None:
    """Why a request can't be carried out, as far as that is known before the CRM is asked; None if it may be.

    Notes and phone numbers are refused where the connector does not declare them.
    """
    if request.kind not in declared.capabilities:
        return Refusal("not_supported")
    if request.kind == "lead" and settings.lead_policy == "never":
        return Refusal("not_permitted")
    if email is None:
        return Refusal("visitor_email_unknown")
    return None


# ---------------------------------------------------------------- what is reported


@dataclass(frozen=True, slots=True)
class Report:
    """A record for `crm.activities.v1` with its id, which is the same in every run."""

    id: str
    settled: CrmSettled


Result = Literal["done", "no_match", "refused", "failed"]


def conversation_report(
    kind: Literal["activity", "lead"],
    transcript: TranscriptCompleted,
    *,
    workspace_id: str,
    result: Result,
    code: str | None = None,
    record: CrmRecord | None = None,
    owner: CrmOwner | None = None,
) -> Report:
    """What became of a conversation, or of the lead that the policy asked for at its end: one of a kind for each chat and revision."""
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


def request_report(
    request: NoticeCrmRequested,
    *,
    workspace_id: str,
    result: Result,
    code: str | None = None,
    record: CrmRecord | None = None,
    owner: CrmOwner | None = None,
) -> Report:
    """What became of an agent's request: exactly one for each."""
    return Report(
        effect_id(workspace_id, "settled", request.kind, request.request_id),
        CrmSettled(
            kind=request.kind,
            result=result,
            code=code,
            request_id=request.request_id,
            chat_id=request.chat_id,
            record=record,
            owner=owner,
        ),
    )
