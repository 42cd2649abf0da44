"""Makes a conversation a ticket as well, for those who work through tickets: whoever the visitor is, known or not.

The one rule: a ticket has a marker of its own, and its report stands behind those of the same conversation.
"""

from schemas.outcomes import CrmRecord
from schemas.transcripts import TranscriptCompleted
from services.crm_sync import core
from services.crm_sync.connectors.interface import Connector
from services.crm_sync.connectors.records import Found
from services.crm_sync.conversation import ticket_of
from services.crm_sync.job import Job, result_of
from services.runtime.effects import EffectFailure


async def make_ticket(job: Job, transcript: TranscriptCompleted, *, person: CrmRecord | None) -> core.Report:
    """Create the conversation's ticket, once. `person`: whose it is, where the CRM knows them."""
    marker = core.ticket_id(transcript, workspace_id=job.workspace_id)
    ticket = ticket_of(transcript, limits=job.declared.limits, person=person)

    async def create(crm: Connector) -> Found:
        return await crm.create_ticket(ticket, marker=marker, workspace_id=job.workspace_id)

    try:
        found = await job.marked(marker, create)
    except EffectFailure as failure:
        return core.conversation_report(
            "ticket",
            transcript,
            workspace_id=job.workspace_id,
            result=result_of(failure),
            code=failure.code,
        )
    return core.conversation_report(
        "ticket",
        transcript,
        workspace_id=job.workspace_id,
        result="done",
        record=found.record,
        owner=found.owner,
    )
