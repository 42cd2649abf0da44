"""What the metrics say of chats and agents is what a plain count of the decisions and of the state says, after a restart too.

One rule: the recounts here are slow and simple, and share nothing with the figures but the log.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from schemas import decisions as d
from schemas import events as e
from services.router.changelog import Changelog
from services.router.core.figures import Figures
from services.router.core.names import OTHER, Names
from services.router.core.partition import Emitted, Entry, Partition
from services.router.core.standing import Gauges
from services.router.core.state import Workspace
from services.runtime.metrics import Metrics
from tests.days.day import Day
from tests.plain import looks_inside
from tests.router.scenes import Scene

WITHIN_MS = 30_000
SEEDS = [seed for seed in range(16) if Day(seed).kind != "exact"]
"""The router's own logs have ticks, or are silent."""
BATCH, RESTART = 7, 300
"""Records of a batch, and after how many the partition is taken over by a worker that has only the changelog."""


def names(workspaces_max: int = 20, departments_max: int = 10) -> Names:
    return Names(workspaces_max=workspaces_max, departments_max=departments_max)


@dataclass
class Router:
    """A partition's router as workers run it one after another: batches, changelog, figures."""

    names: Names = field(default_factory=names)
    metrics: Metrics = field(default_factory=Metrics)
    topic: dict[bytes, bytes] = field(default_factory=dict)
    answered: list[tuple[tuple[str, ...], int]] = field(default_factory=list)
    misjudged_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.take_over()

    def take_over(self) -> None:
        """A life begins, with what the changelog holds."""
        self.partition = Partition(0)
        self.changelog = Changelog(self.partition)
        for key, value in self.topic.items():
            self.changelog.restore(key, value)
        self.changelog.restored()
        self.figures = Figures(self.partition, self.names, within_ms=WITHIN_MS)
        self.figures.restored()

    def decide(self, batch: list[Entry]) -> list[tuple[bytes, bytes | None]]:
        """What a batch would have written."""
        for entry in batch:
            self.figures.apply(entry)
        self.figures.look()
        return list(self.changelog.changes())

    def run(self, batch: list[Entry]) -> Gauges:
        """A batch, committed."""
        for key, value in self.decide(batch):
            self.topic.pop(key, None)
            if value is not None:
                self.topic[key] = value
        ended = self.figures.settle(self.metrics.tallies)
        self.answered += [(where, each) for where, waits_ms in ended.answered_ms for each in waits_ms]
        self.misjudged_s += ended.misjudged_s
        return self.figures.gauges()


