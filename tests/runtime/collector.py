"""A collector of traces on loopback: what OpenTelemetry sends it over OTLP, decoded.

One rule: it takes what comes by the protocol's own definitions, so a span that stands here would stand anywhere.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.crm_sync.vendors.serving import Serving


@dataclass(frozen=True, slots=True)
class Told:
    """A span as it was told; ids in hex, as in headers."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    """The spans it links to."""
    said: dict[str, Any]
    failed: bool


@dataclass
class Collector:
    """What has come. `url` is known while it is open."""

    spans: list[Told] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Collector"]:
        app = Starlette(routes=[Route("/v1/traces", self._take, methods=["POST"])])
        async with Serving(app, writes=lambda _method, _path: False).open() as serving:
            self.url = f"{serving.url}/v1/traces"
            yield self

    async def _take(self, request: Request) -> Response:
        self.bodies.append(await request.body())
        self.spans += _decoded(self.bodies[-1])
        return Response(ExportTraceServiceResponse().SerializeToString(), media_type="application/x-protobuf")

    def of(self, name: str) -> list[Told]:
        """The spans of this name, in the order in which they ended."""
        return [span for span in self.spans if span.name == name]


def _decoded(body: bytes) -> Iterator[Told]:
    told: Any = ExportTraceServiceRequest.FromString(body)
    for resource in told.resource_spans:
        service = _said(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Told(
                    service,
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    tuple(link.span_id.hex() for link in span.links),
                    _said(span.attributes),
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                )


def _said(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
