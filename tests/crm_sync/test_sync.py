import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from schemas import codec
from schemas.events import Visitor
from schemas.outcomes import CrmRecord, CrmSettled
from services.crm_sync import core
from services.crm_sync.connectors.embedded.connector import EmbeddedCrm
from services.crm_sync.connectors.embedded.views import FeedFilter, FeedPage
from services.crm_sync.connectors.interface import OutcomeUnknown
from services.crm_sync.store import Store
from services.runtime.effects import Away, Refused, Transient, Unavailable
from services.runtime.ledger import Ledger
from tests.crm_sync.material import enveloped, lead_request, settings, transcript
from tests.crm_sync.ports import AFTER, Careless, Killed, Steps, Weather
from tests.crm_sync.scene import ACME, ALWAYS, Process, Scene


@dataclass
class Place(Scene):
    """What outlives a process, with the embedded CRM."""

    crm: EmbeddedCrm = field(kw_only=True)

    async def feed(self) -> FeedPage:
        return await self.crm.feed(FeedFilter(), workspace_id=ACME)

    async def person(self, kind: Any = "lead", *, name: str = "Hanako", created_ms: int = 0) -> CrmRecord:
        added = await self.crm.add_person(
            kind=kind,
            name=name,
            email="Hanako@Example.com",
            created_ms=created_ms,
            owner_id="z",
            marker=f"seed-{kind}-{name}",
            workspace_id=ACME,
        )
        return added.record


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    crm = await EmbeddedCrm.open(f"sqlite:///{tmp_path}/crm.db", now_ms=lambda: 0)
    store = await Store.open(f"sqlite:///{tmp_path}/ledger.db")
    async with Ledger(f"sqlite:///{tmp_path}/ledger.db", group="effects") as ledger:
        yield Place(Weather(Careless(crm)), ledger, store, crm=crm)
    await store.close()
    await crm.close()


# ---------------------------------------------------------------- what comes of a conversation


async def test_match_puts_the_conversation_into_the_feed(place: Place) -> None:
    await place.person()
    await place.sync().transcript(enveloped(transcript()))
    feed = await place.feed()
    assert [(item.person, item.activity.title) for item in feed.items] == [("Hanako", "Chat with 山田 花子")]
    (settled,) = place.settled()
    assert (settled.kind, settled.result, settled.code) == ("activity", "done", None)
    assert (settled.chat_id, settled.revision) == ("c1", 1)
    assert settled.record is not None
    assert settled.record.type == "activity"
    assert settled.owner is not None
    assert settled.owner.id == "z"
    assert place.weather.calls == ["find_people", "add_activity"]
    assert place.metrics.value("effects_total", kind="activity", result="done") == 1


@pytest.mark.parametrize("outcome", ["handled", "handled_by_bot", "missed"])
async def test_every_outcome_with_a_match_is_in_the_feed(place: Place, outcome: str) -> None:
    await place.person()
    await place.sync().transcript(enveloped(transcript(outcome=outcome)))
    assert [item.activity.type for item in (await place.feed()).items] == [
        "missed_chat" if outcome == "missed" else "chat"
    ]


async def test_no_match_is_reported_and_creates_nothing(place: Place) -> None:
    sync = place.sync()
    await sync.transcript(enveloped(transcript()))
    await sync.transcript(enveloped(transcript(chat_id="c2", visitor_email=None)))
    await sync.transcript(enveloped(transcript(chat_id="c3", visitor_email="not an address")))
    assert place.told() == [
        ("activity", "no_match", "nobody_found"),
        ("activity", "no_match", "no_email"),
        ("activity", "no_match", "no_email"),
    ]
    assert not (await place.feed()).items


async def test_newest_of_many_is_recorded(place: Place) -> None:
    await place.person(name="old", created_ms=1)
    await place.person(name="new", created_ms=2)
    await place.sync().transcript(enveloped(transcript()))
    assert [item.person for item in (await place.feed()).items] == ["new"]
    assert place.told() == [("activity", "done", "newest_of_many")]