def batches(entries: list[Entry], size: int = BATCH) -> Iterator[list[Entry]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def total(router: Router, name: str, *places: int) -> Counter[tuple[str, ...]]:
    """A tally by the labels at some places."""
    counted: Counter[tuple[str, ...]] = Counter()
    for labels, times in router.metrics.tallies[name].items():
        counted[tuple(labels[place] for place in places)] += round(times)
    return counted


# ---------------------------------------------------------------- recounts


def arrivals(entries: list[Entry], emitted: list[Emitted]) -> int:
    refused = {item.cause.event_id for item in emitted if isinstance(item.data, d.RequestRefused)}
    requested = {
        (entry.envelope.source, entry.envelope.id)
        for entry in entries
        if isinstance(entry.envelope.data, e.ChatRequested) and entry.envelope.id not in refused
    }
    return len(requested) + sum(isinstance(item.data, d.ChatReopened) for item in emitted)


def accepted(entries: list[Entry], emitted: list[Emitted]) -> int:
    """Acceptances that led to anything but a refusal."""
    first = {item.cause.event_id: item.data for item in reversed(emitted) if item.cause.event_id is not None}
    ids = {entry.envelope.id for entry in entries if isinstance(entry.envelope.data, e.OfferAccepted)}
    return sum(not isinstance(first[each], d.RequestRefused) for each in ids & first.keys())


def first_waits(emitted: list[Emitted]) -> Counter[tuple[str, str, str]]:
    """By department, result and whether within the threshold: told from the decisions alone, but for the department of an offer."""
    counted: Counter[tuple[str, str, str]] = Counter()
    done: set[str] = set()
    for item in emitted:
        match item.data:
            case d.ChatAssigned(chat_id=chat_id, by=by, waited_ms=waited_ms):
                if chat_id not in done and by in ("accept", "auto"):
                    within = "yes" if waited_ms <= WITHIN_MS else "no"
                    counted[item.data.department_id, "answered", within] += 1
                done.add(chat_id)
            case d.ChatMissed(chat_id=chat_id):
                done.add(chat_id)
            case d.ChatClosed(chat_id=chat_id):
                done.discard(chat_id)
            case _:
                pass
    return counted


def standing(ws: Workspace, now_ms: int) -> dict[str, dict[tuple[str, ...], float]]:
    """The gauges, by looking at everybody."""
    live: Counter[tuple[str, ...]] = Counter()
    longest: defaultdict[tuple[str, ...], float] = defaultdict(float)
    waiting: Counter[tuple[str, ...]] = Counter()
    for chat in ws.chats.values():
        where = (ws.id, chat.department_id)
        if chat.phase != "closed":
            live[*where, chat.phase] += 1
        if chat.phase == "waiting":
            waiting[where] += 1
            longest[where] = max(longest[where], (now_ms - chat.entered_ms) / 1000)
    known = [agent for agent in ws.agents.values() if not agent.removed]
    online = [agent for agent in known if agent.status == "online"]
    agents: Counter[tuple[str, ...]] = Counter(
        (ws.id, ("room" if agent.room > 0 else "full") if agent.status == "online" else agent.status)
        for agent in known
    )
    available: Counter[tuple[str, ...]] = Counter(
        (ws.id, department.id)
        for department in ws.departments.values()
        for agent_id in ({*department.settings.agent_ids} if not department.removed else ())
        if (agent := ws.agent(agent_id)) is not None and agent.status == "online" and agent.room > 0
    )
    return {
        "chats_live": {**live},
        "waiting_chats": {**waiting},
        "longest_wait_seconds": {**longest},
        "agents": {**agents},
        "agents_available": {**available},
        "agent_capacity": {(ws.id,): sum(agent.settings.max_chats for agent in online)},
        "agent_load": {(ws.id,): sum(agent.load for agent in online)},
    }


# ---------------------------------------------------------------- random days


@pytest.mark.parametrize("restarts", [False, True], ids=["one life", "many lives"])
@pytest.mark.parametrize("seed", SEEDS)
def test_figures_are_what_a_plain_recount_says(seed: int, restarts: bool) -> None:
    scene = Day(seed).run()
    entries, said = scene.entries, [item.data for item in scene.emitted]
    router = Router()
    for number, batch in enumerate(batches(entries)):
        gauges = router.run(batch)
        assert gauges["chats_unaccounted"] == {(): 0}, "arrivals are outcomes and live chats"
        assert gauges["queue_unaccounted_seconds"] == {(): 0}, "Little's law"
        if restarts and number % (RESTART // BATCH) == 0:
            router.take_over()
        if number % 20 == 0 or batch[-1] is entries[-1]:
            ws = router.partition.workspaces["acme"]
            for name, expected in standing(ws, router.partition.clock.last_ms).items():
                assert {labels: value for labels, value in gauges[name].items() if value} == {
                    labels: value for labels, value in expected.items() if value
                }, name

    assert total(router, "chats_arrived")[()] == arrivals(entries, scene.emitted)
    assert total(router, "chats_finished", 1, 2) == Counter(
        (each.department.id, each.outcome) for each in said if isinstance(each, d.ChatClosed)
    )
    assert total(router, "chats_missed", 1, 2, 3) == Counter(
        (each.rule.department_id, each.reason, each.detail or "")
        for each in said
        if isinstance(each, d.ChatMissed)
    )
    made, settled = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for each in said:
        if isinstance(each, d.ChatOffered):
            made[each.kind,] += len(each.agent_ids)
        elif isinstance(each, d.OfferWithdrawn):
            settled[each.reason,] += len(each.agent_ids)
    settled += Counter({("accepted",): accepted(entries, scene.emitted)})
    assert total(router, "offers_made", 2) == made
    assert total(router, "offers", 2) == settled
    assert made.total() == settled.total(), "every offer has ended: all visitors have left"
    assert total(router, "bot_transfers_failed", 2) == Counter(
        (each.reason,) for each in said if isinstance(each, d.BotTransferFailed)
    )
    assert total(router, "transfers", 2) == Counter(
        ("taken",) if isinstance(each, d.ChatTransferred) else ("failed",)
        for each in said
        if isinstance(each, d.ChatTransferred | d.TransferFailed)
    )
    answers = {
        key: times for key, times in total(router, "agent_waits", 1, 2, 3).items() if key[1] == "answered"
    }
    assert answers == first_waits(scene.emitted)
    assert len(router.answered) == sum(answers.values())


def test_many_lives_count_what_one_does() -> None:
    entries = Day(3).run().entries
    whole, parts = Router(), Router()
    for number, batch in enumerate(batches(entries)):
        whole.run(batch)
        parts.run(batch)
        if number % 10 == 0:
            parts.take_over()
    assert parts.metrics.tallies.keys() == whole.metrics.tallies.keys()
    for name, tally in whole.metrics.tallies.items():
        assert parts.metrics.tallies[name] == pytest.approx(tally), name
    assert parts.answered == whole.answered
    assert whole.metrics.tallies["queue_chat_seconds"][()] > 0


@looks_inside
def test_labels_that_are_looked_up_anew_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = Day(3).run().entries
    kept, forgetful = Router(), Router()
    for batch in batches(entries):
        kept.run(batch)
    monkeypatch.setattr("services.router.core.figures.DESKS_KEPT_MAX", 0)
    for batch in batches(entries):
        forgetful.run(batch)
    assert forgetful.metrics.tallies == kept.metrics.tallies


def test_what_is_not_committed_is_not_counted() -> None:
    entries = Day(3).run().entries
    aborted, whole = Router(), Router()
    for number, batch in enumerate(batches(entries)):
        if number % 5 == 0:
            aborted.decide(batch)  # and the transaction fails
            aborted.take_over()
        aborted.run(batch)
        whole.run(batch)
    for name, tally in whole.metrics.tallies.items():
        assert aborted.metrics.tallies[name] == pytest.approx(tally), name


# ---------------------------------------------------------------- what each says


def counted(scene: Scene) -> Router:
    router = Router()
    for batch in batches(scene.entries, 1):
        router.run(batch)
    return router


def waits_of(router: Router) -> dict[tuple[str, ...], float]:
    return {labels[2:]: times for labels, times in router.metrics.tallies["agent_waits"].items()}


def ticking(*agents: str, **routing: object) -> Scene:
    scene = Scene(ticks=True)
    scene.workspace()
    scene.department(*agents, **routing)  # type: ignore[arg-type]
    scene.agents(*agents)
    return scene


@pytest.mark.parametrize(
    ("answered_s", "left_s", "expected"),
    [
        (30, None, {("answered", "yes"): 1}),
        (31, None, {("answered", "no"): 1}),
        (None, 5, {("abandoned", "yes"): 1}),
        (None, 100, {("abandoned", "no"): 1}),
        (None, None, {("unanswered", "no"): 1}),
    ],
    ids=["answered in time", "answered late", "left soon", "left late", "nobody came"],
)
def test_a_first_wait_ends_in_one_way(
    answered_s: int | None, left_s: int | None, expected: dict[tuple[str, ...], float]
) -> None:
    scene = ticking("ann", offer_timeout_s=0.0, wait_timeout_s=120.0)
    scene.ask("c1")
    for _ in range(150):
        scene.beat(1)
        if scene.now_s == answered_s:
            scene.accept("ann", "c1")
        if scene.now_s == left_s:
            scene.leave("c1")
    assert waits_of(counted(scene)) == expected


def test_who_is_turned_away_at_the_door_has_not_waited() -> None:
    scene = ticking("ann", max_queue=1, offer_timeout_s=0.0)
    scene.ask("c1")
    scene.ask("c2")
    router = counted(scene)
    assert waits_of(router) == {}
    assert router.metrics.tallies["chats_missed"] == {("acme", "office", "no_reply", "queue_full"): 1}


def test_who_is_given_a_missed_chat_by_hand_has_not_answered_it() -> None:
    scene = ticking("ann", offer_timeout_s=0.0, wait_timeout_s=10.0)
    scene.ask("c1")
    scene.beat(12)
    scene.say(e.MissedAssignRequested(("c1",), "ann", "ann"))
    router = counted(scene)
    assert isinstance(scene.emitted[-1].data, d.ChatAssigned)
    assert waits_of(router) == {("unanswered", "yes"): 1}
    assert router.metrics.tallies["chats_arrived"] == {("acme", "office"): 2}, "it was reopened"


def test_offers_of_a_transfer_put_nobody_into_a_queue() -> None:
    scene = ticking("ann", "bob")
    scene.served("ann", "c1")
    scene.say(e.ChatTransferRequested("c1", "ann", to_agent_id="bob"))
    scene.accept("bob", "c1")
    router = counted(scene)
    tallies = router.metrics.tallies
    assert tallies["offers_made"]["acme", "office", "transfer"] == 1
    assert tallies["transfers"] == {("acme", "office", "taken"): 1}
    assert tallies["queue_left"] == {(): 1}
    assert waits_of(router) == {("answered", "yes"): 1}


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["acme", "bell", "core"], ["acme", "bell", OTHER]),
        (["no name at all", "acme", "a@b.example", "x" * 65, "bell"], [OTHER, "acme", OTHER, OTHER, "bell"]),
        (["core", "bell", "acme", "core"], ["core", "bell", OTHER, "core"]),
    ],
    ids=["the limit", "ids that are not plain", "once given they stay"],
)
def test_names_are_given_up_to_the_limit(asked: list[str], expected: list[str]) -> None:
    given = names(workspaces_max=2)
    assert [given.workspace(each) for each in asked] == expected


