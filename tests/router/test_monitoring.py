"""Monitors: who may have one, what it matches, and when that begins and ends."""

from collections.abc import Callable
from typing import Any, Literal

import pytest

from schemas import decisions as d
from schemas import events as e
from schemas.types import Role
from services.router.core import monitoring
from tests.router.scenes import Scene, office
from tests.router.test_properties import state_of

Kind = Literal["agent", "ip", "visitor_email"]
MAIL = "Vera@Example.test"
IP = "10.0.0.1"


def staffed(**routing: Any) -> Scene:
    """An office where `ann` and `bob` chat; `sue` and `sid` are supervisors, `adam` and `ada` admins, `eve` is an agent."""
    scene = office("ann", "bob", **{"first_reply_timeout_s": 0.0, **routing})
    people: dict[str, Role] = {"sue": "supervisor", "sid": "supervisor", "adam": "admin", "ada": "admin"}
    for agent_id, role in people.items():
        scene.agent(agent_id, role=role)
    scene.agent("eve")
    return scene


def owned(scene: Scene, chat_id: str = "c1", by: str = "ann", **visitor: Any) -> Scene:
    """A chat that `by` owns: for a moment nobody else is there to take it."""
    others = [agent_id for agent_id in ("ann", "bob") if agent_id != by]
    for agent_id in others:
        scene.presence(agent_id, "away")
    scene.ask(chat_id, **{"email": MAIL, "ip": IP, **visitor})
    scene.accept(by, chat_id)
    for agent_id in others:
        scene.presence(agent_id, "online")
    assert scene.chat(chat_id).owner_id == by
    return scene


def unmonitor(scene: Scene, by: str, monitor_id: str = "m") -> list[str]:
    return scene.say(e.MonitorDeleted(monitor_id, by))


# ---------------------------------------------------------------- who may

MATRIX: list[tuple[Role, Role, bool]] = [
    ("admin", "admin", False),
    ("admin", "supervisor", True),
    ("admin", "agent", True),
    ("supervisor", "admin", False),
    ("supervisor", "supervisor", False),
    ("supervisor", "agent", True),
    ("agent", "admin", False),
    ("agent", "supervisor", False),
    ("agent", "agent", False),
]


@pytest.mark.parametrize(("owner", "watched", "allowed"), MATRIX)
def test_who_may_watch_an_agent(owner: Role, watched: Role, allowed: bool) -> None:
    scene = office("ann")
    scene.agent("boss", role=owner)
    scene.agent("ann", role=watched)
    scene.served("ann", "c1")
    expected = ["matched m to c1 for boss"] if allowed else ["refused: not_permitted"]
    assert scene.watch("boss", "agent", "ann") == expected


@pytest.mark.parametrize(("kind", "value"), [("ip", IP), ("visitor_email", MAIL)])
@pytest.mark.parametrize(("owner", "watched", "allowed"), MATRIX)
def test_who_may_watch_a_visitor_and_whose_chats_it_matches(
    owner: Role, watched: Role, allowed: bool, kind: Kind, value: str
) -> None:
    scene = office("ann")
    scene.agent("boss", role=owner)
    scene.agent("ann", role=watched)
    scene.served("ann", "c1", email=MAIL, ip=IP)
    expected = ["matched m to c1 for boss"] if allowed else []
    assert scene.watch("boss", kind, value) == (expected if owner != "agent" else ["refused: not_permitted"])


@pytest.mark.parametrize("role", ["admin", "supervisor", "agent"])
def test_nobody_watches_themselves(role: Role) -> None:
    scene = office("ann")
    scene.agent("ann", role=role)
    scene.served("ann", "c1", email=MAIL)
    assert scene.watch("ann", "agent", "ann") == ["refused: not_permitted"]
    assert scene.watch("ann", "visitor_email", MAIL) == (
        ["refused: not_permitted"] if role == "agent" else []
    )


@pytest.mark.parametrize(
    ("owner", "kind", "value", "code"),
    [
        ("ghost", "agent", "ann", "unknown_agent"),
        ("ghost", "ip", IP, "unknown_agent"),
        ("gone", "ip", IP, "unknown_agent"),
        ("sue", "agent", "ghost", "unknown_agent"),
        ("sue", "agent", "gone", "unknown_agent"),
        ("sue", "agent", "Ann", "unknown_agent"),
        ("eve", "agent", "ghost", "not_permitted"),
        ("sid", "agent", "ann", "not_permitted"),
        ("adam", "agent", "ann", "not_permitted"),
    ],
)
def test_what_is_refused_and_that_it_changes_nothing(owner: str, kind: Kind, value: str, code: str) -> None:
    scene = owned(staffed())
    scene.agent("gone", role="supervisor")
    scene.say(e.AgentDeleted("gone"))
    scene.watch("sue", "agent", "bob")
    before = state_of(scene.partition)
    assert scene.watch(owner, kind, value) == [f"refused: {code}"]
    assert scene.last(d.RequestRefused).subject == "m"
    after = state_of(scene.partition)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert {key for key in changed if not key.startswith(b"seen/")} == {b"counts/acme/"}


