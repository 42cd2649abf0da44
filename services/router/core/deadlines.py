"""What follows from a deadline.

The one rule: a timer runs only in the phase it belongs to; leaving the phase disarms it, so nothing is asked twice here.
"""

from schemas import decisions as d
from schemas.types import UnassignReason
from services.router.core import asking, endings, transfers
from services.router.core.endings import End
from services.router.core.offers import withdraw
from services.router.core.staffing import take_offers
from services.router.core.state import Chat, Department, Emission, Offer, Workspace
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
            return _rang_out(ws, chat, chat.offer, ws.departments[chat.department_id])
        case asking.RING:
            return _rang_out(ws, chat, transfers.ringing(chat), transfers.department_of(ws, chat))
        case asking.LIMIT:
            return transfers.expired(chat)
        case asking.INVITE:
            assert chat.invite is not None, "the timer runs only while the invitation is open"
            return (withdraw(chat, chat.invite, "timed_out"),)
        case "reply" | "grace":
            reason: UnassignReason = "no_first_reply" if due.kind == "reply" else "agent_offline"
            return transfers.unassign(chat, reason)
        case "end":
            by = chat.ending_by or "system"
            return endings.end(ws, chat, End(by=by, visitor=by == "visitor"))
        case "idle":
            return endings.end(ws, chat, End(by="system"))
        case _:
            return ()


def _rang_out(ws: Workspace, chat: Chat, offer: Offer | None, department: Department) -> tuple[Emission, ...]:
    """An offer's time is over; an agent who let too many ring out is marked away."""
    assert offer is not None, "the timer runs only while the offer is open"
    withdrawn = withdraw(chat, offer, "timed_out")
    if offer.ring_all:
        return (withdrawn,)
    agent = ws.agents[offer.agent_ids[0]]
    limit = department.settings.routing.no_answer_limit
    counts = offer.opened_ms >= agent.unanswered_until_ms
    if not limit or agent.unanswered + counts < limit:
        return (withdrawn,)
    return (
        withdrawn,
        d.AgentMarkedAway(agent_id=agent.id, reason=f"{limit} offers in a row rang out"),
        *take_offers(ws, agent.id, "agent_away", but=offer.id),
    )
