"""Watching: joining, whispering, that nobody who chats can tell, what it costs, and what is stored."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from schemas import decisions as d
from schemas import events as e
from schemas.types import Role
from services.router.core.state import Chat, Emission
from tests.router.happenings import Happening, days, happen
from tests.router.scenes import Scene, office, sentence
from tests.router.test_changelog import Interrupted, records_of
from tests.router.test_monitoring import IP, owned, staffed, unmonitor

MATRIX: dict[Role, tuple[Role, ...]] = {
    "admin": ("supervisor", "agent"),
    "supervisor": ("agent",),
    "agent": (),
}
"""The matrix of the contract, written a second time."""


def whisper(scene: Scene, agent_id: str) -> list[str]:
    return scene.write("agent", "c1", agent_id, internal=True)


# ---------------------------------------------------------------- joining and whispering

JOINED = d.ParticipantJoined(chat_id="c1", agent_id="sue", role="monitor")
LEFT = d.ParticipantLeft(chat_id="c1", agent_id="sue", role="monitor")


def join(scene: Scene, agent_id: str = "sue") -> list[str]:
    return scene.say(e.ChatJoinRequested("c1", agent_id))


def whole(scene: Scene, what: Callable[[Scene], object]) -> list[Emission]:
    """What followed, whole."""
    before = len(scene.emitted)
    what(scene)
    return [item.data for item in scene.emitted[before:]]


def unmatched(monitor_id: str) -> d.MonitorUnmatched:
    return d.MonitorUnmatched(monitor_id=monitor_id, chat_id="c1", owner_agent_id="sue")


@pytest.mark.parametrize(
    ("what", "heard"),
    [
        (lambda scene: unmonitor(scene, "sue", "m2"), [unmatched("m2")]),
        (lambda scene: scene.agent("ann", role="admin"), [LEFT, unmatched("m"), unmatched("m2")]),
        (lambda scene: scene.agent("sue", role="agent"), [LEFT, unmatched("m"), unmatched("m2")]),
        (lambda scene: scene.say(e.AgentDeleted("sue")), [LEFT, unmatched("m"), unmatched("m2")]),
        (lambda scene: scene.say(e.ParticipantLeaveRequested("c1", "sue")), [LEFT]),
    ],
    ids=["one of two", "the watched is promoted", "the owner lost the role", "the owner is removed", "left"],
)
def test_who_joined_as_a_monitor_leaves_with_the_last_match(
    what: Callable[[Scene], object], heard: list[Emission]
) -> None:
    """First they leave, then the match ends; where the match stays, they may join again."""
    scene = owned(staffed())
    scene.watch("sue", "agent", "ann")
    scene.watch("sue", "ip", IP, id="m2")
    assert whole(scene, join) == [JOINED]
    assert whole(scene, what) == heard
    assert (scene.chat("c1").participant_ids == {}) is (LEFT in heard)


def test_a_closed_chat_is_left_by_all_at_once() -> None:
    scene = owned(staffed())
    scene.watch("sue", "agent", "ann")
    join(scene)
    scene.write("agent", "c1", "ann")
    assert scene.leave("c1") == ["closed c1: handled", "unmatched m from c1 for sue"]
    assert scene.chat("c1").participant_ids == {}


def test_who_takes_part_otherwise_stays_when_the_match_ends() -> None:
    scene = owned(staffed())
    scene.presence("sue", "online")
    scene.watch("sue", "agent", "ann")
    scene.say(e.ChatInviteRequested("c1", "ann", "sue"))
    scene.accept("sue", "c1")
    assert scene.chat("c1").participant_ids == {"sue": "participant"}
    assert whole(scene, lambda scene: unmonitor(scene, "sue")) == [unmatched("m")]
    assert scene.write("agent", "c1", "sue") == []
    assert scene.chat("c1").agent_replied


def test_only_whose_monitor_matches_may_join_to_watch() -> None:
    scene = owned(staffed())
    scene.watch("sue", "agent", "ann")
    for agent_id in ("sid", "adam", "bob", "eve"):
        assert join(scene, agent_id) == ["refused: not_permitted"]


@pytest.mark.parametrize("joined", [False, True], ids=["", "joined"])
@pytest.mark.parametrize(
    ("agent_id", "internal", "heard"),
    [
        ("sue", True, []),
        ("sue", False, ["refused: not_permitted"]),
        ("sid", True, ["refused: not_owner"]),
        ("sid", False, ["refused: not_owner"]),
        ("adam", True, ["refused: not_owner"]),
        ("bob", True, ["refused: not_owner"]),
        ("ann", True, []),
        ("ann", False, []),
    ],
)
def test_who_watches_may_whisper_and_no_more(
    agent_id: str, internal: bool, heard: list[str], joined: bool
) -> None:
    scene = owned(staffed(first_reply_timeout_s=100.0))
    scene.watch("sue", "agent", "ann")
    if joined:
        join(scene)
    assert scene.write("agent", "c1", agent_id, internal=internal) == heard
    replied = agent_id == "ann" and not internal
    assert scene.chat("c1").agent_replied is replied
    assert ("reply" in scene.chat("c1").timers) is not replied


def test_a_refused_word_to_the_visitor_does_not_name_the_chat() -> None:
    scene = owned(staffed())
    scene.watch("sue", "agent", "ann")
    scene.write("agent", "c1", "sue")
    refused = scene.last(d.RequestRefused)
    assert refused.subject is None
    assert "c1" not in refused.message


def test_who_watches_no_more_may_not_whisper() -> None:
    scene = owned(staffed())
    scene.watch("sue", "agent", "ann")
    join(scene)
    assert whisper(scene, "sue") == []
    scene.watch("sue", "agent", "ann", enabled=False)
    assert whisper(scene, "sue") == ["refused: not_owner"]


# ---------------------------------------------------------------- secrecy


def shown(data: Any, agent_id: str, owner_id: str) -> bool:
    """Whether a frontend shows a decision to an agent, while `owner_id` owns the chat: by audience, as the contract says."""
    if isinstance(data, (d.MonitorMatched, d.MonitorUnmatched)):
        return data.owner_agent_id == agent_id
    if isinstance(data, (d.ParticipantJoined, d.ParticipantLeft)) and data.role == "monitor":
        return data.agent_id == agent_id
    audience = getattr(data, "AUDIENCE", None)
    return audience == "agents" or (audience == "owner" and agent_id == owner_id)


def _day(scene: Scene, *, watched: bool) -> list[str]:
    """What `ann` and the others are shown of a day, and what the watcher alone is."""
    if watched:
        scene.watch("sue", "agent", "ann")
    owned(scene)
    if watched:
        join(scene)
        whisper(scene, "sue")
    scene.write("agent", "c1", "ann")
    if watched:
        scene.watch("sue", "agent", "bob")
        scene.watch("sue", "agent", "ann")
    scene.leave("c1")
    return [sentence(item.data) for item in scene.emitted if shown(item.data, "ann", "ann")]


def test_those_who_chat_are_shown_the_same_whether_they_are_watched_or_not() -> None:
    watched = staffed()
    assert _day(watched, watched=True) == _day(staffed(), watched=False)
    assert [sentence(item.data) for item in watched.emitted if isinstance(item.data, d.MonitorMatched)] == [
        "matched m to c1 for sue",
        "matched m to c1 for sue",
    ]
    assert [card.id for card in watched.last(d.ChatClosed).agents] == ["ann"]


def test_what_is_about_monitors_is_for_their_owner() -> None:
    for kind in (d.MonitorMatched, d.MonitorUnmatched, d.ParticipantJoined, d.ParticipantLeft):
        assert kind.AUDIENCE == "owner"


# ---------------------------------------------------------------- cost and storage


def calls(what: Callable[[], object]) -> int:
    """How many Python functions are called."""
    count = 0

    def profile(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        what()
    finally:
        sys.setprofile(None)
    return count


def assigning(*, monitors: int, chats: int) -> int:
    """What an assignment costs where one monitor of many matches."""
    scene = office("ann", mode="auto", max_chats=1000)
    scene.agent("sue", role="supervisor")
    for number in range(monitors):
        scene.watch("sue", "visitor_email", f"v{number}@example.test", id=f"m{number}")
        scene.watch("sue", "ip", f"10.0.0.{number % 256}", id=f"n{number}")
    for number in range(chats):
        scene.ask(f"c{number}", email="nobody@example.test")
    heard: list[str] = []
    cost = calls(lambda: heard.extend(scene.ask("c", email="v1@example.test")))
    assert "matched m1 to c for sue" in heard
    return cost


def test_what_an_assignment_costs_does_not_depend_on_how_much_is_watched() -> None:
    assert assigning(monitors=400, chats=300) <= assigning(monitors=4, chats=300) + 2
    assert assigning(monitors=4, chats=300) <= assigning(monitors=4, chats=3) * 1.5


def test_monitors_and_matches_are_stored_and_deleted_ones_taken_out() -> None:
    scene = owned(staffed())
    scene.watch("sue", "agent", "ann")
    scene.watch("sid", "ip", IP, id="m/2")
    router = Interrupted()
    for record in records_of(scene):
        router.process(record)
    router.commit()
    router.restart()
    assert {key for key in router.topic if key.startswith(b"monitor/")} == {
        b"monitor/acme/m",
        b"monitor/acme/m%2F2",
    }
    done = len(scene.entries)
    assert unmonitor(scene, "sue") == ["unmatched m from c1 for sue"]
    for record in records_of(scene)[done:]:
        assert len(router.process(record)) == 1
    router.commit()
    assert {key for key in router.topic if key.startswith(b"monitor/")} == {b"monitor/acme/m%2F2"}


# ---------------------------------------------------------------- any day


def seen_by(scene: Scene, chat: Chat) -> dict[str, str]:
    """Whose monitors must match a chat: a look at every monitor, without an index."""
    people, owner = scene.ws.agents, scene.ws.agent(chat.owner_id)
    if owner is None or chat.phase != "owned":
        return {}
    visitor = chat.visitor
    found = {}
    for monitor in scene.ws.monitors.values():
        wanted = monitor.settings
        has = {"agent": owner.id, "ip": visitor.ip, "visitor_email": visitor.email}[wanted.kind]
        same = (
            bool(has) and has is not None and has.lower() == wanted.value.lower() and has != "not an address"
        )
        role = people[wanted.owner_agent_id].settings.role
        if wanted.enabled and same and owner.settings.role in MATRIX[role]:
            found[monitor.id] = wanted.owner_agent_id
    return found


@settings(max_examples=150, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
@given(day=days)
def test_on_any_day_the_matches_are_those_a_look_at_everything_finds(day: list[Happening]) -> None:
    scene = Scene()
    scene.say(e.WorkspaceConfigured("Acme"))
    for happening in day:
        happen(scene, happening)
        for chat in scene.ws.chats.values():
            assert chat.watchers == seen_by(scene, chat)