@pytest.mark.parametrize(
    ("by", "monitor_id", "heard"),
    [
        ("sue", "m", ["unmatched m from c1 for sue"]),
        ("adam", "m", ["unmatched m from c1 for sue"]),
        ("sid", "m", ["refused: not_permitted"]),
        ("eve", "m", ["refused: not_permitted"]),
        ("ann", "m", ["refused: not_permitted"]),
        ("ghost", "m", ["refused: unknown_agent"]),
        ("sue", "none", []),
        ("adam", "none", []),
        ("eve", "none", ["refused: not_permitted"]),
        ("ghost", "none", ["refused: unknown_agent"]),
    ],
)
def test_who_may_delete_a_monitor(by: str, monitor_id: str, heard: list[str]) -> None:
    scene = owned(staffed())
    assert scene.watch("sue", "agent", "ann") == ["matched m to c1 for sue"]
    assert unmonitor(scene, by, monitor_id) == heard
    assert ("m" in scene.ws.monitors) == ("unmatched m from c1 for sue" not in heard)


def test_its_owner_may_delete_a_monitor_whatever_they_are_now() -> None:
    scene = owned(staffed())
    scene.watch("sue", "agent", "ann")
    scene.agent("sue", role="agent")
    assert unmonitor(scene, "sue") == []
    assert scene.ws.monitors == {}
    assert unmonitor(scene, "sue") == ["refused: not_permitted"], "an agent is told nothing of what there is"


def test_a_workspace_has_so_many_monitors_at_most() -> None:
    scene = owned(staffed())
    for number in range(monitoring.MONITORS_MAX):
        scene.watch("sue", "ip", "10.9.9.9", id=f"m{number}")
    assert scene.watch("sue", "agent", "ann") == ["refused: limit_exceeded"]
    assert scene.watch("sue", "agent", "ann", id="m0") == ["matched m0 to c1 for sue"], "changed, not added"
    unmonitor(scene, "sue", "m1")
    assert scene.watch("sue", "agent", "ann") == ["matched m to c1 for sue"]


# ---------------------------------------------------------------- what matches


@pytest.mark.parametrize(
    ("kind", "value", "visitor", "matches"),
    [
        ("visitor_email", "vera@example.test", {"email": "Vera@Example.Test"}, True),
        ("visitor_email", " VERA@EXAMPLE.TEST ", {"email": "vera@example.test"}, True),
        ("visitor_email", "vera@example.test", {"email": "vera@example.test.x"}, False),
        ("visitor_email", "vera@example.test", {"email": None}, False),
        ("visitor_email", "", {"email": ""}, False),
        ("visitor_email", " ", {"email": None}, False),
        ("ip", "10.0.0.1", {"ip": "10.0.0.1"}, True),
        ("ip", "10.0.0.1", {"ip": " 10.0.0.1 "}, True),
        ("ip", "2001:DB8:0:0::1", {"ip": "2001:db8::1"}, True),
        ("ip", "10.0.0.1", {"ip": "::ffff:10.0.0.1"}, True),
        ("ip", "::FFFF:a00:1", {"ip": "10.0.0.1"}, True),
        ("ip", "10.0.0.1", {"ip": "::10.0.0.1"}, False),
        ("ip", "10.0.0.1", {"ip": "10.0.0.11"}, False),
        ("ip", "10.0.0.1", {"ip": None}, False),
        ("ip", "10.0.0.0/8", {"ip": "10.0.0.1"}, False),
        ("ip", "somewhere", {"ip": "somewhere"}, False),
        ("ip", "", {"ip": ""}, False),
        ("ip", "10.0.0.1", {"email": "10.0.0.1"}, False),
        ("agent", "ann", {"email": "ann"}, True),
        ("agent", "bob", {"email": "bob"}, False),
    ],
)
def test_values_are_compared_as_what_they_are(
    kind: Kind, value: str, visitor: dict[str, Any], matches: bool
) -> None:
    """Whether the monitor was there before the chat or comes after it."""
    expected = ["matched m to c1 for sue"] if matches else []
    scene = owned(staffed(), **{"email": None, "ip": None, **visitor})
    assert scene.watch("sue", kind, value) == expected
    scene = staffed(mode="auto")
    scene.watch("sue", kind, value)
    scene.presence("bob", "away")
    heard = scene.ask("c1", **visitor)
    assert heard == ["assigned c1 to ann by auto", *expected]


