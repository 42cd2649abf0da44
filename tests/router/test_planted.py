"""The invariant checker names every mistake that is planted into a record of transfers, invitations and participants."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from schemas import decisions as d
from tests.router.scenes import Scene, office
from tests.router.test_properties import checker_of


def shared() -> Scene:
    """Two join, one of them leaves; a transfer fails, one succeeds, and the chat ends with offers open."""
    scene = office("ann", first_reply_timeout_s=0.0)
    scene.ask("c1")
    scene.accept("ann", "c1")
    scene.agents("bob", "cyd")
    for agent_id in ("bob", "cyd"):
        scene.invite("c1", "ann", agent_id)
        scene.accept(agent_id, "c1")
    scene.step_out("c1", "cyd")
    scene.hand_on("c1", "ann", "cyd")
    scene.decline("cyd", "c1")
    scene.hand_on("c1", "ann", "cyd")
    scene.accept("cyd", "c1")
    scene.hand_on("c1", "cyd", "ann")
    scene.invite("c1", "cyd", "ann")
    scene.leave("c1")
    return scene


def test_nothing_is_wrong_with_it() -> None:
    scene = shared()
    assert checker_of(scene).finish(scene.now_ms) == []


@pytest.mark.parametrize(
    ("kind", "number", "wrong", "what"),
    [
        (d.ChatTransferred, 0, {"to_agent_id": "bob"}, "transferred to bob, who was not asked"),
        (d.ChatTransferred, 0, {"from_agent_id": "bob"}, "transferred to cyd, who was not asked"),
        (
            d.TransferFailed,
            0,
            {"from_agent_id": "bob"},
            "a transfer failed that is still open, or was of another",
        ),
        (d.ParticipantJoined, 1, {"agent_id": "bob"}, "bob joined twice"),
        (d.ParticipantLeft, 0, {"agent_id": "dan"}, "dan left, and had not joined"),
        (d.ParticipantLeft, 0, {"role": "monitor"}, "cyd left, and had not joined"),
        (d.ChatOffered, 6, {"kind": "transfer"}, "a second open offer of kind transfer"),
        (d.OfferWithdrawn, 1, {"agent_ids": ("bob",)}, "an offer withdrawn from agents who were not asked"),
        (d.OfferWithdrawn, 1, {"agent_ids": ("bob",)}, "closed with an open offer of kind transfer"),
        (d.ChatAssigned, 0, {"agent_id": "bob"}, "assigned to bob, who did not accept it"),
        (d.ChatAssigned, 1, {"agent_id": "ann"}, "assigned to ann, who did not accept it"),
    ],
    ids=lambda value: value.TYPE if hasattr(value, "TYPE") else None,
)
def test_what_is_planted_is_named(
    kind: Callable[..., Any], number: int, wrong: dict[str, Any], what: str
) -> None:
    scene = shared()
    places = [place for place, item in enumerate(scene.emitted) if type(item.data) is kind]
    place = places[number]
    scene.emitted[place] = replace(scene.emitted[place], data=replace(scene.emitted[place].data, **wrong))
    found = checker_of(scene).finish(scene.now_ms)
    assert what in [violation.what for violation in found]
