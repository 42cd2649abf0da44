"""Tags, notes and ratings: who may, what is kept, what is refused, and that nothing else follows from them."""

from typing import Any

import pytest

from schemas import decisions as d
from schemas import events as e
from schemas import notices as n
from services.router.core.annotating import TAGS_MAX
from tests.router.scenes import Scene
from tests.router.test_inbox import delete, missed, staffed
from tests.router.test_properties import state_of

DAY_S = 24 * 3600
MAILED = e.EmailSettings(feedback=e.MailSwitch(True, "desk@acme.test"))


def tag(scene: Scene, *chat_ids: str, by: str = "ann", **changes: Any) -> list[str]:
    return scene.say(e.ChatTagsChanged(chat_ids, by, **changes))


def note(scene: Scene, chat_id: str = "c1", by: str = "ann") -> list[str]:
    return scene.say(e.ChatNoteAdded(chat_id, "n1", by, "Wants a call."))


def scene_with(chat: str) -> Scene:
    scene = staffed()
    if chat == "missed":
        return missed(scene, "c1")
    scene.ask("c1")
    if chat in ("owned", "handled"):
        scene.accept("ann", "c1")
        scene.write("agent", "c1", "ann")
    if chat == "handled":
        scene.leave("c1")
    return scene


@pytest.mark.parametrize("chat", ["waiting", "owned", "handled", "missed"])
@pytest.mark.parametrize(
    ("by", "code"),
    [("ann", None), ("boss", None), ("root", None), ("eve", "not_permitted"), ("ghost", "unknown_agent")],
)
def test_agents_of_the_department_supervisors_and_admins_tag_and_annotate(
    by: str, code: str | None, chat: str
) -> None:
    scene = scene_with(chat)
    refused = [] if code is None else [f"refused: {code}"]
    assert tag(scene, "c1", by=by, add=("tax",)) == (refused or ["tagged c1: tax"])
    assert note(scene, by=by) == refused
    if code is not None:
        assert scene.last(d.RequestRefused).subject == "c1"


def test_what_is_refused_changes_nothing_and_neither_does_a_note() -> None:
    scene = scene_with("owned")
    tag(scene, "c1", add=("tax",))
    before = state_of(scene.partition)
    assert tag(scene, "c9", add=("new",)) == ["refused: unknown_chat"]
    assert tag(scene, "c1", by="eve", add=("new",)) == ["refused: not_permitted"]
    assert note(scene, "c9") == ["refused: unknown_chat"]
    assert note(scene) == []
    after = state_of(scene.partition)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert {key for key in changed if not key.startswith(b"seen/")} == {b"counts/acme/"}


# ---------------------------------------------------------------- tags


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ((), {"add": ("b", "a")}, ("b", "a")),
        (("b",), {"add": ("a", "b")}, ("b", "a")),
        ((), {"add": (" a ", "a", "  ", "A")}, ("a", "A")),
        (("b", "a"), {"remove": ("b",)}, ("a",)),
        (("b", "a"), {"remove": (" b ", "c")}, ("a",)),
        (("a",), {"remove": ("a",)}, ()),
        (("a", "b"), {"remove": ("a",), "add": ("a",)}, ("b", "a")),
        (("a", "b"), {"remove": ("a", "b"), "add": ("c",)}, ("c",)),
        (("税", "b"), {"add": ("税",)}, None),
        (("a",), {"remove": ("b",)}, None),
        (("a",), {"add": (" ",)}, None),
        (("a",), {}, None),
        ((), {"remove": ("a",)}, None),
    ],
)
def test_tags_are_trimmed_unique_and_in_the_order_they_were_put_on(
    before: tuple[str, ...], changes: dict[str, Any], after: tuple[str, ...] | None
) -> None:
    scene = scene_with("owned")
    if before:
        tag(scene, "c1", add=before)
    heard = tag(scene, "c1", **changes)
    if after is None:
        assert heard == [], "where nothing changes, nothing is said"
        assert scene.chat("c1").tags == before
    else:
        assert heard == [f"tagged c1: {', '.join(after)}"]
        assert scene.chat("c1").tags == after


