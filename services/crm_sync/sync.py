"""Carries out what the core decides for one record: asks the CRM, and reports what came of it, once.

The one rule: claim, do, settle, write, note as written. A claim found without an outcome was left by a crash, and so was a request that
broke off: then the CRM is asked for the marker before anything is sent again. `Away` goes through to the caller, which brings the record
again when the CRM may be back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

import orjson

from schemas import codec
from schemas.envelope import Envelope
from schemas.events import Visitor
from schemas.notices import Notice, NoticeCrmConfigured, NoticeCrmRequested
from schemas.outcomes import CrmRecord
from schemas.transcripts import TranscriptCompleted
from services.crm_sync import core
from services.crm_sync.addresses import email_key, usable_address
from services.crm_sync.connectors.interface import Connector, OutcomeUnknown
from services.crm_sync.connectors.records import Found, Person
from services.crm_sync.conversation import activity_of
from services.runtime.effects import Away, Downstream, Downstreams, EffectFailure, Refused
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics
from services.runtime.wall_clock import now_ms

SOURCE = "/services/crm_sync"
OUTCOME = "outcome"
"""The ledger's target for the whole of what a record asks for; its outcome is the records to write."""
LEAD = "lead"
"""The ledger's target for a lead that was begun: a second run goes on with it, though a search would now find the lead."""


class Settings(Protocol):
    """Where the workspaces' settings come from."""

    async def of(self, workspace_id: str) -> NoticeCrmConfigured | None:
        """Return the settings of a workspace, or None if it has none."""


class Turns(Protocol):
    """Who counts the leads of a workspace."""

    async def take_turn(self, lead_id: str, *, workspace_id: str) -> int:
        """Return the number of this lead, the same each time it is asked for."""


Write = Callable[[str, bytes], Awaitable[None]]
"""Writes one record of a workspace to `crm.activities.v1`; returns when it stands there."""


@dataclass(frozen=True, slots=True)
class Crm:
    """A connector, and the circuits the calls to it go through, one for each workspace."""

    connector: Connector
    downstreams: Downstreams


@dataclass(frozen=True, slots=True)
class _Job:
    """One record being worked on. `resumed`: it was begun before, and nobody knows how far it got."""

    workspace_id: str
    effect: str
    settings: NoticeCrmConfigured
    crm: Crm
    resumed: bool
    lead_begun: bool

    @property
    def downstream(self) -> Downstream:
        """What all calls of this record go through."""
        return self.crm.downstreams.of(self.workspace_id)


