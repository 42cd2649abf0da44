"""The judge of a day: the invariants, the fold, a restart in the middle, and that everything has an end.

The one rule: it counts anew, by the log and the decisions alone wherever it can, and asks the router's own books last.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from traceback import extract_tb

from schemas import decisions as d
from schemas import events as e
from schemas import notices as n
from services.router.changelog import Changelog
from services.router.core.fold import differences
from services.router.core.offline import run
from services.router.core.partition import Emitted, Entry, Partition
from services.router.core.state import Emission, Workspace
from services.router.records import encode_emitted
from tests.days.day import Day
from tests.router.scenes import Scene, decided, sentence
from tests.router.test_properties import checker_of, state_of

COMPLAINTS_SHOWN = 5
RESTARTS = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a seed."""

    seed: int
    complaints: tuple[str, ...]
    happened: Counter[str]
    scene: Scene | None

    @property
    def holds(self) -> bool:
        """Whether there is nothing to complain of."""
        return not self.complaints

    def brief(self) -> "Outcome":
        """The outcome without the day itself, which its seed gives again."""
        return replace(self, scene=None)

    def explain(self, *, whole: bool = False) -> str:
        """What is wrong, and how to see it again; the day before it."""
        told = [f"    {each}" for each in self.complaints[:COMPLAINTS_SHOWN]]
        result = "holds" if self.holds else "fails"
        head = f"day of seed {self.seed}: {result}; again: python -m tests.days {self.seed}"
        story = _story(self.scene) if whole and self.scene is not None else ()
        return "\n".join([*story, head, *told])


def judged(seed: int) -> Outcome:
    """Acts a seed's day out and judges it."""
    day = Day(seed)
    scene, complaints = day.scene, day.complaints
    try:
        day.run()
        complaints += gone(scene.ws)
        day.wind_up()
        restarts = day.rng.choices(range(len(scene.entries)), k=RESTARTS) if scene.ticks else []
        complaints += _complaints(scene, restarts)
    except Exception as error:  # noqa: BLE001 - whatever is raised is what is looked for
        frame = extract_tb(error.__traceback__)[-1]
        complaints.append(
            f"raised {type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
        )
    kinds = Counter(_kind(item.data) for item in scene.emitted)
    happened = day.happened + kinds + Counter({day.kind: 1, "records": len(scene.entries)})
    return Outcome(seed, tuple(complaints), happened, scene)


def _kind(data: Emission) -> str:
    """The type of a decision, with its reason where that is one of few."""
    name = data.TYPE.removesuffix(".v1")
    match data:
        case d.OfferWithdrawn() | d.ChatUnassigned() | d.ChatMissed() | d.BotTransferFailed():
            return f"{name}: {data.reason}"
        case d.ChatOffered():
            return f"{name}: {data.kind}"
        case d.ChatClosed():
            return f"{name}: {data.outcome}"
        case _:
            return name


def _story(scene: Scene) -> Iterator[str]:
    """Records, but no ticks, and under each what was decided about it; what deadlines led to stands at its time."""
    followed: dict[str | None, list[Emitted]] = {}
    for item in scene.emitted:
        followed.setdefault(item.cause.event_id, []).append(item)
    by_deadlines = deque(followed.pop(None, []))
    last_ms = scene.starts_at_ms
    for entry in scene.entries:
        last_ms = max(last_ms, entry.at_ms)
        while by_deadlines and by_deadlines[0].at_ms < last_ms:
            yield _line(by_deadlines[0].at_ms - scene.starts_at_ms, by_deadlines.popleft())
        if not isinstance(entry.envelope.data, e.RouterTick):
            yield f"{(last_ms - scene.starts_at_ms) / 1000:10.3f}  {entry.envelope.id} {entry.envelope.data}"
            yield from (
                _line(last_ms - scene.starts_at_ms, item) for item in followed.pop(entry.envelope.id, ())
            )


def _line(at_ms: int, item: Emitted) -> str:
    return f"{at_ms / 1000:10.3f}    {item.cause.timer or '->'} {sentence(item.data)}"


def _complaints(scene: Scene, restarts: list[int]) -> list[str]:
    """Everything that is wrong with a day that was wound up."""
    checker = checker_of(scene)
    violations = checker.finish(None if scene.ticks else scene.now_ms)
    folded = checker.fold.partition
    return [
        *(f"invariant {each.invariant}: {each.subject} {each.what}" for each in violations),
        *(f"invariant 7: folding differs: {each}" for each in differences(folded, scene.partition)),
        *["invariant 7: folding gives other bytes"] * (state_of(folded) != state_of(scene.partition)),
        *restarted(scene, restarts),
        *mistimed(scene),
        *unsettled(scene),
        *forgotten(scene),
    ]


