"""A CRM in memory, as far as cards need one: it counts what it is asked, and can be slow or away."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from schemas.events import Layouts
from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.connectors.interface import Connector
from services.crm_sync.connectors.records import (
    Capability,
    Card,
    CardKind,
    Declaration,
    Field,
    Person,
    PersonKind,
    Section,
    Shown,
)
from services.runtime.effects import Refused
from tests.crm_sync.material import LIMITS

ALL: frozenset[Capability] = frozenset({"lead", "activity", "note", "phone", "ticket", "card"})
FIELDS: Mapping[CardKind, Sequence[Field]] = {
    "lead": (
        Field("name", "Name"),
        Field("email", "E-mail"),
        Field("owner", "Owner", of_owner=True),
        Field("likes", "お好み", custom=True),
    ),
    "company": (Field("name", "Company"),),
}
WORKSPACES = ("acme", "rival")
OWNER = CrmOwner("ken", "佐藤 健", "ken@example.com")


class Cabinet:
    """Records by workspace and address; a card says the name and address in its fields."""

    def __init__(self, capabilities: frozenset[Capability] = ALL) -> None:
        self._declared = Declaration("cabinet", capabilities, LIMITS)
        self.people: dict[tuple[str, str], list[Person]] = {}
        self.gone: set[CrmRecord] = set()
        self.calls: list[str] = []
        self.called = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.trouble: Exception | None = None

    def add(
        self, email: str, *, workspace_id: str, kind: PersonKind = "lead", created_ms: int = 0
    ) -> CrmRecord:
        """Put somebody in."""
        people = self.people.setdefault((workspace_id, email), [])
        number = f"{workspace_id}-{kind}-{sum(map(len, self.people.values()))}"
        record = CrmRecord(kind, number, f"https://crm.example/{number}")
        people.append(Person(record, kind, created_ms, owner=OWNER))
        return record

    def connector(self) -> Connector:
        """Return it as what asks for cards knows it."""
        return cast("Connector", self)

    @property
    def declared(self) -> Declaration:
        return self._declared

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        self.called.set()
        await self.open.wait()
        if self.trouble is not None:
            raise self.trouble

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        await self._called("find_people")
        return list(self.people.get((workspace_id, email), ()))

    async def read_card(self, record: CrmRecord, *, layouts: Layouts, workspace_id: str) -> Card:
        await self._called("read_card")
        if record in self.gone:
            raise Refused("record_gone")
        (email,) = (
            email
            for (of, email), people in self.people.items()
            if of == workspace_id and record in [one.record for one in people]
        )
        values = {"name": record.id, "email": email, "owner": OWNER.id, "likes": "金"}
        fields = {one.name: one for one in FIELDS["lead"]}
        names = layouts.lead or tuple(fields)
        shown = tuple(Shown(fields[name], values[name]) for name in names if name in fields)
        return Card(record, (Section("lead", record.id, shown),), OWNER)

    async def card_fields(self, *, workspace_id: str) -> Mapping[CardKind, Sequence[Field]]:
        await self._called("card_fields")
        return {kind: of_kind for kind, of_kind in FIELDS.items() if workspace_id in WORKSPACES}