def test_a_chat_is_watched_from_its_assignment_to_its_end() -> None:
    scene = staffed()
    scene.watch("sue", "agent", "ann")
    scene.watch("adam", "visitor_email", MAIL, id="m2")
    scene.presence("bob", "away")
    assert scene.ask("c1", email=MAIL) == ["offered c1 to ann"]
    assert scene.accept("ann", "c1") == [
        "assigned c1 to ann by accept",
        "matched m to c1 for sue",
        "matched m2 to c1 for adam",
    ]
    scene.write("agent", "c1", "ann")
    assert scene.leave("c1") == [
        "closed c1: handled",
        "unmatched m from c1 for sue",
        "unmatched m2 from c1 for adam",
    ]
    assert scene.watch("sue", "agent", "ann", id="m3") == [], "a closed chat is not looked at"


def test_a_chat_that_nobody_owns_is_watched_by_nobody() -> None:
    scene = staffed()
    scene.ask("c1", email=MAIL)
    scene.ask("c2", bot="bot", email=MAIL)
    assert scene.watch("sue", "visitor_email", MAIL) == []


@pytest.mark.parametrize(
    ("kind", "value", "patch"),
    [
        ("visitor_email", MAIL, e.VisitorPatch(email=MAIL.lower())),
        ("ip", IP, e.VisitorPatch(ip=IP)),
    ],
)
def test_it_matches_when_the_address_becomes_known(kind: Kind, value: str, patch: e.VisitorPatch) -> None:
    scene = owned(staffed(), email=None, ip=None)
    assert scene.watch("sue", kind, value) == []
    assert scene.say(e.VisitorUpdated("c1", e.VisitorPatch(name="Vera"))) == []
    assert scene.say(e.VisitorUpdated("c1", patch)) == ["matched m to c1 for sue"]
    assert scene.say(e.VisitorUpdated("c1", patch)) == []


def _upsert(kind: Kind, value: str, *, enabled: bool = True) -> Callable[[Scene], list[str]]:
    return lambda scene: scene.watch("sue", kind, value, enabled=enabled)


def _role(agent_id: str, role: Role) -> Callable[[Scene], list[str]]:
    return lambda scene: scene.agent(agent_id, role=role)


UNMATCHING: list[tuple[str, Callable[[Scene], list[str]], tuple[Kind, ...]]] = [
    ("disabled", _upsert("agent", "ann", enabled=False), ("agent", "ip", "visitor_email")),
    ("another agent's", _upsert("agent", "bob"), ("agent", "ip", "visitor_email")),
    ("another address", _upsert("ip", "10.0.0.2"), ("agent", "ip", "visitor_email")),
    ("another e-mail", _upsert("visitor_email", "x@example.test"), ("agent", "ip", "visitor_email")),
    ("deleted", lambda scene: unmonitor(scene, "sue"), ("agent", "ip", "visitor_email")),
    ("the owner lost the role", _role("sue", "agent"), ("agent", "ip", "visitor_email")),
    ("the owner is removed", lambda s: s.say(e.AgentDeleted("sue")), ("agent", "ip", "visitor_email")),
    ("the watched is promoted", _role("ann", "supervisor"), ("agent", "ip", "visitor_email")),
    (
        "the e-mail was another",
        lambda scene: scene.say(e.VisitorUpdated("c1", e.VisitorPatch(email="y@example.test"))),
        ("visitor_email",),
    ),
    ("the IP changed", lambda s: s.say(e.VisitorUpdated("c1", e.VisitorPatch(ip="10.0.0.9"))), ("ip",)),
    ("the watched sets another limit", lambda s: s.agent("ann", max_chats=9), ()),
    ("the owner stays what they are", _role("sue", "supervisor"), ()),
    ("the owner is promoted", _role("sue", "admin"), ()),
    ("another is removed", lambda s: s.say(e.AgentDeleted("sid")), ()),
    ("the owner goes offline", lambda s: s.presence("sue", "offline"), ()),
]


@pytest.mark.parametrize(("kind", "value"), [("agent", "ann"), ("ip", IP), ("visitor_email", MAIL)])
@pytest.mark.parametrize(
    ("what", "kinds"), [row[1:] for row in UNMATCHING], ids=[row[0] for row in UNMATCHING]
)
def test_what_ends_a_match(
    what: Callable[[Scene], list[str]], kinds: tuple[Kind, ...], kind: Kind, value: str
) -> None:
    scene = owned(staffed())
    owned(scene, "c2", "bob", email="z@example.test", ip="10.1.1.1")
    assert scene.watch("sue", kind, value) == ["matched m to c1 for sue"]
    heard = [line for line in what(scene) if "c1" in line]
    assert heard == (["unmatched m from c1 for sue"] if kind in kinds else [])
    assert monitoring.matched(scene.chat("c1"), "sue") is (kind not in kinds)