def test_departments_are_named_within_their_workspace() -> None:
    given = names(workspaces_max=1, departments_max=1)
    assert given.where("acme", "sales") == ("acme", "sales")
    assert given.where("acme", "help") == ("acme", OTHER)
    assert given.where("bell", "sales") == (OTHER, OTHER)
    assert given.where("acme", "sales") == ("acme", "sales")


def test_the_settings_names_come_first() -> None:
    given = Names(workspaces_max=2, departments_max=1, first=["zeta", ""])
    assert [given.workspace(each) for each in ("acme", "bell", "zeta")] == ["acme", OTHER, "zeta"]


def test_series_are_bounded_however_many_workspaces_and_departments_there_are() -> None:
    router = Router(names=names(workspaces_max=2, departments_max=1))
    for workspace_id in ("w1", "w2", "w3", "w4"):
        scene = Scene(workspace_id, ticks=True)
        scene.workspace()
        for department_id in ("d1", "d2", "d3"):
            scene.department("ann", id=department_id)
        scene.agents("ann", max_chats=1)
        for number in range(3):
            scene.ask(f"c{number}", "d2")
        gauges = router.run(scene.entries)
    named = {("w1", "d2"), ("w1", OTHER), ("w2", "d2"), ("w2", OTHER), (OTHER, OTHER)}
    for labelled in (gauges["waiting_chats"], router.metrics.tallies["chats_arrived"]):
        assert {*labelled} <= named, "the first department that was heard of has the name"
    assert gauges["waiting_chats"][OTHER, OTHER] == 6
    assert gauges["chats_unaccounted"] == {(): 0}
