"""The people of a scenario: they answer what they hear, when they would, and nothing else."""

from dataclasses import replace

import pytest

from schemas.decisions import (
    AgentMarkedAway,
    ChatAssigned,
    ChatClosed,
    ChatOffered,
    ChatUnassigned,
    DepartmentRef,
    MailPlan,
    MonitorMatched,
    OfferWithdrawn,
    ParticipantJoined,
    Position,
    RequestRefused,
    TransferFailed,
    Why,
)
from schemas.events import (
    AgentPresence,
    ChatEndRequested,
    ChatInviteRequested,
    ChatJoinRequested,
    ChatMessage,
    ChatNoteAdded,
    ChatRequested,
    ChatTagsChanged,
    ChatTransferRequested,
    CrmPhoneSet,
    MissedAssignRequested,
    MissedCloseRequested,
    MissedDeleteRequested,
    MissedReplyRequested,
    OfferAccepted,
    OfferDeclined,
    ParticipantLeaveRequested,
    Visitor,
)
from schemas.types import Outcome
from services.local.actors import People
from services.local.crowd import Publication
from services.local.scenario import (
    Agent,
    Conduct,
    Do,
    Farewell,
    Filing,
    Handover,
    Head,
    Inbox,
    InboxDo,
    Invitation,
    Reaction,
    Say,
    Scenario,
    Scheduled,
    Visit,
    Watching,
)

WHY = Why("test")
GONE_MS = 900_000


def scheduled(at_ms: int, event_id: str, data: AgentPresence | ChatRequested) -> Scheduled:
    return Scheduled(at_ms, "acme", event_id, "/test", data)


def people(conduct: Conduct, *reactions: Reaction) -> People:
    """One chat at 100 ms; Ann and Bob, online from the beginning, react alike."""
    request = scheduled(100, "r", ChatRequested("c", "web", "?", Visitor("v")))
    scenario = Scenario(
        Head(1, 1, 1000, 0),
        tuple(Agent("acme", name, reactions or (Reaction("accept", 2000),), 500) for name in ("ann", "bob")),
        tuple(scheduled(0, f"on-{name}", AgentPresence(name, "online")) for name in ("ann", "bob")),
        (),
        (Visit(request, replace(conduct, gone_after_ms=GONE_MS)),),
    )
    crowd = People(scenario)
    assert len(crowd.act(100)) == 3
    return crowd


def offer(*agent_ids: str) -> ChatOffered:
    return ChatOffered(chat_id="c", offer_id="o", agent_ids=agent_ids, kind="new", why=WHY)


def assigned(agent_id: str = "ann", generation: int = 1) -> ChatAssigned:
    return ChatAssigned(
        chat_id="c",
        agent_id=agent_id,
        department_id="d",
        by="accept",
        waited_ms=0,
        generation=generation,
        why=WHY,
    )


def closed(outcome: Outcome, *, by: str = "agent") -> ChatClosed:
    return ChatClosed(
        chat_id="c",
        revision=1,
        outcome=outcome,
        ended_by=by,
        started_at="2026-11-21T00:00:00.000Z",
        ended_at="2026-11-21T00:00:00.000Z",
        agents=(),
        department=DepartmentRef("d", "D"),
        visitor=Visitor("v"),
        email=MailPlan("en", "UTC"),
        source=Position(0, 0),
    )


def refused(request_id: str) -> RequestRefused:
    return RequestRefused(request_id=request_id, request_type="?", code="agent_unavailable", message="")


def said(crowd: People, until_ms: int) -> list[object]:
    published = crowd.act(until_ms)
    assert all(isinstance(one, Publication) for one in published)
    return [one.data for one in published if isinstance(one, Publication)]


def test_an_offer_is_accepted_after_the_time_it_takes() -> None:
    crowd = people(Conduct())
    crowd.hear(offer("ann"), 200)
    assert said(crowd, 2199) == []
    assert said(crowd, 2200) == [OfferAccepted("o", "c", "ann")]


def test_reactions_come_in_turn_and_a_ring_is_silence() -> None:
    crowd = people(Conduct(), Reaction("decline", 10), Reaction("ring"))
    crowd.hear(offer("ann"), 200)
    assert said(crowd, 1000) == [OfferDeclined("o", "c", "ann")]
    crowd.hear(OfferWithdrawn(chat_id="c", offer_id="o", agent_ids=("ann",), reason="declined"), 1000)
    crowd.hear(replace(offer("ann"), offer_id="o2"), 1000)
    assert said(crowd, 5000) == []


def test_a_chat_may_say_what_everybody_does() -> None:
    for do, kind in (("accept", OfferAccepted), ("decline", OfferDeclined)):
        wanted: Do = "accept" if do == "accept" else "decline"
        crowd = people(Conduct(agents_do=wanted), Reaction("ring", 5))
        crowd.hear(offer("ann", "bob"), 200)
        assert [type(one) for one in said(crowd, 300)] == [kind, kind]


def test_nobody_answers_an_offer_that_was_withdrawn() -> None:
    crowd = people(Conduct())
    crowd.hear(offer("ann", "bob"), 200)
    crowd.hear(OfferWithdrawn(chat_id="c", offer_id="o", agent_ids=("bob",), reason="agent_away"), 300)
    assert said(crowd, 3000) == [OfferAccepted("o", "c", "ann")]


