"""The contract of connectors: who is found, and what becomes of people who were removed or merged."""

import pytest

from services.crm_sync.connectors.records import PersonKind
from services.runtime.effects import Refused
from tests.crm_sync.connector_world import ACME, OTHER, World


class PeopleContract:
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
            ("a_b@example.com", "a_b@example.com", True),
            ("a%@example.com", "abc@example.com", False),
            ("hanako@example.com", "anako@example.com", False),
            ("hanako@example.com", "hanako@example.co", False),
            (None, "hanako@example.com", False),
        ],
    )
    async def test_finds_by_address(self, world: World, stored: str | None, asked: str, found: bool) -> None:
        record = await world.add("Hanako", stored)
        people = await world.connector.find_people(asked, workspace_id=ACME)
        assert [one.record for one in people] == ([record] if found else [])

    async def test_finds_all_kinds_and_their_age(self, world: World) -> None:
        records = {
            await world.office.add(kind, f"{number}", "h@example.com", created_ms=number * 1_000): (
                kind,
                number * 1_000,
            )
            for number, kind in enumerate(world.together, start=1)
            if kind in world.kinds
        }
        found = await world.connector.find_people("h@example.com", workspace_id=ACME)
        assert {one.record: one.kind for one in found} == {
            record: kind for record, (kind, _) in records.items()
        }
        if world.sets_dates:
            assert {one.record: one.created_ms for one in found} == {
                record: created_ms for record, (_, created_ms) in records.items()
            }
        else:
            age = {one.record: one.created_ms for one in found}
            assert [age[record] for record in records] == sorted(age.values())

    @pytest.mark.parametrize("kind", ["lead", "deal", "contact"])
    async def test_says_who_owns_somebody(self, world: World, kind: PersonKind) -> None:
        if kind not in world.kinds:
            pytest.skip(f"this CRM has no {kind}s")
        await world.office.add(kind, "Hanako", "h@example.com", owner_id=world.owner_id)
        people = await world.connector.find_people("h@example.com", workspace_id=ACME)
        (found,) = [one for one in people if one.kind == kind]
        assert found.open
        assert found.owner is None or found.owner.id == world.owner_id
        assert found.owner is not None or kind == "contact", "a lead and a deal have an owner everywhere"

    async def test_workspaces_do_not_see_each_other(self, world: World) -> None:
        there = await world.office.add(world.kind, "Hanako", "h@example.com", workspace_id=OTHER)
        assert not await world.connector.find_people("h@example.com", workspace_id=ACME)
        assert [
            one.record for one in await world.connector.find_people("h@example.com", workspace_id=OTHER)
        ] == [there]

    async def test_somebody_removed_is_found_no_more(self, world: World) -> None:
        hanako = await world.add("Hanako")
        await world.office.remove(hanako)
        assert not await world.connector.find_people("h@example.com", workspace_id=ACME)

    @pytest.mark.parametrize("kind", ["lead", "deal", "contact"])
    async def test_somebody_merged_stands_for_the_other(self, world: World, kind: PersonKind) -> None:
        if kind not in world.merges:
            pytest.skip(f"this CRM merges no {kind}s")
        duplicate = await world.office.add(kind, "Hanako Y.", "h@example.com")
        kept = await world.office.add(kind, "Hanako Yamada", "h@example.com")
        await world.office.merge(duplicate, into=kept)
        found = await world.connector.find_people("h@example.com", workspace_id=ACME)
        assert [one.record for one in found] == [kept]
        for what in ("activity", "note"):
            if what not in world.connector.declared.capabilities:
                continue
            if world.tells_merged:
                await world.write(what, to=duplicate, marker=what, text="after all")
                seen = await (world.office.feed() if what == "activity" else world.office.notes())
                assert seen == [("Hanako Yamada", "after all")]
            else:
                with pytest.raises(Refused, match=r"\Arecord_gone\Z"):
                    await world.write(what, to=duplicate, marker=what)
