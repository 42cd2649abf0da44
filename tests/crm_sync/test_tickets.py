"""Conversations as tickets: which ones, what stands in them, and that each is made once."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.decisions import MailPlan
from schemas.events import Visitor
from schemas.outcomes import CrmRecord
from schemas.types import Outcome
from services.crm_sync import core
from services.crm_sync.connectors.interface import OutcomeUnknown
from services.crm_sync.connectors.records import NewTicket
from services.crm_sync.conversation import ticket_of
from services.runtime.effects import Away, Refused, Unavailable
from tests.crm_sync.material import LIMITS, enveloped, lead_request, settings, transcript
from tests.crm_sync.paper import ALL, PaperCrm
from tests.crm_sync.ports import AFTER, Killed, Steps
from tests.crm_sync.scene import ALWAYS, PaperScene, paper_scene


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[PaperScene]:
    async with paper_scene(tmp_path, tickets="all") as scene:
        yield scene


def test_what_stands_in_a_ticket() -> None:
    chat = transcript(
        outcome="missed",
        agents=(),
        tag="unattended",
        visitor=Visitor("v1", "山田 花子", " Hanako@Example.com ", "+81 3 1234 5678"),
    )
    record = CrmRecord("lead", "1")
    ticket = ticket_of(chat, limits=LIMITS, person=record)
    assert ticket == NewTicket(
        type="missed_chat",
        title="Missed chat with 山田 花子",
        text=ticket.text,
        question="Do you ship to Kyoto?",
        name="山田 花子",
        link="https://chat.example.com/t/abc",
        created_at="2026-11-21T09:05:00.000Z",
        email="Hanako@example.com",
        phone="+81 3 1234 5678",
        tag="unattended",
        person=record,
    )
    assert "[18:00:00] 山田 花子: Do you ship to Kyoto?" in ticket.text


@pytest.mark.parametrize(
    ("visitor", "language", "name", "email"),
    [
        (Visitor("v1", "Eve\nAdmin\u202e", "eve@example.com"), "en", "Eve Admin", "eve@example.com"),
        (Visitor("v1", " ", "eve@example.com"), "en", "eve@example.com", "eve@example.com"),
        (Visitor("v1"), "en", "Visitor", None),
        (Visitor("v1"), "ja", "訪問者", None),
        (Visitor("v1", "花" * 256, "not an address"), "ja", "花" * 79 + "…", None),
    ],
)
def test_whose_ticket_it_is(visitor: Visitor, language: Any, name: str, email: str | None) -> None:
    chat = transcript(visitor=visitor, email=MailPlan(language, "Asia/Tokyo"))
    ticket = ticket_of(chat, limits=LIMITS, person=None)
    assert (ticket.name, ticket.email, ticket.phone, ticket.person) == (name, email, None, None)


def test_a_ticket_keeps_to_the_limits() -> None:
    short = replace(LIMITS, body_max=2_000, body_unit="bytes", name_chars_max=4)
    ticket = ticket_of(transcript(question="花" * 4_000), limits=short, person=None)
    assert len(ticket.text.encode()) <= 2_000
    assert len(ticket.question.encode()) <= 2_000
    assert ticket.question.endswith("花…")
    assert ticket.name == "山田 花"


@pytest.mark.parametrize(
    ("known", "changes", "told", "person"),
    [
        (True, {}, [("activity", "done"), ("ticket", "done")], "1"),
        (False, {}, [("activity", "no_match"), ("ticket", "done")], None),
        (False, {"visitor_email": None}, [("activity", "no_match"), ("ticket", "done")], None),
        (True, {"visitor_email": None}, [("activity", "no_match"), ("ticket", "done")], None),
    ],
)
@pytest.mark.parametrize("outcome", ["handled", "handled_by_bot", "missed"])
async def test_every_conversation_is_a_ticket_with_and_without_an_address(
    scene: PaperScene, known: bool, changes: Any, told: Any, person: str | None, outcome: Outcome
) -> None:
    if known:
        scene.paper.add()
    await scene.sync().transcript(enveloped(transcript(outcome=outcome, **changes)))
    assert [one[:2] for one in scene.told()] == told
    ((marker, ticket),) = scene.paper.tickets
    assert (None if ticket.person is None else ticket.person.id) == person
    settled = scene.settled()[-1]
    assert (settled.chat_id, settled.revision, settled.request_id) == ("c1", 1, None)
    assert settled.record == CrmRecord("ticket", marker)


async def test_a_lead_of_the_policy_has_the_ticket(scene: PaperScene) -> None:
    await scene.sync(settings(**ALWAYS)).transcript(enveloped(transcript()))
    assert [one[0] for one in scene.told()] == ["lead", "activity", "ticket"]
    assert [ticket.person for _, ticket in scene.paper.tickets] == [scene.settled()[0].record]


@pytest.mark.parametrize(
    ("tickets", "made"), [("off", []), ("missed", ["missed_chat"]), ("all", ["chat", "missed_chat"])]
)
async def test_the_setting_says_which(tmp_path: Path, tickets: core.Tickets, made: list[str]) -> None:
    async with paper_scene(tmp_path, tickets=tickets) as scene:
        sync = scene.sync()
        await sync.transcript(enveloped(transcript()))
        await sync.transcript(enveloped(transcript(chat_id="c2", outcome="missed")))
        assert [ticket.type for _, ticket in scene.paper.tickets] == made


async def test_a_connector_without_tickets_is_not_asked_for_any(tmp_path: Path) -> None:
    async with paper_scene(tmp_path, tickets="all", paper=PaperCrm(ALL - {"ticket"})) as scene:
        await scene.sync().transcript(enveloped(transcript()))
        assert scene.told() == [("activity", "no_match", "nobody_found")]
        assert "create_ticket" not in scene.weather.calls


async def test_each_revision_has_its_own_and_a_lead_later_on_makes_no_other(scene: PaperScene) -> None:
    sync = scene.sync()
    for chat in (transcript(outcome="missed"), transcript(part=2, parts=2), transcript(revision=2)):
        await sync.transcript(enveloped(chat))
        await sync.transcript(enveloped(chat))
    await sync.notice(enveloped(lead_request()))
    assert [ticket.type for _, ticket in scene.paper.tickets] == ["missed_chat", "chat"]
    assert len({marker for marker, _ in scene.paper.tickets}) == 2
    assert len(scene.paper.filed) == 2


@pytest.mark.parametrize(
    ("failures", "told", "tickets"),
    [
        ([(OutcomeUnknown("timeout"), True)], ("ticket", "done", None), 1),
        ([(OutcomeUnknown("timeout"), False)], ("ticket", "done", None), 1),
        ([(Refused("field"), False)], ("ticket", "refused", "field"), 0),
        ([(OutcomeUnknown("timeout"), False)] * 3, ("ticket", "failed", "timeout"), 0),
    ],
)
async def test_what_becomes_of_a_ticket_that_does_not_go_smoothly(
    scene: PaperScene, failures: Any, told: Any, tickets: int
) -> None:
    scene.paper.add()
    scene.weather.ahead["create_ticket"] = failures
    await scene.sync().transcript(enveloped(transcript()))
    assert scene.told() == [("activity", "done", None), told]
    assert len(scene.paper.tickets) == tickets


async def test_a_conversation_that_goes_wrong_still_is_a_ticket(scene: PaperScene) -> None:
    scene.weather.ahead["find_people"] = [(Refused("access_denied"), False)]
    await scene.sync().transcript(enveloped(transcript()))
    assert scene.told() == [("activity", "refused", "access_denied"), ("ticket", "done", None)]


async def test_a_crm_that_goes_away_before_the_ticket_is_waited_for(scene: PaperScene) -> None:
    scene.paper.add()
    scene.weather.ahead["create_ticket"] = [(Unavailable("down"), False)]
    with pytest.raises(Away):
        await scene.sync().transcript(enveloped(transcript()))
    assert not scene.written
    await scene.sync().transcript(enveloped(transcript()))
    assert scene.told() == [("activity", "done", None), ("ticket", "done", None)]
    assert (len(scene.paper.filed), len(scene.paper.tickets)) == (1, 1)


SCENARIOS: dict[str, tuple[Any, int, list[str]]] = {
    "match": (settings(), 1, ["activity", "ticket"]),
    "lead": (settings(**ALWAYS), 0, ["lead", "activity", "ticket"]),
    "nobody": (settings(), 0, ["activity", "ticket"]),
}


@AFTER
@pytest.mark.parametrize("name", SCENARIOS)
async def test_killed_at_any_step_each_report_stands_once_and_in_order(
    tmp_path: Path, name: str, *, after: bool
) -> None:
    configured, known, kinds = SCENARIOS[name]
    kill_at, killed = 0, True
    while killed:
        (folder := tmp_path / str(kill_at)).mkdir()
        async with paper_scene(folder, tickets="all") as scene:
            for _ in range(known):
                scene.paper.add()
            chat = enveloped(transcript())
            try:
                await scene.sync(configured, steps=Steps(kill_at=kill_at, after=after)).transcript(chat)
                killed = False
            except Killed:
                pass
            for _ in range(2):
                await scene.sync(configured).transcript(chat)
            assert [one.kind for one in scene.reported()] == kinds, kill_at
            assert len(scene.paper.tickets) == 1, kill_at
            assert len(scene.paper.filed) == ("done" in {one.result for one in scene.reported()[:-1]}), (
                kill_at
            )
            assert not killed or len(scene.paper.sheets) == (name != "nobody"), kill_at
        kill_at += 1
    assert kill_at > 5, "there were steps to be killed at"
