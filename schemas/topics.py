"""The topics: who may write them is in the design; what they are kept for, and how large their records may be, is here.

The one rule: all `chat.*` topics have the same partition count, since one partition number owns a workspace on all of them.
"""

from dataclasses import dataclass, field

EVENTS = "chat.events.v1"
ROUTING = "chat.routing.v1"
NOTICES = "chat.notices.v1"
TRANSCRIPTS = "chat.transcripts.v1"
DELIVERIES = "chat.deliveries.v1"
ACTIVITIES = "crm.activities.v1"
ROUTER_STATE = "chat.router.state.v1"
TRANSCRIPT_STATE = "chat.transcript.state.v1"

PARTITIONS_DEFAULT = 12
DAY_MS = 24 * 3600 * 1000
EVENT_BYTES_MAX = 1_048_588
"""The broker's default limit for a record batch; what a publisher may send."""
OWN_BYTES_MAX = 8 * 1024 * 1024
"""Dead letters and changelogs wrap what a publisher may send, so they may be larger."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and the settings it is created with."""

    name: str
    config: dict[str, str] = field(default_factory=dict)


def dead_letters(topic: str) -> str:
    """The name of the topic that takes a topic's poison records."""
    return f"{topic}.dlq"


def _kept(days: int, *, bytes_max: int = OWN_BYTES_MAX) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(days * DAY_MS),
        "max.message.bytes": str(bytes_max),
    }


_COMPACTED = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(OWN_BYTES_MAX),
    "segment.ms": str(DAY_MS),
}

TOPICS: tuple[Topic, ...] = (
    Topic(EVENTS, {**_kept(7, bytes_max=EVENT_BYTES_MAX), "message.timestamp.type": "LogAppendTime"}),
    Topic(ROUTING, _kept(30)),
    Topic(NOTICES, _kept(30)),
    Topic(TRANSCRIPTS, _kept(30)),
    Topic(DELIVERIES, _kept(30)),
    Topic(ACTIVITIES, _kept(30)),
    Topic(ROUTER_STATE, _COMPACTED),
    Topic(TRANSCRIPT_STATE, _COMPACTED),
    *(
        Topic(dead_letters(name), _kept(30))
        for name in (EVENTS, ROUTING, NOTICES, TRANSCRIPTS, DELIVERIES, ACTIVITIES)
    ),
)
