"""The contract of connectors: leads, activities, notes and phone numbers are written once, whole, and where they belong."""

import asyncio
from dataclasses import replace

import pytest

from services.runtime.effects import Refused
from tests.crm_sync.connector_world import ACME, LEAD, NOTE, OTHER, WRITTEN, World, Written, activity

ODD = "漢字 🙂 ' \" <b>&amp;</b> ; -- %s {x} \\n\n\ttab"
PHONE = "+81312345678"


class WritingContract:
    @pytest.mark.parametrize("what", WRITTEN)
    async def test_created_once(self, world: World, what: Written) -> None:
        world.needs(what)
        hanako, taro = await world.add("Hanako"), await world.add("Taro", "t@example.com")
        assert await world.find(hanako) is None
        first = await world.write(what, to=hanako, text="one")
        again = await world.once(what, to=taro, text="two", before=hanako)
        found = await world.find(hanako)
        assert found is not None
        assert first.record == again.record == found.record
        assert await world.written(what) == ["one"]
        other = await world.write(what, to=hanako, marker="M2", text="three")
        assert other.record != first.record
        assert sorted(await world.written(what)) == ["one", "three"]

    @pytest.mark.parametrize("what", WRITTEN)
    async def test_created_once_by_many_at_a_time(self, world: World, what: Written) -> None:
        world.needs(what)
        if not world.keeps_markers_unique:
            pytest.skip("this CRM does not keep markers unique")
        hanako = await world.add("Hanako")
        made = await asyncio.gather(*(world.write(what, to=hanako) for _ in range(8)))
        assert len({one.record for one in made}) == 1
        assert await world.written(what) == ["Hello"]

    @pytest.mark.parametrize("what", WRITTEN)
    async def test_a_marker_is_of_one_workspace(self, world: World, what: Written) -> None:
        world.needs(what)
        here = await world.add("Hanako")
        there = await world.office.add(world.kind, "Hanako", "h@example.com", workspace_id=OTHER)
        mine = await world.write(what, to=here, text="here")
        assert await world.find(there, workspace_id=OTHER) is None
        await world.write(what, to=there, text="there", workspace_id=OTHER)
        found = await world.find(here)
        assert found is not None
        assert found.record == mine.record
        assert await world.written(what) == ["here"]
        assert await world.written(what, OTHER) == ["there"]

    @pytest.mark.parametrize("what", WRITTEN)
    async def test_text_survives_unchanged(self, world: World, what: Written) -> None:
        world.needs(what)
        hanako = await world.add("Hanako")
        text = ODD.replace("\n", " ").replace("\t", " ") if what == "lead" else ODD
        await world.write(what, to=hanako, text=text)
        assert await world.written(what) == [text]

    @pytest.mark.parametrize("what", ["activity", "note", "ticket"])
    @pytest.mark.parametrize("letter", ["x", "漢"])
    async def test_as_long_as_declared_fits_and_longer_is_refused(
        self, world: World, what: Written, letter: str
    ) -> None:
        world.needs(what)
        limits = world.connector.declared.limits
        size = len(letter.encode()) if limits.body_unit == "bytes" else 1
        full = letter * (limits.body_max // size)
        hanako = await world.add("Hanako")
        await world.write(what, to=hanako, text=full)
        assert await world.written(what) == [full]
        with pytest.raises(Refused, match=r"\Atext_too_long\Z"):
            await world.write(what, to=hanako, marker="M2", text=full + letter)
        assert await world.written(what) == [full]

    @pytest.mark.parametrize("what", ["activity", "note"])
    async def test_record_deleted_meanwhile(self, world: World, what: Written) -> None:
        world.needs(what)
        hanako = await world.add("Hanako")
        await world.office.remove(hanako)
        with pytest.raises(Refused, match=r"\Arecord_gone\Z"):
            await world.write(what, to=hanako)
        assert await world.find(hanako) is None

    @pytest.mark.parametrize("what", ["activity", "note"])
    async def test_a_record_of_another_workspace_is_none(self, world: World, what: Written) -> None:
        world.needs(what)
        there = await world.office.add(world.kind, "Hanako", "h@example.com", workspace_id=OTHER)
        with pytest.raises(Refused, match=r"\Arecord_gone\Z"):
            await world.write(what, to=there)
        assert not await world.written(what, OTHER)

    # ------------------------------------------------------------ leads

    async def test_a_lead_has_all_it_was_given(self, world: World) -> None:
        world.needs("lead")
        made = await world.connector.create_lead(world.lead, marker="M", workspace_id=ACME)
        assert made.owner is not None
        assert made.owner.id == world.owner_id
        assert await world.office.people() == [(LEAD.name, LEAD.email, world.owner_id, "chat")]
        assert await world.office.phone(made.record) == PHONE
        found = await world.connector.find_people("hanako@example.com", workspace_id=ACME)
        assert [(one.record, one.kind, one.open, one.owner) for one in found] == [
            (made.record, "lead", True, made.owner)
        ]
        if "activity" in world.connector.declared.capabilities:
            await world.write("activity", to=made.record, marker="M2")
            assert await world.office.feed() == [(LEAD.name, "Hello")]

    async def test_a_lead_needs_a_name_and_an_address_only(self, world: World) -> None:
        world.needs("lead")
        bare = replace(LEAD, owner_id=None, phone=None, note=None)
        made = await world.connector.create_lead(bare, marker="M", workspace_id=ACME)
        assert [(one[0], one[1]) for one in await world.office.people()] == [(LEAD.name, LEAD.email)]
        assert await world.office.phone(made.record) is None

    async def test_name_as_long_as_declared_fits(self, world: World) -> None:
        world.needs("lead")
        name = "花" * world.connector.declared.limits.name_chars_max
        await world.write("lead", to=await world.add("Hanako"), text=name)
        assert await world.written("lead") == [name]

    # ------------------------------------------------------------ activities and notes

    async def test_an_activity_stands_in_its_feed_and_as_it_was_sent(self, world: World) -> None:
        world.needs("activity")
        hanako = await world.add("Hanako")
        await world.add("Taro", "t@example.com")
        sent = activity("Do you ship to Kyoto?")
        await world.connector.add_activity(sent, to=hanako, marker="M", workspace_id=ACME)
        assert await world.office.feed() == [("Hanako", sent.text)]

    async def test_a_note_stands_on_its_record_and_its_owner_is_told_once(self, world: World) -> None:
        world.needs("note")
        kind = next(one for one in ("lead", "deal", "contact") if one in world.kinds)
        hanako = await world.office.add(kind, "Hanako", "h@example.com", owner_id=world.owner_id)
        first = await world.connector.add_note(NOTE, to=hanako, marker="M", workspace_id=ACME)
        assert first.owner is not None, "or nobody could tell them"
        assert first.owner.id == world.owner_id
        await world.once("note", to=hanako, text=NOTE.text)
        assert await world.office.notes() == [("Hanako", NOTE.text)]
        if "activity" in world.connector.declared.capabilities:
            assert not await world.office.feed()
        if "tells_owner" in world.connector.declared.capabilities:
            assert await world.office.told(world.owner_id) == [NOTE.text]

    # ------------------------------------------------------------ phone numbers

    async def test_a_phone_number_is_added_and_changed(self, world: World) -> None:
        world.needs("phone")
        hanako = await world.add("Hanako")
        taro = await world.add("Taro", "t@example.com")
        for number in (PHONE, PHONE, "+14155550123"):
            found = await world.connector.set_phone(number, of=hanako, workspace_id=ACME)
            assert found.record == hanako
            assert await world.office.phone(hanako) == number
        assert await world.office.phone(taro) is None

    async def test_a_phone_number_of_nobody(self, world: World) -> None:
        world.needs("phone")
        gone = await world.add("Hanako")
        await world.office.remove(gone)
        there = await world.office.add(world.kind, "Hanako", "h@example.com", workspace_id=OTHER)
        for record in (gone, there):
            with pytest.raises(Refused, match=r"\Arecord_gone\Z"):
                await world.connector.set_phone(PHONE, of=record, workspace_id=ACME)