def test_the_owner_speaks_and_the_visitor_answers() -> None:
    dialogue = (Say("agent", "Hello", 10), Say("visitor", "Hi", 20))
    crowd = people(Conduct(dialogue, ends="agent", ends_after_ms=30))
    crowd.hear(assigned(), 1000)
    hello, hi = said(crowd, 1030)
    assert isinstance(hello, ChatMessage)
    assert isinstance(hi, ChatMessage)
    assert (hello.sender.kind, hello.sender.id, hi.sender.kind) == ("agent", "ann", "visitor")
    assert [one.TYPE for one in said(crowd, 1060)] == ["chat.end_requested.v1"]  # type: ignore[attr-defined]


def test_who_lost_the_chat_falls_silent_and_the_next_goes_on() -> None:
    crowd = people(Conduct((Say("agent", "Hello", 10), Say("agent", "Bye", 10)), ends_after_ms=10_000))
    crowd.hear(assigned(), 1000)
    assert len(said(crowd, 1010)) == 1
    crowd.hear(ChatUnassigned(chat_id="c", agent_id="ann", reason="agent_offline", generation=1), 1015)
    assert said(crowd, 2000) == []
    crowd.hear(assigned("bob", 2), 2000)
    (bye,) = said(crowd, 2010)
    assert isinstance(bye, ChatMessage)
    assert (bye.sender.id, bye.text) == ("bob", "Bye")


def test_an_impatient_visitor_leaves_unless_somebody_has_come() -> None:
    crowd = people(Conduct(leaves_after_ms=400))
    assert [one.TYPE for one in said(crowd, 500)] == ["visitor.left.v1"]  # type: ignore[attr-defined]
    attended = people(Conduct(leaves_after_ms=400, agent_writes=False))
    attended.hear(assigned(), 300)
    assert said(attended, 500) == []


def test_whoever_was_marked_away_comes_back() -> None:
    crowd = people(Conduct())
    crowd.hear(AgentMarkedAway(agent_id="ann", reason="no_answer"), 200)
    assert said(crowd, 700) == [AgentPresence("ann", "online")]


def test_a_refused_request_ends_the_visit() -> None:
    crowd = people(Conduct())
    assert not crowd.done
    crowd.hear(
        RequestRefused(request_id="r", request_type="chat.requested.v1", code="visitor_blocked", message=""),
        200,
    )
    assert crowd.done
    assert said(crowd, GONE_MS * 2) == []


def test_strangers_decisions_mean_nothing() -> None:
    crowd = people(Conduct())
    crowd.hear(replace(offer("ann"), chat_id="another"), 200)
    crowd.hear(offer("somebody-else"), 200)
    assert said(crowd, 5000) == []


# ---------------------------------------------------------------- several agents in one chat


DIALOGUE = (Say("agent", "Hello", 10), Say("agent", "Bye", 10))


def handing_over(to_department_id: str | None = None) -> People:
    """Ann has said hello and asks somebody to take over, 5 ms later."""
    handover = Handover(1, 5, "Please", "decline", to_department_id)
    crowd = people(Conduct(DIALOGUE, ends="agent", ends_after_ms=30, handover=handover))
    crowd.hear(assigned(), 1000)
    assert len(said(crowd, 1010)) == 1
    return crowd


@pytest.mark.parametrize(
    ("department_id", "colleague"), [(None, "bob"), ("back-office", None)], ids=["colleague", "department"]
)
def test_a_handover_goes_to_a_colleague_or_a_department_and_its_owner_waits(
    department_id: str | None, colleague: str | None
) -> None:
    crowd = handing_over(department_id)
    wish = ChatTransferRequested("c", "ann", colleague, department_id, "Please")
    assert said(crowd, 1015) == [wish]
    assert said(crowd, 5000) == []


def test_whoever_takes_a_chat_over_goes_on_where_it_stood() -> None:
    crowd = handing_over()
    said(crowd, 1015)
    crowd.hear(ChatUnassigned(chat_id="c", agent_id="ann", reason="transferred", generation=1), 1100)
    crowd.hear(assigned("bob", 2), 1100)
    (bye,) = said(crowd, 1110)
    assert isinstance(bye, ChatMessage)
    assert (bye.sender.id, bye.text) == ("bob", "Bye")


@pytest.mark.parametrize(
    "answer",
    [TransferFailed(chat_id="c", from_agent_id="ann", reason="declined"), refused("c-handover")],
    ids=["failed", "refused"],
)
def test_a_handover_that_comes_to_nothing_lets_its_owner_speak_again(
    answer: TransferFailed | RequestRefused,
) -> None:
    crowd = handing_over()
    said(crowd, 1015)
    crowd.hear(answer, 1100)
    (bye,) = said(crowd, 1110)
    assert isinstance(bye, ChatMessage)
    assert (bye.sender.id, bye.text) == ("ann", "Bye")


