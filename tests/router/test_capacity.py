"""Room, the queue and its order: what waits is taken in order of effective age as soon as room appears."""

from schemas import decisions as d
from schemas import events as e
from services.router.core.state import Agent
from tests.router.scenes import Scene, office


def test_an_open_offer_takes_room() -> None:
    scene = office("ann", max_chats=1)
    assert scene.ask("c1") == ["offered c1 to ann"]
    assert scene.ask("c2") == ["queued c2 in office at 2"]
    assert scene.person("ann").load == 1


def test_a_chat_is_queued_once_per_entry_and_only_if_nobody_is_asked() -> None:
    scene = office("ann", max_chats=1, no_answer_limit=1)
    scene.ask("c1")
    assert scene.wait(20) == ["withdrawn c1 from ann: timed_out", "marked away ann"]
    assert scene.count(d.ChatQueued) == 0


def test_room_goes_to_the_oldest() -> None:
    scene = office("ann", max_chats=1)
    scene.served("ann", "c1")
    assert scene.at(1).ask("c2") == ["queued c2 in office at 1"]
    assert scene.at(2).ask("c3") == ["queued c3 in office at 2"]
    assert scene.at(3).leave("c1") == ["closed c1: handled", "offered c2 to ann"]


def test_a_declined_chat_keeps_its_place() -> None:
    scene = office("ann", "bob", max_chats=1, decline_cooldown_s=5.0)
    scene.presence("bob", "offline")
    scene.ask("c1")
    scene.ask("c2")
    assert scene.decline("ann", "c1") == ["withdrawn c1 from ann: declined", "offered c2 to ann"]
    assert scene.presence("bob", "online") == ["offered c1 to bob"]


def test_more_capacity_is_used_at_once() -> None:
    scene = office("ann", max_chats=0)
    assert scene.ask("c1") == ["queued c1 in office at 1"]
    assert scene.agent("ann", max_chats=2) == ["offered c1 to ann"]


def test_less_capacity_takes_nothing_away() -> None:
    scene = office("ann", max_chats=2)
    scene.served("ann", "c1")
    scene.ask("c2")
    assert scene.agent("ann", max_chats=1) == []
    assert scene.accept("ann", "c2") == ["assigned c2 to ann by accept"]
    assert scene.ask("c3") == ["queued c3 in office at 1"]


def test_an_agent_of_two_departments_takes_the_oldest_over_both() -> None:
    scene = Scene()
    for department in ("office", "sales"):
        scene.department("ann", id=department)
    scene.agents("ann", max_chats=1, status="offline")
    scene.at(1).ask("c1", "sales")
    scene.at(2).ask("c2", "office")
    assert scene.presence("ann", "online") == ["offered c1 to ann"]


def test_channels_cost_what_they_cost_on_entry() -> None:
    scene = office("ann", max_chats=3, channel_cost={"email": 2})
    scene.ask("c1", channel="email")
    assert scene.person("ann").load == 2
    scene.department("ann", channel_cost={"email": 1})
    scene.accept("ann", "c1")
    assert scene.person("ann").load == 2
    scene.leave("c1")
    assert scene.person("ann").load == 0


def test_a_chat_that_goes_to_another_department_costs_what_it_costs_there() -> None:
    scene = Scene()
    scene.department("dan", id="acme", channel_cost={"email": 3})
    scene.department("ann", channel_cost={"email": 2}, offline_grace_s=5.0)
    scene.agents("ann", "dan", max_chats=4)
    scene.served("ann", "c1", channel="email")
    scene.ask("c2", channel="email")
    assert scene.person("ann").load == 4
    assert scene.say(e.DepartmentDeleted("office")) == [
        "withdrawn c2 from ann: department_changed",
        "offered c2 to dan",
    ]
    assert (scene.person("ann").load, scene.person("dan").load) == (2, 3), "its owner has it at the old cost"
    scene.presence("ann", "offline")
    assert scene.wait(5) == ["unassigned c1 from ann: agent_offline", "queued c1 in acme at 1"], "it is older"
    assert scene.person("ann").load == 0
    assert scene.leave("c2") == [
        "withdrawn c2 from dan: visitor_left",
        "missed c2: visitor_left",
        "closed c2: missed",
        "offered c1 to dan",
    ]
    scene.leave("c1")
    assert scene.person("dan").load == 0


