"""Trace contexts: passed on from a record to what follows from it, named in log lines, and told to a collector as spans where one is set.

The one rule: a trace changes nothing. What is passed on are the headers as they came, so the same input gives the same output,
headers included, whether spans are told or not; no context enters a record's value or a core. Without a collector OpenTelemetry is
not even imported (`spans` has all of it).
"""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

from structlog.contextvars import bind_contextvars

from services.runtime.metrics import Metrics
from services.runtime.ports import InputRecord
from services.runtime.settings import RuntimeSettings

if TYPE_CHECKING:
    from services.runtime.spans import Spans

Headers: TypeAlias = tuple[tuple[str, bytes], ...]

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
TRACESTATE_BYTES_MAX = 512
"""What W3C asks everybody to pass on."""
_CONTEXT = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE_ID = slice(3, 35)

_spans: ContextVar["Spans | None"] = ContextVar("spans", default=None)
_carrying: ContextVar[Headers] = ContextVar("carrying", default=())


def carried(headers: Sequence[tuple[str, bytes | None]]) -> Headers:
    """The trace context among a record's headers, as it came; nothing where there is none, two, or one that is not sound.

    A state that is too long, or stands there twice, is left out. Nothing else is passed on: `baggage` may hold anything, personal data included.
    """
    parent, state = None, None
    for name, value in headers:
        if name == TRACEPARENT:
            if parent is not None or value is None or _CONTEXT.fullmatch(value) is None:
                return ()
            parent = value
        elif name == TRACESTATE:
            state = value if state is None else b""
    if parent is None:
        return ()
    if not state or len(state) > TRACESTATE_BYTES_MAX or not state.isascii():
        return ((TRACEPARENT, parent),)
    return ((TRACEPARENT, parent), (TRACESTATE, state))


def about(record: InputRecord) -> dict[str, Any]:
    """What a log line names of a record: where it stands, and its trace. Not its key, which may be anything."""
    context = carried(record.headers)
    trace = {"trace_id": context[0][1][_TRACE_ID].decode()} if context else {}
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset, **trace}


# ---------------------------------------------------------------- one record in a task of its own


@contextmanager
def handling(record: InputRecord) -> Iterator[None]:
    """Around all that is done for one record, in a task of its own: log lines name it, and what is written carries its context."""
    bind_contextvars(**about(record))
    _carrying.set(carried(record.headers))
    spans = _spans.get()
    with nullcontext() if spans is None else spans.handling(record):
        yield


def read(workspace_id: str, chat_id: str | None) -> None:
    """Names in log lines, and in the span, whose record is being handled: it can be read."""
    whose = {"workspace_id": workspace_id} | ({} if chat_id is None else {"chat_id": chat_id})
    bind_contextvars(**whose)
    spans = _spans.get()
    if spans is not None:
        spans.read(whose)


def carrying() -> Headers:
    """The headers of what is written for the record that is being handled."""
    return _carrying.get()


def calling(kind: str, *, target: str) -> AbstractContextManager[None]:
    """Around one call to the outside world."""
    spans = _spans.get()
    return nullcontext() if spans is None else spans.calling(kind, target=target)


# ---------------------------------------------------------------- many records in one transaction


def deciding(records: Sequence[InputRecord]) -> AbstractContextManager[None]:
    """Around the decisions of a batch and their transaction."""
    spans = _spans.get()
    return nullcontext() if spans is None else spans.deciding(records)


# ---------------------------------------------------------------- on and off


@asynccontextmanager
async def exporting(settings: RuntimeSettings, metrics: Metrics) -> AsyncIterator[None]:
    """As long as it is entered, spans of this task and those it makes go to the collector, if the settings name one."""
    if settings.tracing_url is None:
        yield
        return
    from services.runtime.spans import Spans

    spans = Spans(
        settings.tracing_url, service=settings.group, instance_id=settings.instance_id, metrics=metrics
    )
    token = _spans.set(spans)
    try:
        yield
    finally:
        _spans.reset(token)
        await spans.close()