def restarted(scene: Scene, at: list[int]) -> list[str]:
    """A router that goes on from its changelog has the same state and says the same; an offline run, which has none, is made once more."""
    topic: dict[bytes, bytes] = {}
    again: list[bytes] = []
    wrong: list[str] = []
    partition, changelog = _restored(topic, exact=not scene.ticks)
    for start, end in pairwise((0, *sorted(at), len(scene.entries))):
        batch = scene.entries[start:end]
        emitted = run(batch, ticks=scene.ticks, until_ms=scene.now_ms, partitions={0: partition})
        again += [encode_emitted(item).value or b"" for item in emitted]
        for key, stored in changelog.changes():  # compacted: a later value stands behind everything earlier
            topic.pop(key, None)
            if stored is not None:
                topic[key] = stored
        before = partition
        partition, changelog = _restored(topic, exact=not scene.ticks)
        wrong += [f"restarted at {end}, it has another {each}" for each in differences(partition, before)]
    said = decided(scene)
    if again != said:
        first = next(
            (n for n, pair in enumerate(zip(said, again, strict=False)) if len({*pair}) > 1), len(again)
        )
        wrong.append(f"restarted at {at}, it says otherwise from decision {first} on")
    return wrong + [f"{key.decode()} is stored for ever" for key in topic if key.startswith(b"chat/")]


def _restored(topic: dict[bytes, bytes], *, exact: bool) -> tuple[Partition, Changelog]:
    partition = Partition(0, exact=exact)
    changelog = Changelog(partition)
    for key, value in topic.items():
        changelog.restore(key, value)
    changelog.restored()
    return partition, changelog


def mistimed(scene: Scene) -> list[str]:
    """Decisions never go back in time, and nothing is timed out by time in which the router did not tick."""
    clocks = _clocks(scene.entries)
    wrong = [f"{b.id} is decided before {a.id}" for a, b in pairwise(scene.emitted) if b.at_ms < a.at_ms]
    for item in scene.emitted:
        if isinstance(item.data, d.ChatAssigned) and item.data.waited_ms < 0:
            wrong.append(f"{item.id}: a chat waited {item.data.waited_ms} ms")
        if item.cause.timer is not None:
            due_ms = int(item.cause.timer.rpartition("@")[2])
            in_time = due_ms <= clocks[item.at_ms] if scene.ticks else due_ms == item.at_ms
            if not in_time:
                wrong.append(f"{item.cause.timer} fires at {item.at_ms}")
    return wrong


def _clocks(entries: list[Entry]) -> dict[int, int]:
    """What the deadline clock says at the last tick of each moment, by a naive count."""
    clocks: dict[int, int] = {}
    last_ms = entries[0].at_ms
    clock_ms, ticked_ms = last_ms, None
    for entry in entries:
        last_ms = max(last_ms, entry.at_ms)
        tick = entry.envelope.data
        if isinstance(tick, e.RouterTick):
            clock_ms += 0 if ticked_ms is None else min(last_ms - ticked_ms, tick.limit_ms)
            ticked_ms = last_ms
            clocks[last_ms] = clock_ms
    return clocks


# ---------------------------------------------------------------- the end


def unsettled(scene: Scene) -> list[str]:
    """Every accepted request has one outcome for each of its revisions, and nobody is written to twice about a missed chat."""
    refused = {item.cause.event_id for item in scene.emitted if isinstance(item.data, d.RequestRefused)}
    accepted = {
        (entry.envelope.data.chat_id, 1)
        for entry in scene.entries
        if isinstance(entry.envelope.data, e.ChatRequested) and entry.envelope.id not in refused
    }
    said = [item.data for item in scene.emitted]
    reopened = {(each.chat_id, each.revision) for each in said if isinstance(each, d.ChatReopened)}
    outcomes = Counter((each.chat_id, each.revision) for each in said if isinstance(each, d.ChatClosed))
    mails = Counter(each.chat_id for each in said if isinstance(each, n.NoticeUnattended))
    wrong = [f"{chat_id} is told of {times} times" for chat_id, times in mails.items() if times > 1]
    return wrong + [
        f"invariant 3: {each} has {outcomes[each]} outcomes"
        for each in sorted({*accepted, *reopened, *outcomes})
        if outcomes[each] != 1 or each not in accepted | reopened
    ]


def gone(ws: Workspace) -> list[str]:
    """What is still there although all visitors have left."""
    wrong = [f"{chat.id} is live" for chat in ws.chats.values() if chat.live]
    wrong += [
        f"{chat.id} has {', '.join(others)}"
        for chat in ws.chats.values()
        if (
            others := [
                *(key for key in chat.timers if key != "forget"),
                *chat.watchers,
                *chat.participant_ids,
            ]
        )
    ]
    wrong += [
        f"{agent.id} carries {agent.load}"
        for agent in ws.agents.values()
        if agent.load != sum(agent.wrap_ups.values())
    ]
    books = {"owned": ws.owned, "ringing": ws.ringing, "joined": ws.joined}
    wrong += [
        f"{name} by {who}: {chats}" for name, book in books.items() for who, chats in book.items() if chats
    ]
    wrong += [f"transferring: {chat_id}" for chat_id in ws.transferring]
    for department_id, index in ws.indexes.items():
        queues = [index.waiting, index.transfers, index.ringing, *index.kept.values()]
        queues += [pool.queue for pool in index.pools.values()]
        wrong += [f"waiting in {department_id}: {queue}" for queue in queues if queue]
    return wrong


def forgotten(scene: Scene) -> list[str]:
    """What is still kept of a day that is long past."""
    ws, due_ms = scene.ws, scene.partition.next_due_ms()
    wrong = gone(ws)
    wrong += [f"{chat_id} is not forgotten" for chat_id in ws.chats]
    wrong += [f"{agent.id} carries {agent.load}" for agent in ws.agents.values() if agent.load]
    return wrong if due_ms is None else [*wrong, f"a deadline is due at {due_ms}"]
