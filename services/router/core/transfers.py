"""Transfers: a chat goes to another agent, or to a department, once somebody there accepts it.

The one rule: until then its owner keeps it. An open transfer rings one agent, or the drain of the step asks the next or ends it.
"""

from collections.abc import Iterator
from itertools import islice

from schemas import decisions as d
from schemas.events import ChatTransferRequested
from schemas.types import UnassignReason, WithdrawReason
from services.router.core import membership
from services.router.core.asking import UNANSWERED_MAX_S
from services.router.core.departments import within_hours
from services.router.core.eligibility import demand_at
from services.router.core.index import Pool, Rank
from services.router.core.offers import offer, withdraw
from services.router.core.permissions import steered
from services.router.core.placement import WHY_NEXT_MAX, in_order, passed_over
from services.router.core.refusals import refuse
from services.router.core.state import (
    Agent,
    Answer,
    Chat,
    Department,
    Emission,
    Offer,
    Transfer,
    Workspace,
)


def requested(ws: Workspace, event: ChatTransferRequested) -> tuple[Emission, ...]:
    """Rings whom the transfer names, or the first candidate of the department it names; who can't be asked now is refused."""
    chat = steered(ws, event.chat_id, event.by_agent_id)
    if isinstance(chat, d.RequestRefused):
        return (chat,)
    if chat.owner_id is None:
        return (refuse(ws, "not_owner", "nobody owns the chat", subject=chat.id),)
    if chat.transfer is not None:
        return (refuse(ws, "limit_exceeded", "the chat is being transferred already", subject=chat.id),)
    if event.to_agent_id is not None and event.to_department_id is not None:
        return (
            refuse(
                ws,
                "limit_exceeded",
                "a transfer goes to an agent or to a department, not to both",
                subject=chat.id,
            ),
        )
    if event.to_department_id is not None:
        return (_to_department(ws, chat, event.to_department_id, event.message),)
    return (_to_agent(ws, chat, event.to_agent_id, event.message),)


def _to_agent(ws: Workspace, chat: Chat, agent_id: str | None, message: str | None) -> Emission:
    agent = ws.agent(agent_id)
    if agent is None:
        return refuse(ws, "unknown_agent", "the agent to transfer to is not known", subject=chat.id)
    if agent.id == chat.owner_id or agent.status != "online" or agent.room < chat.cost:
        return refuse(ws, "agent_unavailable", "the agent can't be asked now", subject=chat.id)
    rings_s = ws.departments[chat.department_id].settings.routing.offer_timeout_s or UNANSWERED_MAX_S
    why = d.Why(rule="transfer/agent")
    return offer(ws, chat, [agent], kind="transfer", rings_s=rings_s, why=why, message=message)


def _to_department(ws: Workspace, chat: Chat, department_id: str, message: str | None) -> Emission:
    department = ws.departments.get(department_id)
    if department is None:
        return refuse(ws, "unknown_department", "the department is not known", subject=chat.id)
    offered = _ring_next(ws, chat, department, {}, message) if within_hours(ws, department) else None
    return offered or refuse(
        ws,
        "department_unavailable",
        "the department is closed, or nobody there can be asked now",
        subject=chat.id,
    )


# ---------------------------------------------------------------- the next candidate of a department


def _ring_next(
    ws: Workspace, chat: Chat, department: Department, asked: dict[str, Answer], message: str | None
) -> d.ChatOffered | None:
    """Asks the best candidate; None if there is none, or the department takes no chats any more."""
    if not department.open:
        return None
    routing = department.settings.routing
    wanted = demand_at(routing, chat, ws.indexes[department.id].languages, ws.clock_ms)
    waiting = membership.pool(ws, department, wanted)
    chosen = list(islice(candidates(ws, chat, department, waiting, asked), WHY_NEXT_MAX + 1))
    if not chosen:
        return None
    first, following = chosen[0], chosen[1:]
    declined = sum(
        1 for agent_id, answer in asked.items() if answer == "declined" and agent_id in waiting.ranks
    )
    why = d.Why(
        rule=f"transfer/{routing.strategy}",
        rank=first,
        next=tuple([d.Ranked(str(rank[-1]), rank) for rank in following]),
        others=passed_over(ws, department, waiting, {"declined": declined}),
        notes=("everybody able was asked before",) if first[-1] in asked else (),
    )
    agent = ws.agents[str(first[-1])]
    rings_s = routing.offer_timeout_s or UNANSWERED_MAX_S
    return offer(ws, chat, [agent], kind="transfer", rings_s=rings_s, why=why, message=message)


