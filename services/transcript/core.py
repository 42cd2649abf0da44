"""Joins the two topics of a partition into transcripts: events say what was said, decisions say what became of it.

The one rule: a transcript is complete when the input has been read past the offset its `chat.closed.v1` names, and closings complete
in the order of `chat.routing.v1`; so the output does not depend on how reads of the two topics interleave.

What is read on one topic waits for the other: closings for the input (`_closings`), refusals for the event they refuse (`_early`).
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import replace

from schemas.decisions import (
    Cause,
    ChatClosed,
    ChatMissed,
    ChatReopened,
    ChatTagged,
    Decision,
    MissedUpdated,
    RequestRefused,
)
from schemas.envelope import Envelope, from_ms, to_ms
from schemas.events import ChatMessage, ChatRequested, Event, EventEnvelope
from schemas.transcripts import TranscriptMessage
from services.transcript.parts import Completed, Link, SizeBytes, accepted, transcript
from services.transcript.state import (
    ChatKey,
    Closing,
    Context,
    Conversation,
    Head,
    Message,
    Missed,
    Progress,
    Request,
    StateKey,
    Stored,
    Tags,
)

DAY_MS = 24 * 3600 * 1000
DUPLICATE_WINDOW_MS = DAY_MS
"""How long the same (source, id) changes nothing: the contract's 24 h. It is recognised within its conversation; only a message sent
before its chat was requested, and again after, would be taken for a new one."""
DONE_KEPT_MS = DAY_MS
"""Refused and finally closed chats are known this long (their request only), so a late duplicate starts nothing."""
QUIET_KEPT_MS = 45 * DAY_MS
"""A chat nothing was read about for this long is forgotten: the longest time-out, and a missed chat's life, are 30 days."""
MESSAGES_MAX = 50_000
"""Messages kept of one conversation; later ones are left out of its transcript."""
EVENTS_KEPT = (ChatRequested, ChatMessage)
DECISIONS_KEPT = (ChatClosed, ChatMissed, ChatReopened, ChatTagged, MissedUpdated, RequestRefused)
"""What the assembler takes in; all else it would only pass over."""
REFUSABLE = frozenset({ChatRequested.TYPE, ChatMessage.TYPE})