class Sync:
    """Handles transcripts and notices. May be called for many records at a time."""

    def __init__(
        self,
        *,
        settings: Settings,
        turns: Turns,
        ledger: Ledger,
        crms: Mapping[str, Crm],
        write: Write,
        metrics: Metrics,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._settings = settings
        self._turns = turns
        self._ledger = ledger
        self._crms = crms
        self._write = write
        self._metrics = metrics
        self._now_ms = now_ms
        self._busy: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def transcript(self, envelope: Envelope[str, TranscriptCompleted]) -> None:
        """Put a conversation into the feed it belongs to, and report. Without a CRM in the workspace nothing happens."""
        transcript, workspace_id = envelope.data, envelope.workspaceid
        if not core.is_wanted(transcript):
            return
        settings = await self._settings.of(workspace_id)
        if settings is None or settings.connector == core.OFF:
            return
        effect = core.activity_id(transcript, workspace_id=workspace_id)
        crm = self._crms.get(settings.connector)

        async def reports(resumed: bool, lead_begun: bool) -> Sequence[core.Report]:
            if crm is None:
                report = core.conversation_report(
                    "activity",
                    transcript,
                    workspace_id=workspace_id,
                    result="refused",
                    code="unknown_connector",
                )
                return (report,)
            job = _Job(workspace_id, effect, settings, crm, resumed, lead_begun)
            return await self._conversation(job, transcript)

        await self._once(effect, workspace_id, reports)

    async def notice(self, envelope: Envelope[str, Notice]) -> None:
        """Carry out an agent's request; other notices are not for the CRM, and settings are followed elsewhere."""
        request, workspace_id = envelope.data, envelope.workspaceid
        if not isinstance(request, NoticeCrmRequested):
            return
        settings = await self._settings.of(workspace_id)
        effect = core.request_id(request, workspace_id=workspace_id)
        crm = None if settings is None else self._crms.get(settings.connector)

        async def reports(resumed: bool, lead_begun: bool) -> Sequence[core.Report]:
            if settings is None or crm is None:
                code = (
                    "crm_not_configured"
                    if settings is None or settings.connector == core.OFF
                    else "unknown_connector"
                )
                return (core.request_report(request, workspace_id=workspace_id, result="refused", code=code),)
            job = _Job(workspace_id, effect, settings, crm, resumed, lead_begun)
            return (await self._request(job, request),)

        await self._once(effect, workspace_id, reports)

    # ------------------------------------------------------------ once

    async def _once(
        self,
        effect: str,
        workspace_id: str,
        reports: Callable[[bool, bool], Awaitable[Sequence[core.Report]]],
    ) -> None:
        """Do what is not done, and write what is not written."""
        async with self._one_at_a_time(workspace_id, effect):
            standing = (await self._ledger.claim(effect, (OUTCOME,), now_ms=self._now_ms()))[OUTCOME]
            if standing.state == "reported":
                return
            outcome = standing.outcome
            if outcome is None:
                resumed = standing.state == "unknown"
                lead_begun = resumed and LEAD in await self._ledger.standings(effect)
                done = await reports(resumed, lead_begun)
                outcome = self._records(done, workspace_id)
                await self._ledger.settle(effect, {OUTCOME: outcome, LEAD: ""}, now_ms=self._now_ms())
                for report in done:
                    self._metrics.add("effects", kind=report.settled.kind, result=report.settled.result)
            for record in orjson.loads(outcome):
                await self._write(workspace_id, record.encode())
            await self._ledger.report(effect, (OUTCOME, LEAD), now_ms=self._now_ms())

    def _records(self, reports: Sequence[core.Report], workspace_id: str) -> str:
        """Return the records to write, as the ledger keeps them: a repeated write is the same byte for byte."""
        at_ms = self._now_ms()
        records = [
            codec.encode(
                report.settled, event_id=report.id, source=SOURCE, at_ms=at_ms, workspace_id=workspace_id
            )
            for report in reports
        ]
        return orjson.dumps([record.decode() for record in records]).decode()

    def _one_at_a_time(self, workspace_id: str, what: str) -> asyncio.Lock:
        """Return the lock of an effect or an address; it is forgotten when nobody holds it or waits for it."""
        return self._busy.setdefault((workspace_id, what), asyncio.Lock())

    # ------------------------------------------------------------ what a record asks for

    async def _conversation(self, job: _Job, transcript: TranscriptCompleted) -> Sequence[core.Report]:
        email = usable_address(transcript.visitor.email)
        workspace_id = job.workspace_id
        # Two conversations of a newcomer that end together make one lead: the second search finds it.
        async with nullcontext() if email is None else self._one_at_a_time(workspace_id, email_key(email)):
            try:
                step = await self._next_step(job, email)
            except EffectFailure as failure:
                return (_said(transcript, job, _result(failure), failure.code),)
            if isinstance(step, core.NoMatch):
                return (_said(transcript, job, "no_match", step.code),)
            if isinstance(step, core.Attach):
                feeds = [
                    (
                        one.record,
                        core.activity_marker(
                            one, effect=job.effect, workspace_id=workspace_id, settings=job.settings
                        ),
                    )
                    for one in step.people
                ]
                return (
                    await self._placed(
                        job, transcript, feeds, code="newest_of_many" if step.picked else None
                    ),
                )
            try:
                lead = await self._lead(job, transcript.visitor, email=step.email, note=None)
            except EffectFailure as failure:
                result = _result(failure)
                return (
                    core.conversation_report(
                        "lead", transcript, workspace_id=workspace_id, result=result, code=failure.code
                    ),
                    _said(transcript, job, result, f"lead_{result}"),
                )
        return (
            core.conversation_report(
                "lead",
                transcript,
                workspace_id=workspace_id,
                result="done",
                record=lead.record,
                owner=lead.owner,
            ),
            await self._placed(job, transcript, [(lead.record, job.effect)], code=None),
        )

    async def _request(self, job: _Job, request: NoticeCrmRequested) -> core.Report:
        email = usable_address(request.visitor.email)
        declared = job.crm.connector.declared
        refusal = core.refusal(request, job.settings, email=email, declared=declared)
        if refusal is not None or email is None:
            code = "visitor_email_unknown" if refusal is None else refusal.code
            return core.request_report(request, workspace_id=job.workspace_id, result="refused", code=code)
        async with self._one_at_a_time(job.workspace_id, email_key(email)):
            try:
                if not job.lead_begun and await self._people(job, email):
                    raise Refused("already_a_customer")
                lead = await self._lead(job, request.visitor, email=email, note=request.value)
            except EffectFailure as failure:
                return core.request_report(
                    request, workspace_id=job.workspace_id, result=_result(failure), code=failure.code
                )
        return core.request_report(
            request, workspace_id=job.workspace_id, result="done", record=lead.record, owner=lead.owner
        )

    async def _next_step(self, job: _Job, email: str | None) -> core.Attach | core.CreateLead | core.NoMatch:
        if job.lead_begun and email is not None:
            return core.CreateLead(email)
        people = () if email is None else await self._people(job, email)
        return core.next_step(people, job.settings, email=email)

    # ------------------------------------------------------------ what the CRM is asked

    async def _people(self, job: _Job, email: str) -> Sequence[Person]:
        connector = job.crm.connector
        return await job.downstream.call(lambda: connector.find_people(email, workspace_id=job.workspace_id))

    async def _lead(self, job: _Job, visitor: Visitor, *, email: str, note: str | None) -> Found:
        connector, workspace_id = job.crm.connector, job.workspace_id
        marker = core.lead_id(email, workspace_id=workspace_id)
        await self._ledger.claim(job.effect, (LEAD,), now_ms=self._now_ms())
        turn = await self._turns.take_turn(marker, workspace_id=workspace_id)
        wanted = core.new_lead(
            visitor,
            email=email,
            owner_id=core.lead_owner(job.settings, turn=turn),
            note=note,
            declared=connector.declared,
        )

        async def create() -> Found:
            return await connector.create_lead(wanted, marker=marker, workspace_id=workspace_id)

        # Another conversation of this newcomer may be at it too: in another worker after a rebalance, or when one was killed.
        standing = (await self._ledger.claim(marker, (LEAD,), now_ms=self._now_ms()))[LEAD]
        try:
            lead = await self._marked(job, marker, create, begun=standing.state != "new")
        except (EffectFailure, Away):
            await self._let_others(marker)
            raise
        await self._let_others(marker)
        return lead

    async def _let_others(self, marker: str) -> None:
        """Nobody is at this lead any more; whoever comes next asks whether it is there."""
        await self._ledger.settle(marker, {LEAD: ""}, now_ms=self._now_ms())
        await self._ledger.report(marker, (LEAD,), now_ms=self._now_ms())

    async def _placed(
        self,
        job: _Job,
        transcript: TranscriptCompleted,
        feeds: Sequence[tuple[CrmRecord, str]],
        *,
        code: str | None,
    ) -> core.Report:
        """Put the conversation into these feeds. The first decides what is reported: it is the newest."""
        connector, workspace_id = job.crm.connector, job.workspace_id
        activity = activity_of(transcript, limits=connector.declared.limits)
        entries: list[Found] = []
        failures: list[EffectFailure] = []
        for record, marker in feeds:

            async def add(record: CrmRecord = record, marker: str = marker) -> Found:
                return await connector.add_activity(
                    activity, to=record, marker=marker, workspace_id=workspace_id
                )

            try:
                entries.append(await self._marked(job, marker, add))
            except EffectFailure as failure:
                failures.append(failure)
        if not entries:
            return _said(transcript, job, _result(failures[0]), failures[0].code)
        return core.conversation_report(
            "activity",
            transcript,
            workspace_id=workspace_id,
            result="done",
            code=failures[0].code if failures else code,
            record=entries[0].record,
            owner=entries[0].owner,
        )

    async def _marked(
        self, job: _Job, marker: str, send: Callable[[], Awaitable[Found]], *, begun: bool = False
    ) -> Found:
        """Send something with a marker until it is there, never twice. Raises Refused, or Transient after its tries."""
        connector, workspace_id = job.crm.connector, job.workspace_id
        in_doubt = job.resumed or begun

        async def attempt() -> Found:
            nonlocal in_doubt
            if (
                in_doubt
                and (found := await connector.find_marker(marker, workspace_id=workspace_id)) is not None
            ):
                return found
            in_doubt = True  # also when this attempt is cut off by its time-out
            try:
                return await send()
            except OutcomeUnknown:
                raise
            except EffectFailure:
                in_doubt = False
                raise

        try:
            return await job.downstream.call(attempt)
        except OutcomeUnknown:
            # The last try may have been carried out: what is reported must be what is there.
            found = await job.downstream.call(
                lambda: connector.find_marker(marker, workspace_id=workspace_id)
            )
            if found is None:
                raise
            return found


def _result(failure: EffectFailure) -> core.Result:
    return "refused" if isinstance(failure, Refused) else "failed"


def _said(transcript: TranscriptCompleted, job: _Job, result: core.Result, code: str) -> core.Report:
    return core.conversation_report(
        "activity", transcript, workspace_id=job.workspace_id, result=result, code=code
    )
