"""Transfers: who may, whom they ring, how they end, and what becomes of the chat; until they are taken the owner keeps it."""

from typing import Any

import pytest

from schemas import decisions as d
from schemas import events as e
from schemas.types import UnassignReason, WithdrawReason
from services.router.changelog import Changelog
from services.router.core.asking import UNANSWERED_MAX_S
from services.router.core.partition import Partition
from services.router.core.state import Chat
from tests.router.scenes import Scene, office
from tests.router.test_properties import REFUSALS_ONLY, changed_by

TAX = "tax"


def owned(*others: str, written: bool = True, **routing: Any) -> Scene:
    """`ann` owns c1 in the office; the others are online, in no department yet."""
    scene = office("ann", **{"first_reply_timeout_s": 0.0, **routing})
    scene.ask("c1")
    if scene.chat("c1").owner_id is None:
        scene.accept("ann", "c1")
    if written:
        scene.write("agent", "c1", "ann")
    scene.agents(*others)
    return scene


def with_tax(*members: str, private: bool = False, **routing: Any) -> Scene:
    """Besides, there is a tax department with these members."""
    scene = owned(*members)
    scene.department(*members, id=TAX, private=private, **{"first_reply_timeout_s": 0.0, **routing})
    return scene


def is_as_before(chat: Chat) -> bool:
    return (chat.owner_id, chat.phase, chat.department_id, chat.generation) == ("ann", "owned", "office", 1)


# ---------------------------------------------------------------- to an agent


def test_an_agent_is_asked_and_owns_the_chat_only_when_they_accept() -> None:
    scene = owned("bob")
    assert scene.at(10).hand_on("c1", "ann", "bob", message="About taxes.") == [
        "offered c1 to bob as transfer"
    ]
    offered = scene.last(d.ChatOffered)
    assert (offered.message, offered.expires_in_ms, offered.why.rule) == (
        "About taxes.",
        20_000,
        "transfer/agent",
    )
    assert is_as_before(scene.chat("c1"))
    assert (scene.person("ann").load, scene.person("bob").load) == (1, 1)
    assert scene.at(14).write("agent", "c1", "ann") == [], "the owner goes on"
    assert scene.at(15).accept("bob", "c1") == [
        "transferred c1 from ann to bob",
        "unassigned c1 from ann: transferred",
        "assigned c1 to bob by transfer",
    ]
    assigned, unassigned = scene.last(d.ChatAssigned), scene.last(d.ChatUnassigned)
    assert (assigned.waited_ms, assigned.generation, unassigned.generation) == (5_000, 2, 1)
    assert (assigned.department_id, scene.chat("c1").department_id) == ("office", "office")
    assert (scene.person("ann").load, scene.person("bob").load) == (0, 1)
    assert scene.chat("c1").transfer is None
    assert scene.write("agent", "c1", "ann") == ["refused: not_owner"]
    assert scene.wait(600) == []


@pytest.mark.parametrize(
    ("say", "reason"),
    [
        ("decline", "declined"),
        ("ring out", "timed_out"),
        ("offline", "agent_offline"),
        ("away", "agent_away"),
        ("deleted", "agent_removed"),
    ],
)
def test_refused_or_unanswered_it_fails_and_the_owner_keeps_the_chat(
    say: str, reason: WithdrawReason
) -> None:
    scene = owned("bob")
    scene.hand_on("c1", "ann", "bob")
    match say:
        case "decline":
            heard = scene.decline("bob", "c1")
        case "ring out":
            assert scene.wait(19.999) == []
            heard = scene.wait(0.001)
        case "deleted":
            heard = scene.say(e.AgentDeleted("bob"))
        case _:
            heard = scene.presence("bob", "offline" if say == "offline" else "away")
    assert heard == [f"withdrawn c1 from bob: {reason}", f"c1 not transferred to bob: {reason}"]
    failed = scene.last(d.TransferFailed)
    assert (failed.from_agent_id, failed.to_agent_id, failed.to_department_id) == ("ann", "bob", None)
    assert is_as_before(scene.chat("c1"))
    assert (scene.person("bob").load, scene.chat("c1").transfer) == (0, None)
    assert scene.accept("bob", "c1")[0] in ("refused: offer_not_open", "refused: unknown_agent")
    assert scene.wait(600) == []


