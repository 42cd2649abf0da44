"""A day in numbers: who waited how long, and what counts as what."""

from collections.abc import Callable
from dataclasses import asdict, fields
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from schemas import decisions as d
from schemas import events as e
from services.local.measures import Day, Figures, observe, percentile_s
from services.router.core.offline import happenings
from tests.router.happenings import Happening, days, play
from tests.router.scenes import Scene, office
from tests.router.test_properties import thorough

CLOSED = e.Hours((e.Span("sat", "09:00", "10:00"),))


def observed(scene: Scene) -> Day:
    until_ms = None if scene.ticks else scene.now_ms
    return observe(happenings(scene.entries, ticks=scene.ticks, until_ms=until_ms))


def figures(scene: Scene, *, target_s: float = 20.0) -> Figures:
    return observed(scene).figures(target_s=target_s)


def waits(scene: Scene) -> list[tuple[float, str]]:
    return [(wait.lasted_ms / 1000, wait.ended) for wait in observed(scene).waits]


# ---------------------------------------------------------------- what is a wait, and how it ends


def taken() -> Scene:
    scene = office("ann")
    scene.ask("c1")
    scene.at(5).accept("ann", "c1")
    return scene


def assigned_at_once() -> Scene:
    scene = office("ann", mode="auto")
    scene.ask("c1")
    return scene


def visitor_leaves() -> Scene:
    scene = office("ann")
    scene.ask("c1")
    scene.at(7).leave("c1")
    return scene


def visitor_ends() -> Scene:
    scene = office("ann")
    scene.ask("c1")
    scene.at(7).end("c1", "visitor")
    return scene


def out_of_time() -> Scene:
    scene = office("ann", wait_timeout_s=30, offer_timeout_s=0)
    scene.ask("c1")
    scene.wait(30)
    return scene


def turned_away() -> Scene:
    scene = Scene()
    scene.department("ann", hours=CLOSED)
    scene.agents("ann")
    scene.ask("c1")
    return scene


def ended_by_a_supervisor() -> Scene:
    scene = office("ann")
    scene.agent("eve", role="supervisor")
    scene.ask("c1")
    scene.at(4).end("c1", "agent", "eve")
    return scene


def not_over() -> Scene:
    scene = office("ann")
    scene.ask("c1")
    scene.at(9).agent("bob")  # the day's last record
    return scene


def bot_hands_over() -> Scene:
    scene = office("ann")
    scene.ask("c1", bot="bot")
    scene.write("bot", "c1", "bot")
    scene.at(60).transfer("c1")
    scene.at(63).accept("ann", "c1")
    return scene


def bot_transfer_abandoned() -> Scene:
    scene = office("ann")
    scene.ask("c1", bot="bot")
    scene.write("bot", "c1", "bot")
    scene.at(60).transfer("c1")
    scene.at(68).leave("c1")
    return scene


def bot_alone() -> Scene:
    scene = office("ann")
    scene.ask("c1", bot="bot")
    scene.write("bot", "c1", "bot")
    scene.at(60).end("c1", "bot", "bot")
    return scene


def silent_bot() -> Scene:
    """It never hands over: nobody waits for an agent."""
    scene = office("ann", wait_timeout_s=30)
    scene.ask("c1", bot="bot")
    scene.wait(30)
    return scene


def silent_bot_too_late() -> Scene:
    """The transfer comes a moment after the chat was missed: it is refused, whatever order the log is read in."""
    scene = office("ann", wait_timeout_s=30)
    scene.ask("c1", bot="bot")
    scene.at(31).transfer("c1")
    return scene


def bot_hands_over_again() -> Scene:
    """Missed by people, the chat stays with its bot; the second transfer is a revision of its own."""
    scene = office("ann", wait_timeout_s=30, offer_timeout_s=0)
    scene.ask("c1", bot="bot")
    scene.write("bot", "c1", "bot")
    scene.at(10).transfer("c1")
    scene.at(50).transfer("c1")
    scene.at(52).accept("ann", "c1")
    return scene


def reopened() -> Scene:
    scene = office("ann", wait_timeout_s=30, offer_timeout_s=0)
    scene.ask("c1")
    scene.at(100).write("visitor", "c1")
    scene.at(104).accept("ann", "c1")
    return scene


def silent_bot_reopened() -> Scene:
    """It is the bot's again: the visitor waits for an agent from the transfer on."""
    scene = office("ann", wait_timeout_s=30)
    scene.ask("c1", bot="bot")
    scene.at(100).write("visitor", "c1")
    scene.at(120).transfer("c1")
    scene.at(122).accept("ann", "c1")
    return scene


def no_first_reply() -> Scene:
    """The second wait is no first one; the chat was answered, if not replied to."""
    scene = office("ann", "bob", first_reply_timeout_s=30)
    scene.ask("c1")
    scene.at(2).accept("ann", "c1")
    scene.wait(30)
    scene.at(50).leave("c1")
    return scene


