"""Invitations, joining and leaving: who may, what a participant may do, and when they are one no more."""

import pytest

from schemas import decisions as d
from schemas import events as e
from schemas.types import Status, WithdrawReason
from services.router.core.asking import UNANSWERED_MAX_S
from services.router.core.participation import INVITED_MAX
from tests.router.scenes import Scene, office
from tests.router.test_properties import REFUSALS_ONLY, changed_by


def owned(*others: str, written: bool = True) -> Scene:
    """`ann` owns c1 in the office; the others are online, and in no department."""
    scene = office("ann", first_reply_timeout_s=0.0)
    scene.ask("c1")
    scene.accept("ann", "c1")
    if written:
        scene.write("agent", "c1", "ann")
    scene.agents(*others)
    return scene


def shared(*others: str, written: bool = True) -> Scene:
    """Besides, `bob` was invited and has joined."""
    scene = owned("bob", *others, written=written)
    scene.invite("c1", "ann", "bob")
    scene.accept("bob", "c1")
    return scene


# ---------------------------------------------------------------- invitations


def test_an_invited_agent_joins_on_accepting_and_the_owner_keeps_the_chat() -> None:
    scene = owned("bob")
    assert scene.invite("c1", "ann", "bob", message="Can you help?") == ["offered c1 to bob as invite"]
    offered = scene.last(d.ChatOffered)
    assert (offered.message, offered.expires_in_ms, offered.why.rule) == ("Can you help?", 20_000, "invited")
    assert scene.write("agent", "c1", "bob") == ["refused: not_owner"], "not yet"
    assert scene.accept("bob", "c1") == ["bob joined c1 as participant"]
    assert (scene.chat("c1").owner_id, scene.chat("c1").invite) == ("ann", None)
    assert scene.write("agent", "c1", "bob") == []
    assert scene.wait(600) == []


def test_invitations_take_no_room() -> None:
    scene = owned()
    scene.agents("bob", max_chats=0)
    assert scene.invite("c1", "ann", "bob") == ["offered c1 to bob as invite"]
    assert scene.person("bob").load == 0
    scene.accept("bob", "c1")
    assert scene.person("bob").load == 0


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("decline", "declined"),
        ("ring out", "timed_out"),
        ("offline", "agent_offline"),
        ("away", "agent_away"),
        ("deleted", "agent_removed"),
        ("leave", "visitor_left"),
        ("end", "chat_ended"),
    ],
)
def test_each_way_an_invitation_ends_in_vain(how: str, reason: WithdrawReason) -> None:
    scene = owned("bob")
    scene.invite("c1", "ann", "bob")
    match how:
        case "decline":
            heard = scene.decline("bob", "c1")
        case "ring out":
            heard = scene.wait(20)
        case "deleted":
            heard = scene.say(e.AgentDeleted("bob"))
        case "leave":
            heard = scene.leave("c1")
        case "end":
            heard = scene.end("c1", "agent", "ann")
        case _:
            heard = scene.presence("bob", "offline" if how == "offline" else "away")
    closed = ["closed c1: handled"] if how in ("leave", "end") else []
    assert heard == [f"withdrawn c1 from bob: {reason}", *closed]
    assert scene.person("bob").unanswered == 0, "invitations are not counted"
    assert (scene.chat("c1").invite, scene.chat("c1").participant_ids) == (None, {})
    assert scene.join("c1", "bob")[0].startswith("refused")
    assert scene.wait(600) == []


def test_where_nothing_ever_times_out_an_invitation_still_does() -> None:
    scene = owned("bob", "eve")
    scene.department("ann", offer_timeout_s=0.0)
    scene.invite("c1", "ann", "bob")
    assert scene.invite("c1", "ann", "eve") == ["refused: limit_exceeded"]
    assert scene.wait(UNANSWERED_MAX_S) == ["withdrawn c1 from bob: timed_out"]
    assert scene.invite("c1", "ann", "eve") == ["offered c1 to eve as invite"]


