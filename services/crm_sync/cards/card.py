"""The card beside a chat: what the CRM knows of its visitor, laid out by the workspace, and what an agent may ask of the CRM there.

The one rule: the person is the one whom the conversation will be filed with, and how much is shown follows from the rights the archive
told. A card that is empty says why, and an action that is not possible says so before anybody asks for it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import TypeVar, get_args

from schemas.envelope import from_ms, to_ms
from schemas.events import Layouts
from schemas.memory import KNOWN_CLOSED_S, KNOWN_MISSED_S
from schemas.notices import NoticeCrmConfigured
from schemas.outcomes import CrmOwner, CrmRecord
from schemas.types import CrmRight, Language
from services.crm_sync import core
from services.crm_sync.addresses import email_key, usable_address
from services.crm_sync.cards.answers import Answers, Known
from services.crm_sync.cards.archive import ChatVisitor
from services.crm_sync.connectors.records import (
    Capability,
    CardKind,
    Field,
    PersonKind,
    Section,
)
from services.crm_sync.job import Crm, with_survivor
from services.crm_sync.reasons import feed_limit, sentence
from services.crm_sync.sync import Settings
from services.runtime.effects import Refused
from services.runtime.logs import log
from services.runtime.metrics import Metrics
from services.runtime.wall_clock import now_ms

_LAYOUTS = "layouts"
"""What the fields are asked for."""

Fields = Mapping[CardKind, Sequence[Field]]
Answer = TypeVar("Answer")

_log = log(__name__)


@dataclass(frozen=True, slots=True)
class Action:
    """Whether a request would be carried out now; `reason` is the code it would be refused with, `told` the same for people."""

    possible: bool
    reason: str | None
    told: str | None


@dataclass(frozen=True, slots=True)
class Actions:
    """What who asks may ask of the CRM."""

    create_lead: Action
    notify_sales: Action
    set_phone: Action


@dataclass(frozen=True, slots=True)
class FeedLimit:
    """How many entries of a record's feed the CRM lets anybody see at once; `told` is the warning for people."""

    items_max: int
    told: str


@dataclass(frozen=True, slots=True)
class CrmCard:
    """A card as the CRM had it at `read_at`. `reason`: the code why it is empty, `told` the same for people, in their language.

    `kind` is the person's; `matches`: how many have the address. `feed_limit`: where the CRM does not show the whole of a feed.
    Sections come in the order lead, person, company, fields in that of the layout; a value is empty where the record has none. Record
    and owner are told to agents who may use the CRM.
    """

    chat_id: str
    visitor_id: str | None
    read_at: str | None
    reason: str | None
    told: str | None
    kind: PersonKind | None
    matches: int
    sections: tuple[Section, ...]
    unknown_fields: Layouts
    record: CrmRecord | None
    owner: CrmOwner | None
    feed_limit: FeedLimit | None
    actions: Actions


@dataclass(frozen=True, slots=True)
class CrmFields:
    """The fields a card can show, the present layouts, and what these name that is no field. `reason`: the code why there are no fields.

    `told`: the same for people; `feed_limit`: as in a card.
    """

    reason: str | None
    told: str | None
    feed_limit: FeedLimit | None
    fields: Fields
    layouts: Layouts
    unknown_fields: Layouts


@dataclass(frozen=True, slots=True)
class _Use:
    """A workspace and its CRM."""

    workspace_id: str
    settings: NoticeCrmConfigured
    crm: Crm

    def can(self, capability: Capability) -> bool:
        return capability in self.crm.connector.declared.capabilities

    async def ask(self, do: Callable[[], Awaitable[Answer]]) -> Answer:
        return await self.crm.downstreams.of(self.workspace_id).call(do)


