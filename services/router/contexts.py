"""The trace contexts of live chats: what a deadline decides about a chat carries the context of the record that opened it.

The one rule: the core knows nothing of them, and the changelog all; so whoever restores a partition gives the same headers to the same
decisions. A chat without a context costs nothing.
"""

from collections.abc import Iterator, Sequence
from urllib.parse import quote, unquote

import orjson

from schemas.decisions import ChatClosed, ChatReopened
from schemas.events import ChatRequested
from services.router.core.partition import Emitted, Entry, Partition
from services.runtime.ports import Change, InputRecord
from services.runtime.tracing import Headers, carried

CONTEXT = "context"
"""Their scope among the keys of the changelog."""
_ChatKey = tuple[str, str]
"""Workspace and chat."""


class Contexts:
    """Those of one partition, as many as it has live chats that were asked for in a trace."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self.of: dict[_ChatKey, Headers] = {}
        """While it is empty, a record without headers need not be shown."""
        self._changed: dict[_ChatKey, None] = {}

    def headers(self, record: InputRecord, entry: Entry, emitted: Sequence[Emitted]) -> list[Headers | None]:
        """What each decision carries; None: the context of its record."""
        if record.headers and (context := carried(record.headers)):
            for chat in self._opened(entry, emitted):
                self.of[chat] = context
                self._changed[chat] = None
        given = [self.of.get(_chat(item), ()) if item.cause.timer else None for item in emitted]
        for item in emitted:
            if isinstance(item.data, ChatClosed) and self.of.pop(_chat(item), ()):
                self._changed[_chat(item)] = None
        return given

    def _opened(self, entry: Entry, emitted: Sequence[Emitted]) -> Iterator[_ChatKey]:
        """The chats that this record has opened: a request that was taken, once; or what brought a missed chat back."""
        request = entry.envelope
        if isinstance(request.data, ChatRequested):
            key = (request.workspaceid, request.data.chat_id)
            chat = self._partition.workspaces[key[0]].chats.get(key[1])
            if chat is not None and chat.live and key not in self.of:
                yield key
        for item in emitted:
            if isinstance(item.data, ChatReopened):
                yield _chat(item)

    def changes(self) -> Iterator[Change]:
        """What has come and gone since the last call."""
        for key in self._changed:
            context = self.of.get(key)
            stored = (
                None if context is None else orjson.dumps([(name, text.decode()) for name, text in context])
            )
            yield "/".join((CONTEXT, *(quote(part, safe="") for part in key))).encode(), stored
        self._changed.clear()

    def restore(self, key: bytes, value: bytes) -> None:
        """Takes one stored context."""
        _, workspace_id, chat_id = map(unquote, key.decode().split("/"))
        self.of[workspace_id, chat_id] = tuple((name, text.encode()) for name, text in orjson.loads(value))


def _chat(item: Emitted) -> _ChatKey:
    """Which chat a decision is about; about none has none."""
    return item.workspace_id, getattr(item.data, "chat_id", "")
