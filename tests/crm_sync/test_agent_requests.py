"""What agents ask of the CRM: notes that tell an owner, phone numbers, leads; and records that are gone meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas import codec
from schemas.events import Visitor
from schemas.outcomes import CrmOwner
from services.crm_sync.connectors.interface import OutcomeUnknown
from services.crm_sync.connectors.records import Capability, Staff
from services.notifier.core import Rules, compose
from services.runtime.effects import Refused
from services.runtime.ledger import Ledger
from tests.crm_sync.material import LIMITS, enveloped, lead_request, settings, transcript
from tests.crm_sync.paper import ALL, OWNER, PaperCrm
from tests.crm_sync.ports import AFTER, Killed, Steps
from tests.crm_sync.scene import PaperScene, Process, paper_scene

NOTE = lead_request(kind="note", value="Please call her.")
PHONE = lead_request(kind="phone", value="03-1234-5678")
JAPAN = settings(region="JP")
RULES = Rules(salt=b"salt", link=lambda *_: "")
"""How the notifier writes mails."""


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[PaperScene]:
    async with paper_scene(tmp_path) as scene:
        yield scene


# ---------------------------------------------------------------- notes


async def test_a_note_stands_on_the_record_and_its_owner_is_mailed(scene: PaperScene) -> None:
    sheet = scene.paper.add()
    await scene.sync().notice(enveloped(NOTE))
    ((marker, note),) = sheet.notes
    assert (note.text, note.author) == ("Please call her.", Staff("ken", "佐藤 健", "東京", "sales"))
    (settled,) = scene.settled()
    assert (settled.kind, settled.result, settled.code) == ("note", "done", None)
    assert (settled.request_id, settled.chat_id, settled.revision) == ("r1", "c1", None)
    assert settled.record == sheet.person.record, "what the mail leads to is the person's record"
    assert (settled.tell_owner_by_mail, settled.owner) == (True, OWNER)
    assert len(marker) == 26

    mail = compose(codec.activities.decode(scene.written[0]), RULES)
    assert mail is not None
    assert [one.address for one in mail.to] == ["zoe@acme.example"]
    assert mail.link == "https://crm.example/1"


@pytest.mark.parametrize(
    ("owner", "tells", "by_mail", "code"),
    [
        (OWNER, False, True, None),
        (CrmOwner("z", "Zoe"), False, False, "owner_email_unknown"),
        (None, False, False, "owner_unknown"),
        (OWNER, True, False, None),
        (CrmOwner("z", "Zoe"), True, False, None),
        (None, True, False, "owner_unknown"),
    ],
)
async def test_how_the_owner_is_told(
    tmp_path: Path, owner: CrmOwner | None, tells: bool, by_mail: bool, code: str | None
) -> None:
    capabilities: frozenset[Capability] = ALL | {"tells_owner"} if tells else ALL
    async with paper_scene(tmp_path, paper=PaperCrm(capabilities)) as scene:
        sheet = scene.paper.add(owner=owner)
        await scene.sync().notice(enveloped(NOTE))
        (settled,) = scene.settled()
        assert (settled.result, settled.tell_owner_by_mail, settled.code) == ("done", by_mail, code)
        assert len(sheet.notes) == 1
        mail = compose(codec.activities.decode(scene.written[0]), RULES)
        assert (mail is not None) is by_mail


async def test_a_note_goes_where_a_conversation_would_go_first_and_to_one_record_only(
    scene: PaperScene,
) -> None:
    contact, older, newer, lost = (
        scene.paper.add("contact"),
        scene.paper.add(),
        scene.paper.add(),
        scene.paper.add(is_open=False),
    )
    await scene.sync(settings(match_many="all")).notice(enveloped(NOTE))
    assert [len(one.notes) for one in (contact, older, newer, lost)] == [0, 0, 1, 0]
    assert scene.told() == [("note", "done", "newest_of_many")]


async def test_a_long_note_is_cut_to_what_the_crm_takes(scene: PaperScene) -> None:
    scene.paper.declared_ = replace(scene.paper.declared, limits=replace(LIMITS, body_max=2_000))
    sheet = scene.paper.add()
    await scene.sync().notice(enveloped(replace(NOTE, value="花" * 16_000)))
    ((_, note),) = sheet.notes
    assert note.text == "花" * 1_999 + "…"


# ---------------------------------------------------------------- phone numbers


async def test_a_phone_number_is_set_as_the_region_says(scene: PaperScene) -> None:
    sheet = scene.paper.add("contact")
    sync = scene.sync(JAPAN)
    await sync.notice(enveloped(PHONE))
    assert sheet.phone == "+81312345678"
    await sync.notice(enveloped(replace(PHONE, request_id="r2", value="+1 201 555 0123")))
    assert sheet.phone == "+12015550123"
    (first, _) = scene.settled()
    assert (first.kind, first.result, first.record, first.owner) == (
        "phone",
        "done",
        sheet.person.record,
        OWNER,
    )


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (NOTE, "nobody_found"),
        (PHONE, "nobody_found"),
        (replace(NOTE, visitor=Visitor("v1")), "visitor_email_unknown"),
        (replace(PHONE, visitor=Visitor("v1", email="hanako@")), "visitor_email_unknown"),
        (replace(NOTE, value=" \n "), "text_missing"),
        (replace(NOTE, value=None), "text_missing"),
        (replace(PHONE, value="12"), "phone_invalid"),
        (replace(PHONE, value=None), "phone_invalid"),
    ],
)
async def test_what_can_not_be_done_says_why_and_creates_nobody(
    scene: PaperScene, request_: Any, code: str
) -> None:
    await scene.sync(replace(JAPAN, lead_policy="always")).notice(enveloped(request_))
    assert scene.told() == [(request_.kind, "refused", code)]
    assert not scene.known()
    assert not scene.settled()[0].tell_owner_by_mail


@pytest.mark.parametrize("kind", ["lead", "note", "phone"])
async def test_what_the_connector_does_not_declare_is_refused_before_it_is_asked(
    tmp_path: Path, kind: str
) -> None:
    async with paper_scene(tmp_path, paper=PaperCrm(frozenset({"activity"}))) as scene:
        await scene.sync().notice(enveloped(lead_request(kind=kind)))
        assert scene.told() == [(kind, "refused", "not_supported")]
        assert not scene.weather.calls


async def test_what_the_crm_refuses_or_never_does_is_told(scene: PaperScene) -> None:
    scene.paper.add()
    scene.weather.ahead["add_note"] = [(Refused("field"), False)]
    scene.weather.ahead["set_phone"] = [(OutcomeUnknown("broken_off"), False)] * 3
    sync = scene.sync(JAPAN)
    await sync.notice(enveloped(NOTE))
    await sync.notice(enveloped(replace(PHONE, request_id="r2")))
    assert scene.told() == [("note", "refused", "field"), ("phone", "failed", "broken_off")]


# ---------------------------------------------------------------- leads


async def test_a_lead_has_its_source_owner_and_note(scene: PaperScene) -> None:
    scene.paper.declared_ = replace(scene.paper.declared, limits=replace(LIMITS, body_max=2_000))
    await scene.sync(settings(owner_id="boss")).notice(enveloped(lead_request(value="花" * 16_000)))
    (sheet,) = scene.paper.sheets.values()
    assert sheet.lead is not None
    assert (sheet.lead.source, sheet.lead.owner_id, sheet.lead.note) == ("chat", "boss", "花" * 1_999 + "…")
    assert scene.settled()[0].record == sheet.person.record


@pytest.mark.parametrize("value", [None, "", "  "])
async def test_a_lead_needs_no_note(scene: PaperScene, value: str | None) -> None:
    await scene.sync().notice(enveloped(lead_request(value=value)))
    (sheet,) = scene.paper.sheets.values()
    assert sheet.lead is not None
    assert sheet.lead.note is None


@pytest.mark.parametrize("kind", ["lead", "deal", "contact"])
@pytest.mark.parametrize("is_open", [True, False])
async def test_whoever_is_known_is_no_new_lead(scene: PaperScene, kind: Any, *, is_open: bool) -> None:
    scene.paper.add(kind, is_open=is_open)
    await scene.sync().notice(enveloped(lead_request()))
    assert scene.told() == [("lead", "refused", "already_a_customer")]
    assert scene.known() == ["1"]


# ---------------------------------------------------------------- records that are gone meanwhile


def deleted(scene: PaperScene) -> None:
    del scene.paper.sheets["1"]


def merged(scene: PaperScene) -> None:
    scene.paper.merge(scene.paper.sheets["1"], into=scene.paper.add("contact"))


def merged_into_somebody_with_another_address(scene: PaperScene) -> None:
    scene.paper.merge(scene.paper.sheets["1"], into=scene.paper.add("contact", email="h@example.com"))


Gone = Callable[[PaperScene], None]


@pytest.mark.parametrize(
    ("happens", "policy", "told", "entries"),
    [
        (deleted, "on_request", [("activity", "no_match", "nobody_found")], []),
        (deleted, "always", [("lead", "done", None), ("activity", "done", None)], ["2"]),
        (merged, "on_request", [("activity", "done", None)], ["2"]),
        (merged, "always", [("activity", "done", None)], ["2"]),
        (
            merged_into_somebody_with_another_address,
            "never",
            [("activity", "no_match", "nobody_found")],
            [],
        ),
    ],
)
@pytest.mark.parametrize("many", ["newest", "all"])
async def test_a_conversation_goes_to_who_is_left(
    scene: PaperScene, happens: Gone, policy: str, told: list[Any], entries: list[str], many: str
) -> None:
    scene.paper.add()
    scene.paper.on_search = lambda: happens(scene)
    await scene.sync(settings(lead_policy=policy, match_many=many)).transcript(enveloped(transcript()))
    assert scene.told() == told
    assert [key for key, _ in scene.paper.filed] == entries


@pytest.mark.parametrize(
    ("happens", "told"),
    [(deleted, ("refused", "nobody_found")), (merged, ("done", None))],
)
@pytest.mark.parametrize("request_", [NOTE, PHONE], ids=["note", "phone"])
async def test_a_request_goes_to_who_is_left(
    scene: PaperScene, happens: Gone, told: Any, request_: Any
) -> None:
    scene.paper.add()
    scene.paper.on_search = lambda: happens(scene)
    await scene.sync(JAPAN).notice(enveloped(request_))
    assert scene.told() == [(request_.kind, *told)]
    assert sum(len(one.notes) + (one.phone is not None) for one in scene.paper.sheets.values()) == (
        told[0] == "done"
    )


async def test_whoever_is_gone_again_and_again_is_told_and_not_searched_for_ever(scene: PaperScene) -> None:
    scene.paper.add()
    scene.weather.ahead["add_note"] = [(Refused("record_gone"), False)] * 9
    await scene.sync().notice(enveloped(NOTE))
    assert scene.told() == [("note", "refused", "record_gone")]
    assert scene.weather.calls == ["find_people", "add_note", "find_people", "add_note"]


# ---------------------------------------------------------------- killed anywhere


def known(scene: PaperScene) -> None:
    scene.paper.add()


def merged_meanwhile(scene: PaperScene) -> None:
    scene.paper.add()
    scene.paper.on_search = lambda: merged(scene)


def nobody(_scene: PaperScene) -> None:
    """A lead is for whom nobody knows."""


SCENARIOS: dict[str, tuple[Any, Gone]] = {
    "note": (NOTE, known),
    "phone": (PHONE, known),
    "lead": (lead_request(), nobody),
    "note, merged": (NOTE, merged_meanwhile),
    "chat, merged": (transcript(), merged_meanwhile),
}


@AFTER
@pytest.mark.parametrize("name", SCENARIOS)
async def test_killed_at_any_step_and_started_again_does_nothing_twice(
    tmp_path: Path, name: str, *, after: bool
) -> None:
    asked, prepare = SCENARIOS[name]
    envelope = enveloped(asked)

    async def bring(process: Process) -> None:
        await (process.transcript if name.startswith("chat") else process.notice)(envelope)

    kill_at, killed = 0, True
    while killed:
        (folder := tmp_path / str(kill_at)).mkdir()
        async with paper_scene(folder) as scene:
            prepare(scene)
            try:
                await bring(scene.sync(JAPAN, steps=Steps(kill_at=kill_at, after=after)))
                killed = False
            except Killed:
                pass
            for _ in range(2):
                await bring(scene.sync(JAPAN))
            (settled,) = scene.reported()
            assert (settled.result, settled.code) == ("done", None), kill_at
            (sheet,) = scene.paper.sheets.values()
            filed = (
                len(sheet.notes) + len(sheet.entries) + (sheet.phone is not None) + (sheet.lead is not None)
            )
            assert filed == 1, kill_at
        kill_at += 1
    assert kill_at > 5, "there were steps to be killed at"


async def test_a_note_that_was_left_behind_is_found_though_another_record_is_newer_now(
    scene: PaperScene,
) -> None:
    first = scene.paper.add()
    with pytest.raises(Killed):
        await scene.sync(steps=Steps(kill_at=3, after=True)).notice(enveloped(NOTE))
    assert len(first.notes) == 1
    second = scene.paper.add()
    await scene.sync().notice(enveloped(NOTE))
    assert [len(one.notes) for one in (first, second)] == [1, 0]


# ---------------------------------------------------------------- fair


async def test_owners_take_turns_over_two_workers_and_restarts(tmp_path: Path) -> None:
    """300 leads for 3 owners: 100 each, whoever is killed when, by request or by policy, and however often each is brought."""
    pool = ("a", "b", "c")
    configured = settings(lead_policy="always", pool=pool)

    async def bring(scene: PaperScene, number: int, ledger: Ledger) -> None:
        address = f"v{number}@example.com"
        for kill_at in (number % 19, number % 7, None):
            worker = scene.sync(
                configured, steps=Steps(kill_at=kill_at, after=number % 2 == 0), ledger=ledger
            )
            with suppress(Killed):
                if number % 2:
                    visitor = Visitor(f"v{number}", email=address)
                    await worker.notice(enveloped(lead_request(request_id=f"r{number}", visitor=visitor)))
                else:
                    await worker.transcript(
                        enveloped(transcript(chat_id=f"c{number}", visitor_email=address))
                    )

    async with paper_scene(tmp_path) as scene:
        for began in range(0, 300, 50):
            # Workers with new names: the old ones are gone for good.
            async with scene.worker() as one, scene.worker() as other:
                await asyncio.gather(
                    *(bring(scene, number, (one, other)[number % 2]) for number in range(began, began + 50))
                )
        owned = [sheet.lead.owner_id for sheet in scene.paper.sheets.values() if sheet.lead is not None]
    assert len(owned) == 300
    assert [owned.count(owner) for owner in pool] == [100, 100, 100]