def test_a_failed_transfer_may_be_tried_again() -> None:
    scene = owned("bob")
    scene.hand_on("c1", "ann", "bob")
    first = scene.offer_id("c1")
    scene.decline("bob", "c1")
    assert scene.hand_on("c1", "ann", "bob") == ["offered c1 to bob as transfer"]
    assert scene.offer_id("c1") != first
    assert scene.accept("bob", "c1", offer_id=first) == ["refused: offer_not_open"]
    assert scene.accept("ann", "c1") == ["refused: offer_not_open"], "nobody else was asked"


def test_the_ring_takes_room_that_the_queue_does_not_get() -> None:
    scene = owned()
    scene.department("ann", "bob", first_reply_timeout_s=0.0)
    scene.agent("bob", max_chats=1)
    scene.presence("ann", "away")
    scene.presence("bob", "online")
    scene.hand_on("c1", "ann", "bob")
    assert scene.ask("c2") == ["queued c2 in office at 1"]
    assert scene.decline("bob", "c1") == [
        "withdrawn c1 from bob: declined",
        "offered c2 to bob",
        "c1 not transferred to bob: declined",
    ]


def test_the_old_owners_room_is_given_to_who_waits() -> None:
    scene = office("ann", "bob", max_chats=1, first_reply_timeout_s=0.0)
    scene.presence("bob", "offline")
    scene.served("ann", "c1")
    scene.ask("c2")
    scene.department("ann", first_reply_timeout_s=0.0)
    scene.presence("bob", "online")
    scene.hand_on("c1", "ann", "bob")
    assert scene.accept("bob", "c1")[3:] == ["offered c2 to ann"]


def test_lowering_the_limit_below_what_rings_takes_nothing_back() -> None:
    scene = owned("bob")
    scene.hand_on("c1", "ann", "bob")
    scene.agent("bob", max_chats=0)
    assert scene.accept("bob", "c1")[-1] == "assigned c1 to bob by transfer"


def test_the_new_owner_must_write_first_anew() -> None:
    scene = owned("bob", first_reply_timeout_s=30.0)
    scene.at(25).hand_on("c1", "ann", "bob")
    scene.accept("bob", "c1")
    assert scene.wait(29.9) == []
    assert scene.wait(0.1) == ["unassigned c1 from bob: no_first_reply", "offered c1 to ann"]


def test_who_sounds_off_is_rung_silently() -> None:
    scene = owned("bob")
    scene.presence("bob", "online", sound=False)
    scene.hand_on("c1", "ann", "bob")
    assert scene.last(d.ChatOffered).silent_agent_ids == ("bob",)


def test_round_robin_goes_on_where_it_was_whatever_is_transferred() -> None:
    scene = office("ann", "bob", "cyd", strategy="round_robin")
    scene.served("ann", "c1")
    scene.hand_on("c1", "ann", "cyd")
    scene.accept("cyd", "c1")
    assert scene.ask("c2") == ["offered c2 to bob"]


# ---------------------------------------------------------------- to a department


def test_a_department_rings_by_its_strategy_and_takes_the_chat_over() -> None:
    scene = with_tax("bob", "cyd", strategy="round_robin", offer_timeout_s=7.0)
    assert scene.hand_on("c1", "ann", to_department=TAX) == ["offered c1 to bob as transfer"]
    offered = scene.last(d.ChatOffered)
    assert (offered.expires_in_ms, offered.why.rule, offered.why.rank) == (
        7_000,
        "transfer/round_robin",
        ("bob",),
    )
    assert [ranked.agent_id for ranked in offered.why.next] == ["cyd"]
    assert scene.chat("c1").department_id == "office"
    assert scene.accept("bob", "c1") == [
        "transferred c1 from ann to bob of tax",
        "unassigned c1 from ann: transferred",
        "assigned c1 to bob by transfer",
    ]
    assert scene.last(d.ChatAssigned).department_id == scene.chat("c1").department_id == TAX
    assert scene.ask("c2", TAX) == ["offered c2 to cyd"], "its turn went on with the transfer"


