"""What is in a HubSpot account: records, the definitions of their properties, owners, lists.

The one rule: nothing is checked here; that is the API's part, and people in HubSpot's own pages may do more than it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

KINDS = ("contacts", "deals", "companies", "notes", "tickets")
_NUMBERS = count(1_001)
"""Numbers of records are not used twice, in whichever account."""
STAGES = ("subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead", "opportunity", "customer")
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "lifecyclestage": STAGES,
    "hs_lead_status": ("NEW", "OPEN", "UNQUALIFIED"),
    "hs_pipeline": ("0",),
    "hs_pipeline_stage": ("1", "2", "3", "4"),
    "source_type": ("CHAT", "EMAIL", "FORM", "PHONE"),
}
OWN: Mapping[str, str] = {
    "contacts": "firstname lastname email phone mobilephone jobtitle company lifecyclestage hs_lead_status city country",
    "deals": "dealname dealstage amount closedate",
    "companies": "name domain industry phone city country numberofemployees",
    "notes": "hs_timestamp hs_note_body hs_attachment_ids",
    "tickets": "subject content hs_pipeline hs_pipeline_stage source_type hs_ticket_priority",
}
"""Some of HubSpot's own properties."""


@dataclass(eq=False)
class Row:
    """A record."""

    kind: str
    id: str
    properties: dict[str, str]
    links: list["Row"] = field(default_factory=list)
    archived: bool = False

    @property
    def name(self) -> str:
        get = self.properties.get
        named = (
            [get("firstname"), get("lastname")]
            if self.kind == "contacts"
            else [get("dealname") or get("name")]
        )
        return " ".join(filter(None, named))


class Portal:
    """An account, empty but for what HubSpot puts there."""

    def __init__(self, *owners: str) -> None:
        self.locked_out = False
        self.rows: dict[str, dict[str, Row]] = {kind: {} for kind in KINDS}
        self.merged: dict[str, str] = {}
        self.groups: dict[str, set[str]] = {kind: {"own"} for kind in KINDS}
        self.properties: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in KINDS}
        self.lists: list[dict[str, Any]] = []
        self.owners = {
            one: {"id": one, "email": f"owner{one}@example.com", "firstName": "Ken", "lastName": "Sato"}
            for one in owners
        }
        for kind in KINDS:
            for name in (*OWN[kind].split(), "hubspot_owner_id"):
                self.define(kind, name, hubspotDefined=True)
            for name in ("createdate", "hs_object_id", "hs_is_closed"):
                self.define(kind, name, hubspotDefined=True, read_only=True)

    def define(self, kind: str, name: str, *, read_only: bool = False, **given: Any) -> dict[str, Any]:
        self.properties[kind][name] = {
            "name": name,
            "label": name.replace("_", " ").title(),
            "type": "string",
            "fieldType": "text",
            "groupName": "own",
            "hasUniqueValue": False,
            "hubspotDefined": False,
            "hidden": False,
            "options": [{"value": one, "label": one.title()} for one in OPTIONS.get(name, ())],
            "modificationMetadata": {"readOnlyValue": read_only},
        } | given
        return self.properties[kind][name]

    def add(self, kind: str, properties: Mapping[str, str]) -> Row:
        number = str(next(_NUMBERS))
        given = {"hs_object_id": number, "createdate": "2026-11-21T09:00:00.000Z"} | dict(properties)
        row = self.rows[kind][number] = Row(kind, number, given)
        return row

    def link(self, one: Row, other: Row) -> None:
        one.links.append(other)
        other.links.append(one)

    def find(self, kind: str, number: str) -> Row | None:
        """The record with this number, or the one it was merged into."""
        row = self.rows[kind].get(self.merged.get(number, number))
        return None if row is None or row.archived else row

    def find_by(self, kind: str, name: str, value: str) -> Row | None:
        """The record with this value, letter case aside; of addresses, further ones count too."""
        for row in self.rows[kind].values():
            values = [row.properties.get(name, "")]
            if name == "email":
                values += row.properties.get("hs_additional_emails", "").split(";")
            if value.casefold() in (one.casefold() for one in values if one) and not row.archived:
                return row
        return None
