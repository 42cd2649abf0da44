"""The contract of connectors: what goes wrong on the way to the CRM is told so that nothing is lost and nothing comes twice."""

import re
from collections.abc import Awaitable
from typing import get_args

import pytest

from schemas.events import Layouts
from services.crm_sync.connectors.interface import LOGIN_REFUSED, NOT_SUPPORTED, OutcomeUnknown
from services.crm_sync.connectors.records import Capability
from services.runtime.effects import Refused, Transient, Unavailable
from tests.crm_sync.connector_world import ACME, ACTED, WRITTEN, Loss, World, Written

CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""What a failure's code looks like: nothing a visitor wrote, no sentence of the CRM."""


class TroubleContract:
    @pytest.mark.parametrize("how", get_args(Loss))
    @pytest.mark.parametrize("what", WRITTEN)
    async def test_once_under_retry_after_a_lost_answer(self, world: World, what: Written, how: Loss) -> None:
        world.needs(what)
        _can_lose(world, how)
        hanako = await world.add("Hanako")
        await world.line.lose(how)
        # What never left may be sent again at once; of all else nobody knows.
        expected = (Unavailable, Transient) if how == "unreached" else OutcomeUnknown
        with pytest.raises(expected) as lost:
            await world.write(what, to=hanako)
        assert CODE.fullmatch(lost.value.code)
        found = await world.find(hanako)
        assert (found is not None) is ACTED[how]
        again = await world.once(what, to=hanako)
        assert found is None or found.record == again.record
        assert await world.written(what) == ["Hello"]

    @pytest.mark.parametrize("how", get_args(Loss))
    async def test_a_phone_number_after_a_lost_answer(self, world: World, how: Loss) -> None:
        world.needs("phone")
        _can_lose(world, how)
        hanako = await world.add("Hanako")
        await world.line.lose(how)
        with pytest.raises((Unavailable, Transient)):
            await world.connector.set_phone("+14155550123", of=hanako, workspace_id=ACME)
        assert (await world.office.phone(hanako) is not None) is ACTED[how]
        await world.connector.set_phone("+14155550123", of=hanako, workspace_id=ACME)
        assert await world.office.phone(hanako) == "+14155550123"

    @pytest.mark.parametrize("what", WRITTEN)
    async def test_asked_to_wait(self, world: World, what: Written) -> None:
        world.needs(what)
        if not world.line.limits_rate:
            pytest.skip("this CRM limits no rate")
        hanako = await world.add("Hanako")
        await world.line.ask_to_wait(7)
        with pytest.raises(Unavailable) as told:
            await world.write(what, to=hanako)
        assert told.value.retry_after_s == 7
        assert CODE.fullmatch(told.value.code)
        assert await world.find(hanako) is None
        await world.write(what, to=hanako)
        assert await world.written(what) == ["Hello"]

    async def test_asked_to_wait_while_searching(self, world: World) -> None:
        if not world.line.limits_rate:
            pytest.skip("this CRM limits no rate")
        hanako = await world.add("Hanako")
        await world.line.ask_to_wait(7)
        with pytest.raises(Unavailable) as told:
            await world.connector.find_people("h@example.com", workspace_id=ACME)
        assert told.value.retry_after_s == 7
        found = await world.connector.find_people("h@example.com", workspace_id=ACME)
        assert [one.record for one in found] == [hanako]

    async def test_bad_credentials_wait_until_they_are_good(self, world: World) -> None:
        # Not Refused: whatever comes in the hour in which a password is wrong would be lost. It waits, and the open circuit shows it.
        if not world.line.asks_login:
            pytest.skip("this CRM asks for no login")
        hanako = await world.add("Hanako")
        await world.line.lock_out()
        with pytest.raises(Unavailable, match=rf"\A{LOGIN_REFUSED}\Z"):
            await world.connector.find_people("h@example.com", workspace_id=ACME)
        for what in WRITTEN:
            if what in world.connector.declared.capabilities:
                with pytest.raises(Unavailable, match=rf"\A{LOGIN_REFUSED}\Z"):
                    await world.write(what, to=hanako)
        await world.line.let_in()
        for what in WRITTEN:
            if what in world.connector.declared.capabilities:
                await world.write(what, to=hanako, marker=what)
                assert await world.written(what) == ["Hello"]

    async def test_field_refused(self, world: World) -> None:
        world.needs("lead")
        if world.refused_lead is None:
            pytest.skip("this CRM takes any lead")
        with pytest.raises(Refused) as refused:
            await world.connector.create_lead(world.refused_lead, marker="M", workspace_id=ACME)
        assert CODE.fullmatch(refused.value.code)
        assert not await world.office.people()
        # The next one is not made to pay for it.
        await world.connector.create_lead(world.lead, marker="M", workspace_id=ACME)
        assert len(await world.office.people()) == 1

    @pytest.mark.parametrize("capability", [*WRITTEN, "phone", "card"])
    async def test_what_is_not_declared_is_refused(self, world: World, capability: Capability) -> None:
        if capability in world.connector.declared.capabilities:
            pytest.skip(f"declares {capability}")
        hanako, connector = await world.add("Hanako"), world.connector
        calls: list[Awaitable[object]] = []
        match capability:
            case "phone":
                calls = [connector.set_phone("+81312345678", of=hanako, workspace_id=ACME)]
            case "card":
                calls = [
                    connector.card_fields(workspace_id=ACME),
                    connector.read_card(hanako, layouts=Layouts(), workspace_id=ACME),
                ]
            case "lead" | "activity" | "note" | "ticket":
                calls = [world.write(capability, to=hanako)]
        for call in calls:
            with pytest.raises(Refused, match=rf"\A{NOT_SUPPORTED}\Z"):
                await call


def _can_lose(world: World, how: Loss) -> None:
    if how not in world.line.losses:
        pytest.skip(f"in this world no answer gets lost like this: {how}")
