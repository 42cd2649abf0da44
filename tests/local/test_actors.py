"""The people of a scenario: they answer what they hear, when they would, and nothing else."""

from dataclasses import replace

from schemas.decisions import (
    AgentMarkedAway,
    ChatAssigned,
    ChatOffered,
    ChatUnassigned,
    OfferWithdrawn,
    RequestRefused,
    Why,
)
from schemas.events import AgentPresence, ChatMessage, ChatRequested, OfferAccepted, OfferDeclined, Visitor
from services.local.actors import People
from services.local.crowd import Publication
from services.local.scenario import Agent, Conduct, Do, Head, Reaction, Say, Scenario, Scheduled, Visit

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
