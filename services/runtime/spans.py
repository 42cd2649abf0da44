"""Spans by OpenTelemetry, told to a collector over OTLP: the only module that imports it, and only where a collector is set.

The one rule: nobody waits for a span. They are handed over by a thread of the library's; what finds no room, or is not taken, is dropped
and counted. Who publishes a record decides, by the flag in its `traceparent`, whether there are spans at all. They hold ids, codes and
places, never what an exception says.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, get_current_span, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.runtime.effects import EffectFailure
from services.runtime.metrics import Metrics
from services.runtime.ports import InputRecord
from services.runtime.tracing import carried

QUEUE_MAX = 2_048
"""Spans that wait for the collector, those on their way included."""
BATCH_MAX = 512
EXPORT_INTERVAL_MS = 1_000
EXPORT_LIMIT_S = 5.0
"""How long one hand-over may take, its tries included."""
CLOSE_LIMIT_S = 2.0
"""How long the end of a worker waits for the last spans."""
TRACED_MAX = 128
"""Records of one batch that have spans; as many links may a span have."""
_READER = TraceContextTextMapPropagator()


class Spans:
    """The spans of one worker."""

    def __init__(self, url: str, *, service: str, instance_id: str | None, metrics: Metrics) -> None:
        who = {"service.name": service} | ({"service.instance.id": instance_id} if instance_id else {})
        self._exporter = _Exporter(OTLPSpanExporter(endpoint=url, timeout=EXPORT_LIMIT_S), metrics)
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create(who), shutdown_on_exit=False
        )
        self._provider.add_span_processor(_Queue(self._exporter, metrics))
        self._tracer = self._provider.get_tracer("chat-routing")

    async def close(self) -> None:
        """Hands over what is left, for a moment."""
        closing = asyncio.create_task(asyncio.to_thread(self._provider.shutdown))
        await asyncio.wait({closing}, timeout=CLOSE_LIMIT_S)
        self._exporter.shutdown()
        await closing

    @contextmanager
    def handling(self, record: InputRecord) -> Iterator[None]:
        """A span below the publisher's, where that is sampled."""
        context = _sampled(record)
        if context is None:
            yield
            return
        with _ended(self._of(record, context), current=True):
            yield

    def read(self, whose: Mapping[str, str]) -> None:
        """Says of the current span whose record it is about."""
        get_current_span().set_attributes({f"chat.{name}": value for name, value in whose.items()})

    @contextmanager
    def calling(self, kind: str, *, target: str) -> Iterator[None]:
        """A span below that of the record, where that has one."""
        if not get_current_span().is_recording():
            yield
            return
        span = self._tracer.start_span(
            f"call {kind}", kind=SpanKind.CLIENT, attributes={"peer.service": target}
        )
        with _ended(span):
            yield

    @contextmanager
    def deciding(self, records: Sequence[InputRecord]) -> Iterator[None]:
        """One span for a batch with links to the spans its records came from, and for each of these records one below it."""
        traced: list[tuple[InputRecord, Context]] = []
        for record in records:
            if record.headers and len(traced) < TRACED_MAX and (context := _sampled(record)) is not None:
                traced.append((record, context))
        if not traced:
            yield
            return
        batch = self._tracer.start_span(
            "decide a batch",
            context=Context(),  # of no trace but its own: it has many causes
            kind=SpanKind.CONSUMER,
            links=[Link(get_current_span(context).get_span_context()) for _, context in traced],
            attributes={
                "messaging.system": "kafka",
                "messaging.batch.message_count": len(records),
                "messaging.destination.partition.id": str(records[0].partition),
            },
        )
        with ExitStack() as ended:
            ended.enter_context(_ended(batch))
            for record, context in traced:
                ended.enter_context(_ended(self._of(record, context, links=[Link(batch.get_span_context())])))
            yield

    def _of(self, record: InputRecord, context: Context, links: Sequence[Link] = ()) -> Span:
        return self._tracer.start_span(
            f"process {record.topic}",
            context=context,
            kind=SpanKind.CONSUMER,
            links=links,
            attributes={
                "messaging.system": "kafka",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
            },
        )


class _Exporter(SpanExporter):
    """Counts what the collector has not taken. `done` is how many spans were handed over, taken or not."""

    def __init__(self, exporter: OTLPSpanExporter, metrics: Metrics) -> None:
        self._exporter = exporter
        self._metrics = metrics
        self._closed = False
        self.done = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE if self._closed else self._exporter.export(spans)
        self.done += len(spans)
        taken = result is SpanExportResult.SUCCESS
        self._metrics.add("spans", len(spans), result="taken" if taken else "dropped")
        return result

    def shutdown(self) -> None:
        """May be called twice: by who waits no longer, and by the library at the end."""
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


class _Queue(BatchSpanProcessor):
    """The library's queue, with room for the newest counted: its own drops the oldest and tells nobody.

    Spans end in the event loop's thread alone and are done in the exporter's, so each number has one writer.
    """

    def __init__(self, exporter: _Exporter, metrics: Metrics) -> None:
        super().__init__(
            exporter,
            max_queue_size=QUEUE_MAX,
            schedule_delay_millis=EXPORT_INTERVAL_MS,
            max_export_batch_size=BATCH_MAX,
        )
        self._exporter = exporter
        self._metrics = metrics
        self._ended = 0

    def on_end(self, span: ReadableSpan) -> None:
        if self._ended - self._exporter.done >= QUEUE_MAX:
            self._metrics.add("spans", result="dropped")
            return
        self._ended += 1
        super().on_end(span)


def _sampled(record: InputRecord) -> Context | None:
    """The context of a record whose publisher wants it traced."""
    headers = carried(record.headers)
    if not headers:
        return None
    texts = {name: value.decode() for name, value in headers}
    context = _READER.extract(texts, Context())
    return context if get_current_span(context).get_span_context().trace_flags.sampled else None


@contextmanager
def _ended(span: Span, *, current: bool = False) -> Iterator[None]:
    """Ends a span; what went wrong stands in it as a code or a type, since texts may quote anything."""
    try:
        if current:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                yield
        else:
            yield
    except BaseException as error:
        span.set_status(StatusCode.ERROR)
        span.set_attribute(
            "error.type", error.code if isinstance(error, EffectFailure) else type(error).__name__
        )
        raise
    finally:
        span.end()
