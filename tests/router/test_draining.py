"""What it costs to keep the queues and to drain them: counted in looks, which grow with the chats given and not with those that wait."""

import time
from collections.abc import Callable
from cProfile import Profile
from types import FunctionType

import pytest

from schemas import events as e
from services.router.core import eligibility, endings, index, placement
from services.router.core.index import Demand, DepartmentIndex
from services.router.core.last_agents import VISITORS_MAX, LastAgents
from tests.plain import looks_inside
from tests.router.scenes import OFFICE, Scene, office

CHATS = 60
LOOKS_MAX = 4
"""So often a function is called for each chat; to look at all that wait would be half of them on average."""
TIMES_MAX = 8
"""To remember a visitor behind many deleted ones cost fifteen times as much."""
ANN_COMES = e.AgentPresence("ann", "online")


def calls(function: Callable[..., object], act: Callable[[], object]) -> int:
    """How often a function is called."""
    assert isinstance(function, FunctionType)
    profile = Profile()
    profile.runcall(act)
    return sum(entry.callcount for entry in profile.getstats() if entry.code is function.__code__)


# ---------------------------------------------------------------- many wishes at once


def wishing(*, before: int = 0) -> Scene:
    """Many chats wait, each with a wish of its own that Ann can grant once she is there; `before`: older ones that nobody can."""
    scene = Scene()
    scene.department("ann", skills_relax_s=0.0, wait_timeout_s=0.0)
    scene.agents("ann", status="offline", max_chats=CHATS, skills={f"s{n}": 1.0 for n in range(CHATS)})
    for number in range(before):
        scene.at(number).ask(f"n{number}", skills=(f"n{number}",))
    for number in range(CHATS):
        scene.at(before + number).ask(f"c{number}", skills=(f"s{number}",))
    return scene


def moving() -> Scene:
    """They wait in a department that is deleted; Ann is idle where they go."""
    scene = Scene()
    scene.department("bob", id="sales", skills_relax_s=0.0, wait_timeout_s=0.0)
    for number in range(CHATS):
        scene.at(number).ask(f"c{number}", "sales", skills=(f"s{number}",))
    scene.department("ann", id="acme")
    scene.agents("ann", max_chats=CHATS, skills={f"s{n}": 1.0 for n in range(CHATS)})
    return scene


@pytest.mark.parametrize("function", [eligibility.standing, placement._head], ids=["standing", "head"])
@pytest.mark.parametrize("case", ["somebody comes", "past older ones", "chats come"])
@looks_inside
def test_each_chat_that_is_given_costs_the_same_however_many_wait(
    case: str, function: Callable[..., object]
) -> None:
    scene = moving() if case == "chats come" else wishing(before=CHATS if case == "past older ones" else 0)
    event = e.DepartmentDeleted("sales") if case == "chats come" else ANN_COMES
    heard: list[str] = []
    looks = calls(function, lambda: heard.extend(scene.say(event)))
    given = [each for each in heard if each.startswith("offered")]
    assert given == [f"offered c{number} to ann" for number in range(CHATS)], "the oldest first"
    assert looks <= LOOKS_MAX * CHATS


def test_behind_chats_that_were_just_declined_the_oldest_over_all_wishes_goes_first() -> None:
    scene = office("ann", max_chats=1, skills_relax_s=0.0, decline_cooldown_s=600.0, wait_timeout_s=0.0)
    scene.agent("ann", max_chats=1, skills={"cats": 1.0, "dogs": 1.0})
    for number, skill in enumerate(("cats", "dogs")):
        scene.at(number).ask(f"c{number}", skills=(skill,))
        scene.decline("ann", f"c{number}")
    scene.presence("ann", "away")
    for number, skill in enumerate(("cats", "dogs"), start=2):
        scene.at(number).ask(f"c{number}", skills=(skill,))
    assert scene.presence("ann", "online") == ["offered c2 to ann"]
    scene.accept("ann", "c2")
    assert scene.leave("c2")[-1] == "offered c3 to ann"


@looks_inside
def test_who_takes_one_chat_looks_at_no_other() -> None:
    scene = wishing()
    scene.agent("ann", max_chats=1, skills={f"s{n}": 1.0 for n in range(CHATS)})
    assert calls(placement._head, lambda: scene.presence("ann", "online")) <= LOOKS_MAX
    assert scene.person("ann").load == 1


# ---------------------------------------------------------------- transfers by bots


def handed_over() -> Scene:
    """Many chats that a bot handed over wait; Ann and Bob are there and have no room."""
    scene = office("ann", "bob", "cyd", max_chats=0, wait_timeout_s=0.0)
    scene.presence("cyd", "away")
    for number in range(CHATS):
        chat_id = f"c{number}"
        scene.at(number).ask(chat_id, bot="bot")
        scene.write("bot", chat_id)
        scene.transfer(chat_id)
    return scene


