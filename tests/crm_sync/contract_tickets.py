"""The contract of connectors: tickets hold the visitor's message, contact data and tag, and the missed ones have a view of their own."""

from dataclasses import replace

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.records import NewTicket
from tests.crm_sync.connector_world import ACME, TICKET, SeenTicket, World


class TicketContract:
    async def test_a_ticket_has_all_it_was_given(self, world: World) -> None:
        world.needs("ticket")
        hanako = await world.add("Hanako Yamada")
        await self._create(world, replace(TICKET, person=hanako))
        (seen,) = await world.office.tickets()
        assert seen.person in {"Hanako Yamada", None}, (
            "a CRM may tie a ticket to a person by its address alone"
        )
        assert replace(seen, person=None) == SeenTicket(
            TICKET.text, TICKET.name, TICKET.email, TICKET.phone, TICKET.tag, None
        )

    async def test_a_ticket_without_an_address(self, world: World) -> None:
        world.needs("ticket")
        bare = replace(TICKET, email=None, phone=None, tag=None)
        await self._create(world, bare)
        assert await world.office.tickets() == [SeenTicket(TICKET.text, TICKET.name, None, None, None, None)]

    async def test_the_view_of_missed_chats(self, world: World) -> None:
        world.needs("ticket")
        await self._create(world, replace(TICKET, text="missed"), marker="M1")
        await self._create(world, replace(TICKET, text="finished", type="chat"), marker="M2")
        assert sorted(one.text for one in await world.office.tickets()) == ["finished", "missed"]
        assert [one.text for one in await world.office.tickets(missed=True)] == ["missed"]

    async def test_a_ticket_of_somebody_gone_is_kept(self, world: World) -> None:
        # Unlike an entry in a feed it needs no person: the visitor's message must not be lost with the record.
        world.needs("ticket")
        hanako = await world.add("Hanako")
        await world.office.remove(hanako)
        await self._create(world, replace(TICKET, person=hanako))
        (seen,) = await world.office.tickets()
        assert (seen.text, seen.email, seen.person) == (TICKET.text, TICKET.email, None)

    async def _create(self, world: World, ticket: NewTicket, *, marker: str = "M") -> CrmRecord:
        made = await world.connector.create_ticket(ticket, marker=marker, workspace_id=ACME)
        return made.record
