"""Where the router's records go: a decision to the routing topic, a notice to the notices topic."""

from typing import get_args

from schemas import codec
from schemas.notices import Notice
from schemas.topics import NOTICES, ROUTING
from services.router.core.partition import Emitted
from services.runtime.ports import OutputRecord
from services.runtime.tracing import Headers

SOURCE = "/services/router"
_NOTICES = frozenset(get_args(Notice))


def encode_emitted(emitted: Emitted, headers: Headers | None = None) -> OutputRecord:
    """The record of a decision or a notice, keyed by its workspace."""
    value = codec.encode(
        emitted.data,
        event_id=emitted.id,
        source=SOURCE,
        at_ms=emitted.at_ms,
        workspace_id=emitted.workspace_id,
        cause=emitted.cause,
    )
    topic = NOTICES if type(emitted.data) in _NOTICES else ROUTING
    return OutputRecord(topic, emitted.workspace_id.encode(), value, headers)