class Assembler:
    """The state of one partition. `event` and `decision` return the transcripts that became complete."""

    def __init__(self, *, link: Link, size_bytes: SizeBytes) -> None:
        self._link = link
        self._size_bytes = size_bytes
        self._progress = Progress()
        self._seen_ms = 0
        self._chats: dict[ChatKey, Conversation] = {}
        self._closings: deque[Closing] = deque()
        self._early: set[int] = set()
        self._owner: dict[int, ChatKey] = {}
        self._quiet: OrderedDict[ChatKey, int] = OrderedDict()
        self._done: OrderedDict[ChatKey, int] = OrderedDict()
        self._changed: dict[StateKey, Stored | None] = {}
        self._fresh: set[StateKey] = set()
        self._behind = False
        self.unmatched: list[Closing] = []
        """Closings without a known request (its record was gone before this service read it): no transcript. The caller empties it."""

    # ------------------------------------------------------------ the two topics

    def event(self, envelope: EventEnvelope | None, *, offset: int, at_ms: int) -> list[Completed]:
        """Takes the record of `chat.events.v1` at `offset`; None where it does not matter or can't be read: it is read past."""
        progress = self._progress
        progress.position = offset + 1
        progress.now_ms = now_ms = max(progress.now_ms, at_ms)
        self._seen_ms = max(self._seen_ms, now_ms)
        # What says nothing about a conversation writes nothing, ticks above all: a transaction for each would cost more than it
        # is worth, and the next one catches up.
        self._behind = True
        refused = offset in self._early
        if refused:
            self._early.discard(offset)
            self._drop(("refused", offset))
        if isinstance(envelope, Envelope):
            self._put(("progress",), progress)
            match envelope.data:
                case ChatRequested():
                    self._requested(envelope, envelope.data, offset=offset, refused=refused)
                case ChatMessage():
                    self._said(envelope, envelope.data, offset=offset, refused=refused)
                case _:
                    pass
        self._forget_old()
        return self._complete()

    def decision(
        self, envelope: Envelope[str, Decision], *, offset: int, context: Context | None = None
    ) -> list[Completed]:
        """Takes the record of `chat.routing.v1` at `offset`; a closing's `context` goes to its transcript."""
        workspace_id, data = envelope.workspaceid, envelope.data
        # Decisions carry the time of the input they follow from, which may not have been read here yet.
        self._seen_ms = max(self._seen_ms, to_ms(envelope.time))
        match data:
            case RequestRefused():
                if (
                    data.request_type in REFUSABLE
                    and data.cause is not None
                    and data.cause.offset is not None
                ):
                    self._refuse(data.cause.offset)
            case ChatTagged():
                chat = self._about((workspace_id, data.chat_id), data.cause)
                if chat is not None and data.cause is not None and data.cause.offset is not None:
                    chat.head.tags = Tags(data.cause.offset, data.tags)
            case ChatMissed():
                chat = self._about((workspace_id, data.chat_id), data.cause)
                if chat is not None:
                    chat.head.live, chat.head.missed = True, Missed(data.revision, data.reason, data.tag)
            case ChatReopened():
                chat = self._about((workspace_id, data.chat_id), data.cause)
                if chat is not None:
                    chat.head.live, chat.head.missed = True, None
            case MissedUpdated(status="deleted"):
                self._deleted((workspace_id, data.chat_id), data.cause)
            case ChatClosed():
                self._closed(workspace_id, data, number=offset, context=context)
            case _:
                pass
        return self._complete()

    # ------------------------------------------------------------ what events store

    def _requested(
        self, envelope: Envelope[str, Event], data: ChatRequested, *, offset: int, refused: bool
    ) -> None:
        key = (envelope.workspaceid, data.chat_id)
        now_ms = self._progress.now_ms
        chat = self._chats.get(key) or self._begin(key)
        event = f"{envelope.source}\n{envelope.id}"
        requests = chat.head.requests
        for request in list(requests.values()):
            if now_ms - request.at_ms <= DUPLICATE_WINDOW_MS:
                if request.event == event:
                    return
            elif request.refused or request.offset <= chat.head.done_offset:
                del requests[request.offset]
                self._owner.pop(request.offset, None)
        requests[offset] = Request(offset, now_ms, event, data.question, data.channel, refused)
        self._owner[offset] = key
        chat.segment = 0
        self._touch(key, chat)
        self._settle(key, chat)

    def _said(self, envelope: Envelope[str, Event], data: ChatMessage, *, offset: int, refused: bool) -> None:
        key = (envelope.workspaceid, data.chat_id)
        chat = self._chats.get(key)
        event = f"{envelope.source}\n{envelope.id}"
        now_ms = self._progress.now_ms
        if chat is None or key in self._done or chat.segment >= MESSAGES_MAX:
            return
        if now_ms - chat.events.get(event, -DUPLICATE_WINDOW_MS - 1) <= DUPLICATE_WINDOW_MS:
            return
        said = TranscriptMessage(
            message_id=data.message_id,
            at=from_ms(to_ms(envelope.time)),
            sender=data.sender,
            text=data.text,
            internal=data.internal,
        )
        message = Message(offset, now_ms, event, said, refused)
        self._keep(key, chat, message)
        self._put(("message", *key, offset), message, new=True)
        self._quiet[key] = self._seen_ms
        self._quiet.move_to_end(key)

    # ------------------------------------------------------------ what decisions flag

    def _about(self, key: ChatKey, cause: Cause | None) -> Conversation | None:
        """The conversation a decision is about; begun if its events may still come, None if it was forgotten."""
        chat = self._chats.get(key)
        if chat is None:
            read = cause is not None and cause.offset is not None and cause.offset < self._progress.position
            if read:
                return None
            chat = self._begin(key)
        self._touch(key, chat)
        return chat

    def _refuse(self, offset: int) -> None:
        if offset >= self._progress.position:
            self._early.add(offset)
            self._put(("refused", offset), offset, new=True)
            return
        key = self._owner.get(offset)
        if key is None:
            return
        chat = self._chats[key]
        message = chat.messages.get(offset)
        if message is not None:
            message.refused = True
            self._put(("message", *key, offset), message)
            return
        chat.head.requests[offset].refused = True
        self._put(("chat", *key), chat.head)
        self._settle(key, chat)

    def _deleted(self, key: ChatKey, cause: Cause | None) -> None:
        chat = self._about(key, cause)
        if chat is None:
            return
        if chat.head.live:
            chat.head.deleted = True
        elif chat.waiting:
            last = max(place for place, closing in enumerate(self._closings) if closing.chat == key)
            closing = self._closings[last] = replace(self._closings[last], final=True)
            self._put(("closing", closing.number), closing)
        elif cause is not None and cause.offset is not None:
            self._finish(key, chat, done_offset=cause.offset)

    def _closed(self, workspace_id: str, data: ChatClosed, *, number: int, context: Context | None) -> None:
        key = (workspace_id, data.chat_id)
        chat = self._chats.get(key) or self._begin(key)
        # A bot that asks for people again closes this revision to open the next, wherever the inbox has the chat.
        final = data.outcome != "missed" or (chat.head.deleted and data.ended_by != "bot")
        closing = Closing(number, workspace_id, data, final, chat.head.missed, chat.head.tags, context)
        chat.waiting += 1
        chat.head.live = chat.head.deleted = False
        if data.outcome != "missed":
            chat.head.missed = chat.head.tags = None
        self._closings.append(closing)
        self._put(("closing", number), closing, new=True)
        self._touch(key, chat)

    # ------------------------------------------------------------ completing

    def _complete(self) -> list[Completed]:
        """The transcripts whose input has been read, in the order of the decisions."""
        done: list[Completed] = []
        while self._closings and self._closings[0].closed.source.offset < self._progress.position:
            closing = self._closings.popleft()
            self._drop(("closing", closing.number))
            chat = self._chats[closing.chat]
            chat.waiting -= 1
            until_offset = closing.closed.source.offset
            request = chat.request(until_offset)
            if request is None:
                self.unmatched.append(closing)
            else:
                said = accepted(
                    chat.messages.values(), after_offset=request.offset, until_offset=until_offset
                )
                done += transcript(closing, request, said, link=self._link, size_bytes=self._size_bytes)
            if closing.final or request is None:
                self._finish(closing.chat, chat, done_offset=until_offset)
        return done

    def _finish(self, key: ChatKey, chat: Conversation, *, done_offset: int) -> None:
        """A final closing: messages up to it are no longer needed."""
        chat.head.done_offset = max(chat.head.done_offset, done_offset)
        self._put(("chat", *key), chat.head)
        self._settle(key, chat)

    def _settle(self, key: ChatKey, chat: Conversation) -> None:
        """Forgets the messages of a chat nothing more can become of; its requests stay for `DONE_KEPT_MS`."""
        if chat.open or chat.waiting:
            if self._done.pop(key, None) is not None:
                self._quiet[key] = self._seen_ms
            return
        for offset in chat.messages:
            self._owner.pop(offset, None)
            self._drop(("message", *key, offset))
        chat.messages, chat.events = {}, {}
        self._quiet.pop(key, None)
        self._done[key] = self._seen_ms
        self._done.move_to_end(key)

    def _forget_old(self) -> None:
        """Drops chats whose time is over, oldest first; one that waits for the input stays."""
        for ages, kept_ms in ((self._done, DONE_KEPT_MS), (self._quiet, QUIET_KEPT_MS)):
            while ages:
                key, touched_ms = next(iter(ages.items()))
                if self._progress.now_ms - touched_ms <= kept_ms:
                    break
                chat = self._chats[key]
                if chat.waiting:
                    ages[key] = self._seen_ms
                    ages.move_to_end(key)
                    continue
                del ages[key], self._chats[key]
                for offset in (*chat.messages, *chat.head.requests):
                    self._owner.pop(offset, None)
                for offset in chat.messages:
                    self._drop(("message", *key, offset))
                self._drop(("chat", *key))

    # ------------------------------------------------------------ the changelog

    def changes(self) -> Iterable[tuple[StateKey, Stored | None]]:
        """What changed since the last call, each key once; None deletes."""
        if self._changed and self._behind:
            self._put(("progress",), self._progress)
            self._behind = False
        changed, self._changed, self._fresh = self._changed, {}, set()
        return changed.items()

    def restore(self, key: StateKey, value: Stored) -> None:
        """Takes one record of `changes` back, in any order; then call `restored`."""
        match value:
            case Progress():
                self._progress = value
                self._seen_ms = max(self._seen_ms, value.now_ms)
            case int():
                self._early.add(value)
            case Closing():
                self._closings.append(value)
            case Head():
                chat = self._chats.setdefault((str(key[1]), str(key[2])), Conversation())
                chat.head = value
            case Message():
                chat = self._chats.setdefault((str(key[1]), str(key[2])), Conversation())
                chat.messages[value.offset] = value

    def restored(self) -> None:
        """Builds what is derived."""
        self._closings = deque(sorted(self._closings, key=lambda closing: closing.number))
        for closing in self._closings:
            self._chats[closing.chat].waiting += 1
        touched: list[tuple[int, ChatKey]] = []
        for key, chat in self._chats.items():
            last_ms = max((m.at_ms for m in chat.messages.values()), default=0)
            touched.append((max(chat.head.touched_ms, last_ms), key))
            messages, chat.messages = chat.messages, {}
            for offset in sorted(messages):
                self._keep(key, chat, messages[offset])
            last_request = max(chat.head.requests, default=-1)
            chat.segment = sum(1 for offset in messages if offset > last_request)
            for offset in chat.head.requests:
                self._owner[offset] = key
        for touched_ms, key in sorted(touched):
            chat = self._chats[key]
            done = chat.head.requests and not chat.open and not chat.waiting
            (self._done if done else self._quiet)[key] = touched_ms

    def _keep(self, key: ChatKey, chat: Conversation, message: Message) -> None:
        chat.messages[message.offset] = message
        chat.events[message.event] = message.at_ms
        chat.segment += 1
        self._owner[message.offset] = key

    def _begin(self, key: ChatKey) -> Conversation:
        chat = self._chats[key] = Conversation()
        self._put(("chat", *key), chat.head, new=True)
        self._quiet[key] = self._seen_ms
        return chat

    def _touch(self, key: ChatKey, chat: Conversation) -> None:
        """Something was read about a chat, whose head changed."""
        chat.head.touched_ms = self._seen_ms
        self._put(("chat", *key), chat.head)
        ages = self._done if key in self._done else self._quiet
        ages[key] = self._seen_ms
        ages.move_to_end(key)

    def _put(self, key: StateKey, value: Stored, *, new: bool = False) -> None:
        if new and key not in self._changed:
            self._fresh.add(key)
        self._changed[key] = value

    def _drop(self, key: StateKey) -> None:
        """Deletes a record; one that was never written needs no deletion."""
        if key in self._fresh:
            self._fresh.discard(key)
            del self._changed[key]
        else:
            self._changed[key] = None
