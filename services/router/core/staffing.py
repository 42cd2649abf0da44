"""What follows from presence and from changed settings: offers and chats that agents can't keep, mails and notices.

The one rule: `evolve` has changed the agents and departments already; here is decided what that takes away.
"""

from schemas import decisions as d
from schemas import events as e
from schemas import notices as n
from schemas.envelope import from_ms
from schemas.types import WithdrawReason
from services.router.core import endings, mail, participation, transfers
from services.router.core.entering import owned_chats, ringing_chats
from services.router.core.ids import mint
from services.router.core.offers import withdraw
from services.router.core.refusals import refuse
from services.router.core.state import Emission, Workspace


def presence(ws: Workspace, event: e.AgentPresence) -> tuple[Emission, ...]:
    """An agent who is not online is asked for nothing."""
    if ws.agent(event.agent_id) is None:
        return (refuse(ws, "unknown_agent", "the agent is not known", subject=event.agent_id),)
    if event.status == "online":
        return ()
    return take_offers(ws, event.agent_id, "agent_offline" if event.status == "offline" else "agent_away")


def take_offers(
    ws: Workspace, agent_id: str, reason: WithdrawReason, *, but: str | None = None
) -> tuple[Emission, ...]:
    """Withdraws every offer open to an agent; `but`: one that is dealt with elsewhere."""
    return tuple(
        d.OfferWithdrawn(chat_id=chat.id, offer_id=offer.id, agent_ids=(agent_id,), reason=reason)
        for chat in ringing_chats(ws, agent_id)
        for offer in chat.offers
        if agent_id in offer.agent_ids and offer.id != but
    )


def agent_deleted(ws: Workspace, event: e.AgentDeleted) -> tuple[Emission, ...]:
    """A removed agent's offers and chats are taken from them, and they leave those they had joined."""
    if event.agent_id not in ws.agents:
        return (refuse(ws, "unknown_agent", "the agent is not known", subject=event.agent_id),)
    owned = owned_chats(ws, event.agent_id)
    return (
        *take_offers(ws, event.agent_id, "agent_removed"),
        *[decision for chat in owned for decision in transfers.unassign(chat, "agent_removed")],
        *participation.leave_all(ws, event.agent_id),
    )


def department_configured(ws: Workspace, event: e.DepartmentConfigured) -> tuple[Emission, ...]:
    """Withdraws what the new settings no longer allow."""
    if event.department_id == ws.default_id and event.visibility == "private":
        return (
            refuse(
                ws, "not_permitted", "the default department can't be private", subject=event.department_id
            ),
        )
    index = ws.indexes[event.department_id]
    gone: list[Emission] = list(_moved(ws))
    for place in index.waiting:
        chat = ws.chats[place.chat_id]
        if chat.offer is None or chat.id in ws.moved:
            continue
        left = tuple(agent_id for agent_id in chat.offer.agent_ids if agent_id not in index.categories)
        if left:
            gone.append(
                d.OfferWithdrawn(
                    chat_id=chat.id, offer_id=chat.offer.id, agent_ids=left, reason="agent_removed"
                )
            )
    return (*gone, *transfers.department_changed(ws, event.department_id))


def _moved(ws: Workspace) -> tuple[Emission, ...]:
    """The offers of chats that had to move to another department."""
    chats = [ws.chats[chat_id] for chat_id in ws.moved]
    return tuple(withdraw(chat, chat.offer, "department_changed") for chat in chats if chat.offer is not None)


def department_deleted(ws: Workspace, event: e.DepartmentDeleted) -> tuple[Emission, ...]:
    """What waited there has moved: its offers are withdrawn."""
    if event.department_id == ws.default_id:
        return (
            refuse(
                ws, "not_permitted", "the default department can't be deleted", subject=event.department_id
            ),
        )
    if event.department_id not in ws.departments:
        return (refuse(ws, "unknown_department", "the department is not known", subject=event.department_id),)
    return (*_moved(ws), *transfers.department_changed(ws, event.department_id))


def ip_blocked(ws: Workspace, event: e.VisitorIpBlocked) -> tuple[Emission, ...]:
    """The mail about a block, once, where the department wants it."""
    agent = ws.agent(event.by_agent_id)
    if agent is None:
        return (refuse(ws, "unknown_agent", "the agent is not known", subject=event.by_agent_id),)
    if event.ip not in ws.profile.blocked:
        return (refuse(ws, "limit_exceeded", "too many networks are blocked"),)
    if ws.accepted != event.ip:
        return ()
    chat = ws.chats.get(event.chat_id or "")
    wanted = event.department_id or (chat.department_id if chat is not None else ws.default_id)
    department = ws.departments.get(wanted) or ws.departments[ws.default_id]
    to = mail.plan(ws, department).ip_blocked
    if not to:
        return ()
    return (
        n.NoticeIpBlocked(
            notice_id=mint(ws.id, ws.cause, "ip_blocked"),
            ip=event.ip,
            agent=endings.card(agent),
            blocked_at=from_ms(ws.now_ms),
            department=d.DepartmentRef(department.id, department.settings.name),
            letter=mail.letter(ws, department, to),
            chat_id=event.chat_id,
            visitor=None if chat is None else chat.visitor,
        ),
    )


def crm_configured(ws: Workspace, event: e.CrmConfigured) -> tuple[Emission, ...]:
    """The CRM settings, passed on to the worker that uses them."""
    return (
        n.NoticeCrmConfigured(
            notice_id=mint(ws.id, ws.cause, "crm_configured"),
            connector=event.connector,
            lead_policy=event.lead_policy,
            match_order=event.match_order,
            match_many=event.match_many,
            layouts=event.layouts,
            owner_id=event.owner_id,
            pool=event.pool,
            region=event.region,
        ),
    )
