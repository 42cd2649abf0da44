"""Which fields of Tryton a card can show, and what stands in them.

The one rule: a field is custom when it comes from a module that this connector does not need: Tryton's owner has added it. What the
needed modules have beside the fields named here (accounts, warehouses, tax rules) is no business of a chat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.events import Layouts
from services.crm_sync.connectors.records import CardKind, Field, Section, Shown
from services.crm_sync.connectors.tryton.rpc import TrytonRpc
from services.crm_sync.connectors.tryton.values import text_of

MODELS: Mapping[CardKind, str] = {"lead": "sale.opportunity", "person": "party.party"}
STANDARD: Mapping[CardKind, Sequence[str]] = {
    "lead": (
        *("party", "party.email", "party.phone", "party.mobile", "number", "description", "state", "amount"),
        *("currency", "employee", "start_date", "end_date", "comment"),
    ),
    "person": ("name", "email", "phone", "mobile", "website", "code", "lang", "addresses", "categories"),
}
OF_OWNER = "employee"
MODULES = frozenset(
    {
        "ir",
        "res",
        "account",
        "account_invoice",
        "account_invoice_stock",
        "account_product",
        "company",
        "country",
    }
    | {"currency", "party", "product", "sale", "sale_opportunity", "stock"}
)
"""What "sale_opportunity" brings with it."""
TEXTUAL = frozenset(
    {"boolean", "char", "date", "datetime", "float", "integer", "many2one", "numeric", "selection", "text"}
    | {"timestamp"}
)
"""Sorts of custom fields that a line can show."""
FIELDS_MAX = 1_000
"""Fields of both models: Tryton's own are about 90."""


@dataclass(frozen=True, slots=True)
class Column:
    """A field, and where its value stands in what Tryton answers."""

    field: Field
    path: str


Columns = Mapping[CardKind, Sequence[Column]]


async def columns(rpc: TrytonRpc) -> Columns:
    """Return the columns of each section, the standard ones first."""
    told = await rpc.search(
        "ir.model.field",
        [["model", "in", list(MODELS.values())]],
        ["model", "name", "string", "ttype", "module"],
        records_max=FIELDS_MAX,
    )
    known = {(one["model"], one["name"]): one for one in told}
    return {kind: (*_standard(kind, known), *_custom(kind, known)) for kind in MODELS}


def _standard(kind: CardKind, known: Mapping[tuple[str, str], Mapping[str, str]]) -> list[Column]:
    made = []
    for name in STANDARD[kind]:
        way, _, last = name.rpartition(".")
        one = known.get((MODELS["person"] if way else MODELS[kind], last))
        if one is not None:
            field = Field(name, one["string"], of_owner=name == OF_OWNER)
            made.append(Column(field, _path(name, one["ttype"])))
    return made


def _custom(kind: CardKind, known: Mapping[tuple[str, str], Mapping[str, str]]) -> list[Column]:
    return [
        Column(Field(name, one["string"], custom=True), _path(name, one["ttype"]))
        for (model, name), one in sorted(known.items())
        if model == MODELS[kind] and one["module"] not in MODULES and one["ttype"] in TEXTUAL
    ]


def _path(name: str, sort: str) -> str:
    match sort:
        case "many2one" | "one2many" | "many2many":
            return f"{name}.rec_name"
        case "selection":
            return f"{name}:string"
        case _:
            return name


class Layout:
    """The columns of a card as laid out: all standard ones of a section for which nothing is said."""

    def __init__(self, known: Columns, layouts: Layouts) -> None:
        self._lead = _laid_out(known["lead"], layouts.lead)
        self._person = _laid_out(known["person"], layouts.person)

    @property
    def of_lead(self) -> list[str]:
        """Return what has to be read of an opportunity."""
        return [
            *("number", "party.rec_name"),
            *(one.path for one in self._lead),
            *(f"party.{one.path}" for one in self._person),
        ]

    @property
    def of_person(self) -> list[str]:
        """Return what has to be read of a party."""
        return ["rec_name", *(one.path for one in self._person)]

    def lead(self, opportunity: Mapping[str, Any]) -> tuple[Section, ...]:
        """Return the sections of an opportunity: its own and, where it has a party, this one's."""
        party = opportunity["party."]
        if party is None:
            return (_section("lead", opportunity["number"], self._lead, opportunity),)
        return (
            _section("lead", party["rec_name"], self._lead, opportunity),
            *self.person(party),
        )

    def person(self, party: Mapping[str, Any]) -> tuple[Section, ...]:
        """Return the section of a party."""
        return (_section("person", party["rec_name"], self._person, party),)


def _laid_out(known: Sequence[Column], names: Sequence[str]) -> list[Column]:
    if not names:
        return [one for one in known if not one.field.custom]
    by_name = {one.field.name: one for one in known}
    return [by_name[name] for name in names if name in by_name]


def _section(kind: CardKind, name: str, chosen: Sequence[Column], record: Mapping[str, Any]) -> Section:
    return Section(kind, name, tuple(Shown(one.field, _value(record, one.path)) for one in chosen))


def _value(record: Mapping[str, Any] | None, path: str) -> str:
    if record is None:
        return ""
    relation, dot, rest = path.partition(".")
    if not dot:
        return text_of(record[path])
    inner = record[f"{relation}."]
    if isinstance(inner, list):
        return ", ".join(_value(one, rest) for one in inner)
    return _value(inner, rest)
