"""The announced waiting time, and how far it was off."""

import pytest

from schemas import decisions as d
from tests.router.scenes import Scene, office
from tests.router.test_figures import counted


def rush(gap_s: int) -> Scene:
    """One agent serves a chat after another; each takes as long, so 20 chats have left the queue in equal steps."""
    scene = office("ann", max_chats=1, wait_timeout_s=0.0)
    for number in range(21):
        scene.at(number * gap_s).served("ann", f"c{number}")
        scene.leave(f"c{number}")
    scene.served("ann", "busy")
    return scene


def test_the_estimate_is_the_position_times_the_mean_gap() -> None:
    scene = rush(30)
    scene.at(700).ask("one")
    assert scene.last(d.ChatQueued).estimated_wait_s == pytest.approx(30, rel=0.06)
    scene.ask("two")
    assert scene.last(d.ChatQueued).estimated_wait_s == pytest.approx(60, rel=0.06)


def test_its_error_is_what_the_chat_really_waited_less() -> None:
    scene = rush(30)
    scene.at(700).ask("one")
    announced_s = scene.last(d.ChatQueued).estimated_wait_s
    assert announced_s is not None
    scene.at(712).leave("busy")
    scene.at(715).accept("ann", "one")
    assert counted(scene).misjudged_s == [pytest.approx(announced_s - 15)]


def test_who_leaves_unassigned_has_no_error() -> None:
    scene = rush(30)
    scene.at(700).ask("one")
    scene.at(710).leave("one")
    scene.at(711).ask("one-more")
    assert counted(scene).misjudged_s == []
