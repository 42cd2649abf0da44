"""Who may do what on Kafka: one principal for each service and one for frontends, each with the least it needs.

The one rule: what is not listed is refused. `python -m pytest -m ops tests/ops` proves on a broker that each service works with
exactly this, and that it breaks without any single line of it. Whoever may write `chat.events.v1` may write settings too, an
admin's included: a frontend's principal belongs to a backend, never to a browser.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from schemas.topics import (
    ACTIVITIES,
    DELIVERIES,
    EVENTS,
    NOTICES,
    ROUTER_STATE,
    ROUTING,
    TRANSCRIPT_STATE,
    TRANSCRIPTS,
    dead_letters,
)

ResourceKind = Literal["topic", "group", "transactional_id"]
Operation = Literal["read", "write"]
"""Each includes to describe the resource."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One line of an access list. `prefixed`: it holds for every name that begins so."""

    kind: ResourceKind
    name: str
    operation: Operation
    prefixed: bool = False


@dataclass(frozen=True, slots=True)
class Principal:
    """A user of the broker. Its consumer group has its name, and its transactional ids begin with it and a dash."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    transactional: bool = False
    many_groups: bool = False

    def permissions(self) -> Iterator[Permission]:
        """All it may do."""
        for topic in self.reads:
            yield Permission("topic", topic, "read")
        for topic in self.writes:
            yield Permission("topic", topic, "write")
        yield Permission(
            "group", f"{self.name}-" if self.many_groups else self.name, "read", self.many_groups
        )
        if self.transactional:
            yield Permission("transactional_id", f"{self.name}-", "write", prefixed=True)


PRINCIPALS: tuple[Principal, ...] = (
    Principal(
        "chat-router",
        reads=(EVENTS, ROUTER_STATE),
        # Ticks are events that the router writes itself.
        writes=(EVENTS, ROUTING, NOTICES, ROUTER_STATE, dead_letters(EVENTS)),
        transactional=True,
    ),
    Principal(
        "chat-transcript",
        # All but the two the assembler joins, and its state, are what the archive keeps.
        reads=(EVENTS, ROUTING, TRANSCRIPT_STATE, NOTICES, TRANSCRIPTS, DELIVERIES, ACTIVITIES),
        writes=(TRANSCRIPTS, TRANSCRIPT_STATE, dead_letters(ROUTING)),
        transactional=True,
    ),
    Principal(
        "chat-notifier",
        reads=(NOTICES, TRANSCRIPTS, ACTIVITIES),
        writes=(DELIVERIES, dead_letters(NOTICES), dead_letters(TRANSCRIPTS), dead_letters(ACTIVITIES)),
    ),
    Principal(
        "chat-crm-sync",
        reads=(NOTICES, TRANSCRIPTS),
        writes=(ACTIVITIES, dead_letters(NOTICES), dead_letters(TRANSCRIPTS)),
    ),
    Principal("chat-frontend", reads=(ROUTING,), writes=(EVENTS,), many_groups=True),
)
"""A frontend's groups begin with `chat-frontend-`: each console or widget server reads all decisions for itself."""