def asked_twice() -> Scene:
    """The publisher repeats its record, and somebody else uses the chat's id: one chat, one refusal."""
    scene = office("ann")
    scene.ask("c1")
    scene.say(scene.entries[-1].envelope.data, event_id=scene.entries[-1].envelope.id)
    scene.ask("c1")
    scene.at(3).accept("ann", "c1")
    return scene


def blocked() -> Scene:
    """A refusal sent twice is still no chat."""
    scene = office("ann")
    scene.say(e.VisitorIpBlocked("10.0.0.1", "ann"))
    scene.ask("c1", ip="10.0.0.1")
    scene.say(scene.entries[-1].envelope.data, event_id=scene.entries[-1].envelope.id)
    return scene


WAITS: list[tuple[Callable[[], Scene], list[tuple[float, str]], dict[str, Any]]] = [
    (taken, [(5, "answered")], {"accepts": 1, "unfinished": 1}),
    (assigned_at_once, [(0, "answered")], {"accepts": 0, "offers": 0}),
    (visitor_leaves, [(7, "abandoned")], {"visitors_gone": 1, "missed_by_reason": {"visitor_left": 1}}),
    (visitor_ends, [(7, "abandoned")], {"visitors_gone": 1, "missed": 1}),
    (out_of_time, [(30, "given_up")], {"missed_by_reason": {"no_reply, timed_out": 1}}),
    (turned_away, [(0, "given_up")], {"missed_by_reason": {"no_reply, after_hours": 1}}),
    (ended_by_a_supervisor, [(4, "given_up")], {"visitors_gone": 0, "missed_by_reason": {"no_reply": 1}}),
    (not_over, [(9, "waiting")], {"still_waiting": 1, "unfinished": 1}),
    (bot_hands_over, [(3, "answered")], {"bot_transfers": 1}),
    (bot_transfer_abandoned, [(8, "abandoned")], {"missed_by_reason": {"transfer_not_attended": 1}}),
    (bot_alone, [], {"requested": 1, "handled_by_bot": 1, "missed": 0}),
    (silent_bot, [], {"requested": 1, "missed_by_reason": {"no_reply, timed_out": 1}}),
    (silent_bot_too_late, [], {"bot_transfers": 1, "missed": 1, "refused": 0}),
    (bot_hands_over_again, [(30, "given_up"), (2, "answered")], {"requested": 1, "reopened": 1, "missed": 1}),
    (reopened, [(30, "given_up"), (4, "answered")], {"requested": 1, "reopened": 1, "missed": 1}),
    (silent_bot_reopened, [(2, "answered")], {"reopened": 1, "missed": 1, "unfinished": 1}),
    (no_first_reply, [(2, "answered")], {"handed_back": 1, "missed_by_reason": {"no_agent_message": 1}}),
    (asked_twice, [(3, "answered")], {"requested": 2, "refused": 1, "unfinished": 1}),
    (blocked, [], {"requested": 1, "refused": 1, "unfinished": 0}),
]


@pytest.mark.parametrize(("scene", "expected", "counted"), WAITS, ids=[case[0].__name__ for case in WAITS])
def test_a_wait_is_the_time_until_a_first_agent_has_the_chat(
    scene: Callable[[], Scene], expected: list[tuple[float, str]], counted: dict[str, Any]
) -> None:
    played = scene()
    found = asdict(figures(played))
    assert waits(played) == expected
    assert {name: found[name] for name in counted} == counted


def test_a_chat_given_by_hand_did_not_wait() -> None:
    scene = office("ann", wait_timeout_s=30, offer_timeout_s=0)
    scene.agent("eve", role="supervisor")
    scene.ask("c1")
    scene.wait(30)
    scene.at(90).say(e.MissedAssignRequested(("c1",), "ann", "eve"))
    assert scene.chat("c1").owner_id == "ann"
    assert waits(scene) == [(30, "given_up")]
    assert figures(scene).load_by_agent == {"acme/ann": 1}


# ---------------------------------------------------------------- rates and times


def busy() -> Scene:
    """Ten chats wait 1 to 10 s and are answered; one is abandoned after 2 s, one after 8 s; one is given up, one still waits."""
    scene = office("ann", max_chats=20, offer_timeout_s=0, wait_timeout_s=15)
    for number in range(1, 15):
        scene.ask(f"c{number}")
    for number in range(1, 11):
        scene.at(number).accept("ann", f"c{number}")
        if number in (2, 8):
            scene.leave(f"c{10 + number // 8 + 1}")
    scene.wait(5)
    scene.ask("late")
    scene.wait(3)
    return scene