def test_private_departments_receive_transfers_and_keep_the_chat() -> None:
    scene = with_tax("bob", private=True)
    scene.hand_on("c1", "ann", to_department=TAX)
    scene.accept("bob", "c1")
    scene.write("agent", "c1", "bob")
    scene.leave("c1")
    assert scene.last(d.ChatClosed).department.id == TAX


def test_after_each_refusal_the_next_one_is_asked_and_nobody_left_fails_it() -> None:
    scene = with_tax("bob", "cyd", "dan")
    scene.presence("dan", "away")
    scene.hand_on("c1", "ann", to_department=TAX, message="Please.")
    assert scene.decline("bob", "c1") == ["withdrawn c1 from bob: declined", "offered c1 to cyd as transfer"]
    assert scene.last(d.ChatOffered).message == "Please."
    assert scene.last(d.ChatOffered).why.others == {"away": 1, "declined": 1}
    assert scene.decline("cyd", "c1") == [
        "withdrawn c1 from cyd: declined",
        "c1 not transferred to tax: declined",
    ]
    assert is_as_before(scene.chat("c1"))
    assert scene.presence("dan", "online") == [], "it is over"


def test_who_did_not_answer_is_rung_again_after_the_others_until_the_waiting_limit() -> None:
    scene = with_tax("bob", "cyd", offer_timeout_s=10.0, wait_timeout_s=35.0, no_answer_limit=0)
    scene.hand_on("c1", "ann", to_department=TAX)
    assert scene.wait(10) == ["withdrawn c1 from bob: timed_out", "offered c1 to cyd as transfer"]
    assert scene.wait(10) == ["withdrawn c1 from cyd: timed_out", "offered c1 to bob as transfer"]
    assert scene.last(d.ChatOffered).why.notes == ("everybody able was asked before",)
    assert scene.wait(10) == ["withdrawn c1 from bob: timed_out", "offered c1 to cyd as transfer"]
    assert scene.wait(5) == ["withdrawn c1 from cyd: timed_out", "c1 not transferred to tax: timed_out"]
    assert is_as_before(scene.chat("c1"))
    assert scene.wait(600) == []


@pytest.mark.parametrize("to", ["agent", "department"])
def test_where_nothing_ever_times_out_a_transfer_still_has_an_end(to: str) -> None:
    scene = owned("bob", offer_timeout_s=0.0, wait_timeout_s=0.0)
    scene.department("bob", id=TAX, offer_timeout_s=0.0, wait_timeout_s=0.0)
    if to == "agent":
        scene.hand_on("c1", "ann", "bob")
        heard = ["withdrawn c1 from bob: timed_out", "c1 not transferred to bob: timed_out"]
    else:
        scene.hand_on("c1", "ann", to_department=TAX)
        heard = ["withdrawn c1 from bob: timed_out", "c1 not transferred to tax: timed_out"]
    assert scene.last(d.ChatOffered).expires_in_ms == UNANSWERED_MAX_S * 1000
    assert scene.wait(UNANSWERED_MAX_S - 1) == []
    assert scene.wait(1) == heard
    assert scene.hand_on("c1", "ann", "bob") == ["offered c1 to bob as transfer"]


def test_the_owner_is_no_candidate_of_their_own_transfer() -> None:
    scene = with_tax("bob")
    scene.department("ann", "bob", id=TAX)
    assert scene.hand_on("c1", "ann", to_department=TAX) == ["offered c1 to bob as transfer"]
    assert scene.decline("bob", "c1")[1] == "c1 not transferred to tax: declined"