@pytest.mark.parametrize(
    ("how", "heard"),
    [
        ("left", ["missed c1: no_agent_message", "closed c1: missed"]),
        ("ended", ["missed c1: no_agent_message", "closed c1: missed"]),
        ("not answered", ["unassigned c1 from ann: no_first_reply", "queued c1 in office at 1"]),
        ("removed", ["unassigned c1 from ann: agent_removed", "queued c1 in office at 1"]),
        ("offline", ["unassigned c1 from ann: agent_offline", "queued c1 in office at 1"]),
    ],
)
@pytest.mark.parametrize(("kind", "value"), [("agent", "ann"), ("ip", IP), ("visitor_email", MAIL)])
def test_a_match_ends_when_the_chat_has_no_owner_any_more(
    kind: Kind, value: str, how: str, heard: list[str]
) -> None:
    scene = owned(staffed(first_reply_timeout_s=100.0, offline_grace_s=30.0))
    scene.watch("sue", kind, value)
    scene.presence("bob", "away")
    match how:
        case "left":
            said = scene.leave("c1")
        case "ended":
            said = scene.end("c1", "visitor")
        case "not answered":
            scene.presence("ann", "away")
            said = scene.wait(100)
        case "removed":
            said = scene.say(e.AgentDeleted("ann"))
        case _:
            scene.presence("ann", "offline")
            said = scene.wait(30)
    assert said == [*heard, "unmatched m from c1 for sue"]


@pytest.mark.parametrize(
    ("lost", "found"),
    [
        (_upsert("agent", "ann", enabled=False), _upsert("agent", "ann")),
        (_upsert("agent", "eve"), _upsert("visitor_email", MAIL)),
        (_role("sue", "agent"), _role("sue", "supervisor")),
        (_role("ann", "admin"), _role("ann", "agent")),
    ],
    ids=["enabled", "another value", "the owner's role", "the watched one's role"],
)
def test_what_is_put_back_matches_again(
    lost: Callable[[Scene], list[str]], found: Callable[[Scene], list[str]]
) -> None:
    scene = owned(staffed())
    scene.watch("sue", "agent", "ann")
    assert lost(scene) == ["unmatched m from c1 for sue"]
    assert found(scene) == ["matched m to c1 for sue"]


def test_the_monitors_of_a_removed_agent_are_gone_and_those_on_one_stay() -> None:
    scene = owned(staffed())
    scene.watch("sue", "agent", "ann")
    scene.watch("adam", "agent", "sue", id="m2")
    scene.say(e.AgentDeleted("sue"))
    assert sorted(scene.ws.monitors) == ["m2"]
    assert scene.agent("sue", role="supervisor") == []
    assert scene.watch("sid", "agent", "ann") == ["matched m to c1 for sid"], "the id is free"


def test_a_chat_that_changes_hands_in_one_step_is_watched_on_where_the_new_owner_may_be() -> None:
    scene = staffed(mode="auto")
    scene.presence("bob", "away")
    scene.ask("c1", email=MAIL)
    scene.watch("sue", "agent", "ann", id="m1")
    scene.watch("sue", "agent", "bob", id="m2")
    scene.watch("sue", "visitor_email", MAIL, id="m3")
    scene.presence("bob", "online")
    assert scene.say(e.AgentDeleted("ann")) == [
        "unassigned c1 from ann: agent_removed",
        "assigned c1 to bob by auto",
        "unmatched m1 from c1 for sue",
        "matched m2 to c1 for sue",
    ]
    scene.agent("ann", role="admin")
    scene.presence("ann", "online")
    assert scene.say(e.AgentDeleted("bob")) == [
        "unassigned c1 from bob: agent_removed",
        "assigned c1 to ann by auto",
        "unmatched m3 from c1 for sue",
        "unmatched m2 from c1 for sue",
    ]


def test_of_many_the_oldest_chats_and_the_lowest_ids_come_first() -> None:
    scene = staffed()
    for number in (3, 1, 2):
        owned(scene, f"c{number}", "ann" if number < 3 else "bob")
    heard = scene.watch("adam", "ip", IP, id="b")
    assert heard == [f"matched b to c{number} for adam" for number in (3, 1, 2)]
    scene.watch("adam", "visitor_email", MAIL, id="a")
    assert scene.agent("adam", role="agent") == [
        f"unmatched {monitor_id} from c{number} for adam" for number in (3, 1, 2) for monitor_id in "ba"
    ]
    assert scene.agent("adam", role="admin") == [
        f"matched {monitor_id} to c{number} for adam" for number in (3, 1, 2) for monitor_id in "ab"
    ]
