"""However the two topics interleave, and wherever the worker dies, the transcripts are the same bytes in the same order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec
from schemas.events import ChatMessage, ChatRequested
from schemas.topics import EVENTS
from services.transcript.core import DAY_MS
from tests.transcript.driving import Driver, interleave
from tests.transcript.world import World

CHATS = (("acme", "c1"), ("acme", "c2"), ("other", "c1"))


@dataclass
class Known:
    """What a router knows of one chat."""

    live: bool = True
    missed: bool = False
    revision: int = 1
    until_ms: int = 0


@dataclass
class Router:
    """Acts steps out against a simple router: the logs it leaves could have been left by the real one."""

    world: World = field(default_factory=World)
    known: dict[tuple[str, str], Known] = field(default_factory=dict)
    stray: set[int] = field(default_factory=set)
    """Messages to no chat: a duplicate of one is known only within its conversation, so none is made."""

    def step(self, action: str, chat: tuple[str, str], random: Random) -> None:
        world, (workspace, chat_id) = self.world, chat
        world.now_ms += 1_000
        state = self.known.get(chat)
        if state is not None and not state.live and world.now_ms > state.until_ms:
            state = self.known.pop(chat) and None
        match action:
            case "request" | "blocked":
                at = world.request(chat_id, workspace=workspace, question=f"q{len(world.events)}")
                if state is not None or action == "blocked":
                    world.refuse(at, workspace=workspace)
                else:
                    self.known[chat] = Known()
            case "visitor" | "whisper" | "agent" | "bot":
                self._say(action, chat, state, random)
            case "again":
                recent = [e.offset for e in world.events if world.now_ms - e.timestamp_ms < DAY_MS]
                recent = [offset for offset in recent if offset not in self.stray]
                if recent:
                    world.again(random.choice(recent))
            case "tag" if state is not None:
                world.tag(chat_id, f"t{len(world.events)}", workspace=workspace)
            case "end" if state is not None and state.live:
                world.end(chat_id, workspace=workspace, revision=state.revision)
                self._over(state, missed=False)
            case "miss" if state is not None and state.live:
                world.miss(chat_id, workspace=workspace, revision=state.revision)
                self._over(state, missed=True)
            case "delete" if state is not None and state.missed and not state.live:
                world.delete(chat_id, workspace=workspace)
                del self.known[chat]
            case "day":
                world.now_ms += DAY_MS + 60_000
            case "tick":
                world.tick()
            case "poison":
                world.raw(b"{", workspace=workspace)
            case _:
                pass

    def _say(self, action: str, chat: tuple[str, str], state: Known | None, random: Random) -> None:
        world, (workspace, chat_id) = self.world, chat
        kind: Any = "agent" if action == "whisper" else action
        at = world.say(
            chat_id,
            f"{action} {len(world.events)}",
            kind=kind,
            internal=action == "whisper",
            workspace=workspace,
            message_id=f"m{random.randrange(6)}",
        )
        if state is None:
            self.stray.add(at)
            return
        if kind == "agent" and random.random() < 0.3:
            world.refuse(at, kind=ChatMessage.TYPE, code="not_owner", workspace=workspace)
        elif kind == "visitor" and state.missed and not state.live:
            state.revision += 1
            state.live, state.missed = True, False
            world.reopen(chat_id, at=at, revision=state.revision, workspace=workspace)

    def _over(self, state: Known, *, missed: bool) -> None:
        state.live, state.missed = False, missed
        state.until_ms = self.world.now_ms + (30 * DAY_MS if missed else DAY_MS)


Told: TypeAlias = tuple[str, str, int, str, list[str], tuple[str, ...], tuple[tuple[str, bytes], ...]]
"""Workspace, chat, revision, question, messages, tags, and the context that came with the closing."""


def expected(world: World) -> list[Told]:
    """The transcripts by reading both whole logs, without any state: the naive model."""
    events = {}
    for record in world.events:
        try:
            envelope = codec.events.decode(record.value)
        except codec.Poison:
            continue
        if hasattr(envelope, "workspaceid"):
            events[record.offset] = (envelope, record.timestamp_ms)
    routing = [codec.decisions.decode(record.value) for record in world.routing]
    refused = {d.data.cause.offset for d in routing if d.data.TYPE == "request.refused.v1"}
    seen: dict[tuple[str, str], int] = {}
    fresh = {}
    for offset, (envelope, at_ms) in events.items():
        key = (envelope.workspaceid, envelope.id)
        if at_ms - seen.get(key, -2 * DAY_MS) > DAY_MS:
            seen[key] = at_ms
            fresh[offset] = envelope
    found = []
    for number, decision in enumerate(routing):
        data = decision.data
        if data.TYPE != "chat.closed.v1":
            continue
        until = data.source.offset
        mine = {
            offset: envelope.data
            for offset, envelope in fresh.items()
            if offset <= until
            and offset not in refused
            and envelope.workspaceid == decision.workspaceid
            and getattr(envelope.data, "chat_id", None) == data.chat_id
        }
        begin = max(offset for offset, event in mine.items() if isinstance(event, ChatRequested))
        said: dict[str, str] = {}
        for offset, event in mine.items():
            if isinstance(event, ChatMessage) and offset > begin:
                said.setdefault(event.message_id, event.text)
        tags = [
            other.data.tags
            for other in routing[:number]
            if other.data.TYPE == "chat.tagged.v1"
            and (other.workspaceid, other.data.chat_id) == (decision.workspaceid, data.chat_id)
            and other.data.cause.offset > begin
        ]
        question = mine[begin].question
        tagged = tags[-1] if tags else ()
        context = world.routing[number].headers
        found.append(
            (
                decision.workspaceid,
                data.chat_id,
                data.revision,
                question,
                list(said.values()),
                tagged,
                context,
            )
        )
    return found


def told(driver: Driver) -> list[Told]:
    return [
        (
            (output.key or b"").decode(),
            found.chat_id,
            found.revision,
            found.question,
            [message.text for message in found.messages],
            found.tags,
            output.headers or (),
        )
        for output, found in zip(driver.outputs, driver.transcripts, strict=True)
    ]


ACTIONS = (
    ["request"] * 4
    + ["blocked", "visitor", "visitor", "visitor", "agent", "agent", "whisper", "bot", "again", "again"]
    + ["tag", "end", "end", "miss", "miss", "delete", "day", "tick", "poison"]
)
steps = st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from(CHATS)), min_size=4, max_size=60)


def play(todo: Sequence[tuple[str, tuple[str, str]]], seed: int) -> World:
    router, random = Router(), Random(seed)
    for action, chat in todo:
        router.step(action, chat, random)
    return router.world


@settings(max_examples=150, deadline=None)
@given(todo=steps, seed=st.integers(0, 99), order=st.lists(st.booleans(), max_size=120))
def test_every_interleaving_gives_what_the_whole_logs_say(
    todo: list[tuple[str, tuple[str, str]]], seed: int, order: list[bool]
) -> None:
    world = play(todo, seed)
    plain, other = Driver(), Driver()
    plain.feed([*world.events, *world.routing])
    other.feed(interleave(world, order))
    assert told(plain) == expected(world)
    assert other.outputs == plain.outputs


@settings(max_examples=100, deadline=None)
@given(
    todo=steps,
    seed=st.integers(0, 99),
    order=st.lists(st.booleans(), max_size=120),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
)
def test_a_crash_after_any_batch_changes_nothing(
    todo: list[tuple[str, tuple[str, str]]], seed: int, order: list[bool], sizes: list[int]
) -> None:
    world = play(todo, seed)
    plain, crashing = Driver(), Driver()
    plain.feed([*world.events, *world.routing])
    records, turn = interleave(world, order), 0
    while records:
        size = sizes[turn % len(sizes)]
        crashing.feed(records[:size])
        crashing.crash()
        records, turn = records[size:], turn + 1
    # Ticks alone write no progress; in service one comes every second, and completes what waits for the last one.
    crashing.feed([world.events[world.tick()]])
    assert crashing.outputs == plain.outputs


def long_world(seed: int) -> World:
    """A longer story than Hypothesis makes up: most of what can happen to three chats."""
    random = Random(seed)
    return play([(random.choice(ACTIONS), random.choice(CHATS)) for _ in range(100)], seed)


@pytest.mark.parametrize(
    "seeds", [range(at, at + 40) for at in range(0, 160, 40)], ids=lambda r: str(r.start)
)
def test_long_stories_in_any_order_with_crashes(seeds: range) -> None:
    for seed in seeds:
        world, random = long_world(seed), Random(seed)
        orders: list[list[bool]] = [
            [True] * len(world.events),
            [False] * len(world.routing),
            [random.random() < random.choice((0.2, 0.5, 0.8)) for _ in range(200)],
        ]
        wanted = expected(world)
        last = world.events[world.tick()]
        outputs = []
        for order in orders:
            driver = Driver()
            for record in interleave(world, order):
                driver.feed([record])
                if random.random() < 0.1:
                    driver.crash()
            driver.feed([last])
            assert told(driver) == wanted, f"seed {seed}"
            outputs.append(driver.outputs)
        assert all(each == outputs[0] for each in outputs), f"seed {seed}"


def test_the_generator_reaches_what_matters() -> None:
    reached: set[str] = set()
    for seed in range(160):
        world = long_world(seed)
        for number, found in enumerate(expected(world)):
            reached.add(f"revision {found[2]}")
            reached.update({"messages"} if found[4] else set())
            reached.update({"tags"} if found[5] else set())
            reached.update(
                {"again"} if found[:3] in [other[:3] for other in expected(world)[:number]] else set()
            )
        assert all(record.topic == EVENTS for record in world.events)
    assert reached >= {"revision 1", "revision 2", "revision 3", "messages", "tags", "again"}
