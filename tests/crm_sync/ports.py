"""Ports for tests of the sync: the real ones behind a door at which the process can be killed, and a CRM with bad days."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from schemas.events import Layouts
from schemas.notices import NoticeCrmConfigured
from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.interface import Connector
from services.crm_sync.connectors.records import (
    Card,
    CardKind,
    Declaration,
    Field,
    Found,
    NewActivity,
    NewLead,
    NewNote,
    NewTicket,
    Person,
)


class Killed(BaseException):
    """The process ends here."""


class Steps:
    """Counts every step the sync takes on its ports, and kills it before or after one of them."""

    def __init__(self, *, kill_at: int | None = None, after: bool = False) -> None:
        self._kill_at = kill_at
        self._after = after
        self.taken = 0

    async def take(self, do: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        number = self.taken
        self.taken += 1
        if number == self._kill_at and not self._after:
            raise Killed
        try:
            return await do(*arguments, **named)
        finally:
            if number == self._kill_at:
                raise Killed

    def door(self, port: Any) -> Any:
        """Return the port with every coroutine method counted."""
        return Door(port, self)


AFTER = pytest.mark.parametrize("after", [False, pytest.param(True, marks=pytest.mark.crm)])
"""Where tests kill at each step: before it, or with it done. The first leaves what the second does one step earlier, but for the last step."""


class Door:
    def __init__(self, port: Any, steps: Steps) -> None:
        self._port = port
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found

        async def step(*arguments: Any, **named: Any) -> Any:
            return await self._steps.take(found, *arguments, **named)

        return step


class KnownSettings:
    def __init__(self, settings: dict[str, NoticeCrmConfigured]) -> None:
        self._settings = settings

    async def of(self, workspace_id: str) -> NoticeCrmConfigured | None:
        return self._settings.get(workspace_id)


class Careless(Connector):
    """A CRM that files whatever it is sent, marker or not, as many do: only asking first keeps it from filing twice."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._filed: dict[str, int] = {}

    @property
    def declared(self) -> Declaration:
        return self._connector.declared

    def _another(self, marker: str) -> str:
        self._filed[marker] = self._filed.get(marker, 0) + 1
        return f"{marker}#{self._filed[marker]}"

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        return await self._connector.find_people(email, workspace_id=workspace_id)

    async def create_lead(self, lead: NewLead, *, marker: str, workspace_id: str) -> Found:
        return await self._connector.create_lead(
            lead, marker=self._another(marker), workspace_id=workspace_id
        )

    async def add_activity(
        self, activity: NewActivity, *, to: CrmRecord, marker: str, workspace_id: str
    ) -> Found:
        return await self._connector.add_activity(
            activity, to=to, marker=self._another(marker), workspace_id=workspace_id
        )

    async def add_note(self, note: NewNote, *, to: CrmRecord, marker: str, workspace_id: str) -> Found:
        return await self._connector.add_note(
            note, to=to, marker=self._another(marker), workspace_id=workspace_id
        )

    async def set_phone(self, phone: str, *, of: CrmRecord, workspace_id: str) -> Found:
        return await self._connector.set_phone(phone, of=of, workspace_id=workspace_id)

    async def create_ticket(self, ticket: NewTicket, *, marker: str, workspace_id: str) -> Found:
        return await self._connector.create_ticket(
            ticket, marker=self._another(marker), workspace_id=workspace_id
        )

    async def card_fields(self, *, workspace_id: str) -> Mapping[CardKind, Sequence[Field]]:
        return await self._connector.card_fields(workspace_id=workspace_id)

    async def read_card(self, record: CrmRecord, *, layouts: Layouts, workspace_id: str) -> Card:
        return await self._connector.read_card(record, layouts=layouts, workspace_id=workspace_id)

    async def find_marker(
        self, marker: str, *, workspace_id: str, on: Sequence[CrmRecord] = ()
    ) -> Found | None:
        return await self._connector.find_marker(f"{marker}#1", workspace_id=workspace_id, on=on)

    async def close(self) -> None:
        await self._connector.close()


class Weather(Connector):
    """A connector whose next calls go as told: each entry is an exception and whether the call is carried out first."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self.calls: list[str] = []
        self.ahead: dict[str, list[tuple[Exception, bool]]] = {}

    @property
    def declared(self) -> Declaration:
        return self._connector.declared

    async def _go(self, name: str, do: Callable[[], Any]) -> Any:
        self.calls.append(name)
        ahead = self.ahead.get(name)
        if not ahead:
            return await do()
        error, carried_out = ahead.pop(0)
        if carried_out:
            await do()
        raise error

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        found: Sequence[Person] = await self._go(
            "find_people", lambda: self._connector.find_people(email, workspace_id=workspace_id)
        )
        return found

    async def create_lead(self, lead: NewLead, *, marker: str, workspace_id: str) -> Found:
        found: Found = await self._go(
            "create_lead", lambda: self._connector.create_lead(lead, marker=marker, workspace_id=workspace_id)
        )
        return found

    async def add_activity(
        self, activity: NewActivity, *, to: CrmRecord, marker: str, workspace_id: str
    ) -> Found:
        found: Found = await self._go(
            "add_activity",
            lambda: self._connector.add_activity(activity, to=to, marker=marker, workspace_id=workspace_id),
        )
        return found

    async def add_note(self, note: NewNote, *, to: CrmRecord, marker: str, workspace_id: str) -> Found:
        found: Found = await self._go(
            "add_note",
            lambda: self._connector.add_note(note, to=to, marker=marker, workspace_id=workspace_id),
        )
        return found

    async def set_phone(self, phone: str, *, of: CrmRecord, workspace_id: str) -> Found:
        found: Found = await self._go(
            "set_phone", lambda: self._connector.set_phone(phone, of=of, workspace_id=workspace_id)
        )
        return found

    async def create_ticket(self, ticket: NewTicket, *, marker: str, workspace_id: str) -> Found:
        found: Found = await self._go(
            "create_ticket",
            lambda: self._connector.create_ticket(ticket, marker=marker, workspace_id=workspace_id),
        )
        return found

    async def card_fields(self, *, workspace_id: str) -> Mapping[CardKind, Sequence[Field]]:
        return await self._connector.card_fields(workspace_id=workspace_id)

    async def read_card(self, record: CrmRecord, *, layouts: Layouts, workspace_id: str) -> Card:
        card: Card = await self._go(
            "read_card",
            lambda: self._connector.read_card(record, layouts=layouts, workspace_id=workspace_id),
        )
        return card

    async def find_marker(
        self, marker: str, *, workspace_id: str, on: Sequence[CrmRecord] = ()
    ) -> Found | None:
        found: Found | None = await self._go(
            "find_marker",
            lambda: self._connector.find_marker(marker, workspace_id=workspace_id, on=on),
        )
        return found

    async def close(self) -> None:
        await self._connector.close()
