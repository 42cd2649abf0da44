"""What visitors do, and the bots that meet them first: they ask, talk to the bot, lose patience, leave, and rate.

One rule: a visitor knows nothing but what stands in their conduct, and whether an agent has come.
"""

from collections.abc import Iterable
from functools import partial

from schemas.decisions import ChatClosed, ChatMissed
from schemas.events import (
    BotTransferRequested,
    By,
    ChatEndRequested,
    ChatFeedback,
    ChatMessage,
    Sender,
    VisitorLeft,
    VisitorPatch,
    VisitorUpdated,
)
from services.local.crowd import BOT, WIDGET, Chat, Crowd, Publication, Published


def speaker(chat: Chat) -> Sender:
    """Return the visitor as the sender of a message."""
    visitor = chat.visit.asked.visitor
    return Sender("visitor", visitor.visitor_id, visitor.name)


def leave(chat: Chat, _now_ms: int) -> Iterable[Published]:
    """The visitor closes the window."""
    if not chat.over:
        chat.visitor_gone = True
        yield chat.publication("left", WIDGET, VisitorLeft(chat.id))


class Visitors:
    """All visitors of a scenario."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        for chat in crowd.chats.values():
            request = chat.visit.request
            crowd.when_refused(request.event_id, partial(self._turned_away, chat))
            crowd.at(request.at_ms, partial(self._request, chat))

    def missed(self, missed: ChatMissed, now_ms: int) -> None:
        """Nobody came: where a bot goes on serving, the visitor says no more and leaves."""
        chat = self._crowd.live(missed.chat_id)
        if chat is not None and chat.visit.asked.bot_id is not None:
            self._crowd.at(now_ms + chat.visit.conduct.ends_after_ms, partial(leave, chat), pressing=False)

    def closed(self, chat: Chat, closing: ChatClosed, now_ms: int) -> None:
        """Who was served may rate it."""
        feedback = chat.visit.conduct.feedback
        if feedback is not None and closing.outcome == "handled":
            self._crowd.at(now_ms + feedback.after_ms, partial(self._rate, chat))

    def _turned_away(self, chat: Chat, _now_ms: int) -> None:
        self._crowd.close(chat)

    def _request(self, chat: Chat, now_ms: int) -> Iterable[Published]:
        visit, conduct = chat.visit, chat.visit.conduct
        request = visit.request
        publication = Publication(request.workspace_id, request.event_id, request.source, request.data)
        yield publication
        if conduct.request_repeated_after_ms is not None:
            self._crowd.at(now_ms + conduct.request_repeated_after_ms, lambda _: (publication,))
        if conduct.trigger is not None:
            greeting = ChatMessage(chat.id, f"{chat.id}-trigger", Sender("trigger"), conduct.trigger)
            yield chat.publication("trigger", WIDGET, greeting)
        if conduct.email_given is not None:
            self._crowd.at(now_ms + conduct.email_given.after_ms, partial(self._give_email, chat))
        if conduct.leaves_after_ms is not None:
            self._crowd.at(now_ms + conduct.leaves_after_ms, partial(self._lose_patience, chat))
        self._crowd.at(now_ms + conduct.gone_after_ms, partial(leave, chat), pressing=False)
        if visit.asked.bot_id is not None:
            self._bot_goes_on(chat, 0, now_ms)

    def _lose_patience(self, chat: Chat, now_ms: int) -> Iterable[Published]:
        return () if chat.taken else leave(chat, now_ms)

    def _give_email(self, chat: Chat, _now_ms: int) -> Iterable[Published]:
        given = chat.visit.conduct.email_given
        if not chat.over and given is not None:
            update = VisitorUpdated(chat.id, VisitorPatch(email=given.email))
            yield chat.publication("email", WIDGET, update)

    def _rate(self, chat: Chat, _now_ms: int) -> Iterable[Published]:
        feedback = chat.visit.conduct.feedback
        assert feedback is not None, "planned only where the visitor rates"
        yield chat.publication("feedback", WIDGET, ChatFeedback(chat.id, feedback.rating, feedback.comment))

    # ------------------------------------------------------------ the bot

    def _bot_goes_on(self, chat: Chat, step: int, now_ms: int) -> None:
        conduct = chat.visit.conduct
        if step < len(conduct.bot_says):
            self._crowd.at(now_ms + conduct.bot_says[step].after_ms, partial(self._bot_says, chat, step))
        elif conduct.bot_transfer is not None:
            self._crowd.at(now_ms + conduct.bot_transfer.after_ms, partial(self._bot_transfers, chat))
        else:
            self._crowd.at(now_ms + conduct.ends_after_ms, partial(self._bot_ends, chat))

    def _bot_says(self, chat: Chat, step: int, now_ms: int) -> Iterable[Published]:
        if chat.over:
            return
        said = chat.visit.conduct.bot_says[step]
        if said.by == "bot":
            yield chat.message(Sender("bot", chat.visit.asked.bot_id), said.text, source=BOT)
        else:
            yield chat.message(speaker(chat), said.text, source=WIDGET)
        self._bot_goes_on(chat, step + 1, now_ms)

    def _bot_transfers(self, chat: Chat, _now_ms: int) -> Iterable[Published]:
        asked, transfer = chat.visit.asked, chat.visit.conduct.bot_transfer
        if chat.over or asked.bot_id is None or transfer is None:
            return
        wish = BotTransferRequested(chat.id, asked.bot_id, transfer.department_id)
        yield chat.publication("transfer", BOT, wish)

    def _bot_ends(self, chat: Chat, now_ms: int) -> Iterable[Published]:
        if chat.over:
            return
        if chat.visit.conduct.ends == "leaves":
            yield from leave(chat, now_ms)
        else:
            by = By("bot", chat.visit.asked.bot_id)
            yield chat.publication("end", BOT, ChatEndRequested(chat.id, by))
