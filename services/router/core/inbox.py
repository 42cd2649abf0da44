"""The missed inbox: missed chats are assigned, closed, deleted, and answered by e-mail.

The one rule: each chat of a request is decided by itself, in the order given and once; a refusal names the chat it is about.
"""

from collections.abc import Collection, Iterable
from itertools import chain

from schemas import decisions as d
from schemas import events as e
from schemas import notices as n
from schemas.types import MissedStatus
from services.router.core import endings, mail
from services.router.core.ids import mint
from services.router.core.permissions import bar, refuse_work
from services.router.core.refusals import refuse
from services.router.core.revisions import taker
from services.router.core.state import Agent, Chat, Emission, Workspace

Decided = tuple[Emission, ...]
IN_WORK: tuple[MissedStatus, ...] = ("open", "assigned")
"""A chat closed or deleted in the inbox is no longer missed for later requests (the contract, Inbox)."""
ANSWERABLE: tuple[MissedStatus, ...] = (*IN_WORK, "closed")


def assign(ws: Workspace, event: e.MissedAssignRequested) -> Decided:
    """Missed chats go to an agent; one whose visitor is there goes on with that agent at once."""
    return _each([_assign(ws, event, chat_id) for chat_id in dict.fromkeys(event.chat_ids)])


def put_away(ws: Workspace, event: e.MissedCloseRequested | e.MissedDeleteRequested) -> Decided:
    """Missed chats are closed or deleted in the inbox; a conversation that its bot keeps up goes on."""
    status: MissedStatus = "closed" if isinstance(event, e.MissedCloseRequested) else "deleted"
    return _each([_put_away(ws, event, chat_id, status) for chat_id in dict.fromkeys(event.chat_ids)])


def visitor_wrote(ws: Workspace, chat: Chat) -> Decided:
    """A missed chat opens again, unless its visitor may chat no more; the agent it was assigned to goes on with it, if they can."""
    barred = bar(ws, chat.visitor.ip, chat.channel)
    if barred is not None:
        return (refuse(ws, *barred, subject=chat.id),)
    agent = taker(ws, chat)
    if agent is not None:
        return _go_on(chat, agent, "assigned in the missed inbox")
    return (d.ChatReopened(chat_id=chat.id, revision=chat.revision + 1),)


def reply(ws: Workspace, event: e.MissedReplyRequested) -> Decided:
    """The mail to the visitor, from the department's address and in copy to whom the department names."""
    chat = _missed_chat(ws, event.chat_id, event.by_agent_id, among=ANSWERABLE)
    if isinstance(chat, d.RequestRefused):
        return (chat,)
    address = mail.address_of(chat.visitor)
    if address is None:
        return (
            refuse(ws, "visitor_email_unknown", "the visitor's e-mail is not known", subject=event.chat_id),
        )
    department = ws.departments[chat.department_id]
    return (
        n.NoticeReply(
            notice_id=mint(ws.id, ws.cause, f"reply/{chat.id}"),
            chat_id=chat.id,
            agent=endings.card(ws.agents[event.by_agent_id]),
            department=d.DepartmentRef(department.id, department.settings.name),
            letter=mail.letter(ws, department, (address,), cc=mail.plan(ws, department).cc),
            visitor=chat.visitor,
            question=chat.question,
            text=event.text,
        ),
    )


def _each(decided: Iterable[Decided]) -> Decided:
    return tuple(chain.from_iterable(decided))


def _missed_chat(
    ws: Workspace, chat_id: str, by_agent_id: str, *, among: Collection[MissedStatus]
) -> Chat | d.RequestRefused:
    """The missed chat a request is about, or why the agent can't have it."""
    refusal = refuse_work(ws, chat_id, by_agent_id)
    if refusal is not None:
        return refusal
    chat = ws.chats[chat_id]
    if chat.inbox not in among:
        return refuse(ws, "chat_not_missed", "the chat is not in the missed inbox", subject=chat_id)
    return chat


def _assign(ws: Workspace, event: e.MissedAssignRequested, chat_id: str) -> Decided:
    chat = _missed_chat(ws, chat_id, event.by_agent_id, among=IN_WORK)
    if isinstance(chat, d.RequestRefused):
        return (chat,)
    agent = ws.agent(event.agent_id)
    if agent is None:
        return (refuse(ws, "unknown_agent", "the agent to assign to is not known", subject=chat_id),)
    updated = d.MissedUpdated(
        chat_id=chat.id, status="assigned", agent_id=agent.id, by_agent_id=event.by_agent_id
    )
    # Nobody is kept waiting for an agent who is not there: then the chat waits for that agent in the inbox.
    if chat.visitor_gone or agent.status == "offline":
        return (updated,)
    return (
        updated,
        *(endings.close_missed(ws, chat, "agent") if chat.live else ()),
        *_go_on(chat, agent, f"assigned by {event.by_agent_id}"),
    )


def _go_on(chat: Chat, agent: Agent, note: str) -> Decided:
    return (
        d.ChatReopened(chat_id=chat.id, revision=chat.revision + 1),
        d.ChatAssigned(
            chat_id=chat.id,
            agent_id=agent.id,
            department_id=chat.department_id,
            by="manual",
            waited_ms=0,
            generation=chat.generation + 1,
            why=d.Why(rule="manual", notes=(note,)),
        ),
    )


def _put_away(
    ws: Workspace,
    event: e.MissedCloseRequested | e.MissedDeleteRequested,
    chat_id: str,
    status: MissedStatus,
) -> Decided:
    chat = _missed_chat(ws, chat_id, event.by_agent_id, among=IN_WORK)
    if isinstance(chat, d.RequestRefused):
        return (chat,)
    return (
        d.MissedUpdated(
            chat_id=chat.id,
            status=status,
            agent_id=chat.inbox_agent_id,
            by_agent_id=event.by_agent_id,
        ),
    )