class Cards:
    """Makes cards. `now_ms` is the wall clock of `read_at`, `clock_s` the one by which answers grow old."""

    def __init__(
        self,
        *,
        settings: Settings,
        crms: Mapping[str, Crm],
        metrics: Metrics,
        now_ms: Callable[[], int] = now_ms,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self._settings = settings
        self._crms = crms
        self._metrics = metrics
        self._now_ms = now_ms
        self._fields = Answers[Fields](clock_s=clock_s)
        self._unknown: dict[str, Layouts] = {}

    async def close(self) -> None:
        """End what is being asked."""
        await self._fields.close()
        for crm in self._crms.values():
            await crm.known.close()

    async def card(
        self, chat_id: str, visitor: ChatVisitor, *, workspace_id: str, language: Language
    ) -> CrmCard:
        """The card of a chat's visitor, as far as who asked the archive may see it. Raises Away, Transient and NotNow."""
        use = await self._use(workspace_id)
        email = usable_address(visitor.email)
        known, unknown, reason = Known(), Layouts(), None
        if isinstance(use, str):
            reason = use
        elif email is None:
            reason = core.NO_EMAIL
        else:
            try:
                known = await use.crm.known.of(
                    email_key(email),
                    partial(self._look, use, email),
                    workspace_id=workspace_id,
                    settings=use.settings,
                )
                reason = _why_empty(known)
                if known.card is not None:
                    unknown = await self._unknown_fields(use)
            except Refused as refused:
                reason = refused.code
        right = visitor.caller.crm
        why_not = partial(_why_not, use, email=email, known=known, failed=reason, right=right)
        forgotten = _is_forgotten(visitor, now_ms=self._now_ms())
        return CrmCard(
            chat_id=chat_id,
            visitor_id=visitor.visitor_id,
            read_at=known.read_at,
            reason=reason,
            told=_told(reason, language),
            kind=None if known.chosen is None else known.chosen.kind,
            matches=known.matches,
            sections=_shown(known, right),
            unknown_fields=unknown,
            record=None if right == "none" else _record(known),
            owner=None if right == "none" else _owner(known),
            feed_limit=_feed_limit(use, language),
            actions=Actions(
                *(
                    _action("unknown_chat" if forgotten else why_not(kind), language)
                    for kind in get_args(core.RequestKind)
                )
            ),
        )

    async def fields(self, *, workspace_id: str, language: Language) -> CrmFields:
        """The fields of a workspace's CRM, and how its layouts fit them. Raises Away, Transient and NotNow."""
        use = await self._use(workspace_id)
        if isinstance(use, str):
            return CrmFields(use, _told(use, language), None, {}, Layouts(), Layouts())
        layouts, limit = use.settings.layouts, _feed_limit(use, language)
        try:
            fields, unknown = await self._fields_of(use), await self._unknown_fields(use)
        except Refused as refused:
            return CrmFields(refused.code, _told(refused.code, language), limit, {}, layouts, Layouts())
        return CrmFields(None, None, limit, fields, layouts, unknown)

    # ------------------------------------------------------------ what the CRM is asked

    async def _use(self, workspace_id: str) -> _Use | str:
        """The workspace's CRM, or the code that says why there is none."""
        settings = await self._settings.of(workspace_id)
        crm = None if settings is None else self._crms.get(settings.connector)
        return core.no_crm(settings) if settings is None or crm is None else _Use(workspace_id, settings, crm)

    async def _look(self, use: _Use, email: str) -> Known:
        connector, workspace_id = use.crm.connector, use.workspace_id

        async def search_and_read(_again: bool) -> Known:
            people = await use.ask(lambda: connector.find_people(email, workspace_id=workspace_id))
            read_at = from_ms(self._now_ms())
            if not people:
                return Known(read_at)
            chosen = core.choose(people, use.settings).people[0]
            if not use.can("card"):
                return Known(read_at, len(people), chosen)
            layouts = use.settings.layouts
            card = await use.ask(
                lambda: connector.read_card(chosen.record, layouts=layouts, workspace_id=workspace_id)
            )
            return Known(read_at, len(people), chosen, card)

        return await with_survivor(search_and_read)

    async def _fields_of(self, use: _Use) -> Fields:
        if not use.can("card"):
            raise Refused("not_supported")
        ask = partial(use.crm.connector.card_fields, workspace_id=use.workspace_id)
        return await self._fields.of(
            _LAYOUTS, partial(use.ask, ask), workspace_id=use.workspace_id, settings=use.settings
        )

    async def _unknown_fields(self, use: _Use) -> Layouts:
        """What the layouts name and the CRM has no field for; whoever reads the logs is told when that changes."""
        layouts = use.settings.layouts
        fields = {} if layouts == Layouts() else await self._fields_of(use)
        unknown = Layouts(
            **{
                kind: tuple(
                    name
                    for name in getattr(layouts, kind)
                    if name not in {one.name for one in fields.get(kind, ())}
                )
                for kind in get_args(CardKind)
            }
        )
        if unknown != self._unknown.get(use.workspace_id, Layouts()):
            count = sum(len(getattr(unknown, kind)) for kind in get_args(CardKind))
            self._metrics.add("card_fields_unknown", count)
            _log.warning("card_fields_unknown", workspace_id=use.workspace_id, count=count)
        self._unknown[use.workspace_id] = unknown
        return unknown


def _why_empty(known: Known) -> str | None:
    if known.chosen is None:
        return "nobody_found"
    return "not_supported" if known.card is None else None


def _shown(known: Known, right: CrmRight) -> tuple[Section, ...]:
    if known.card is None:
        return ()
    if right != "none":
        return known.card.sections
    return tuple(
        replace(section, fields=tuple(one for one in section.fields if not one.field.of_owner))
        for section in known.card.sections
    )


def _record(known: Known) -> CrmRecord | None:
    found = known.card or known.chosen
    return None if found is None else found.record


def _owner(known: Known) -> CrmOwner | None:
    owners = [one.owner for one in (known.card, known.chosen) if one is not None and one.owner is not None]
    return owners[0] if owners else None


def _is_forgotten(visitor: ChatVisitor, *, now_ms: int) -> bool:
    """Whether the router knows the chat no more, so that it takes no request about it."""
    if visitor.ended_at is None:
        return False
    known_s = KNOWN_MISSED_S if visitor.outcome == "missed" else KNOWN_CLOSED_S
    return now_ms >= to_ms(visitor.ended_at) + known_s * 1000


def _action(code: str | None, language: Language) -> Action:
    return Action(possible=code is None, reason=code, told=_told(code, language))


def _told(code: str | None, language: Language) -> str | None:
    return None if code is None else sentence(code, language)


def _feed_limit(use: _Use | str, language: Language) -> FeedLimit | None:
    limits = None if isinstance(use, str) else use.crm.connector.declared.limits
    if limits is None or limits.feed_items_max is None:
        return None
    return FeedLimit(limits.feed_items_max, feed_limit(limits, language))


def _why_not(
    use: _Use | str,
    kind: core.RequestKind,
    *,
    email: str | None,
    known: Known,
    failed: str | None,
    right: CrmRight,
) -> str | None:
    """The code that a request would be refused with now; None where it would be carried out."""
    if kind == "phone" and right == "none":
        return "not_permitted"
    if isinstance(use, str):
        return use
    refusal = core.refusal(kind, use.settings, email=email, declared=use.crm.connector.declared)
    if refusal is not None:
        return refusal.code
    if known.read_at is None:
        return failed
    if kind == "lead":
        return "already_a_customer" if known.chosen is not None else None
    return "nobody_found" if known.chosen is None else None