def test_many_chats_are_tagged_at_once_each_by_itself() -> None:
    scene = scene_with("owned")
    missed(scene, "c2")
    missed(scene, "elsewhere", department_id=None)
    tag(scene, "c2", add=("tax",))
    assert tag(scene, "c2", "c9", "c1", "elsewhere", "c1", add=("tax",)) == [
        "refused: unknown_chat",
        "tagged c1: tax",
        "refused: not_permitted",
    ]
    assert scene.last(d.RequestRefused).subject == "elsewhere"


def test_the_number_of_a_chats_tags_is_limited() -> None:
    scene = scene_with("owned")
    missed(scene, "c2")
    full = tuple(f"t{number}" for number in range(TAGS_MAX))
    tag(scene, "c1", add=full)
    assert scene.chat("c1").tags == full
    assert tag(scene, "c1", "c2", add=("more",)) == ["refused: limit_exceeded", "tagged c2: more"]
    assert scene.last(d.RequestRefused).subject == "c1"
    assert scene.chat("c1").tags == full
    assert tag(scene, "c1", add=("more",), remove=("t0",)) == [f"tagged c1: {', '.join((*full[1:], 'more'))}"]


def test_tags_stay_when_a_chat_is_reopened() -> None:
    scene = scene_with("missed")
    tag(scene, "c1", add=("tax",))
    scene.write("visitor", "c1")
    assert tag(scene, "c1", add=("vip",)) == ["tagged c1: tax, vip"]


# ---------------------------------------------------------------- ratings


def test_each_rating_is_one_of_its_own() -> None:
    scene = scene_with("handled")
    scene.department("ann", email=MAILED)
    for rating in (5, 5, 1):
        assert scene.say(e.ChatFeedback("c1", rating)) == ["notice.feedback c1"]
    ids = [item.data.notice_id for item in scene.emitted if isinstance(item.data, n.NoticeFeedback)]
    assert len(set(ids)) == 3


def test_a_rating_names_an_agent_of_the_workspace_also_one_removed_since() -> None:
    scene = scene_with("handled")
    scene.department("ann", email=MAILED)
    scene.say(e.AgentDeleted("ann"))
    assert scene.say(e.ChatFeedback("c1", 4)) == ["notice.feedback c1"]
    assert scene.say(e.ChatFeedback("c1", 4, agent_id="ann")) == ["notice.feedback c1"]
    agent = scene.last(n.NoticeFeedback).agent
    assert agent is not None
    assert agent.id == "ann"
    assert scene.say(e.ChatFeedback("c1", 4, agent_id="ghost")) == ["refused: unknown_agent"]
    assert scene.last(d.RequestRefused).subject == "c1"


def test_the_last_owner_is_rated_after_the_chat_went_on_to_them() -> None:
    scene = staffed("ann", "bob")
    scene.department("ann", "bob", email=MAILED)
    scene.served("ann", "c1")
    scene.say(e.AgentDeleted("ann"))
    scene.accept("bob", "c1")
    scene.say(e.ChatFeedback("c1", 2))
    agent = scene.last(n.NoticeFeedback).agent
    assert agent is not None
    assert agent.id == "bob"


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize(
    ("chat", "days"), [("handled", 1), ("missed", 30), ("deleted", 1)], ids=["handled", "missed", "deleted"]
)
def test_for_how_long_a_chat_may_be_tagged_annotated_and_rated(chat: str, days: int) -> None:
    scene = scene_with("handled" if chat == "handled" else "missed")
    if chat == "deleted":
        delete(scene, "c1")
    scene.at(days * DAY_S)
    assert tag(scene, "c1", add=("late",)) == ["tagged c1: late"]
    assert note(scene) == []
    assert scene.say(e.ChatFeedback("c1", 3)) == []
    scene.wait(0)
    assert tag(scene, "c1", add=("later",)) == ["refused: unknown_chat"]
    assert note(scene) == ["refused: unknown_chat"]
    assert scene.say(e.ChatFeedback("c1", 3)) == ["refused: unknown_chat"]