def test_skills_the_visitors_language_and_tiers_go_by_the_age_of_the_chat() -> None:
    scene = office("ann")
    scene.agent("ann", languages=("ja",), skills={"vat": 1.0})
    scene.agent("bob")
    scene.agent("cyd", languages=("ja",), skills={"vat": 1.0})
    scene.presence("bob", "online")
    scene.presence("cyd", "online")
    scene.department("bob", "cyd", id=TAX, skills_relax_s=60.0)
    scene.department("bob", id="back", strategy="tiers", tiers=(e.Tier((), 0.0), e.Tier(("bob",), 30.0)))
    for chat_id in ("c1", "c2"):
        scene.served("ann", chat_id, skills=("vat",), language="ja")
    assert scene.hand_on("c1", "ann", to_department=TAX) == ["offered c1 to cyd as transfer"]
    assert scene.last(d.ChatOffered).why.others == {"lacks_skill": 1}
    assert scene.hand_on("c2", "ann", to_department="back") == ["refused: department_unavailable"]
    assert scene.at(30).decline("cyd", "c1")[-1] == "c1 not transferred to tax: declined"
    scene.at(60)
    assert scene.hand_on("c1", "ann", to_department=TAX) == ["offered c1 to bob as transfer"]
    assert scene.hand_on("c2", "ann", to_department="back") == ["offered c2 to bob as transfer"]


@pytest.mark.parametrize("change", ["disabled", "deleted", "without its agent", "renamed"])
def test_settings_changing_under_way(change: str) -> None:
    scene = with_tax("bob", "cyd")
    scene.hand_on("c1", "ann", to_department=TAX)
    moved = ["withdrawn c1 from bob: department_changed", "c1 not transferred to tax: department_changed"]
    match change:
        case "disabled":
            assert scene.department("bob", "cyd", id=TAX, enabled=False) == moved
        case "deleted":
            assert scene.say(e.DepartmentDeleted(TAX)) == moved
        case "without its agent":
            heard = scene.department("cyd", id=TAX)
            assert heard == ["withdrawn c1 from bob: agent_removed", "offered c1 to cyd as transfer"]
        case _:
            assert scene.department("bob", "cyd", id=TAX, offer_timeout_s=5.0) == []
            assert scene.department("ann", first_reply_timeout_s=0.0) == [], "another department"
    assert is_as_before(scene.chat("c1"))


def test_unanswered_transfers_count_as_unanswered_rings_by_the_rules_of_where_they_go() -> None:
    scene = with_tax("bob", no_answer_limit=2, wait_timeout_s=0.0)
    scene.hand_on("c1", "ann", to_department=TAX)
    assert scene.wait(20) == ["withdrawn c1 from bob: timed_out", "offered c1 to bob as transfer"]
    assert scene.wait(20) == [
        "withdrawn c1 from bob: timed_out",
        "marked away bob",
        "c1 not transferred to tax: timed_out",
    ]


@pytest.mark.parametrize(("cut_short", "counted"), [(False, 1), (True, 0)])
def test_a_ring_that_the_waiting_limit_cut_short_is_not_counted(cut_short: bool, counted: int) -> None:
    scene = with_tax("bob", wait_timeout_s=19.0 if cut_short else 20.0)
    scene.hand_on("c1", "ann", to_department=TAX)
    assert scene.wait(20) == ["withdrawn c1 from bob: timed_out", "c1 not transferred to tax: timed_out"]
    assert scene.person("bob").unanswered == counted


@pytest.mark.parametrize("answer", ["accept", "decline"])
def test_an_answer_starts_the_count_of_unanswered_rings_anew(answer: str) -> None:
    scene = with_tax("bob", no_answer_limit=3)
    scene.hand_on("c1", "ann", to_department=TAX)
    scene.wait(20)
    assert scene.person("bob").unanswered == 1
    (scene.accept if answer == "accept" else scene.decline)("bob", "c1")
    assert scene.person("bob").unanswered == 0