async def test_all_of_many(place: Place) -> None:
    await place.person(name="old", created_ms=1)
    await place.person(name="new", created_ms=2)
    await place.sync(settings(match_many="all")).transcript(enveloped(transcript()))
    assert sorted(item.person for item in (await place.feed()).items) == ["new", "old"]
    assert place.told() == [("activity", "done", None)]


async def test_policy_always_creates_a_lead_and_its_feed_has_the_chat(place: Place) -> None:
    sync = place.sync(settings(**ALWAYS))
    await sync.transcript(enveloped(transcript()))
    await sync.transcript(enveloped(transcript(chat_id="c2", visitor_email="HANAKO@example.com")))
    await sync.transcript(enveloped(transcript(chat_id="c3", visitor_email="taro@example.com")))
    await sync.transcript(enveloped(transcript(chat_id="c4", visitor_email=None)))
    assert place.told() == [
        ("lead", "done", None),
        ("activity", "done", None),
        ("activity", "done", None),
        ("lead", "done", None),
        ("activity", "done", None),
        ("activity", "no_match", "no_email"),
    ]
    feed = await place.feed()
    assert sorted((item.person_kind, item.owner_id) for item in feed.items) == [
        ("lead", "a"),
        ("lead", "a"),
        ("lead", "b"),
    ]
    (lead,) = await place.crm.find_people("hanako@example.com", workspace_id=ACME)
    assert [one.record for one in place.settled()[:1]] == [lead.record]


async def test_two_chats_of_a_newcomer_that_end_together_make_one_lead(place: Place) -> None:
    sync = place.sync(settings(**ALWAYS))
    await asyncio.gather(
        *(sync.transcript(enveloped(transcript(chat_id=f"c{number}"))) for number in range(6))
    )
    assert len(await place.crm.find_people("hanako@example.com", workspace_id=ACME)) == 1
    assert len((await place.feed()).items) == 6
    assert sorted(one.kind for one in place.settled()) == ["activity"] * 6 + ["lead"]


async def test_two_workers_with_chats_of_one_newcomer_make_one_lead(tmp_path: Path, place: Place) -> None:
    """After a rebalance the old owner may still be at one of them while the new one begins another."""
    async with Ledger(f"sqlite:///{tmp_path}/ledger.db", group="effects") as other:
        workers = (place, replace(place, ledger=other))
        await asyncio.gather(
            *(
                worker.sync(settings(**ALWAYS)).transcript(enveloped(transcript(chat_id=f"c{number}")))
                for number, worker in enumerate(workers)
            )
        )
    assert len(await place.crm.find_people("hanako@example.com", workspace_id=ACME)) == 1
    assert len((await place.feed()).items) == 2
    assert place.weather.calls.count("find_marker") == 1, "who came second asked"


async def test_without_a_crm_there_is_no_record_at_all(place: Place) -> None:
    await place.person()
    await place.sync().transcript(enveloped(transcript(), workspace_id="unconfigured"))
    await place.sync(settings(connector=core.OFF)).transcript(enveloped(transcript()))
    assert not place.written
    assert not (await place.feed()).items
    assert not place.weather.calls


async def test_unknown_connector_is_told(place: Place) -> None:
    await place.sync(settings(connector="tryton-typo")).transcript(enveloped(transcript()))
    assert place.told() == [("activity", "refused", "unknown_connector")]


async def test_further_parts_do_nothing(place: Place) -> None:
    await place.person()
    sync = place.sync()
    for part in (1, 2, 3):
        await sync.transcript(enveloped(transcript(part=part, parts=3)))
    assert len(place.written) == len((await place.feed()).items) == 1


async def test_a_reopened_chat_is_a_conversation_of_its_own(place: Place) -> None:
    await place.person()
    sync = place.sync()
    await sync.transcript(enveloped(transcript(outcome="missed")))
    await sync.transcript(enveloped(transcript(revision=2)))
    assert len((await place.feed()).items) == 2
    assert len({codec.activities.decode(value).id for value in place.written}) == 2


# ---------------------------------------------------------------- agents' requests


