"""Takes transcripts and notices, and has done what they ask of the CRM: the workspace's settings say which, the core decides what.

The one rule: what a record asks for is done once (`once`), and `Away` goes through to the caller, which brings the record again
when the CRM may be back.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Protocol

from schemas.envelope import Envelope
from schemas.notices import Notice, NoticeCrmConfigured, NoticeCrmRequested
from schemas.outcomes import CrmRecord
from schemas.transcripts import TranscriptCompleted
from services.crm_sync import core
from services.crm_sync.agent_requests import Requests
from services.crm_sync.filing import Filing
from services.crm_sync.job import Crm, Job
from services.crm_sync.leads import Leads, Turns
from services.crm_sync.once import Before, Once, Write
from services.crm_sync.tickets import make_ticket
from services.crm_sync.waiting import Waiting
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics
from services.runtime.parking import Place
from services.runtime.wall_clock import now_ms

Transcript = Envelope[str, TranscriptCompleted]
TranscriptAt = Callable[[Place], Awaitable[Transcript | None]]
"""Returns the conversation whose record stands at a place, None where it no longer stands there."""


class Settings(Protocol):
    """Where the workspaces' settings come from."""

    async def of(self, workspace_id: str) -> NoticeCrmConfigured | None:
        """Return the settings of a workspace, or None if it has none."""


class Sync:
    """Handles transcripts and notices. May be called for many records at a time."""

    def __init__(
        self,
        *,
        settings: Settings,
        turns: Turns,
        ledger: Ledger,
        waiting: Waiting,
        crms: Mapping[str, Crm],
        transcript_at: TranscriptAt,
        write: Write,
        metrics: Metrics,
        tickets: core.Tickets = "all",
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._settings = settings
        self._waiting = waiting
        self._crms = crms
        self._transcript_at = transcript_at
        self._tickets = tickets
        self._now_ms = now_ms
        self._once = Once(ledger, write, metrics=metrics, now_ms=now_ms)
        leads = Leads(ledger, turns, now_ms=now_ms)
        self._filing = Filing(leads, waiting, self._once, now_ms=now_ms)
        self._requests = Requests(leads, self._once)

    async def transcript(self, envelope: Transcript, place: Place) -> None:
        """Put a conversation into the feed it belongs to, and report. Without a CRM in the workspace nothing happens."""
        workspace_id = envelope.workspaceid
        if not core.is_wanted(envelope.data):
            return
        settings = await self._settings.of(workspace_id)
        if settings is None or settings.connector == core.OFF:
            return
        crm = self._crms.get(settings.connector)
        async with nullcontext() if crm is None else crm.admitted(workspace_id):
            await self._transcript(envelope, place, settings, crm)

    async def _transcript(
        self, envelope: Transcript, place: Place, settings: NoticeCrmConfigured, crm: Crm | None
    ) -> None:
        transcript, workspace_id = envelope.data, envelope.workspaceid
        effect = core.activity_id(transcript, workspace_id=workspace_id)

        async def reports(before: Before) -> Sequence[core.Report]:
            if crm is None:
                report = core.conversation_report(
                    "activity",
                    transcript,
                    workspace_id=workspace_id,
                    result="refused",
                    code="unknown_connector",
                )
                return (report,)
            job = Job(workspace_id, effect, settings, crm, before)
            filed = await self._filing.conversation(job, transcript, place)
            if not core.wants_ticket(transcript, self._tickets, declared=job.declared):
                return filed.reports
            return (*filed.reports, await make_ticket(job, transcript, person=filed.person))

        await self._once.run(effect, workspace_id, reports)

    async def notice(self, envelope: Envelope[str, Notice]) -> None:
        """Carry out an agent's request; other notices are not for the CRM, and settings are followed elsewhere."""
        request, workspace_id = envelope.data, envelope.workspaceid
        if not isinstance(request, NoticeCrmRequested):
            return
        settings = await self._settings.of(workspace_id)
        effect = core.request_id(request, workspace_id=workspace_id)
        crm = None if settings is None else self._crms.get(settings.connector)

        async def reports(before: Before) -> Sequence[core.Report]:
            if settings is None or crm is None:
                code = core.no_crm(settings)
                return (core.request_report(request, workspace_id=workspace_id, result="refused", code=code),)
            job = Job(workspace_id, effect, settings, crm, before)
            report = await self._requests.request(job, request)
            lead = report.settled.record
            if request.kind == "lead" and lead is not None:
                await self._let_join(job, request.chat_id, lead)
            return (report,)

        async with nullcontext() if crm is None else crm.admitted(workspace_id, of_agent=True):
            await self._once.run(effect, workspace_id, reports)

    # ------------------------------------------------------------ a chat and its lead

    async def _let_join(self, job: Job, chat_id: str, lead: CrmRecord) -> None:
        """Put the chat that a lead was asked for in into its feed, if it has ended; if it has not, it goes there at its end.

        Other chats of the visitor stay where they are: nobody asked about them, and their answers are known.
        """
        workspace_id = job.workspace_id
        await self._waiting.put_lead(chat_id, lead, workspace_id=workspace_id, now_ms=self._now_ms())
        for revision, place in await self._waiting.of_chat(chat_id, workspace_id=workspace_id):
            envelope = await self._transcript_at(place)
            if envelope is not None and _is(envelope, chat_id, revision, workspace_id=workspace_id):
                await self._join(job, envelope, place, lead)
            await self._waiting.drop(chat_id, revision, workspace_id=workspace_id)

    async def _join(self, asked: Job, envelope: Transcript, place: Place, lead: CrmRecord) -> None:
        transcript, workspace_id = envelope.data, envelope.workspaceid
        # Whoever is still at this conversation, here or in another worker, comes first, and may find the lead by itself.
        await self._transcript(envelope, place, asked.settings, asked.crm)
        if not await self._waiting.has(transcript.chat_id, transcript.revision, workspace_id=workspace_id):
            return

        async def reports(before: Before) -> Sequence[core.Report]:
            effect = core.activity_id(transcript, workspace_id=workspace_id)
            job = Job(workspace_id, effect, asked.settings, asked.crm, before)
            filed = await self._filing.beside_lead(job, transcript, lead)
            return tuple(
                core.joined_report(report, transcript, workspace_id=workspace_id) for report in filed.reports
            )

        await self._once.run(core.joining_id(transcript, workspace_id=workspace_id), workspace_id, reports)


def _is(envelope: Transcript, chat_id: str, revision: int, *, workspace_id: str) -> bool:
    """Whether a record read again is the one that was meant: a topic made anew has others at its places."""
    data = envelope.data
    return (envelope.workspaceid, data.chat_id, data.revision) == (workspace_id, chat_id, revision)