def test_chats_transferred_together_are_one_unanswered_ring() -> None:
    scene = owned("bob")
    scene.served("ann", "c2")
    for chat_id in ("c1", "c2"):
        scene.hand_on(chat_id, "ann", "bob")
    scene.wait(20)
    assert scene.person("bob").unanswered == 1


# ---------------------------------------------------------------- the chat or its owner goes


@pytest.mark.parametrize("how", ["leave", "end"])
def test_with_the_chat_its_transfer_ends(how: str) -> None:
    scene = owned("bob")
    scene.hand_on("c1", "ann", "bob")
    heard = scene.leave("c1") if how == "leave" else scene.end("c1", "agent", "ann")
    reason = "visitor_left" if how == "leave" else "chat_ended"
    assert heard == [f"withdrawn c1 from bob: {reason}", "closed c1: handled"]
    assert (scene.person("bob").load, scene.chat("c1").transfer) == (0, None)
    assert scene.wait(600) == []


@pytest.mark.parametrize(
    ("reason", "withdrawn"),
    [("no_first_reply", "timed_out"), ("agent_offline", "agent_offline"), ("agent_removed", "agent_removed")],
)
def test_with_the_owner_the_transfer_ends_and_the_chat_queues(
    reason: UnassignReason, withdrawn: WithdrawReason
) -> None:
    scene = owned("bob", written=reason != "no_first_reply", first_reply_timeout_s=30.0, offline_grace_s=5.0)
    scene.at(20).hand_on("c1", "ann", "bob")
    match reason:
        case "no_first_reply":
            heard = scene.wait(10)
        case "agent_offline":
            scene.presence("ann", "offline")
            heard = scene.wait(5)
        case _:
            heard = scene.say(e.AgentDeleted("ann"))
    assert heard[:2] == [f"withdrawn c1 from bob: {withdrawn}", f"unassigned c1 from ann: {reason}"]
    chat = scene.chat("c1")
    assert (chat.phase, chat.transfer, chat.department_id) == ("waiting", None, "office")
    assert (scene.person("bob").load, scene.person("bob").unanswered) == (0, 0)
    assert scene.count(d.TransferFailed) == 0


def test_two_transfers_to_one_department_whose_agent_goes() -> None:
    scene = with_tax("bob", "cyd")
    scene.served("ann", "c2")
    for chat_id in ("c1", "c2"):
        scene.hand_on(chat_id, "ann", to_department=TAX)
    assert scene.presence("bob", "offline") == [
        "withdrawn c1 from bob: agent_offline",
        "offered c1 to cyd as transfer",
    ]
    assert scene.presence("cyd", "away") == [
        "withdrawn c1 from cyd: agent_away",
        "withdrawn c2 from cyd: agent_away",
        "c1 not transferred to tax: agent_away",
        "c2 not transferred to tax: agent_away",
    ]


# ---------------------------------------------------------------- who may, and to whom


@pytest.mark.parametrize(
    ("by", "heard"),
    [
        ("ann", "offered c1 to bob as transfer"),
        ("joe", "offered c1 to bob as transfer"),
        ("sue", "offered c1 to bob as transfer"),
        ("ada", "offered c1 to bob as transfer"),
        ("bob", "refused: not_permitted"),
        ("eve", "refused: not_permitted"),
    ],
    ids=["owner", "participant", "supervisor", "admin", "target", "agent"],
)
def test_who_may_transfer(by: str, heard: str) -> None:
    scene = owned("bob", "joe", "eve")
    scene.agent("sue", role="supervisor")
    scene.agent("ada", role="admin")
    scene.invite("c1", "ann", "joe")
    scene.accept("joe", "c1")
    assert scene.hand_on("c1", by, "bob") == [heard]
    if heard.startswith("offered"):
        assert scene.accept("bob", "c1")[0] == "transferred c1 from ann to bob"