async def test_requested_lead(place: Place) -> None:
    sync = place.sync(settings(owner_id="boss"))
    await sync.notice(enveloped(lead_request()))
    await sync.notice(enveloped(lead_request(request_id="r2")))
    await sync.notice(enveloped(lead_request(request_id="r4", visitor=Visitor("v9"))))
    assert [(one.request_id, one.result, one.code) for one in place.settled()] == [
        ("r1", "done", None),
        ("r2", "refused", "already_a_customer"),
        ("r4", "refused", "visitor_email_unknown"),
    ]
    (lead,) = await place.crm.find_people("hanako@example.com", workspace_id=ACME)
    assert lead.owner is not None
    assert lead.owner.id == "boss"


async def test_request_without_a_crm_is_refused_and_settings_notices_are_not_for_the_agent(
    place: Place,
) -> None:
    await place.sync().notice(enveloped(lead_request(), workspace_id="acme"))
    await place.sync(settings(connector=core.OFF)).notice(enveloped(lead_request(request_id="r2")))
    await place.sync().notice(enveloped(settings()))
    assert [one.code for one in place.settled()] == [None, "crm_not_configured"]


# ---------------------------------------------------------------- bad days


async def test_unknown_outcome_asks_for_the_marker_before_it_sends_again(place: Place) -> None:
    await place.person()
    place.weather.ahead["add_activity"] = [(OutcomeUnknown("timeout"), True)]
    await place.sync().transcript(enveloped(transcript()))
    assert place.weather.calls == ["find_people", "add_activity", "find_marker"]
    assert len((await place.feed()).items) == 1
    assert place.told() == [("activity", "done", None)]


async def test_unknown_outcome_that_was_none_is_sent_again(place: Place) -> None:
    await place.person()
    place.weather.ahead["add_activity"] = [(OutcomeUnknown("timeout"), False)]
    await place.sync().transcript(enveloped(transcript()))
    assert place.weather.calls == ["find_people", "add_activity", "find_marker", "add_activity"]
    assert place.told() == [("activity", "done", None)]


async def test_a_busy_crm_is_not_asked_for_markers(place: Place) -> None:
    await place.person()
    place.weather.ahead["add_activity"] = [(Unavailable("rate_limited", retry_after_s=0.01), False)]
    await place.sync().transcript(enveloped(transcript()))
    assert place.weather.calls == ["find_people", "add_activity", "add_activity"]


@pytest.mark.parametrize("carried_out", [True, False])
async def test_only_unknown_outcomes_end_as_what_is_there(place: Place, *, carried_out: bool) -> None:
    await place.person()
    bad = (OutcomeUnknown("broken_off"), False)
    place.weather.ahead["add_activity"] = [bad, bad, (OutcomeUnknown("broken_off"), carried_out)]
    await place.sync().transcript(enveloped(transcript()))
    assert place.told() == [
        ("activity", "done", None) if carried_out else ("activity", "failed", "broken_off")
    ]
    assert len((await place.feed()).items) == carried_out


