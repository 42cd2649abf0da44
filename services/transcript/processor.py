"""The assembler behind the runtime's `Processor` port: bytes in, bytes out, state to and from the changelog.

The one rule: what can't be read on `chat.events.v1` is skipped here, because the router, which reads the same records, puts it into
the dead-letter topic; a second copy would count it twice.
"""

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, get_args

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas import codec
from schemas.decisions import Decision
from schemas.newer import Newer, newer, written_back
from schemas.stored import Damaged
from schemas.topics import EVENTS, ROUTING, TRANSCRIPTS
from services.runtime.logs import log
from services.runtime.newer_state import NewerState
from services.runtime.ports import Change, InputRecord, OutputRecord
from services.runtime.tracing import carried
from services.transcript.core import DECISIONS_KEPT, EVENTS_KEPT, Assembler
from services.transcript.parts import Completed, Link
from services.transcript.state import Closing, Head, Message, Progress, Stored

SOURCE = "/services/transcript"
PROGRESS = orjson.dumps(("progress",))
"""The key of how far a partition has read, which every partition has."""
ID_CHARS = 26
FORM = "form"
"""A name that stored objects do not have: one that has it is in a form that this version can't read."""

_ADAPTERS: dict[str, TypeAdapter[Stored]] = {
    "chat": TypeAdapter(Head),
    "message": TypeAdapter(Message),
    "closing": TypeAdapter(Closing),
    "refused": TypeAdapter(int),
    "progress": TypeAdapter(Progress),
}
_EVENTS = tuple(kind.TYPE.encode() for kind in EVENTS_KEPT)
_OTHER_DECISIONS = frozenset(kind.TYPE.encode() for kind in get_args(Decision) if kind not in DECISIONS_KEPT)
_TYPE = b'"type":"'
_log = log(__name__)


def workspace_of(key: bytes) -> str | None:
    """The workspace a stored record is of; None where it is the partition's own, or waits for a record of the partition."""
    _, *rest = orjson.loads(key)
    return rest[0] if rest and isinstance(rest[0], str) else None


def transcript_id(workspace_id: str, chat_id: str, *, revision: int, part: int) -> str:
    """The event id of a transcript's part: the same whenever and wherever it is made."""
    named = orjson.dumps([workspace_id, chat_id, revision, part])
    return sha256(named).hexdigest()[:ID_CHARS]


def encode_completed(completed: Completed) -> OutputRecord:
    """The record of one part."""
    data = completed.data
    value = codec.encode(
        data,
        event_id=transcript_id(completed.workspace_id, data.chat_id, revision=data.revision, part=data.part),
        source=SOURCE,
        at_ms=completed.at_ms,
        workspace_id=completed.workspace_id,
    )
    # Not the context of the record it is complete with, which may be any chat's.
    headers = tuple((name, text.encode()) for name, text in completed.context or ())
    return OutputRecord(TRANSCRIPTS, completed.workspace_id.encode(), value, headers)


class TranscriptProcessor:
    """Implements `services.runtime.ports.Processor` for one partition."""

    def __init__(self, partition: int, *, link: Link) -> None:
        self._partition = partition
        self._newer = NewerState()
        self._assembler = Assembler(link=link, size_bytes=lambda value: len(codec.dumps(value)))

    def restore(self, key: bytes, value: bytes) -> None:
        """Takes one live changelog record. Raises `Damaged`."""
        name = tuple(orjson.loads(key))
        if name[0] not in _ADAPTERS:
            self._newer.pass_over(name[0])
            return
        known, kept = _loads(name[0], value)
        self._newer.keep(key, kept)
        self._assembler.restore(name, known)

    def restored(self) -> None:
        """The changelog has been read to its end."""
        self._newer.tell(self._partition)
        self._assembler.restored()

    def process(self, record: InputRecord) -> Iterable[OutputRecord]:
        """The transcripts that are complete with this record.

        Raises `codec.Poison` or `codec.UnknownType` for a decision that matters here and can't be read.
        """
        if record.topic == EVENTS:
            envelope = _read_event(record) if _may_matter(record.value) else None
            done = self._assembler.event(envelope, offset=record.offset, at_ms=record.timestamp_ms)
        else:
            assert record.topic == ROUTING, "the transcript service reads events and decisions"
            if _decided(record.value) in _OTHER_DECISIONS:
                return []
            envelope = codec.decisions.decode(record.value)
            if record.key != envelope.workspaceid.encode():
                raise codec.Poison("the record's key is not its workspaceid")
            context = tuple((name, text.decode()) for name, text in carried(record.headers)) or None
            done = self._assembler.decision(envelope, offset=record.offset, context=context)
        while self._assembler.unmatched:
            closing = self._assembler.unmatched.pop()
            _log.warning(
                "closed chat without a request",
                topic=ROUTING,
                partition=self._partition,
                offset=closing.number,
                workspace_id=closing.workspace_id,
                chat_id=closing.closed.chat_id,
            )
        return [encode_completed(completed) for completed in done]

    def changes(self) -> Iterable[Change]:
        """What changed since the last call, each key once."""
        return [self._change(orjson.dumps(key), value) for key, value in self._assembler.changes()]

    def _change(self, key: bytes, value: Stored | None) -> Change:
        if value is None:
            self._newer.forget(key)
            return key, None
        return key, _dumps(value, self._newer.of(key))


def transcript_processors(link: Link) -> Callable[[int], TranscriptProcessor]:
    """A `ProcessorFactory` whose transcripts carry links made by `link`."""

    def make(partition: int) -> TranscriptProcessor:
        return TranscriptProcessor(partition, link=link)

    return make


def _may_matter(value: bytes | None) -> bool:
    """Whether an event's record names a type that is kept, or may do so with escapes. What does not is not read at all: ticks above all."""
    if value is None or b"\\" in value:
        return True
    for name in _EVENTS:  # noqa: SIM110 - `any` takes thrice as long, and this is done with every record
        if name in value:
            return True
    return False


def _decided(value: bytes | None) -> bytes:
    """The type of a decision's record, unread: only the router writes them, and the type before the data. Empty where it isn't seen."""
    at = -1 if value is None else value.find(_TYPE)
    if value is None or at < 0:
        return b""
    at += len(_TYPE)
    return value[at : value.find(b'"', at)]


def _read_event(record: InputRecord) -> Any:
    """The event of a record, or None where it is poison, of an unknown type, or under another workspace's key."""
    try:
        envelope = codec.events.decode(record.value)
    except (codec.Poison, codec.UnknownType):
        return None
    workspace_id = getattr(envelope, "workspaceid", None)
    if workspace_id is not None and record.key != workspace_id.encode():
        return None
    return envelope


def _dumps(value: Stored, kept: Newer | None = None) -> bytes:
    raw = orjson.dumps(
        value, default=codec.plain, option=orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_NON_STR_KEYS
    )
    return raw if kept is None else orjson.dumps(written_back(orjson.loads(raw), kept))


def _loads(kind: str, raw: bytes) -> tuple[Stored, Newer | None]:
    """A stored value, and what a newer version has stored beyond it. Raises `Damaged`."""
    try:
        value = _ADAPTERS[kind].validate_json(raw)
    except ValidationError:
        raise Damaged(f"a stored {kind}: not valid") from None
    written = _dumps(value)
    if written == raw:
        return value, None
    kept = newer(orjson.loads(raw), orjson.loads(written))
    if kept is not None and FORM in kept.rest:
        raise Damaged(f"a stored {kind}: in a form of a newer version")
    return value, kept
