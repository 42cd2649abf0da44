"""Refusals: a request that can't be granted is answered with a code and a sentence.

The one rule: a refusal is a decision like any other; nothing is raised, and nothing else changes.
"""

from schemas.decisions import RequestRefused
from schemas.types import RefusalCode
from services.router.core.state import Workspace
from services.router.core.timers import DeadlineReached


def refuse(ws: Workspace, code: RefusalCode, message: str, *, subject: str | None = None) -> RequestRefused:
    """A refusal of the record being decided."""
    assert ws.event is not None and not isinstance(ws.event, DeadlineReached), "only requests are refused"  # noqa: PT018
    return RequestRefused(
        request_id=ws.request_id, request_type=ws.event.TYPE, code=code, message=message, subject=subject
    )