def test_the_chat_says_how_a_handover_is_answered() -> None:
    crowd = handing_over()
    said(crowd, 1015)
    crowd.hear(replace(offer("bob"), kind="transfer"), 1100)
    assert said(crowd, 4000) == [OfferDeclined("o", "c", "bob")]


def test_a_colleague_is_invited_joins_speaks_and_leaves() -> None:
    invitation = Invitation(5, "Come", "May I?", says_after_ms=20, stays_ms=40)
    crowd = people(Conduct((Say("agent", "Hello", 500),), invitation=invitation), Reaction("decline", 7))
    crowd.hear(assigned(), 1000)
    assert said(crowd, 1005) == [ChatInviteRequested("c", "ann", "bob", "Come")]
    crowd.hear(replace(offer("bob"), kind="invite"), 1010)
    assert said(crowd, 1017) == [OfferAccepted("o", "c", "bob")]
    crowd.hear(ParticipantJoined(chat_id="c", agent_id="bob", role="participant"), 1020)
    spoken, left = said(crowd, 1060)
    assert isinstance(spoken, ChatMessage)
    assert (spoken.sender.id, spoken.text, spoken.internal) == ("bob", "May I?", False)
    assert left == ParticipantLeaveRequested("c", "bob")


def test_who_watches_a_chat_joins_it_once_and_whispers() -> None:
    watching = Watching(5, "Psst", whispers_after_ms=20, stays_ms=40)
    crowd = people(Conduct((Say("agent", "Hello", 500),), watching=watching))
    crowd.hear(assigned(), 1000)
    for monitor in ("m1", "m2"):
        crowd.hear(MonitorMatched(monitor_id=monitor, chat_id="c", owner_agent_id="bob"), 1000)
    assert said(crowd, 1005) == [ChatJoinRequested("c", "bob")]
    crowd.hear(ParticipantJoined(chat_id="c", agent_id="bob", role="monitor"), 1010)
    whisper, left = said(crowd, 1050)
    assert isinstance(whisper, ChatMessage)
    assert (whisper.text, whisper.internal) == ("Psst", True)
    assert left == ParticipantLeaveRequested("c", "bob")


# ---------------------------------------------------------------- the end, and afterwards


def test_the_visitor_has_one_more_thing_to_say_before_a_delayed_end() -> None:
    farewell = Farewell(waits_ms=100, visitor_says="Wait", says_after_ms=20)
    crowd = people(Conduct(ends="agent", ends_after_ms=30, farewell=farewell))
    crowd.hear(assigned(), 1000)
    (later,) = said(crowd, 1030)
    assert isinstance(later, ChatEndRequested)
    assert later.after_s == 0.1
    wait, now = said(crowd, 1080)
    assert isinstance(wait, ChatMessage)
    assert isinstance(now, ChatEndRequested)
    assert (wait.sender.kind, wait.text, now.after_s) == ("visitor", "Wait", 0)


def test_what_a_handled_chat_was_about_is_filed_by_its_last_owner() -> None:
    filing = Filing(10, ("refund",), "A regular", "phone", "+81 3-5550-0000", crm_agent_id="bob")
    crowd = people(Conduct(filing=filing))
    crowd.hear(assigned(), 1000)
    crowd.hear(closed("handled"), 1100)
    assert not crowd.done
    assert said(crowd, 1110) == [
        ChatTagsChanged(("c",), "ann", add=("refund",)),
        ChatNoteAdded("c", "c-note", "ann", "A regular"),
        CrmPhoneSet("c", "bob", "+81 3-5550-0000"),
    ]
    assert crowd.done


@pytest.mark.parametrize(
    ("do", "request_"),
    [
        ("reply", MissedReplyRequested("c", "ann", "Sorry")),
        ("close", MissedCloseRequested(("c",), "ann")),
        ("delete", MissedDeleteRequested(("c",), "ann")),
    ],
)
def test_a_supervisor_works_in_the_missed_inbox_once(do: InboxDo, request_: object) -> None:
    crowd = people(Conduct(inbox=Inbox(do, 10, "ann", "Sorry")))
    crowd.hear(closed("missed"), 1000)
    assert not crowd.done
    assert said(crowd, 1010) == [request_]
    assert crowd.done


def assigning(ended_by: str = "system") -> People:
    crowd = people(Conduct(DIALOGUE, ends="agent", ends_after_ms=30, inbox=Inbox("assign", 10, "ann")))
    crowd.hear(closed("missed", by=ended_by), 1000)
    assert said(crowd, 1010) == [MissedAssignRequested(("c",), "ann", "ann")]
    return crowd


def test_a_missed_chat_given_to_an_agent_goes_on() -> None:
    crowd = assigning()
    assert (crowd.open_chats, crowd.done) == (1, False), "nobody goes home before it is served"
    crowd.hear(assigned(), 1020)
    assert len(said(crowd, 1100)) == 3
    crowd.hear(closed("handled"), 1110)
    assert crowd.done


def test_one_whose_visitor_has_gone_stays_in_the_inbox() -> None:
    assert assigning(ended_by="visitor").done


def test_one_that_is_refused_is_over() -> None:
    crowd = assigning()
    crowd.hear(refused("c-assign"), 1020)
    assert crowd.done
