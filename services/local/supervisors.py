"""What supervisors and admins do: they look into chats that their monitors match, and empty the missed inbox.

One rule: they act on what they are told, like everybody: a match, or a chat that ended missed.
"""

from collections.abc import Iterable
from functools import partial

from schemas.decisions import MonitorMatched
from schemas.events import (
    ChatJoinRequested,
    MissedAssignRequested,
    MissedCloseRequested,
    MissedDeleteRequested,
    MissedReplyRequested,
)
from services.local.crowd import CONSOLE, Chat, Crowd, Published
from services.local.scenario import Inbox


class Supervisors:
    """Those of a scenario who look after others."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    def matched(self, match: MonitorMatched, now_ms: int) -> None:
        """A watched chat may be worth joining."""
        chat = self._crowd.live(match.chat_id)
        watching = None if chat is None else chat.visit.conduct.watching
        if chat is not None and watching is not None and chat.first("watching"):
            act = partial(self._join, chat, match.owner_agent_id)
            self._crowd.at(now_ms + watching.joins_after_ms, act)

    def missed(self, chat: Chat, now_ms: int) -> None:
        """A chat lies in the missed inbox, its conversation over."""
        inbox = chat.visit.conduct.inbox
        if inbox is not None and chat.first("inbox"):
            self._crowd.at(now_ms + inbox.after_ms, partial(self._work, chat, inbox))

    def _join(self, chat: Chat, agent_id: str, _now_ms: int) -> Iterable[Published]:
        if not chat.over and self._crowd.present(agent_id):
            yield chat.publication("join", CONSOLE, ChatJoinRequested(chat.id, agent_id))

    def _work(self, chat: Chat, inbox: Inbox, _now_ms: int) -> Iterable[Published]:
        by, chats = inbox.by_agent_id, (chat.id,)
        match inbox.do:
            case "assign":
                publication = chat.publication("assign", CONSOLE, MissedAssignRequested(chats, by, by))
                if not chat.visitor_gone and self._crowd.present(by):
                    # It goes on, so nobody may take the day for done before the router says so.
                    self._crowd.reopen(chat)
                    self._crowd.when_refused(publication.event_id, partial(self._lost, chat))
                yield publication
            case "reply":
                reply = MissedReplyRequested(chat.id, by, inbox.text)
                yield chat.publication("reply", CONSOLE, reply)
            case "close":
                yield chat.publication("put-away", CONSOLE, MissedCloseRequested(chats, by))
            case "delete":
                yield chat.publication("put-away", CONSOLE, MissedDeleteRequested(chats, by))

    def _lost(self, chat: Chat, _now_ms: int) -> None:
        self._crowd.close(chat)