async def come_again(sync: Process) -> None:
    """Bring the transcript until the circuit lets it through."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await sync.transcript(enveloped(transcript()))
            except Away as away:
                await asyncio.sleep(away.retry_s)


@pytest.mark.parametrize("step", ["find_people", "create_lead", "add_activity"])
async def test_a_long_outage_drops_nothing(place: Place, step: str) -> None:
    place.weather.ahead[step] = [(Unavailable("down"), False)] * 12
    sync = place.sync(settings(**ALWAYS))
    turned_away = 0
    while place.weather.ahead[step]:
        with pytest.raises(Away) as raised:
            await sync.transcript(enveloped(transcript()))
        turned_away += 1
        assert not place.written
        await asyncio.sleep(raised.value.retry_s)
    await come_again(sync)
    assert turned_away >= 12
    assert place.told() == [("lead", "done", None), ("activity", "done", None)]
    assert len((await place.feed()).items) == 1


@pytest.mark.parametrize(
    ("step", "error", "told"),
    [
        ("find_people", Refused("access_denied"), [("activity", "refused", "access_denied")]),
        (
            "add_activity",
            Refused("record_gone"),
            [("lead", "done", None), ("activity", "refused", "record_gone")],
        ),
        (
            "create_lead",
            Refused("field"),
            [("lead", "refused", "field"), ("activity", "refused", "lead_refused")],
        ),
        ("create_lead", Transient("odd"), [("lead", "failed", "odd"), ("activity", "failed", "lead_failed")]),
    ],
)
async def test_what_never_works_is_told(place: Place, step: str, error: Exception, told: list[Any]) -> None:
    place.weather.ahead[step] = [(error, False)] * 3
    await place.sync(settings(**ALWAYS)).transcript(enveloped(transcript()))
    assert place.told() == told


# ---------------------------------------------------------------- killed anywhere


async def scenario(place: Place, name: str, sync: Process) -> None:
    if name == "request":
        await sync.notice(enveloped(lead_request()))
    else:
        await sync.transcript(enveloped(transcript()))


SCENARIOS = {
    "match": (settings(), [("activity", "done")], 1),
    "all": (settings(match_many="all"), [("activity", "done")], 2),
    "lead": (settings(**ALWAYS), [("activity", "done"), ("lead", "done")], 1),
    "request": (settings(**ALWAYS), [("lead", "done")], 0),
    "no_match": (settings(), [("activity", "no_match")], 0),
}


@AFTER
@pytest.mark.parametrize("name", SCENARIOS)
async def test_killed_at_any_step_and_started_again_does_nothing_twice(
    tmp_path: Path, name: str, *, after: bool
) -> None:
    configured, told, entries = SCENARIOS[name]
    kill_at, killed = 0, True
    while killed:
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        crm = await EmbeddedCrm.open(f"sqlite:///{folder}/crm.db", now_ms=lambda: 0)
        store = await Store.open(f"sqlite:///{folder}/ledger.db")
        async with Ledger(f"sqlite:///{folder}/ledger.db", group="effects") as ledger:
            place = Place(Weather(Careless(crm)), ledger, store, crm=crm)
            if name in ("match", "all"):
                await place.person(name="one")
                await place.person(name="two")
            try:
                await scenario(place, name, place.sync(configured, steps=Steps(kill_at=kill_at, after=after)))
                killed = False
            except Killed:
                pass
            for _ in range(2):
                await scenario(place, name, place.sync(configured))

            assert sorted((one.kind, one.result) for one in place.reported()) == told, kill_at
            assert len(place.written) <= 2 * len(told), "only what was not noted as written stands twice"
            assert len((await place.feed()).items) == entries, kill_at
            leads = [
                one for one in await crm.find_people("hanako@example.com", workspace_id=ACME) if one.owner
            ]
            if ("lead", "done") in told:
                assert [one.owner.id for one in leads if one.owner] == ["a"], kill_at
                assert await store.take_turn("another", workspace_id=ACME) == 1, "one turn was taken"
        await store.close()
        await crm.close()
        kill_at += 1
    assert kill_at > 5, "there were steps to be killed at"


async def test_killed_in_the_middle_and_the_newest_lead_is_another_now(place: Place) -> None:
    """The second run chooses another lead, and still the chat stands in the feed once."""
    await place.person(name="one", created_ms=1)
    with pytest.raises(Killed):
        await place.sync(steps=Steps(kill_at=3, after=True)).transcript(enveloped(transcript()))
    assert len((await place.feed()).items) == 1
    await place.person(name="two", created_ms=2)
    await place.sync().transcript(enveloped(transcript()))
    assert [item.person for item in (await place.feed()).items] == ["one"]
    assert [one[:2] for one in place.told()] == [("activity", "done")]


async def test_ids_and_envelope(place: Place) -> None:
    await place.sync().transcript(enveloped(transcript()))
    envelope = codec.activities.decode(place.written[0])
    assert (
        envelope.id
        == core.conversation_report("activity", transcript(), workspace_id=ACME, result="no_match").id
    )
    assert envelope.source == "/services/crm_sync"
    assert envelope.workspaceid == ACME
    assert replace(envelope.data, code=None) == CrmSettled("activity", "no_match", chat_id="c1", revision=1)