def candidates(
    ws: Workspace, chat: Chat, department: Department, waiting: Pool, asked: dict[str, Answer]
) -> Iterator[Rank]:
    """Those who can take the chat over: in the strategy's order who was not asked yet, then who was, longest ago first.

    Who declined is not asked again.
    """
    again: dict[str, Rank] = {}
    for rank in in_order(ws, department, waiting.ranked):
        agent_id = str(rank[-1])
        if agent_id == chat.owner_id or asked.get(agent_id) == "declined":
            continue
        if agent_id in asked:
            again[agent_id] = rank
        else:
            yield rank
    for agent_id in asked:
        if agent_id in again:
            yield again[agent_id]


# ---------------------------------------------------------------- how a transfer ends


def accepted(ws: Workspace, chat: Chat, agent: Agent) -> tuple[Emission, ...]:
    """The chat changes hands."""
    transfer = _of(chat)
    assert chat.owner_id is not None, "a transfer ends with its chat's owner"
    return (
        d.ChatTransferred(
            chat_id=chat.id,
            from_agent_id=chat.owner_id,
            to_agent_id=agent.id,
            to_department_id=transfer.to_department_id,
        ),
        d.ChatUnassigned(
            chat_id=chat.id, agent_id=chat.owner_id, reason="transferred", generation=chat.generation
        ),
        d.ChatAssigned(
            chat_id=chat.id,
            agent_id=agent.id,
            department_id=transfer.to_department_id or chat.department_id,
            by="transfer",
            waited_ms=ws.now_ms - transfer.requested_ms,
            generation=chat.generation + 1,
            why=d.Why(rule="accepted"),
        ),
    )


def expired(chat: Chat) -> tuple[Emission, ...]:
    """A department's waiting limit is over."""
    return (*_withdraw(chat, "timed_out"), _failed(chat, "timed_out"))


def drain(ws: Workspace) -> tuple[Emission, ...]:
    """The next candidate of a transfer that was refused; where there is none it has failed."""
    for chat_id in ws.unsettled:
        chat = ws.chats[chat_id]
        transfer = chat.transfer
        if transfer is not None and transfer.offer is None:
            department = ws.departments.get(transfer.to_department_id or "")
            if department is not None:
                offered = _ring_next(ws, chat, department, transfer.asked, transfer.message)
                if offered is not None:
                    return (offered,)
            return (_failed(chat, transfer.refusal),)
    return ()


def unassign(chat: Chat, reason: UnassignReason) -> tuple[Emission, ...]:
    """Takes a chat from its owner, who can't hand it on any more then."""
    assert chat.owner_id is not None, "somebody owns the chat"
    withdrawn: WithdrawReason = "agent_removed" if reason == "agent_removed" else "agent_offline"
    if reason == "no_first_reply":
        withdrawn = "timed_out"
    return (
        *_withdraw(chat, withdrawn),
        d.ChatUnassigned(chat_id=chat.id, agent_id=chat.owner_id, reason=reason, generation=chat.generation),
    )


def department_changed(ws: Workspace, department_id: str) -> tuple[Emission, ...]:
    """Takes back what a department's new settings no longer allow: it takes no chats, or who is asked is no longer in it."""
    department = ws.departments[department_id]
    members = ws.indexes[department_id].categories
    gone: list[Emission] = []
    for chat in sorted((ws.chats[chat_id] for chat_id in ws.transferring), key=lambda chat: chat.sequence):
        transfer = _of(chat)
        if transfer.to_department_id != department_id or transfer.offer is None:
            continue
        if not department.open:
            gone.append(withdraw(chat, transfer.offer, "department_changed"))
        elif transfer.offer.agent_ids[0] not in members:
            gone.append(withdraw(chat, transfer.offer, "agent_removed"))
    return tuple(gone)


def department_of(ws: Workspace, chat: Chat) -> Department:
    """The department by whose rules a transfer rings: the one it goes to, else the chat's own."""
    return ws.departments[_of(chat).to_department_id or chat.department_id]


def ringing(chat: Chat) -> Offer | None:
    """The open offer of a chat's transfer, if it has one."""
    return None if chat.transfer is None else chat.transfer.offer


def _of(chat: Chat) -> Transfer:
    assert chat.transfer is not None, "the chat is being transferred"
    return chat.transfer


def _withdraw(chat: Chat, reason: WithdrawReason) -> tuple[Emission, ...]:
    """Closes the transfer's offer, if there is one."""
    open_offer = ringing(chat)
    return () if open_offer is None else (withdraw(chat, open_offer, reason),)


def _failed(chat: Chat, reason: WithdrawReason | None) -> d.TransferFailed:
    transfer = _of(chat)
    assert chat.owner_id is not None, "a transfer ends with its chat's owner"
    return d.TransferFailed(
        chat_id=chat.id,
        from_agent_id=chat.owner_id,
        to_agent_id=transfer.to_agent_id,
        to_department_id=transfer.to_department_id,
        reason=reason,
    )
