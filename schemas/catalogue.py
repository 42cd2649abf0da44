"""Which types stand on which topic, who writes them and who reads them: what documents are generated from.

The one rule: a type stands on exactly one topic.
"""

from dataclasses import dataclass
from typing import Any, get_args

from schemas import topics
from schemas.decisions import Decision
from schemas.events import Event
from schemas.notices import Notice
from schemas.outcomes import CrmSettled, MailSettled
from schemas.transcripts import TranscriptCompleted


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic as a reader of the contract sees it. `is_input`: the services read it, and others may write it."""

    topic: str
    holds: str
    written_by: str
    read_by: str
    members: tuple[Any, ...]
    is_input: bool = False


CHANNELS: tuple[Channel, ...] = (
    Channel(
        topic=topics.EVENTS,
        holds="facts and requests, settings included",
        written_by="frontends, other services, admin tools",
        read_by="router, transcript",
        members=get_args(Event),
        is_input=True,
    ),
    Channel(
        topic=topics.ROUTING,
        holds="every decision",
        written_by="router, in transactions",
        read_by="frontends, transcript",
        members=get_args(Decision),
    ),
    Channel(
        topic=topics.NOTICES,
        holds="what may have to be mailed, CRM requests and settings",
        written_by="router, in transactions",
        read_by="notifier, crm_sync, transcript's archive",
        members=get_args(Notice),
    ),
    Channel(
        topic=topics.TRANSCRIPTS,
        holds="finished conversations",
        written_by="transcript, in transactions",
        read_by="notifier, crm_sync",
        members=(TranscriptCompleted,),
    ),
    Channel(
        topic=topics.DELIVERIES,
        holds="what became of each mail",
        written_by="notifier",
        read_by="transcript's archive",
        members=(MailSettled,),
    ),
    Channel(
        topic=topics.ACTIVITIES,
        holds="what became of each thing asked of the CRM",
        written_by="crm_sync",
        read_by="notifier, transcript's archive",
        members=(CrmSettled,),
    ),
)
