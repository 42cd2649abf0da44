"""The contract of connectors: a card shows what the layout names, in its order, standard and custom fields alike."""

from collections.abc import Mapping
from typing import get_args

import pytest

from schemas.events import Layouts
from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.records import Card, CardKind, PersonKind
from services.runtime.effects import Refused
from tests.crm_sync.connector_world import ACME, OTHER, World

SECTION: Mapping[PersonKind, CardKind] = {"lead": "lead", "deal": "lead", "contact": "person"}
NAME, EMAIL, COMPANY = "花子 O'Hara", "o'hara+shop@example.com", "山田商店 & Co."
KINDS = pytest.mark.parametrize("kind", ["lead", "deal", "contact"])


class CardContract:
    async def test_the_fields_a_card_can_show(self, world: World) -> None:
        world.needs("card")
        fields = await world.connector.card_fields(workspace_id=ACME)
        assert {SECTION[kind] for kind in world.kinds} <= set(fields) <= set(get_args(CardKind))
        for of_kind in fields.values():
            assert len({one.name for one in of_kind}) == len(of_kind)
            assert all(one.label for one in of_kind)
            assert any(not one.custom for one in of_kind)
        for kind, name in world.custom.items():
            assert [one.name for one in fields[kind] if one.custom].count(name) == 1

    @KINDS
    async def test_an_empty_layout_shows_the_standard_fields(self, world: World, kind: PersonKind) -> None:
        somebody = await _somebody(world, kind)
        fields = await world.connector.card_fields(workspace_id=ACME)
        card = await world.connector.read_card(somebody, layouts=Layouts(), workspace_id=ACME)
        assert card.record == somebody
        for section in card.sections:
            assert [one.field for one in section.fields] == [
                one for one in fields[section.kind] if not one.custom
            ]
        kinds = [section.kind for section in card.sections]
        assert kinds == [one for one in get_args(CardKind) if one in kinds]
        (own,) = [section for section in card.sections if section.kind == SECTION[kind]]
        assert own.name == NAME
        assert EMAIL in [one.value for one in own.fields]

    @KINDS
    async def test_a_layout_says_which_fields_and_in_which_order(
        self, world: World, kind: PersonKind
    ) -> None:
        somebody = await _somebody(world, kind)
        fields = await world.connector.card_fields(workspace_id=ACME)
        laid_out = {of: tuple(reversed(fields.get(of, ()))) for of in get_args(CardKind)}
        card = await world.connector.read_card(
            somebody,
            layouts=Layouts(
                **{of: ("no_such_field", *(one.name for one in chosen)) for of, chosen in laid_out.items()}
            ),
            workspace_id=ACME,
        )
        assert SECTION[kind] in [section.kind for section in card.sections]
        for section in card.sections:
            assert tuple(one.field for one in section.fields) == laid_out[section.kind]

    @KINDS
    async def test_custom_fields(self, world: World, kind: PersonKind) -> None:
        somebody = await _somebody(world, kind)
        of = SECTION[kind]
        if of not in world.custom:
            pytest.skip(f"this CRM has no custom field of a {of}")
        name = world.custom[of]
        layouts = Layouts(**{of: (name,)})
        assert _values(await self._card(world, somebody, layouts), of) == [(name, "")]
        await world.office.fill(somebody, kind=of, name=name, value="金 <b>'\"")
        assert _values(await self._card(world, somebody, layouts), of) == [(name, "金 <b>'\"")]

    @KINDS
    async def test_a_company(self, world: World, kind: PersonKind) -> None:
        world.needs("card")
        if "company" not in await world.connector.card_fields(workspace_id=ACME):
            pytest.skip("this CRM has no companies")
        somebody = await _somebody(world, kind, company=COMPANY)
        (company,) = [one for one in (await self._card(world, somebody)).sections if one.kind == "company"]
        assert company.name == COMPANY
        if "company" in world.custom:
            name = world.custom["company"]
            await world.office.fill(somebody, kind="company", name=name, value="gold")
            card = await self._card(world, somebody, Layouts(company=(name,)))
            assert _values(card, "company") == [(name, "gold")]

    @KINDS
    async def test_the_owner(self, world: World, kind: PersonKind) -> None:
        somebody = await _somebody(world, kind, owner_id=world.owner_id)
        card = await self._card(world, somebody)
        assert card.owner is not None
        assert card.owner.id == world.owner_id
        # Who may not see the owner is shown all other fields.
        told = {card.owner.id, card.owner.name, card.owner.email} - {None}
        shown = [one for section in card.sections for one in section.fields]
        assert all(one.field.of_owner or one.value not in told for one in shown)

    async def test_a_phone_number_that_was_set_is_shown(self, world: World) -> None:
        world.needs("card", "phone")
        somebody = await world.add("Hanako")
        await world.connector.set_phone("+81312345678", of=somebody, workspace_id=ACME)
        card = await self._card(world, somebody)
        shown = ["".join(one.value.split()) for section in card.sections for one in section.fields]
        assert "+81312345678" in shown

    async def test_a_card_of_nobody(self, world: World) -> None:
        world.needs("card")
        gone = await world.add("Hanako")
        await world.office.remove(gone)
        there = await world.office.add(world.kind, "Hanako", "h@example.com", workspace_id=OTHER)
        for record in (gone, there):
            with pytest.raises(Refused, match=r"\Arecord_gone\Z"):
                await self._card(world, record)

    @KINDS
    async def test_a_card_of_somebody_merged(self, world: World, kind: PersonKind) -> None:
        world.needs("card")
        if kind not in world.merges:
            pytest.skip(f"this CRM merges no {kind}s")
        duplicate = await world.office.add(kind, "Hanako Y.", "h@example.com")
        kept = await world.office.add(kind, "Hanako Yamada", "h@example.com")
        await world.office.merge(duplicate, into=kept)
        if world.tells_merged:
            card = await self._card(world, duplicate)
            assert card.record == kept
            assert [one.name for one in card.sections if one.kind == SECTION[kind]] == ["Hanako Yamada"]
        else:
            with pytest.raises(Refused, match=r"\Arecord_gone\Z"):
                await self._card(world, duplicate)

    async def _card(self, world: World, record: CrmRecord, layouts: Layouts | None = None) -> Card:
        return await world.connector.read_card(record, layouts=layouts or Layouts(), workspace_id=ACME)


async def _somebody(
    world: World, kind: PersonKind, *, company: str | None = None, owner_id: str | None = None
) -> CrmRecord:
    world.needs("card")
    if kind not in world.kinds:
        pytest.skip(f"this CRM has no {kind}s")
    return await world.office.add(kind, NAME, EMAIL, company=company, owner_id=owner_id)


def _values(card: Card, kind: CardKind) -> list[tuple[str, str]]:
    return [(one.field.name, one.value) for part in card.sections if part.kind == kind for one in part.fields]
