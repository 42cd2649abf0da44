"""Presence, heartbeats and the grace time of those who go offline."""

import pytest

from schemas import events as e
from tests.router.scenes import office


def test_going_offline_gives_chats_back_after_the_grace_time() -> None:
    scene = office("ann", "bob", offline_grace_s=30.0)
    scene.served("ann", "c1")
    assert scene.presence("ann", "offline") == []
    assert scene.wait(29.9) == []
    assert scene.wait(0.1) == ["unassigned c1 from ann: agent_offline", "offered c1 to bob"]
    assert scene.person("ann").load == 0


@pytest.mark.parametrize("status", ["online", "away"])
def test_coming_back_in_time_keeps_them(status: str) -> None:
    scene = office("ann", offline_grace_s=30.0)
    scene.served("ann", "c1")
    scene.presence("ann", "offline")
    scene.wait(20)
    scene.presence("ann", "offline")
    scene.wait(5)
    scene.presence("ann", status)  # type: ignore[arg-type]
    assert scene.wait(600) == []
    assert scene.chat("c1").owner_id == "ann"


def test_a_second_offline_does_not_prolong_the_grace_time() -> None:
    scene = office("ann", offline_grace_s=30.0)
    scene.served("ann", "c1")
    scene.presence("ann", "offline")
    scene.wait(20)
    scene.presence("ann", "offline")
    assert scene.wait(10) == ["unassigned c1 from ann: agent_offline", "queued c1 in office at 1"]


def test_the_policy_keep_leaves_chats_with_their_owner() -> None:
    scene = office("ann", offline_policy="keep")
    scene.served("ann", "c1")
    scene.presence("ann", "offline")
    assert scene.wait(24 * 3600) == []


def test_away_keeps_chats_and_takes_no_new_ones() -> None:
    scene = office("ann")
    scene.served("ann", "c1")
    scene.presence("ann", "away")
    assert scene.ask("c2") == ["queued c2 in office at 1"]
    assert scene.wait(60) == []
    assert scene.presence("ann", "online") == ["offered c2 to ann"]


def test_an_agent_without_heartbeats_stays_online() -> None:
    scene = office("ann")
    assert scene.wait(24 * 3600) == []
    assert scene.person("ann").status == "online"


def test_sixty_silent_seconds_after_a_heartbeat_mean_offline() -> None:
    scene = office("ann", "bob", offer_timeout_s=0.0, offline_grace_s=10.0)
    scene.served("ann", "c1")
    scene.say(e.AgentHeartbeat("ann"))
    scene.at(50).say(e.AgentHeartbeat("ann"))
    scene.presence("bob", "away")
    scene.ask("c2")
    scene.presence("bob", "online")
    assert scene.at(110).wait(0) == ["withdrawn c2 from ann: agent_offline", "offered c2 to bob"]
    assert scene.person("ann").status == "offline"
    assert scene.wait(10) == ["unassigned c1 from ann: agent_offline", "offered c1 to bob"]


def test_a_heartbeat_sent_while_offline_counts_from_coming_online() -> None:
    scene = office("ann")
    scene.presence("ann", "offline")
    scene.say(e.AgentHeartbeat("ann"))
    assert scene.wait(100) == []
    scene.presence("ann", "online")
    scene.wait(60)
    assert scene.person("ann").status == "offline"


def test_a_heartbeat_brings_nobody_online() -> None:
    scene = office("ann")
    scene.presence("ann", "offline")
    scene.say(e.AgentHeartbeat("ann"))
    assert scene.person("ann").status == "offline"
    assert scene.say(e.AgentHeartbeat("nobody")) == []


def test_going_offline_on_purpose_ends_the_heartbeat_watch() -> None:
    scene = office("ann")
    scene.say(e.AgentHeartbeat("ann"))
    scene.presence("ann", "offline")
    assert scene.partition.next_due_ms() is None


def test_the_presence_of_somebody_unknown_is_refused() -> None:
    scene = office("ann")
    assert scene.presence("nobody", "online") == ["refused: unknown_agent"]
    scene.say(e.AgentDeleted("ann"))
    assert scene.presence("ann", "online") == ["refused: unknown_agent"]
    assert scene.ask("c1") == ["queued c1 in office at 1"]