def test_rates_and_times_are_those_they_are_named_after() -> None:
    found = figures(busy(), target_s=5)
    assert (found.waited, found.answered, found.abandoned, found.given_up, found.still_waiting) == (
        15,
        10,
        2,
        2,
        1,
    )
    assert (found.wait_mean_s, found.wait_p90_s, found.wait_p99_s, found.wait_max_s) == (5.5, 9, 10, 10)
    # Answered within 5 s: five. One of the two abandoned before 5 s, and does not count against the first.
    assert found.service_level_answerable == round(5 / (10 + 1), 6)
    assert found.service_level_offered == round(5 / 15, 6)
    assert found.abandonment == round(2 / 15, 6)


@pytest.mark.parametrize(
    ("percent", "count", "expected_s"),
    [
        (90, 1, 1),
        (50, 2, 1),
        (90, 9, 9),
        (90, 10, 9),
        (90, 11, 10),
        (99, 100, 99),
        (99, 101, 100),
        (100, 7, 7),
    ],
)
def test_percentiles_are_nearest_rank(percent: int, count: int, expected_s: float) -> None:
    assert percentile_s([1000 * number for number in range(1, count + 1)], percent) == expected_s


def test_of_nothing_there_is_no_rate() -> None:
    found = figures(office("ann"))
    empty = {field.name for field in fields(found) if getattr(found, field.name) is None}
    assert empty == {
        "wait_mean_s",
        "wait_p90_s",
        "wait_p99_s",
        "wait_max_s",
        "service_level_answerable",
        "service_level_offered",
        "abandonment",
        "load_variation",
    }


# ---------------------------------------------------------------- offers, load, the queue


def test_offers_are_counted_once_and_whom_they_asked_by_the_head() -> None:
    scene = office("ann", "bob", mode="ring_all", offer_timeout_s=20)
    scene.agent("cyd")
    scene.department("ann", "bob", "cyd", mode="ring_all", offer_timeout_s=20)
    scene.ask("c1")
    scene.at(5).presence("cyd", "online")
    scene.at(21)
    scene.decline("ann", "c1", offer_id="no-such-offer")
    found = figures(scene)
    assert (found.offers, found.rung, found.rang_out) == (scene.chat("c1").offers_made, 6, 1)
    assert (found.declines, found.answers_in_vain) == (1, 1)


def test_load_counts_everybody_who_was_online() -> None:
    scene = office("ann", "bob", "cyd", mode="auto")
    scene.agents("ghost-of-another-desk")
    scene.agent("eve")
    scene.presence("nobody", "online")
    for number in range(5):
        scene.ask(f"c{number}")
    found = figures(scene)
    assert found.load_by_agent == {
        "acme/ann": 2,
        "acme/bob": 2,
        "acme/cyd": 1,
        "acme/ghost-of-another-desk": 0,
    }
    assert (found.agents_online, found.load_max, found.load_mean) == (4, 2, 1.25)
    assert found.load_variation == round((0.6875**0.5) / 1.25, 6)


def test_the_queue_counts_chats_taken_from_their_agent_again() -> None:
    scene = office("ann", first_reply_timeout_s=30, wait_timeout_s=0, offer_timeout_s=0)
    scene.ask("c1")
    scene.at(10).accept("ann", "c1")
    scene.at(20).ask("c2")
    scene.at(50).leave("c2")
    began_ms = scene.starts_at_ms
    changes = [((at_ms - began_ms) / 1000, length) for at_ms, length in observed(scene).queue()]
    assert changes == [(0, 1), (10, 0), (20, 1), (40, 2), (50, 1)]


@pytest.mark.parametrize("ticks", [False, True], ids=["exact", "ticks"])
@thorough
@given(day=days)
def test_on_any_day_everything_is_counted_once(ticks: bool, day: list[Happening]) -> None:
    scene = play(Scene(ticks=ticks), day)
    seen = observed(scene)
    found = seen.figures(target_s=20)
    ws = scene.partition.workspaces.get(scene.workspace_id)
    chats = [] if ws is None else list(ws.chats.values())
    queue = [length for _, length in seen.queue()]

    assert found.waited == found.answered + found.abandoned + found.given_up + found.still_waiting
    assert found.unfinished == sum(chat.live and chat.missed_reason is None for chat in chats)
    assert found.still_waiting == sum(chat.phase == "waiting" and not chat.assigned_once for chat in chats)
    assert (queue or [0])[-1] == sum(chat.phase == "waiting" for chat in chats)
    assert min(queue, default=0) >= 0
    assert all(one != other for one, other in pairwise(queue))
    assert found.missed == scene.count(d.ChatMissed)
    assert sum(found.load_by_agent.values()) == scene.count(d.ChatAssigned)
    assert found.offers == len(
        {item.data.offer_id for item in scene.emitted if isinstance(item.data, d.ChatOffered)}
    )