@pytest.mark.parametrize("answer", ["accept", "decline"])
def test_answering_starts_the_count_of_unanswered_rings_anew(answer: str) -> None:
    scene = owned("bob")
    scene.hand_on("c1", "ann", "bob")
    scene.wait(20)
    assert scene.person("bob").unanswered == 1
    scene.invite("c1", "ann", "bob")
    (scene.accept if answer == "accept" else scene.decline)("bob", "c1")
    assert scene.person("bob").unanswered == 0


def test_a_transfer_and_an_invitation_may_be_open_together_even_to_one_agent() -> None:
    scene = owned("bob")
    scene.hand_on("c1", "ann", "bob")
    transfer = scene.offer_id("c1")
    scene.invite("c1", "ann", "bob")
    invitation = scene.offer_id("c1")
    assert scene.decline("bob", "c1", offer_id=transfer) == [
        "withdrawn c1 from bob: declined",
        "c1 not transferred to bob: declined",
    ]
    assert scene.presence("bob", "away") == ["withdrawn c1 from bob: agent_away"]
    assert scene.accept("bob", "c1", offer_id=invitation) == ["refused: offer_not_open"]


def test_who_leaves_takes_both_offers_back() -> None:
    scene = owned("bob")
    scene.invite("c1", "ann", "bob")
    scene.hand_on("c1", "ann", "bob")
    assert scene.presence("bob", "offline") == [
        "withdrawn c1 from bob: agent_offline",
        "withdrawn c1 from bob: agent_offline",
        "c1 not transferred to bob: agent_offline",
    ]
    assert scene.person("bob").load == 0


def test_an_invitation_outlives_the_owner_but_not_a_missed_chat() -> None:
    scene = owned("bob", written=False)
    scene.invite("c1", "ann", "bob")
    assert scene.say(e.AgentDeleted("ann")) == [
        "unassigned c1 from ann: agent_removed",
        "queued c1 in office at 1",
    ]
    scene.decline("bob", "c1")
    scene.agents("sue", role="supervisor")
    scene.at(110).invite("c1", "sue", "bob")
    assert scene.wait(10) == [
        "withdrawn c1 from bob: chat_missed",
        "missed c1: no_agent_message",
        "closed c1: missed",
    ]


# ---------------------------------------------------------------- what participants may


def test_a_participants_message_is_a_reply_and_an_internal_one_is_not() -> None:
    for internal, outcome in ((False, "handled"), (True, "missed")):
        scene = shared(written=False)
        scene.write("agent", "c1", "bob", internal=internal)
        assert scene.leave("c1")[-1] == f"closed c1: {outcome}"


def test_who_spoke_is_named_among_the_agents_of_the_chat() -> None:
    scene = shared("cyd")
    scene.invite("c1", "bob", "cyd")
    scene.accept("cyd", "c1")
    scene.write("agent", "c1", "bob")
    scene.write("agent", "c1", "bob")
    scene.leave("c1")
    assert [agent.id for agent in scene.last(d.ChatClosed).agents] == ["ann", "bob"]


def test_a_participants_reply_is_not_the_owners_first_one() -> None:
    scene = office("ann", first_reply_timeout_s=60.0)
    scene.ask("c1")
    scene.accept("ann", "c1")
    scene.agents("bob")
    scene.invite("c1", "ann", "bob")
    scene.accept("bob", "c1")
    scene.write("agent", "c1", "bob")
    assert scene.wait(60)[0] == "unassigned c1 from ann: no_first_reply"
    assert scene.wait(600).count("missed c1: no_reply/timed_out") == 0, "it was answered"


def test_participants_stay_when_the_owner_goes_and_when_they_are_offline_themselves() -> None:
    scene = shared()
    scene.presence("bob", "offline")
    scene.presence("bob", "online")
    scene.say(e.AgentDeleted("ann"))
    assert scene.chat("c1").participant_ids == {"bob": "participant"}
    assert scene.write("agent", "c1", "bob") == []
    assert scene.end("c1", "agent", "bob") == ["closed c1: handled"]


# ---------------------------------------------------------------- joining and leaving


