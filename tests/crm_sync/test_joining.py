"""The chat that a lead was asked for in joins its feed: at its end, or at once if it has ended, once, whoever works at which of them.

The one rule: `judge` is what must hold after every schedule and every kill.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from schemas.events import Visitor
from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.interface import OutcomeUnknown
from services.crm_sync.waiting import Waiting
from services.runtime.effects import Away, Refused, Unavailable
from services.runtime.ledger import Ledger
from tests.crm_sync.material import enveloped, lead_request, transcript
from tests.crm_sync.ports import Killed, Steps
from tests.crm_sync.scene import ACME, PaperScene, Process, paper_scene

CHAT = enveloped(transcript())
LEAD = enveloped(lead_request())
Handle = Callable[[Process], Awaitable[None]]
TOLD = (
    [("activity", "done"), ("lead", "done")],
    [("activity", "done"), ("activity", "no_match"), ("lead", "done")],
)
"""What is reported: that nobody matched, where the chat had ended before there was a lead."""
LIMIT_S = 20.0


async def end_chat(process: Process) -> None:
    await process.transcript(CHAT)


async def ask_for_lead(process: Process) -> None:
    await process.notice(LEAD)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[PaperScene]:
    async with paper_scene(tmp_path) as scene:
        yield scene


def judge(scene: PaperScene, case: object) -> None:
    """One lead, the chat in its feed once, and every report once, its outcome with the entry among them."""
    (lead,) = scene.paper.sheets.values()
    assert [marker for marker, _ in lead.entries] == ["M23DWWQRCM5EYTJQ6LRF6SALNH"], case
    assert sorted((one.kind, one.result) for one in scene.reported()) in TOLD, case


# ---------------------------------------------------------------- one after the other


async def test_the_chat_joins_at_its_end(scene: PaperScene) -> None:
    sync = scene.sync()
    await sync.notice(LEAD)
    await sync.transcript(CHAT)
    assert scene.told() == [("lead", "done", None), ("activity", "done", None)]
    judge(scene, "at its end")


async def test_the_chat_joins_at_once_if_it_has_ended(scene: PaperScene) -> None:
    sync = scene.sync()
    await sync.transcript(CHAT)
    await sync.notice(LEAD)
    assert scene.told() == [
        ("activity", "no_match", "nobody_found"),
        ("activity", "done", None),
        ("lead", "done", None),
    ]
    judge(scene, "at once")
    (_, joined, lead) = scene.settled()
    assert (joined.chat_id, joined.revision, joined.request_id) == ("c1", 1, None)
    assert joined.record == CrmRecord("activity", "M23DWWQRCM5EYTJQ6LRF6SALNH")
    assert lead.record is not None
    assert lead.record.type == "lead"


@pytest.mark.parametrize("ended_first", [True, False])
async def test_an_address_the_search_does_not_find_yet_loses_nothing(
    scene: PaperScene, *, ended_first: bool
) -> None:
    """Some CRMs find a new record only after a while."""
    scene.paper.blind = True
    sync = scene.sync()
    for do in (end_chat, ask_for_lead) if ended_first else (ask_for_lead, end_chat):
        await do(sync)
    judge(scene, ended_first)


@pytest.mark.parametrize("email", [None, "typo@example.com"])
@pytest.mark.parametrize("ended_first", [True, False])
async def test_an_address_that_became_known_after_the_end_of_the_chat(
    scene: PaperScene, email: str | None, *, ended_first: bool
) -> None:
    chat = enveloped(transcript(visitor_email=email))
    sync = scene.sync()
    if ended_first:
        await sync.transcript(chat)
    await sync.notice(LEAD)
    await sync.transcript(chat)
    judge(scene, email)


async def test_only_the_chat_of_the_request_joins_with_all_its_revisions(scene: PaperScene) -> None:
    sync = scene.sync()
    for chat in (
        transcript(chat_id="c0", link="earlier"),
        transcript(outcome="missed", link="first"),
        transcript(revision=2, link="second"),
    ):
        await sync.transcript(enveloped(chat))
    await sync.notice(LEAD)
    assert [link for _, link in scene.paper.filed] == ["first", "second"]
    await sync.transcript(enveloped(transcript(revision=3, link="third")))
    await sync.transcript(enveloped(transcript(chat_id="c9", link="later")))
    assert [link for _, link in scene.paper.filed] == ["first", "second", "third", "later"]


async def test_a_second_request_is_refused_and_files_nothing_again(scene: PaperScene) -> None:
    sync = scene.sync()
    await sync.transcript(CHAT)
    await sync.notice(LEAD)
    await sync.notice(enveloped(lead_request(request_id="r2")))
    assert scene.told()[-1] == ("lead", "refused", "already_a_customer")
    judge_all = [link for _, link in scene.paper.filed]
    assert len(judge_all) == 1


async def test_a_lead_that_was_deleted_and_asked_for_again_does_not_get_the_chat_twice(
    scene: PaperScene,
) -> None:
    sync = scene.sync()
    await sync.transcript(CHAT)
    await sync.notice(LEAD)
    scene.paper.sheets.clear()
    await sync.notice(enveloped(lead_request(request_id="r2")))
    assert len(scene.known()) == 1
    assert not scene.paper.filed


async def test_a_conversation_that_has_left_its_topic_is_forgotten(scene: PaperScene) -> None:
    sync = scene.sync()
    await sync.transcript(CHAT)
    scene.topic.expire()
    await sync.notice(LEAD)
    assert scene.told() == [("activity", "no_match", "nobody_found"), ("lead", "done", None)]
    assert not await Waiting(scene.ledger).of_chat("c1", workspace_id=ACME)


async def test_another_record_at_its_place_is_not_filed(scene: PaperScene) -> None:
    """A topic that was made anew has others there."""
    sync = scene.sync()
    await sync.transcript(CHAT)
    place = scene.topic.place(CHAT)
    scene.topic = replace_topic(scene, enveloped(transcript(chat_id="c2", visitor_email="x@example.com")))
    assert scene.topic.place(CHAT) != place
    await scene.sync().notice(LEAD)
    assert not scene.paper.filed


def replace_topic(scene: PaperScene, first: Any) -> Any:
    topic = type(scene.topic)()
    topic.place(first)
    return topic


async def test_a_lead_merged_before_the_chat_ended_has_a_survivor(scene: PaperScene) -> None:
    sync = scene.sync()
    await sync.notice(LEAD)
    scene.paper.merge(scene.paper.sheets["1"], into=scene.paper.add("contact"))
    await sync.transcript(CHAT)
    assert [key for key, _ in scene.paper.filed] == ["2"]


async def test_a_lead_deleted_before_the_chat_ended_is_no_match(scene: PaperScene) -> None:
    sync = scene.sync()
    await sync.notice(LEAD)
    scene.paper.sheets.clear()
    await sync.transcript(CHAT)
    assert scene.told() == [("lead", "done", None), ("activity", "no_match", "nobody_found")]


async def test_what_failed_at_the_end_of_the_chat_joins_with_the_lead(scene: PaperScene) -> None:
    scene.weather.ahead["find_people"] = [(Refused("access_denied"), False)]
    sync = scene.sync()
    await sync.transcript(CHAT)
    await sync.notice(LEAD)
    assert scene.told() == [
        ("activity", "refused", "access_denied"),
        ("activity", "done", None),
        ("lead", "done", None),
    ]


async def test_what_may_stand_with_somebody_else_goes_to_no_second_feed(scene: PaperScene) -> None:
    sync = scene.sync()
    await sync.notice(LEAD)
    newer = scene.paper.add()
    bad = (OutcomeUnknown("broken_off"), False)
    scene.weather.ahead["add_activity"] = [bad, bad, bad]
    await sync.transcript(CHAT)
    assert scene.told() == [("lead", "done", None), ("activity", "failed", "broken_off")]
    assert not scene.paper.filed
    assert newer.person.record.id in scene.known()


async def test_a_chat_that_can_not_join_is_told_and_the_lead_stands(scene: PaperScene) -> None:
    sync = scene.sync()
    await sync.transcript(CHAT)
    scene.weather.ahead["add_activity"] = [(OutcomeUnknown("broken_off"), False)] * 3
    await sync.notice(LEAD)
    assert scene.told()[1:] == [("activity", "failed", "broken_off"), ("lead", "done", None)]


async def test_a_crm_that_goes_away_before_the_chat_has_joined_is_waited_for(scene: PaperScene) -> None:
    sync = scene.sync()
    await sync.transcript(CHAT)
    scene.weather.ahead["add_activity"] = [(Unavailable("down"), False)]
    with pytest.raises(Away):
        await sync.notice(LEAD)
    await scene.sync().notice(LEAD)
    judge(scene, "away")


# ---------------------------------------------------------------- two workers


class Gate(Steps):
    """Stops before one step until it is opened. `reached`: it stands there."""

    def __init__(self, *, at: int) -> None:
        super().__init__()
        self._at = at
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def take(self, do: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if self.taken == self._at:
            self.reached.set()
            await self.opened.wait()
        return await super().take(do, *arguments, **named)

    async def passed_or_there(self, running: asyncio.Task[None], *, limit_s: float) -> None:
        """Wait until the work stands at the gate, has ended, or waits for another worker."""
        there = asyncio.ensure_future(self.reached.wait())
        await asyncio.wait({there, running}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        there.cancel()


BLOCKED_S = 0.1
"""How long a worker may stand still before it counts as waiting for the other one."""


class Case:
    """A chat and the request for its lead, one of many in one scene."""

    def __init__(self, scene: PaperScene, name: str) -> None:
        self.scene = scene
        self.name = name
        self.email = f"{name}@example.com"
        self.chat = enveloped(transcript(chat_id=name, visitor_email=self.email))
        self.lead = enveloped(
            lead_request(request_id=name, chat_id=name, visitor=Visitor(name, email=self.email))
        )

    async def ends(self, process: Process) -> None:
        await process.transcript(self.chat)

    async def asks(self, process: Process) -> None:
        await process.notice(self.lead)


def judge_all(scene: PaperScene, cases: Sequence[Case]) -> None:
    """Of each one lead, the chat in its feed once, and every report once."""
    reported = defaultdict(list)
    for one in scene.reported():
        reported[one.chat_id].append((one.kind, one.result))
    entries = defaultdict(list)
    for sheet in scene.paper.sheets.values():
        entries[sheet.email].append(len(sheet.entries))
    assert len(cases) > 10, "there was something to try"
    for case in cases:
        assert entries[case.email] == [1], case.name
        assert sorted(reported[case.name]) in TOLD, case.name


async def interleaved(
    case: Case, first: Handle, second: Handle, *, at: tuple[int, int], by: tuple[Ledger, Ledger]
) -> None:
    """The first worker goes so far, then the second one, then the first one to its end, then the second one."""
    gates = Gate(at=at[0]), Gate(at=at[1])
    tasks: list[asyncio.Task[None]] = []
    for handle, gate, ledger in zip((first, second), gates, by, strict=True):
        tasks.append(asyncio.create_task(_run(handle, case.scene.sync(steps=gate, ledger=ledger))))
        await gate.passed_or_there(tasks[-1], limit_s=BLOCKED_S if len(tasks) == 2 else LIMIT_S)
    for gate, task in zip(gates, tasks, strict=True):
        gate.opened.set()
        await asyncio.wait({task}, timeout=BLOCKED_S)  # it may wait for the other one, which goes on next
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*tasks)


async def _run(handle: Handle, process: Process) -> None:
    await handle(process)


async def steps_of(scene: PaperScene) -> tuple[int, int]:
    """How many steps the end of a chat takes, and the request for a lead after it."""
    case, ends, asks = Case(scene, "counted"), Steps(), Steps()
    await case.ends(scene.sync(steps=ends))
    await case.asks(scene.sync(steps=asks))
    assert asks.taken > ends.taken >= 8, "there is something to interleave"
    return ends.taken, asks.taken


def grid(steps: tuple[int, int], *, ended_first: bool, every: int) -> Iterator[tuple[int, int]]:
    """All pairs of steps of the first and the second one, their ends included; or one in so many, and all before which the second one ends."""
    first, second = steps if ended_first else reversed(steps)
    return (
        (i, j) for i in range(first + 1) for j in range(second + 1) if (i + j) % every == 0 or j == second
    )


def schedules(test: Any) -> Any:
    """Each chat may end first or be asked about first. `blind`: all depends on what the workers leave for each other."""
    for marked in (
        pytest.mark.parametrize("blind", [False, True], ids=["", "blind"]),
        pytest.mark.parametrize("ended_first", [True, False], ids=["ends", "asks"]),
        pytest.mark.parametrize(
            "every", [pytest.param(1, marks=pytest.mark.crm, id="all"), pytest.param(13, id="some")]
        ),
        pytest.mark.timeout(900),
    ):
        test = marked(test)
    return test


@schedules
async def test_interleavings_of_two_workers(
    scene: PaperScene, *, ended_first: bool, blind: bool, every: int
) -> None:
    steps = await steps_of(scene)
    scene.paper.blind = blind
    cases: list[Case] = []
    async with scene.worker() as one, scene.worker() as other:
        for at in grid(steps, ended_first=ended_first, every=every):
            cases.append(case := Case(scene, f"c{at[0]}-{at[1]}"))
            handlers = (case.ends, case.asks) if ended_first else (case.asks, case.ends)
            await interleaved(case, *handlers, at=at, by=(one, other))
    judge_all(scene, cases)


@schedules
async def test_two_workers_killed(scene: PaperScene, *, ended_first: bool, blind: bool, every: int) -> None:
    """One after the other is killed; then both records are brought again, to other workers."""
    steps = await steps_of(scene)
    scene.paper.blind = blind
    cases: list[Case] = []
    for at in grid(steps, ended_first=ended_first, every=every):
        cases.append(case := Case(scene, f"c{at[0]}-{at[1]}"))
        handlers = (case.ends, case.asks) if ended_first else (case.asks, case.ends)
        for handle, kill_at in zip(handlers, at, strict=True):
            async with scene.worker() as worker:
                with suppress(Killed):
                    await handle(scene.sync(steps=Steps(kill_at=kill_at), ledger=worker))
        for handle in (*handlers, *handlers):
            await handle(scene.sync())
    judge_all(scene, cases)
