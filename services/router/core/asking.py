"""How agents come into a chat other than from its queue: the movements of transfers, invitations and participants.

The one rule: these functions are called by `evolve` only; they write state and decide nothing. One agent at a time is asked here.
"""

from schemas import decisions as d
from schemas import events as e
from services.router.core import membership
from services.router.core.state import Answer, Chat, Offer, Transfer, Workspace

RING = "transfer_ring"
"""The timer of a transfer's open offer."""
LIMIT = "transfer"
"""The timer of a department's whole transfer."""
INVITE = "invite"
UNANSWERED_MAX_S = 120.0
"""For how long a transfer or an invitation may go unanswered where the settings say for ever: its chat can have no other meanwhile.
As long as a visitor waits by default (the contract, `wait_timeout_s`)."""


def offered(ws: Workspace, fact: d.ChatOffered) -> None:
    """An agent is asked to take a chat over, which holds room for it, or to join it, which does not."""
    chat = ws.chats[fact.chat_id]
    (agent_id,) = fact.agent_ids
    offer = Offer(fact.offer_id, fact.kind, False, ws.clock_ms, [agent_id])
    chat.offers_made += 1
    ring_s = (fact.expires_in_ms or 0) / 1000
    ws.ringing.setdefault(agent_id, {})[chat.id] = None
    if fact.kind == "invite":
        chat.invite = offer
        ws.arm(chat, INVITE, ring_s)
    else:
        transfer = chat.transfer or _begin(ws, chat)
        transfer.offer = offer
        ws.unsettled.pop(chat.id, None)
        ws.arm(chat, RING, ring_s)
        agent = ws.agents[agent_id]
        agent.load += chat.cost
        membership.place_agent(ws, agent)
        if transfer.to_department_id is not None:
            rota = ws.rotas[transfer.to_department_id]
            rota.last_asked_id = agent_id
            ws.touch(rota)
    ws.touch(chat)


def _begin(ws: Workspace, chat: Chat) -> Transfer:
    """The transfer that the step's request asks for; to a department it may take as long as a chat may wait there."""
    request = ws.event
    assert isinstance(request, e.ChatTransferRequested), "a transfer begins with its request"
    transfer = Transfer(ws.now_ms, request.to_agent_id, request.to_department_id, request.message)
    if transfer.to_department_id is not None:
        routing = ws.departments[transfer.to_department_id].settings.routing
        ws.arm(chat, LIMIT, routing.wait_timeout_s or UNANSWERED_MAX_S)
    chat.transfer = transfer
    ws.transferring[chat.id] = None
    return transfer


def withdrawn(ws: Workspace, fact: d.OfferWithdrawn) -> None:
    """The agent is no longer asked. A transfer then needs its next candidate, or has failed: the drain says which."""
    chat = ws.chats[fact.chat_id]
    offer = next((offer for offer in chat.offers if offer.id == fact.offer_id), None)
    assert offer is not None, "only an open offer is withdrawn"
    (agent_id,) = fact.agent_ids
    agent = ws.agents[agent_id]
    if fact.reason == "declined":
        agent.unanswered = 0
        ws.touch(agent)
    transfer = chat.transfer
    if offer.kind == "transfer" and transfer is not None:
        if fact.reason == "timed_out" and _rang_out(ws, chat):
            note(transfer.asked, agent_id, "timed_out")
            if offer.opened_ms >= agent.unanswered_until_ms:
                agent.unanswered += 1
                agent.unanswered_until_ms = ws.clock_ms
        elif fact.reason == "declined":
            note(transfer.asked, agent_id, "declined")
        transfer.refusal = fact.reason
        ws.unsettled[chat.id] = None
    _hang_up(ws, chat, offer)


def note(asked: dict[str, Answer], agent_id: str, answer: Answer) -> None:
    """Notes an answer behind all others, so that who was asked longest ago is asked again first."""
    asked.pop(agent_id, None)
    asked[agent_id] = answer


def _rang_out(ws: Workspace, chat: Chat) -> bool:
    """Whether the agent was rung for the whole time, and not cut short by the end of the transfer."""
    armed = chat.timers.get(RING)
    return armed is None or armed[0] <= ws.clock_ms


def _hang_up(ws: Workspace, chat: Chat, offer: Offer) -> None:
    """Closes an offer."""
    (agent_id,) = offer.agent_ids
    if offer.kind == "invite":
        chat.invite = None
        ws.disarm(chat, INVITE)
    else:
        assert chat.transfer is not None, "a transfer's offer has a transfer"
        chat.transfer.offer = None
        ws.disarm(chat, RING)
        agent = ws.agents[agent_id]
        agent.load -= chat.cost
        membership.place_agent(ws, agent, roomier=True)
    stop_ringing(ws, chat, agent_id)
    ws.touch(chat)


def stop_ringing(ws: Workspace, chat: Chat, agent_id: str) -> None:
    """Takes a chat off the list of those an agent is asked for, unless another offer of it still asks them."""
    if not any(agent_id in offer.agent_ids for offer in chat.offers):
        ws.ringing[agent_id].pop(chat.id)


def handed_over(ws: Workspace, chat: Chat) -> None:
    """The transfer was taken. The room that its offer held is free only now, for the chat itself."""
    offer = None if chat.transfer is None else chat.transfer.offer
    assert offer is not None, "only an open offer is accepted"
    _hang_up(ws, chat, offer)
    drop_transfer(ws, chat)


def drop_transfer(ws: Workspace, chat: Chat) -> None:
    """A transfer is over, whether it was taken, failed, or lost the owner it was to relieve."""
    if chat.transfer is None:
        return
    assert chat.transfer.offer is None, "its offer is withdrawn before"
    chat.transfer = None
    ws.disarm(chat, LIMIT)
    ws.transferring.pop(chat.id)
    ws.unsettled.pop(chat.id, None)
    ws.touch(chat)


def joined(ws: Workspace, fact: d.ParticipantJoined) -> None:
    """An agent takes part. Who was invited has accepted, and may come back after leaving."""
    chat = ws.chats[fact.chat_id]
    agent = ws.agents[fact.agent_id]
    if chat.invite is not None and fact.agent_id in chat.invite.agent_ids:
        _hang_up(ws, chat, chat.invite)
        agent.unanswered = 0
        ws.touch(agent)
        if agent.id not in chat.invited_ids:
            chat.invited_ids.append(agent.id)
    chat.participant_ids[agent.id] = fact.role
    ws.joined.setdefault(agent.id, {})[chat.id] = None
    ws.touch(chat)


def left(ws: Workspace, fact: d.ParticipantLeft) -> None:
    """An agent takes part no more."""
    chat = ws.chats[fact.chat_id]
    del chat.participant_ids[fact.agent_id]
    del ws.joined[fact.agent_id][chat.id]
    ws.touch(chat)


def disperse(ws: Workspace, chat: Chat) -> None:
    """A chat is closed: nobody takes part any more, and nobody may come back."""
    for agent_id in chat.participant_ids:
        del ws.joined[agent_id][chat.id]
    chat.participant_ids.clear()
    chat.invited_ids.clear()
    drop_transfer(ws, chat)