def test_who_accepted_may_leave_and_come_back_until_the_chat_ends() -> None:
    scene = shared()
    assert scene.step_out("c1", "bob") == ["bob left c1 as participant"]
    assert scene.write("agent", "c1", "bob") == ["refused: not_owner"]
    assert scene.join("c1", "bob") == ["bob joined c1 as participant"]
    assert scene.join("c1", "bob") == [], "they are there already"
    scene.step_out("c1", "bob")
    scene.invite("c1", "ann", "bob")
    assert scene.accept("bob", "c1") == ["bob joined c1 as participant"]
    assert scene.chat("c1").invited_ids == ["bob"]
    assert scene.leave("c1") == ["closed c1: handled"]
    chat = scene.chat("c1")
    assert (chat.participant_ids, chat.invited_ids, scene.ws.joined["bob"]) == ({}, [], {})


def test_to_join_while_invited_is_to_accept() -> None:
    scene = owned("bob")
    scene.invite("c1", "ann", "bob")
    assert scene.join("c1", "bob") == ["bob joined c1 as participant"]
    assert scene.chat("c1").invite is None
    assert scene.accept("bob", "c1") == ["refused: offer_not_open"]


def test_a_monitor_who_is_invited_becomes_a_participant() -> None:
    scene = owned()
    scene.agents("sue", role="supervisor")
    scene.say(e.MonitorConfigured("m", "agent", "ann", "sue"))
    assert scene.join("c1", "sue") == ["sue joined c1 as monitor"]
    assert scene.invite("c1", "ann", "sue") == ["offered c1 to sue as invite"], (
        "ann can't tell that sue is there"
    )
    assert scene.accept("sue", "c1") == ["sue joined c1 as participant"]
    assert scene.step_out("c1", "sue") == ["sue left c1 as participant"]


def test_a_removed_agent_leaves_all_chats() -> None:
    scene = shared()
    scene.served("ann", "c2")
    scene.invite("c2", "ann", "bob")
    scene.accept("bob", "c2")
    assert scene.say(e.AgentDeleted("bob")) == ["bob left c1 as participant", "bob left c2 as participant"]
    scene.agents("bob")
    assert scene.say(e.AgentDeleted("bob")) == []


@pytest.mark.parametrize("how", ["transfer", "queue"])
def test_a_participant_who_comes_to_own_the_chat_is_one_no_more(how: str) -> None:
    scene = shared()
    if how == "transfer":
        scene.hand_on("c1", "ann", "bob")
    else:
        scene.department("ann", "bob", first_reply_timeout_s=0.0)
        scene.say(e.AgentDeleted("ann"))
    heard = scene.accept("bob", "c1")
    assert heard[-2:] == [
        f"assigned c1 to bob by {'transfer' if how == 'transfer' else 'accept'}",
        "bob left c1 as participant",
    ]
    assert scene.chat("c1").participant_ids == {}


def test_who_comes_to_own_the_chat_needs_no_invitation() -> None:
    scene = owned("bob", "cyd")
    scene.hand_on("c1", "ann", "bob")
    transfer = scene.offer_id("c1")
    scene.invite("c1", "ann", "bob")
    assert scene.accept("bob", "c1", offer_id=transfer)[-1] == "withdrawn c1 from bob: accepted_elsewhere"
    scene.invite("c1", "bob", "cyd")
    scene.hand_on("c1", "bob", "ann")
    assert scene.accept("ann", "c1")[-1] == "assigned c1 to ann by transfer"
    assert scene.chat("c1").invite is not None, "the invitation of another stays open"


def test_a_missed_chat_that_its_bot_goes_on_with_stays_missed_whoever_joins() -> None:
    scene = office("ann")
    scene.presence("ann", "offline")
    scene.agents("sue", "bob", role="supervisor")
    scene.ask("c1", bot="bot")
    scene.write("bot", "c1")
    assert scene.transfer("c1")[-1] == "missed c1: transfer_not_attended"
    scene.invite("c1", "sue", "bob")
    scene.accept("bob", "c1")
    scene.write("agent", "c1", "bob")
    scene.invite("c1", "sue", "sue")
    assert scene.leave("c1") == ["withdrawn c1 from sue: visitor_left", "closed c1: missed"]


