"""What goes to a CRM and comes back from it, and what a connector declares about itself: values only.

The one rule: nothing here knows a particular CRM, or does anything.
"""

from dataclasses import dataclass
from typing import Literal

from schemas.outcomes import CrmOwner, CrmRecord

PersonKind = Literal["lead", "deal", "contact"]
CardKind = Literal["lead", "person", "company"]
Capability = Literal["lead", "activity", "note", "phone", "ticket", "card", "tells_owner"]
BODY_MIN = 2_000
"""The shortest activity text a connector may allow, in its unit: the head of a conversation with its link fits in it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connector allows. The rate is for all workspaces of one account together.

    A body counted in `html` is one that the connector writes as HTML (`rich_text`): its size is that of the HTML.
    `feed_limit_reason`: a code of `reasons.FEED_LIMITS`, or the reason itself, as the middle of a sentence.
    """

    body_max: int
    body_unit: Literal["characters", "bytes", "html"]
    name_chars_max: int
    people_found_max: int
    requests_per_s_max: float | None = None
    feed_items_max: int | None = None
    feed_limit_reason: str | None = None

    def __post_init__(self) -> None:
        """Say so at once when the head of a conversation would not fit."""
        assert self.body_max >= BODY_MIN, f"a body of at least {BODY_MIN} is needed"


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a connector is called, can do and allows."""

    name: str
    capabilities: frozenset[Capability]
    limits: Limits


@dataclass(frozen=True, slots=True)
class Person:
    """A lead, deal or contact found in the CRM. `created_ms` orders them; `open` is false for a lead or deal that is won or lost."""

    record: CrmRecord
    kind: PersonKind
    created_ms: int
    open: bool = True
    owner: CrmOwner | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What carries a marker: the record itself, and its owner where the CRM says."""

    record: CrmRecord
    owner: CrmOwner | None = None


@dataclass(frozen=True, slots=True)
class NewLead:
    """A lead to create. `email` has been checked and is stored as the visitor wrote it."""

    name: str
    email: str
    source: str
    owner_id: str | None = None
    phone: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Staff:
    """An agent as the feed's filters know them."""

    id: str
    name: str
    team: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class NewActivity:
    """A conversation for a person's feed. `text` fits the connector's limits."""

    type: Literal["chat", "missed_chat"]
    title: str
    text: str
    started_at: str
    ended_at: str
    link: str
    agents: tuple[Staff, ...] = ()


@dataclass(frozen=True, slots=True)
class NewNote:
    """What an agent wants the owner of a record to know. `text` fits the connector's limits."""

    text: str
    author: Staff


@dataclass(frozen=True, slots=True)
class NewTicket:
    """A conversation as a ticket. `email` has been checked; `person` is whom it belongs to, where the CRM knows them."""

    type: Literal["chat", "missed_chat"]
    title: str
    text: str
    question: str
    name: str
    link: str
    created_at: str
    email: str | None = None
    phone: str | None = None
    tag: str | None = None
    person: CrmRecord | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """A field a card can show. `name` is what a layout says, `label` what people read; `custom`: the CRM's owner added it.

    `of_owner`: it tells who owns the record, which only agents who may use the CRM see.
    """

    name: str
    label: str
    custom: bool = False
    of_owner: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A field of a card with its value as text, empty where the record has none."""

    field: Field
    value: str


@dataclass(frozen=True, slots=True)
class Section:
    """One record of a card: its name for people, and its fields in the order of the layout."""

    kind: CardKind
    name: str
    fields: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """What a CRM knows of a person: the record itself, and the sections lead, person and company as far as there are such."""

    record: CrmRecord
    sections: tuple[Section, ...]
    owner: CrmOwner | None = None
