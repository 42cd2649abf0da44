"""What notifier and crm_sync owe for the records that stand in their topics, beside what has arrived.

The one rule: what is owed follows from the topics alone, and what was done is read at the other side, from the mail servers' files
and from the CRM's books; so no ledger is asked whether anything was lost or came twice.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas import codec
from schemas.envelope import Envelope
from schemas.notices import NoticeCrmRequested
from schemas.outcomes import CrmSettled
from schemas.topics import ACTIVITIES, DELIVERIES, NOTICES, TRANSCRIPTS
from schemas.transcripts import TranscriptCompleted
from services.crm_sync import core
from services.local.sample_company import COMPANIES
from services.local.topic_log import TopicLog
from services.notifier.core import Rules, compose, header_id
from tests.faults.crm_server import CrmServer

READ = {NOTICES: codec.notices, TRANSCRIPTS: codec.transcripts, ACTIVITIES: codec.activities}
TOPICS = (*READ, DELIVERIES)
WITH_CRM = {company.workspace_id for company in COMPANIES if company.crm is not None}
_NAMELESS = Rules(salt=b"", link=lambda *_about: "")
_MESSAGE_ID = re.compile(rb"^Message-ID: <([^@]+)@", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SideEffects:
    """Mails by the first part of their Message-IDs, how often each has arrived, and how many recipients it is owed an outcome for.

    `outcomes`: of CRM entries by id; `owed`: the ids of those that must be there.
    """

    recipients: dict[str, int]
    arrived: Counter[str]
    delivered: Counter[str]
    owed: frozenset[str]
    outcomes: dict[str, CrmSettled]

    @property
    def missing(self) -> set[str]:
        """Mails that have not arrived, or whose outcomes do not stand there, and CRM entries without an outcome."""
        unsettled = {mail for mail, count in self.recipients.items() if self.delivered[mail] < count}
        return (self.recipients.keys() - self.arrived.keys()) | unsettled | (self.owed - self.outcomes.keys())

    def wrong(self, crm: CrmServer) -> Iterator[str]:
        """Say what is lost, or stands there twice or for no reason."""
        if self.missing:
            yield f"{len(self.missing)} are missing: {sorted(self.missing)[:5]}"
        books: dict[str, Counter[Any]] = {
            "mail": self.arrived,
            "activity": Counter(marker for entries in crm.activities.values() for marker in entries),
            "lead": Counter(marker for leads in crm.leads.values() for marker, _ in leads),
            "address": Counter((ws, email) for ws, leads in crm.leads.items() for _, email in leads),
        }
        for what, book in books.items():
            twice = {each: times for each, times in book.items() if times > 1}
            if twice:
                yield f"{what} more than once: {twice}"
        if self.arrived.keys() != self.recipients.keys() or self.delivered != Counter(self.recipients):
            yield "there are mails, or outcomes of mails, that nobody has asked for"
        said = {each.record.id for each in self.outcomes.values() if each.kind == "activity" and each.record}
        if said != books["activity"].keys():
            yield f"activities and their outcomes differ: {said ^ books['activity'].keys()}"
        results = {each.result for each in self.outcomes.values()}
        if not results <= {"done", "no_match", "refused"}:
            yield f"CRM entries have ended as {results}"


async def look(bootstrap: str, *mails: Path) -> SideEffects:
    """Read the topics, and the mails in these folders."""
    async with TopicLog(bootstrap, TOPICS) as log:
        await log.catch_up()
    envelopes = [
        envelope
        for topic, kinds in READ.items()
        for record in log.all_of(topic)
        if isinstance(envelope := kinds.decode(record.value), Envelope)
    ]
    composed = [mail for envelope in envelopes if (mail := compose(envelope, _NAMELESS)) is not None]
    deliveries = {
        envelope.id: envelope.data
        for record in log.all_of(DELIVERIES)
        if (envelope := codec.deliveries.decode(record.value)).data.result == "sent"
    }
    names = {mail.effect_id: f"{header_id(mail.effect_id)}.{mail.kind}" for mail in composed}
    return SideEffects(
        recipients={names[mail.effect_id]: len(mail.recipients) for mail in composed},
        arrived=Counter(_name_of(path.read_bytes()) for folder in mails for path in folder.glob("*.eml")),
        delivered=Counter(names.get(each.notice_id, each.notice_id) for each in deliveries.values()),
        owed=frozenset(_owed(envelopes)),
        outcomes={each.id: each.data for each in envelopes if isinstance(each.data, CrmSettled)},
    )


def _name_of(message: bytes) -> str:
    found = _MESSAGE_ID.search(message)
    assert found is not None, "a mail has a Message-ID"
    return found.group(1).decode()


def _owed(envelopes: list[Envelope[str, Any]]) -> Iterator[str]:
    """The ids of the outcomes of what crm_sync is asked for: each conversation of who has a CRM, and each request."""
    for each in envelopes:
        match each.data:
            case TranscriptCompleted() as transcript if each.workspaceid in WITH_CRM:
                if core.is_wanted(transcript):
                    yield core.conversation_report(
                        "activity", transcript, workspace_id=each.workspaceid, result="done"
                    ).id
            case NoticeCrmRequested() as request:
                yield core.request_report(request, workspace_id=each.workspaceid, result="done").id
            case _:
                pass