@pytest.mark.parametrize(
    ("event", "looks_max"),
    [
        pytest.param(e.AgentConfigured("ann", "Ann", max_chats=CHATS), LOOKS_MAX * CHATS, id="room for all"),
        pytest.param(e.AgentPresence("bob", "away"), CHATS, id="one goes"),
        pytest.param(e.AgentPresence("cyd", "offline"), 0, id="one goes who was not there"),
    ],
)
@looks_inside
def test_a_transfer_is_doubted_once_for_each_reason(event: e.Event, looks_max: int) -> None:
    scene = handed_over()
    assert calls(endings.hopeless, lambda: scene.say(event)) <= looks_max


def test_those_that_are_doubted_fail_with_the_last_who_goes() -> None:
    scene = handed_over()
    assert scene.presence("ann", "away") == []
    heard = scene.presence("bob", "offline")
    failed = [each for each in heard if each.startswith("transfer of")]
    assert failed == [f"transfer of c{number} failed: no_agent_available" for number in range(CHATS)]


# ---------------------------------------------------------------- pools


def asked(number: int) -> Demand:
    return Demand(1, (f"s{number}",), 1)


def test_the_pool_longest_unasked_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "POOLS_IDLE_MAX", 3)
    desk = DepartmentIndex()
    for number in (0, 1, 2, 0, 3, 4):
        desk.pool(asked(number))
    assert [*desk.pools] == [asked(0), asked(3), asked(4)]


def test_a_pool_that_chats_wait_in_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "POOLS_IDLE_MAX", 1)
    scene = office("ann", max_chats=0)
    for number in range(3):
        scene.ask(f"c{number}", skills=(f"s{number}",))
    pools = scene.ws.indexes[OFFICE].pools
    assert [pool.demand.skills for pool in pools.values()] == [("s0",), ("s1",), ("s2",)]
    for number in range(3):
        scene.leave(f"c{number}")
    assert [pool.demand.skills for pool in pools.values()] == [("s2",)]


@looks_inside
def test_many_wishes_in_turn_make_no_pool_anew() -> None:
    agents = tuple(f"a{number}" for number in range(CHATS))
    scene = office(*agents, skills_relax_s=0.0, wait_timeout_s=0.0)

    def turn(first: int) -> None:
        for number in range(first, first + CHATS):
            scene.at(number).ask(f"c{number}", skills=(f"s{number % CHATS}",))
            scene.leave(f"c{number}")

    assert calls(eligibility.standing, lambda: turn(0)) == CHATS * len(agents)
    assert calls(eligibility.standing, lambda: turn(CHATS)) == 0


def test_the_same_wishes_share_a_pool() -> None:
    scene = office("ann")
    scene.agent("ann", languages=("ja",), max_chats=0)
    for number, skills in enumerate((("cats", "ja"), ("ja", "cats"), ("cats", "ja", "cats"))):
        scene.ask(f"c{number}", skills=skills, language="ja")
    (pool,) = scene.ws.indexes[OFFICE].pools.values()
    assert (pool.demand.skills, len(pool.queue)) == (("cats", "ja"), 3)


# ---------------------------------------------------------------- nothing is kept of what is gone


def test_a_language_that_nobody_speaks_any_more_is_dropped() -> None:
    scene = office("ann", "bob")
    scene.agent("ann", languages=("ja", "fr"))
    scene.agent("bob", languages=("ja",))
    scene.agent("ann", languages=("en",))
    assert scene.ws.indexes[OFFICE].languages == {"ja": 1, "en": 1}
    scene.say(e.AgentDeleted("bob"))
    assert scene.ws.indexes[OFFICE].languages == {"en": 1}


def test_who_is_in_no_department_is_dropped() -> None:
    scene = office("ann", "bob")
    scene.department("ann")
    assert scene.ws.departments_of == {"ann": [OFFICE]}


def test_a_visitor_costs_no_more_to_remember_once_as_many_are_forgotten_as_come() -> None:
    known, every = LastAgents(), VISITORS_MAX // 10

    def seconds(first: int) -> float:
        began_s = time.process_time()
        for number in range(first, first + every):
            known.note(OFFICE, f"v{number}", "ann", at_ms=number, sequence=number)
        return time.process_time() - began_s

    filling_s = min(seconds(first) for first in range(0, VISITORS_MAX, every))
    full_s = max(seconds(first) for first in range(VISITORS_MAX, 2 * VISITORS_MAX, every))
    assert full_s < TIMES_MAX * filling_s
    assert len([*known]) == VISITORS_MAX