def test_a_supervisor_may_take_a_chat_over_themselves() -> None:
    scene = owned()
    scene.agents("sue", role="supervisor")
    assert scene.hand_on("c1", "sue", "sue") == ["offered c1 to sue as transfer"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (e.ChatTransferRequested("c1", "nobody", "bob"), "unknown_agent"),
        (e.ChatTransferRequested("c1", "ann", "nobody"), "unknown_agent"),
        (e.ChatTransferRequested("c1", "ann"), "unknown_agent"),
        (e.ChatTransferRequested("c9", "ann", "bob"), "unknown_chat"),
        (e.ChatTransferRequested("c0", "ann", "bob"), "chat_not_live"),
        (e.ChatTransferRequested("c1", "bob", "bob"), "not_permitted"),
        (e.ChatTransferRequested("c2", "sue", "bob"), "not_owner"),
        (e.ChatTransferRequested("c1", "ann", "ann"), "agent_unavailable"),
        (e.ChatTransferRequested("c1", "ann", "off"), "agent_unavailable"),
        (e.ChatTransferRequested("c1", "ann", "afk"), "agent_unavailable"),
        (e.ChatTransferRequested("c1", "ann", "full"), "agent_unavailable"),
        (e.ChatTransferRequested("c1", "ann", "bob", TAX), "limit_exceeded"),
        (e.ChatTransferRequested("c3", "ann", "bob"), "limit_exceeded"),
        (e.ChatTransferRequested("c3", "ann", to_department_id=TAX), "limit_exceeded"),
        (e.ChatTransferRequested("c1", "ann", to_department_id="nowhere"), "unknown_department"),
        (e.ChatTransferRequested("c1", "ann", to_department_id="empty"), "department_unavailable"),
        (e.ChatTransferRequested("c1", "ann", to_department_id="office"), "department_unavailable"),
        (e.ChatTransferRequested("c1", "ann", to_department_id="shut"), "department_unavailable"),
        (e.ChatTransferRequested("c1", "ann", to_department_id="disabled"), "department_unavailable"),
        (e.ChatTransferRequested("c1", "ann", to_department_id="deleted"), "department_unavailable"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.by_agent_id} {value.chat_id}",
)
def test_refusals_change_nothing(request_: e.ChatTransferRequested, code: str) -> None:
    scene = owned("bob", "cyd")
    scene.served("ann", "c3")
    scene.agents("sue", role="supervisor")
    scene.agents("full", max_chats=0)
    scene.agents("off", status="offline")
    scene.agents("afk", status="away")
    scene.department("bob", id=TAX)
    scene.department("off", "afk", "full", id="empty")
    scene.department("bob", id="shut", hours=e.Hours((e.Span("sun", "09:00", "18:00"),)), after_hours="queue")
    scene.department("bob", id="disabled", enabled=False)
    scene.department("bob", id="deleted")
    scene.say(e.DepartmentDeleted("deleted"))
    scene.ask("c0", "empty")
    scene.leave("c0")
    scene.ask("c2", "empty")
    scene.hand_on("c3", "ann", "cyd")
    assert changed_by(scene, request_) == ([f"refused: {code}"], REFUSALS_ONLY)
    assert scene.last(d.RequestRefused).subject == request_.chat_id


# ---------------------------------------------------------------- restored


@pytest.mark.parametrize("to_department", [False, True])
def test_a_transfer_goes_on_after_a_restore(to_department: bool) -> None:
    scene = with_tax("bob", "cyd")
    scene.hand_on("c1", "ann", None if to_department else "bob", to_department=TAX if to_department else None)
    fresh = Partition(0, exact=True)
    changelog = Changelog(fresh)
    for key, value in Changelog(scene.partition).everything():
        changelog.restore(key, value)
    changelog.restored()
    scene.partition = fresh
    if to_department:
        assert scene.presence("bob", "away")[1] == "offered c1 to cyd as transfer"
        assert scene.say(e.DepartmentDeleted(TAX))[0] == "withdrawn c1 from cyd: department_changed"
    else:
        assert scene.presence("bob", "away")[1] == "c1 not transferred to bob: agent_away"
    assert is_as_before(scene.chat("c1"))
