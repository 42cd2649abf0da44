"""The missed inbox: who may keep it, many chats at once, closing, deleting and answering them, and for how long it is known."""

from collections.abc import Callable

import pytest

from schemas import decisions as d
from schemas import events as e
from schemas import notices as n
from schemas.types import BULK_IDS_MAX
from tests.router.scenes import OFFICE, Scene, office
from tests.router.test_properties import state_of

DAY_S = 24 * 3600


def assign(scene: Scene, *chat_ids: str, to: str = "ann", by: str = "ann") -> list[str]:
    return scene.say(e.MissedAssignRequested(chat_ids, to, by))


def close(scene: Scene, *chat_ids: str, by: str = "ann") -> list[str]:
    return scene.say(e.MissedCloseRequested(chat_ids, by))


def delete(scene: Scene, *chat_ids: str, by: str = "ann") -> list[str]:
    return scene.say(e.MissedDeleteRequested(chat_ids, by))


def reply(scene: Scene, chat_id: str = "c1", by: str = "ann") -> list[str]:
    return scene.say(e.MissedReplyRequested(chat_id, by, "Sorry to have missed you."))


def missed(scene: Scene, *chat_ids: str, gone: bool = True, **request: object) -> Scene:
    """Chats that nobody answered; `gone`: their visitors left, otherwise they are still there."""
    for chat_id in chat_ids:
        scene.ask(chat_id, **request)  # type: ignore[arg-type]
        if gone:
            scene.leave(chat_id)
        else:
            scene.end(chat_id, "agent", "boss")
        assert scene.chat(chat_id).inbox == "open"
    return scene


def staffed(*agent_ids: str, max_chats: int = 4) -> Scene:
    """A department with agents, a supervisor, an admin, and an agent of nowhere."""
    scene = office(*agent_ids or ("ann",), wait_timeout_s=0.0, offer_timeout_s=0.0, max_chats=max_chats)
    scene.agents("boss", role="supervisor")
    scene.agents("root", role="admin")
    scene.agents("eve")
    return scene


def talking_to_a_bot_after_it_was_missed() -> Scene:
    """Live and missed: the bot that had replied goes on after its transfer came to nothing."""
    scene = staffed()
    scene.presence("ann", "offline")
    scene.ask("c1", bot="bot")
    scene.write("bot", "c1")
    assert scene.transfer("c1")[-1] == "missed c1: transfer_not_attended"
    scene.presence("ann", "online")
    assert scene.chat("c1").live
    return scene


# ---------------------------------------------------------------- who may, and what may be asked


@pytest.mark.parametrize(
    ("by", "code"),
    [("ann", None), ("boss", None), ("root", None), ("eve", "not_permitted"), ("ghost", "unknown_agent")],
)
@pytest.mark.parametrize("asked", [assign, close, delete, reply])
def test_agents_of_the_department_supervisors_and_admins_keep_the_inbox(
    asked: Callable[..., list[str]], by: str, code: str | None
) -> None:
    scene = missed(staffed(), "c1", email="v@example.test")
    heard = asked(scene, "c1", by=by)
    assert len(heard) == 1
    assert heard[0].startswith("refused") == (code is not None)
    if code is not None:
        assert heard == [f"refused: {code}"]
        assert scene.last(d.RequestRefused).subject == "c1"


def test_an_agent_taken_out_of_the_department_may_no_longer() -> None:
    scene = missed(staffed("ann", "bob"), "c1")
    scene.department("bob")
    assert close(scene, "c1", by="ann") == ["refused: not_permitted"]
    assert close(scene, "c1", by="bob") == ["inbox c1: closed"]


def test_an_agent_of_another_department_may_keep_what_was_assigned_to_them() -> None:
    scene = missed(staffed(), "c1")
    assert close(scene, "c1", by="eve") == ["refused: not_permitted"]
    assert assign(scene, "c1", to="eve", by="boss") == ["inbox c1: assigned to eve"]
    assert close(scene, "c1", by="eve") == ["inbox c1: closed to eve"]


