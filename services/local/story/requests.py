"""What people and bots did or asked for, in words, and requests that were refused.

The one rule: of what they wrote nothing is told; of a visitor only what routing looks at.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from schemas import events as e
from schemas.decisions import RequestRefused
from services.local.display import visible
from services.local.story.words import Words


def request_words(words: Words, data: Any) -> Iterator[str]:
    """One input about the chat; nothing for what only the router's decision tells."""
    match data:
        case e.ChatRequested():
            yield words.say("requested", parts=words.parts(list(_wishes(words, data))))
        case e.VisitorLeft():
            yield words.say("visitor_left")
        case e.VisitorReturned():
            yield words.say("visitor_returned")
        case e.VisitorUpdated():
            given = [field.name for field in fields(e.VisitorPatch) if getattr(data.visitor, field.name)]
            yield words.say(
                "visitor_updated", fields=words.listed(words.term("field", name) for name in given)
            )
        case e.OfferAccepted():
            yield words.say("accepting", agent=words.agent(data.agent_id))
        case e.OfferDeclined():
            yield words.say("declining", agent=words.agent(data.agent_id))
        case e.BotTransferRequested():
            bot = visible(data.bot_id)
            if data.department_id is None:
                yield words.say("bot_transfer", bot=bot)
            else:
                yield words.say("bot_transfer_to", bot=bot, department=words.department(data.department_id))
        case e.ChatEndRequested():
            sender = words.sender(data.by.kind, data.by.id)
            key = "ending_later" if data.after_s else "ending"
            yield words.say(key, sender=sender, span=words.span(data.after_s * 1000))
        case e.ChatFeedback():
            yield words.say("feedback", rating=data.rating)
        case _:
            yield from _agents_request(words, data)


def _wishes(words: Words, data: e.ChatRequested) -> Iterator[str]:
    yield words.say("requested.channel", channel=data.channel)
    if data.department_id is None:
        yield words.say("requested.no_department")
    else:
        yield words.say("requested.department", department=words.department(data.department_id))
    if data.bot_id is not None:
        yield words.say("requested.bot", bot=visible(data.bot_id))
    if data.priority is not None:
        yield words.say("requested.priority", priority=visible(data.priority))
    if data.skills:
        yield words.say("requested.skills", skills=words.listed(map(visible, data.skills)))
    if data.visitor.language is not None:
        yield words.say("requested.language", language=visible(data.visitor.language))


def _agents_request(words: Words, data: Any) -> Iterator[str]:
    """What an agent asked for."""
    name = words.agent(_asker(data))
    match data:
        case e.ChatTransferRequested():
            if data.to_agent_id is not None:
                yield words.say("transfer_to_agent", agent=name, target=words.agent(data.to_agent_id))
            elif data.to_department_id is not None:
                target = words.department(data.to_department_id)
                yield words.say("transfer_to_department", agent=name, target=target)
            else:
                yield words.say("transfer_to_nobody", agent=name)
        case e.ChatInviteRequested():
            yield words.say("invite", agent=name, target=words.agent(data.agent_id))
        case e.ChatJoinRequested():
            yield words.say("join", agent=name)
        case e.ParticipantLeaveRequested():
            yield words.say("leave", agent=name)
        case e.ChatNoteAdded():
            yield words.say("note_added", agent=name)
        case e.ChatTagsChanged():
            yield words.say("tags_changed", agent=name)
        case e.MissedAssignRequested():
            yield words.say("inbox.assign", agent=name, target=words.agent(data.agent_id))
        case e.MissedCloseRequested():
            yield words.say("inbox.close", agent=name)
        case e.MissedDeleteRequested():
            yield words.say("inbox.delete", agent=name)
        case e.MissedReplyRequested():
            yield words.say("inbox.reply", agent=name)
        case e.CrmLeadRequested() | e.CrmNoteRequested() | e.CrmPhoneSet():
            yield words.say(data.TYPE.removesuffix(".v1"), agent=name)
        case e.VisitorIpBlocked():
            yield words.say("blocked", agent=name)
        case e.VisitorIpUnblocked():
            yield words.say("unblocked", agent=name)
        case _:
            pass


def refusal_words(words: Words, refused: RequestRefused, request: Any) -> str:
    """A request that came to nothing, and whose it was."""
    asker = _asker(request)
    return words.say(
        "refused",
        request=words.term("request", refused.request_type.removesuffix(".v1")),
        who=words.say("refused.who", agent=words.agent(asker)) if asker else "",
        code=words.term("code", refused.code),
    )


def _asker(request: Any) -> str | None:
    """The agent who asked, if it was one."""
    if isinstance(request, e.ChatMessage):
        return request.sender.id if request.sender.kind == "agent" else None
    if isinstance(request, e.ChatEndRequested):
        return request.by.id if request.by.kind == "agent" else None
    found: str | None = getattr(request, "by_agent_id", None) or getattr(request, "agent_id", None)
    return found
