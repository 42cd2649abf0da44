"""What people say about a chat: its tags, notes about its visitor, and the visitor's rating.

The one rule: none of it changes where a chat goes; a note or a rating is kept by the archive, unless it is refused here.
"""

from schemas import decisions as d
from schemas import events as e
from schemas import notices as n
from schemas.envelope import from_ms
from services.router.core import endings, mail
from services.router.core.ids import mint
from services.router.core.permissions import refuse_work
from services.router.core.refusals import refuse
from services.router.core.state import Emission, Workspace

TAGS_MAX = 100
"""Tags of one chat: as many as one request may add (`schemas.events.ChatTagsChanged`)."""


def tags_changed(ws: Workspace, event: e.ChatTagsChanged) -> tuple[Emission, ...]:
    """Each chat of the request whose tags change, with all of them; first tags are taken off, then put on."""
    added = dict.fromkeys([tag for name in event.add if (tag := name.strip())])
    removed = {name.strip() for name in event.remove}
    decided: list[Emission] = []
    for chat_id in dict.fromkeys(event.chat_ids):
        refusal = refuse_work(ws, chat_id, event.by_agent_id)
        if refusal is not None:
            decided.append(refusal)
            continue
        before = ws.chats[chat_id].tags
        tags = tuple(dict.fromkeys((*[tag for tag in before if tag not in removed], *added)))
        if len(tags) > TAGS_MAX:
            decided.append(refuse(ws, "limit_exceeded", "the chat would have too many tags", subject=chat_id))
        elif tags != before:
            decided.append(d.ChatTagged(chat_id=chat_id, tags=tags))
    return tuple(decided)


def note_added(ws: Workspace, event: e.ChatNoteAdded) -> tuple[Emission, ...]:
    """Refusals only: a note with none is in the archive."""
    refusal = refuse_work(ws, event.chat_id, event.by_agent_id)
    return () if refusal is None else (refusal,)


def feedback(ws: Workspace, event: e.ChatFeedback) -> tuple[Emission, ...]:
    """The mail about a rating, where the department wants it; each rating is one of its own."""
    chat = ws.chats.get(event.chat_id)
    if chat is None:
        return (refuse(ws, "unknown_chat", "the chat is not known", subject=event.chat_id),)
    if event.agent_id is not None and event.agent_id not in ws.agents:
        return (refuse(ws, "unknown_agent", "the agent is not known", subject=event.chat_id),)
    department = ws.departments[chat.department_id]
    to = mail.plan(ws, department).feedback
    if not to:
        return ()
    agent = ws.agents.get(event.agent_id or chat.last_owner_id or "")
    return (
        n.NoticeFeedback(
            notice_id=mint(ws.id, ws.cause, f"feedback/{chat.id}"),
            chat_id=chat.id,
            rating=event.rating,
            given_at=from_ms(ws.now_ms),
            department=d.DepartmentRef(department.id, department.settings.name),
            letter=mail.letter(ws, department, to),
            visitor=chat.visitor,
            comment=event.comment,
            agent=None if agent is None else endings.card(agent),
        ),
    )