@pytest.mark.parametrize("asked", [assign, close, delete, reply])
@pytest.mark.parametrize(
    ("chat_id", "code"),
    [
        ("nowhere", "unknown_chat"),
        ("live", "chat_not_missed"),
        ("handled", "chat_not_missed"),
        ("reopened", "chat_not_missed"),
        ("deleted", "chat_not_missed"),
    ],
)
def test_only_missed_chats_stand_in_the_inbox(
    asked: Callable[..., list[str]], chat_id: str, code: str
) -> None:
    scene = missed(staffed(), "deleted", "reopened", email="v@example.test")
    scene.served("ann", "handled", email="v@example.test")
    scene.leave("handled")
    scene.served("ann", "live", email="v@example.test")
    delete(scene, "deleted")
    scene.write("visitor", "reopened")
    before = state_of(scene.partition)
    assert asked(scene, chat_id) == [f"refused: {code}"]
    after = state_of(scene.partition)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert {key for key in changed if not key.startswith(b"seen/")} == {b"counts/acme/"}


@pytest.mark.parametrize(
    ("asked", "heard"),
    [
        (assign, "refused: chat_not_missed"),
        (close, "refused: chat_not_missed"),
        (delete, "refused: chat_not_missed"),
        (reply, "notice.reply c1"),
    ],
)
def test_a_closed_one_can_be_answered_and_nothing_else(asked: Callable[..., list[str]], heard: str) -> None:
    scene = missed(staffed(), "c1", email="v@example.test")
    close(scene, "c1")
    assert asked(scene, "c1") == [heard]
    assert scene.chat("c1").inbox == "closed"


# ---------------------------------------------------------------- many at once


def test_each_of_many_is_decided_by_itself_in_order_and_once() -> None:
    scene = missed(staffed(), "c1", "c3")
    scene.served("ann", "c2")
    missed(scene, "elsewhere", department_id=None)
    asked = ("c3", "c9", "c1", "c3", "c2", "elsewhere", "c9")
    assert close(scene, *asked) == [
        "inbox c3: closed",
        "refused: unknown_chat",
        "inbox c1: closed",
        "refused: chat_not_missed",
        "refused: not_permitted",
    ]
    subjects = [item.data.subject for item in scene.emitted if isinstance(item.data, d.RequestRefused)]
    assert subjects == ["c9", "c2", "elsewhere"]


def test_as_many_as_a_request_may_name() -> None:
    scene = staffed(max_chats=1)
    chat_ids = tuple(f"c{number}" for number in range(BULK_IDS_MAX))
    missed(scene, *chat_ids, gone=False)
    assert len(assign(scene, *chat_ids, to="boss")) == 3 * BULK_IDS_MAX
    assert scene.person("boss").load == BULK_IDS_MAX


# ---------------------------------------------------------------- reopening by a message


@pytest.mark.parametrize("status", ["open", "assigned", "closed", "deleted"])
def test_a_visitors_message_reopens_what_is_still_missed(status: str) -> None:
    scene = missed(staffed(), "c1")
    match status:
        case "assigned":
            assign(scene, "c1", to="boss")
            scene.presence("boss", "offline")
        case "closed":
            close(scene, "c1")
        case "deleted":
            delete(scene, "c1")
    opens = status in ("open", "assigned")
    assert scene.write("visitor", "c1") == (["reopened c1 as 2", "offered c1 to ann"] if opens else [])
    assert scene.chat("c1").live == opens
    if opens:
        assert (scene.chat("c1").inbox, scene.chat("c1").inbox_agent_id) == (None, None)


# ---------------------------------------------------------------- answering by e-mail


