"""What every connector must keep, written against the interface alone: derive from it and give it a connector.

A test of a connector makes a `World`: the connector, and a way to put people into the CRM and to see what stands in it.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Protocol

import pytest

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.interface import Connector
from services.crm_sync.connectors.records import NewActivity, NewLead, PersonKind
from services.crm_sync.conversation import activity_of
from services.runtime.effects import Refused
from tests.crm_sync.material import LIMITS, said, transcript

ACME, OTHER = "acme", "other"


class Office(Protocol):
    """What people at the CRM can do and see, beside the connector."""

    async def add(
        self, kind: PersonKind, name: str, email: str | None, *, workspace_id: str = ACME, created_ms: int = 0
    ) -> CrmRecord: ...

    async def remove(self, record: CrmRecord) -> None: ...

    async def feed(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        """Name of the person and text, of every entry."""
        ...

    async def people(self, workspace_id: str = ACME) -> list[tuple[str, str | None, str | None, str | None]]:
        """Name, address, owner and source of everybody, in the order they came."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    connector: Connector
    office: Office


def activity(text: str = "Hello") -> NewActivity:
    return activity_of(transcript(messages=(said(text),)), limits=LIMITS)


LEAD = NewLead(
    "山田 花子", "Hanako@Example.com", "chat", owner_id="ken", phone="+81 3 1234 5678", note="ask again"
)


