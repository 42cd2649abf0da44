"""What follows from a deadline.

The one rule: a timer runs only in the phase it belongs to; leaving the phase disarms it, so nothing is asked twice here.
"""

from schemas import decisions as d
from schemas.types import UnassignReason
from services.router.core import endings
from services.router.core.endings import End
from services.router.core.staffing import take_offers
from services.router.core.state import Chat, Emission, Workspace
from services.router.core.timers import DeadlineReached


def reached(ws: Workspace, due: DeadlineReached) -> tuple[Emission, ...]:
    """What ends with a deadline that `evolve` has taken off."""
    if due.scope == "agent":
        return take_offers(ws, due.subject, "agent_offline") if due.kind == "heartbeat" else ()
    chat = ws.chats.get(due.subject)
    if chat is None:
        return ()
    match due.kind:
        case "wait":
            return endings.miss(ws, chat, detail="timed_out")
        case "offer":
            return _rang_out(ws, chat)
        case "reply" | "grace":
            assert chat.owner_id is not None, "these timers run only while somebody owns the chat"
            reason: UnassignReason = "no_first_reply" if due.kind == "reply" else "agent_offline"
            return (
                d.ChatUnassigned(
                    chat_id=chat.id, agent_id=chat.owner_id, reason=reason, generation=chat.generation
                ),
            )
        case "end":
            by = chat.ending_by or "system"
            return endings.end(ws, chat, End(by=by, visitor=by == "visitor"))
        case "idle":
            return endings.end(ws, chat, End(by="system"))
        case _:
            return ()


def _rang_out(ws: Workspace, chat: Chat) -> tuple[Emission, ...]:
    """An offer's time is over; an agent who let too many ring out is marked away."""
    offer = chat.offer
    assert offer is not None, "the timer runs only while the offer is open"
    withdrawn = d.OfferWithdrawn(
        chat_id=chat.id, offer_id=offer.id, agent_ids=tuple(offer.agent_ids), reason="timed_out"
    )
    if offer.ring_all:
        return (withdrawn,)
    agent = ws.agents[offer.agent_ids[0]]
    limit = ws.departments[chat.department_id].settings.routing.no_answer_limit
    counts = offer.opened_ms >= agent.unanswered_until_ms
    if not limit or agent.unanswered + counts < limit:
        return (withdrawn,)
    return (
        withdrawn,
        d.AgentMarkedAway(agent_id=agent.id, reason=f"{limit} offers in a row rang out"),
        *take_offers(ws, agent.id, "agent_away", but=chat.id),
    )