def test_a_reply_comes_from_the_departments_address_with_copies() -> None:
    scene = staffed()
    scene.workspace(language="en", timezone="Asia/Tokyo", sender="chat@acme.test")
    scene.department(
        "ann",
        email=e.EmailSettings(
            from_address="office@acme.test",
            cc=e.MailSwitch(True, "desk@acme.test, boss@acme.test"),
            language="ja",
        ),
    )
    scene.agent("ann", email="ann@acme.test")
    missed(scene, "c1", channel="line", email="v@example.test")
    assign(scene, "c1", to="boss")
    assert reply(scene) == ["notice.reply c1"]
    notice = scene.last(n.NoticeReply)
    assert notice.letter == n.Letter(
        to=("v@example.test",),
        language="ja",
        timezone="Asia/Tokyo",
        from_address="office@acme.test",
        cc=("desk@acme.test", "boss@acme.test"),
    )
    assert notice.agent == d.AgentCard("ann", "Ann", "ann@acme.test")
    assert notice.department == d.DepartmentRef(OFFICE, "Office")
    assert (notice.question, notice.text) == ("How?", "Sorry to have missed you.")
    assert notice.visitor.email == "v@example.test"
    assert scene.chat("c1").inbox == "assigned", "the status is left as it is"
    first = notice.notice_id
    assert reply(scene) == ["notice.reply c1"], "each reply is a mail of its own"
    assert scene.last(n.NoticeReply).notice_id != first


def test_without_settings_a_reply_comes_from_the_workspaces_sender() -> None:
    scene = missed(staffed(), "c1", email="v@example.test")
    scene.workspace(sender="chat@acme.test")
    reply(scene)
    letter = scene.last(n.NoticeReply).letter
    assert (letter.from_address, letter.cc, letter.language) == ("chat@acme.test", (), "en")


@pytest.mark.parametrize("email", [None, "", "  "])
def test_a_visitor_without_an_address_can_not_be_answered_until_one_is_known(email: str | None) -> None:
    scene = missed(staffed(), "c1", email=email)
    assert not scene.last(d.ChatMissed).reply_by_email
    assert reply(scene) == ["refused: visitor_email_unknown"]
    scene.say(e.VisitorUpdated("c1", e.VisitorPatch(email=" late@example.test ")))
    assert reply(scene) == ["notice.reply c1"]
    assert scene.last(n.NoticeReply).letter.to == ("late@example.test",)


def test_one_that_talks_on_with_its_bot_can_be_answered_too() -> None:
    scene = talking_to_a_bot_after_it_was_missed()
    scene.say(e.VisitorUpdated("c1", e.VisitorPatch(email="v@example.test")))
    assert reply(scene) == ["notice.reply c1"]
    assert scene.chat("c1").live


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize("status", ["open", "assigned", "closed"])
def test_a_missed_chat_is_known_for_thirty_days(status: str) -> None:
    scene = missed(staffed(), "c1")
    if status == "assigned":
        assign(scene, "c1")
    elif status == "closed":
        close(scene, "c1")
    scene.at(30 * DAY_S)
    assert "c1" in scene.ws.chats
    assert scene.wait(0) == []
    assert assign(scene, "c1") == ["refused: unknown_chat"]


def test_a_deleted_one_is_known_for_a_day_more() -> None:
    scene = missed(staffed(), "c1")
    scene.at(3 * DAY_S)
    delete(scene, "c1")
    scene.at(4 * DAY_S)
    assert delete(scene, "c1") == ["refused: chat_not_missed"]
    scene.wait(0)
    assert delete(scene, "c1") == ["refused: unknown_chat"]
    assert scene.ask("c1") == ["offered c1 to ann"], "its id is free again"


def test_one_deleted_while_its_bot_served_is_known_for_a_day_after_its_end() -> None:
    scene = talking_to_a_bot_after_it_was_missed()
    delete(scene, "c1")
    scene.leave("c1")
    scene.wait(DAY_S)
    assert delete(scene, "c1") == ["refused: unknown_chat"]