class ConnectorContract:
    """Derive from this as `Test…` in a module with a fixture `world`."""

    @pytest.mark.parametrize(
        ("stored", "asked", "found"),
        [
            ("hanako@example.com", "hanako@example.com", True),
            ("Hanako.Yamada@Example.COM", "hanako.yamada@example.com", True),
            ("hanako@example.com", "HANAKO@EXAMPLE.COM", True),
            ("hanako+shop@example.com", "hanako+shop@example.com", True),
            ("hanako+shop@example.com", "hanako@example.com", False),
            ("hanako@example.com", "hanako+shop@example.com", False),
            ("o'brien@example.com", "O'Brien@example.com", True),
            ("花子@例え.jp", "花子@例え.jp", True),
            ("taro@xn--r8jz45g.jp", "taro@例え.jp", True),
            ("a_b@example.com", "axb@example.com", False),
            ("a%@example.com", "abc@example.com", False),
            (None, "hanako@example.com", False),
        ],
    )
    async def test_finds_by_address(self, world: World, stored: str | None, asked: str, found: bool) -> None:
        record = await world.office.add("lead", "Hanako", stored)
        people = await world.connector.find_people(asked, workspace_id=ACME)
        assert [one.record for one in people] == ([record] if found else [])

    async def test_finds_all_kinds_and_their_age(self, world: World) -> None:
        old = await world.office.add("lead", "old", "h@example.com", created_ms=1_000)
        new = await world.office.add("lead", "new", "h@example.com", created_ms=2_000)
        contact = await world.office.add("contact", "contact", "h@example.com", created_ms=3_000)
        found = await world.connector.find_people("h@example.com", workspace_id=ACME)
        assert {(one.record, one.kind, one.created_ms) for one in found} == {
            (old, "lead", 1_000),
            (new, "lead", 2_000),
            (contact, "contact", 3_000),
        }

    async def test_workspaces_do_not_see_each_other(self, world: World) -> None:
        there = await world.office.add("lead", "Hanako", "h@example.com", workspace_id=OTHER)
        assert not await world.connector.find_people("h@example.com", workspace_id=ACME)
        with pytest.raises(Refused, match="record_gone"):
            await world.connector.add_activity(activity(), to=there, marker="M1", workspace_id=ACME)
        mine = await world.connector.create_lead(LEAD, marker="M", workspace_id=ACME)
        theirs = await world.connector.create_lead(LEAD, marker="M", workspace_id=OTHER)
        assert mine.record != theirs.record
        assert await world.connector.find_marker("M", workspace_id=ACME) == mine

    async def test_lead_is_created_once(self, world: World) -> None:
        assert await world.connector.find_marker("M", workspace_id=ACME) is None
        first = await world.connector.create_lead(LEAD, marker="M", workspace_id=ACME)
        again = await world.connector.create_lead(
            replace(LEAD, owner_id="mia"), marker="M", workspace_id=ACME
        )
        assert first == again == await world.connector.find_marker("M", workspace_id=ACME)
        assert first.owner is not None
        assert first.owner.id == "ken"
        assert await world.office.people() == [("山田 花子", "Hanako@Example.com", "ken", "chat")]
        found = await world.connector.find_people("hanako@example.com", workspace_id=ACME)
        assert [(one.record, one.open, one.owner) for one in found] == [(first.record, True, first.owner)]

    async def test_lead_is_created_once_by_many_at_a_time(self, world: World) -> None:
        made = await asyncio.gather(
            *(world.connector.create_lead(LEAD, marker="M", workspace_id=ACME) for _ in range(8))
        )
        assert len({one.record.id for one in made}) == 1
        assert len(await world.office.people()) == 1

    async def test_activity_is_added_once(self, world: World) -> None:
        hanako = await world.office.add("lead", "Hanako", "h@example.com")
        taro = await world.office.add("contact", "Taro", "t@example.com")
        assert await world.connector.find_marker("M", workspace_id=ACME) is None
        first = await world.connector.add_activity(activity("one"), to=hanako, marker="M", workspace_id=ACME)
        again = await world.connector.add_activity(activity("two"), to=taro, marker="M", workspace_id=ACME)
        assert first == again == await world.connector.find_marker("M", workspace_id=ACME)
        other = await world.connector.add_activity(
            activity("three"), to=hanako, marker="M2", workspace_id=ACME
        )
        assert other.record != first.record
        feed = await world.office.feed()
        assert sorted(name for name, _ in feed) == ["Hanako", "Hanako"]
        assert sum("one" in text for _, text in feed) == 1

    async def test_activity_is_added_once_by_many_at_a_time(self, world: World) -> None:
        hanako = await world.office.add("lead", "Hanako", "h@example.com")
        made = await asyncio.gather(
            *(
                world.connector.add_activity(activity(), to=hanako, marker="M", workspace_id=ACME)
                for _ in range(8)
            )
        )
        assert len({one.record.id for one in made}) == 1
        assert len(await world.office.feed()) == 1

    async def test_record_deleted_meanwhile(self, world: World) -> None:
        hanako = await world.office.add("lead", "Hanako", "h@example.com")
        await world.office.remove(hanako)
        with pytest.raises(Refused) as refused:
            await world.connector.add_activity(activity(), to=hanako, marker="M", workspace_id=ACME)
        assert refused.value.code == "record_gone"
        assert await world.connector.find_marker("M", workspace_id=ACME) is None

    async def test_text_survives_unchanged(self, world: World) -> None:
        hanako = await world.office.add("lead", "Hanako", "h@example.com")
        sent = activity("漢字 🙂 ' \" <b>&amp;</b> ; -- %s {x}\n\ttab")
        await world.connector.add_activity(sent, to=hanako, marker="M", workspace_id=ACME)
        assert await world.office.feed() == [("Hanako", sent.text)]

    async def test_as_long_as_declared_fits_and_longer_is_refused(self, world: World) -> None:
        limits = world.connector.declared.limits
        hanako = await world.office.add("lead", "Hanako", "h@example.com")
        full = replace(activity(), text="x" * limits.body_max)
        await world.connector.add_activity(full, to=hanako, marker="M", workspace_id=ACME)
        assert await world.office.feed() == [("Hanako", full.text)]
        with pytest.raises(Refused):
            await world.connector.add_activity(
                replace(full, text=full.text + "x"), to=hanako, marker="M2", workspace_id=ACME
            )

    async def test_name_as_long_as_declared_fits(self, world: World) -> None:
        name = "花" * world.connector.declared.limits.name_chars_max
        await world.connector.create_lead(replace(LEAD, name=name), marker="M", workspace_id=ACME)
        assert [one[0] for one in await world.office.people()] == [name]