def test_a_costly_chat_waits_for_enough_room_and_lets_smaller_ones_pass() -> None:
    scene = office("ann", max_chats=2, channel_cost={"email": 2})
    scene.served("ann", "c1")
    assert scene.ask("c2", channel="email") == ["queued c2 in office at 1"]
    assert scene.ask("c3") == ["offered c3 to ann"]
    assert scene.last(d.ChatOffered).chat_id == "c3"


def test_wrap_up_keeps_the_slot_for_its_time() -> None:
    scene = office("ann", max_chats=1, wrap_up_s=10.0)
    scene.served("ann", "c1")
    assert scene.leave("c1") == ["closed c1: handled"]
    assert scene.ask("c2") == ["queued c2 in office at 1"]
    assert scene.wait(9.9) == []
    assert scene.wait(0.1) == ["offered c2 to ann"]


def test_a_removed_agent_in_wrap_up_comes_back_with_all_their_room() -> None:
    scene = office("ann", max_chats=1, wrap_up_s=10.0)
    scene.served("ann", "c1")
    scene.leave("c1")
    scene.say(e.AgentDeleted("ann"))
    scene.agents("ann", max_chats=1)
    assert scene.person("ann").load == 0
    assert scene.ask("c2") == ["offered c2 to ann"]


def test_an_agent_who_was_removed_comes_back_as_somebody_new() -> None:
    scene = office("ann", "bob", no_answer_limit=2)
    scene.presence("bob", "away")
    scene.ask("c1")
    scene.say(e.AgentHeartbeat("ann"))
    scene.wait(20)
    scene.leave("c1")
    scene.presence("bob", "online")
    scene.presence("ann", "away")
    scene.served("bob", "c2")
    scene.presence("ann", "online")
    scene.invite("c2", "bob", "ann")
    scene.accept("ann", "c2")
    scene.step_out("c2", "ann")
    scene.say(e.AgentDeleted("ann"))
    assert scene.agent("ann") == []
    assert scene.person("ann") == Agent("ann", scene.person("ann").settings)
    scene.presence("ann", "online")
    assert scene.wait(60) == [], "no heartbeat is missed"
    assert scene.join("c2", "ann") == ["refused: not_permitted"], "not invited in this life"


def test_a_priority_is_a_head_start() -> None:
    scene = office("ann", max_chats=1, priority_head_start_s={"vip": 30.0}, wait_timeout_s=0.0)
    scene.served("ann", "c0")
    scene.at(0).ask("old")
    scene.at(29).ask("c1")
    scene.at(31).ask("vip", priority="vip")
    scene.at(31).ask("odd", priority="unheard of")
    assert [place.chat_id for place in scene.ws.indexes["office"].waiting] == ["old", "vip", "c1", "odd"]
    assert scene.last(d.ChatQueued).position == 4


def test_the_wait_is_estimated_from_the_last_twenty_departures() -> None:
    scene = office("ann", max_chats=100, mode="auto", first_reply_timeout_s=0.0)
    for number in range(19):
        scene.at(number * 10).ask(f"c{number}")
    scene.presence("ann", "away")
    scene.ask("first")
    assert scene.last(d.ChatQueued).estimated_wait_s is None
    scene.presence("ann", "online")
    scene.presence("ann", "away")
    scene.at(200).ask("w1")
    scene.ask("w2")
    assert scene.last(d.ChatQueued).position == 2
    mean_s = 180 / 19
    assert scene.last(d.ChatQueued).estimated_wait_s == round(2 * mean_s, 3)
