"""Offers as they are decided: who is asked until when, and who no longer is. The queue, transfers and invitations all ask this way.

The one rule: an offer stays open until a decision closes it; `expires_at` only tells when that will be.
"""

from schemas.decisions import ChatOffered, OfferWithdrawn, Why
from schemas.envelope import from_ms
from schemas.types import OfferKind, WithdrawReason
from services.router.core.ids import mint
from services.router.core.state import Agent, Chat, Offer, Workspace


def offer(
    ws: Workspace,
    chat: Chat,
    agents: list[Agent],
    *,
    kind: OfferKind,
    rings_s: float,
    why: Why,
    message: str | None = None,
) -> ChatOffered:
    """A new offer, or newcomers to one that rings all, which end with the others. `rings_s`: how long a new one rings; 0 is for ever."""
    joins = chat.offer if kind in ("new", "bot_transfer") else None
    left_ms = round(rings_s * 1000) or None
    if joins is not None:
        armed = chat.timers.get("offer")
        left_ms = None if armed is None else max(0, armed[0] - ws.clock_ms)
    return ChatOffered(
        chat_id=chat.id,
        offer_id=mint(ws.id, ws.cause, f"offer/{chat.id}/{chat.offers_made}") if joins is None else joins.id,
        agent_ids=tuple(agent.id for agent in agents),
        kind=kind,
        why=why,
        expires_at=None if left_ms is None else from_ms(ws.now_ms + left_ms),
        expires_in_ms=left_ms,
        silent_agent_ids=tuple(agent.id for agent in agents if not agent.sound),
        message=message,
    )


def withdraw(chat: Chat, offer: Offer, reason: WithdrawReason) -> OfferWithdrawn:
    """Closes an offer to all who are still asked."""
    return OfferWithdrawn(chat_id=chat.id, offer_id=offer.id, agent_ids=tuple(offer.agent_ids), reason=reason)


def withdraw_all(chat: Chat, reason: WithdrawReason) -> tuple[OfferWithdrawn, ...]:
    """Closes every offer of a chat."""
    return tuple([withdraw(chat, each, reason) for each in chat.offers])
