"""The assembler behind the runtime's `Processor` port: bytes in, bytes out, state to and from the changelog.

The one rule: what can't be read on `chat.events.v1` is skipped here, because the router, which reads the same records, puts it into
the dead-letter topic; a second copy would count it twice.
"""

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, get_args

import orjson
from pydantic import TypeAdapter

from schemas import codec
from schemas.decisions import Decision
from schemas.topics import EVENTS, ROUTING, TRANSCRIPTS
from services.runtime.logs import log
from services.runtime.ports import Change, InputRecord, OutputRecord
from services.transcript.core import DECISIONS_KEPT, EVENTS_KEPT, Assembler
from services.transcript.parts import Completed, Link
from services.transcript.state import Closing, Head, Message, Progress, Stored

SOURCE = "/services/transcript"
ID_CHARS = 26

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
    return OutputRecord(topic=TRANSCRIPTS, key=completed.workspace_id.encode(), value=value)


class TranscriptProcessor:
    """Implements `services.runtime.ports.Processor` for one partition."""

    def __init__(self, partition: int, *, link: Link) -> None:
        self._partition = partition
        self._assembler = Assembler(link=link, size_bytes=lambda value: len(codec.dumps(value)))

    def restore(self, key: bytes, value: bytes) -> None:
        """Takes one live changelog record."""
        name = tuple(orjson.loads(key))
        self._assembler.restore(name, _ADAPTERS[name[0]].validate_json(value))

    def restored(self) -> None:
        """The changelog has been read to its end."""
        self._assembler.restored()

    def process(self, record: InputRecord) -> Iterable[OutputRecord]:
        """The transcripts that are complete with this record.

        Raises `codec.Poison` or `codec.UnknownType` for a decision that matters here and can't be read.
        """
        unmatched = self._assembler.unmatched
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
            done = self._assembler.decision(envelope, offset=record.offset)
        if self._assembler.unmatched != unmatched:
            _log.warning(
                "closed chat without a request", partition=record.partition, total=self._assembler.unmatched
            )
        return [encode_completed(completed) for completed in done]

    def changes(self) -> Iterable[Change]:
        """What changed since the last call, each key once."""
        return [
            (orjson.dumps(key), None if value is None else _dumps(value))
            for key, value in self._assembler.changes()
        ]


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


def _dumps(value: Stored) -> bytes:
    return orjson.dumps(
        value, default=codec.plain, option=orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_NON_STR_KEYS
    )