def test_a_further_bot_transfer_ends_the_invitations_into_the_missed_revision() -> None:
    scene = office("ann")
    scene.presence("ann", "offline")
    scene.agents("sue", role="supervisor")
    scene.ask("c1", bot="bot")
    scene.write("bot", "c1")
    scene.transfer("c1")
    scene.invite("c1", "sue", "sue")
    assert scene.transfer("c1")[:3] == [
        "withdrawn c1 from sue: chat_ended",
        "closed c1: missed",
        "reopened c1 as 2",
    ]


# ---------------------------------------------------------------- who may


@pytest.mark.parametrize(
    ("by", "heard"),
    [
        ("ann", "offered c1 to joe as invite"),
        ("bob", "offered c1 to joe as invite"),
        ("sue", "offered c1 to joe as invite"),
        ("ada", "offered c1 to joe as invite"),
        ("eve", "refused: not_permitted"),
        ("joe", "refused: not_permitted"),
    ],
    ids=["owner", "participant", "supervisor", "admin", "agent", "target"],
)
def test_who_may_invite(by: str, heard: str) -> None:
    scene = shared("joe", "eve")
    scene.agent("sue", role="supervisor")
    scene.agent("ada", role="admin")
    assert scene.invite("c1", by, "joe") == [heard]


@pytest.mark.parametrize("status", ["away", "offline"])
def test_only_who_is_online_is_invited(status: Status) -> None:
    scene = owned("bob")
    scene.presence("bob", status)
    assert scene.invite("c1", "ann", "bob") == ["refused: agent_unavailable"]


def test_so_many_are_invited_at_most() -> None:
    guests = tuple(f"g{number:02}" for number in range(INVITED_MAX + 1))
    scene = owned(*guests)
    for agent_id in guests[:-1]:
        scene.invite("c1", "ann", agent_id)
        scene.accept(agent_id, "c1")
        scene.step_out("c1", agent_id)
    assert scene.invite("c1", "ann", guests[-1]) == ["refused: limit_exceeded"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (e.ChatInviteRequested("c1", "nobody", "cyd"), "unknown_agent"),
        (e.ChatInviteRequested("c1", "ann", "nobody"), "unknown_agent"),
        (e.ChatInviteRequested("c9", "ann", "cyd"), "unknown_chat"),
        (e.ChatInviteRequested("c0", "ann", "cyd"), "chat_not_live"),
        (e.ChatInviteRequested("c1", "cyd", "cyd"), "not_permitted"),
        (e.ChatInviteRequested("c1", "bob", "ann"), "agent_unavailable"),
        (e.ChatInviteRequested("c1", "ann", "bob"), "agent_unavailable"),
        (e.ChatInviteRequested("c2", "ann", "bob"), "limit_exceeded"),
        (e.ChatJoinRequested("c1", "nobody"), "unknown_agent"),
        (e.ChatJoinRequested("c9", "bob"), "unknown_chat"),
        (e.ChatJoinRequested("c0", "bob"), "chat_not_live"),
        (e.ChatJoinRequested("c1", "cyd"), "not_permitted"),
        (e.ChatJoinRequested("c1", "ann"), "not_permitted"),
        (e.ChatJoinRequested("c2", "bob"), "not_permitted"),
        (e.ParticipantLeaveRequested("c1", "nobody"), "unknown_agent"),
        (e.ParticipantLeaveRequested("c9", "bob"), "unknown_chat"),
        (e.ParticipantLeaveRequested("c0", "bob"), "chat_not_live"),
        (e.ParticipantLeaveRequested("c1", "cyd"), "not_permitted"),
        (e.ParticipantLeaveRequested("c1", "ann"), "not_permitted"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.TYPE,
)
def test_refusals_change_nothing(
    request_: e.ChatInviteRequested | e.ChatJoinRequested | e.ParticipantLeaveRequested, code: str
) -> None:
    scene = shared("cyd")
    for chat_id in ("c0", "c2"):
        scene.served("ann", chat_id)
    scene.leave("c0")
    scene.invite("c2", "ann", "cyd")
    assert changed_by(scene, request_) == ([f"refused: {code}"], REFUSALS_ONLY)
    assert scene.last(d.RequestRefused).subject == request_.chat_id
