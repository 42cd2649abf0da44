"""Puts conversations into the feeds they belong to: of who matches, of a new lead where the policy wants one, of the chat's own lead.

The one rule: a conversation that ends in no feed is remembered before its chat's lead is looked for (`waiting` says why), and
forgotten before its outcome is settled when it is in one after all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from schemas.outcomes import CrmRecord
from schemas.transcripts import TranscriptCompleted
from services.crm_sync import core
from services.crm_sync.addresses import usable_address
from services.crm_sync.connectors.interface import RECORD_GONE, Connector
from services.crm_sync.connectors.records import Found
from services.crm_sync.conversation import activity_of
from services.crm_sync.job import Job, is_gone, result_of, with_survivor
from services.crm_sync.leads import Leads
from services.crm_sync.once import Once
from services.crm_sync.waiting import Waiting
from services.runtime.effects import EffectFailure, Refused
from services.runtime.parking import Place


@dataclass(frozen=True, slots=True)
class Filed:
    """What came of a conversation: the reports, and whose it is, if it is anybody's."""

    reports: tuple[core.Report, ...]
    person: CrmRecord | None = None

    @property
    def in_feed(self) -> bool:
        """Whether the conversation stands in a feed now."""
        return self.reports[-1].settled.result == "done"


@dataclass(frozen=True, slots=True)
class _Target:
    """Whose feeds a conversation goes into, the first one's being reported; what is said about that choice, and who else matched."""

    people: tuple[CrmRecord, ...]
    code: str | None = None
    others: tuple[CrmRecord, ...] = ()


class Filing:
    """Files the conversations of all workspaces."""

    def __init__(self, leads: Leads, waiting: Waiting, once: Once, *, now_ms: Callable[[], int]) -> None:
        self._leads = leads
        self._waiting = waiting
        self._once = once
        self._now_ms = now_ms

    async def conversation(self, job: Job, transcript: TranscriptCompleted, place: Place) -> Filed:
        """Put a conversation that has ended into the feed it belongs to. `place`: where its record stands."""
        filed = await self._by_match(job, transcript)
        chat_id, revision, workspace_id = transcript.chat_id, transcript.revision, job.workspace_id
        if filed.in_feed:
            if job.before.resumed:
                await self._waiting.drop(chat_id, revision, workspace_id=workspace_id)
            return filed
        await self._waiting.put(chat_id, revision, place, workspace_id=workspace_id, now_ms=self._now_ms())
        lead = await self._waiting.lead_of(chat_id, workspace_id=workspace_id)
        # What failed may stand with somebody else: a second feed could make it two.
        if lead is None or filed.reports[-1].settled.result == "failed":
            return filed
        joined = await self.beside_lead(job, transcript, lead)
        if not joined.in_feed:
            return filed
        await self._waiting.drop(chat_id, revision, workspace_id=workspace_id)
        return Filed((*filed.reports[:-1], *joined.reports), joined.person)

    async def beside_lead(self, job: Job, transcript: TranscriptCompleted, lead: CrmRecord) -> Filed:
        """Put a conversation, which may stand there already, into the feed of its chat's lead, or of who stands for it now."""

        async def place(again: bool) -> Filed:
            target = _Target((lead,))
            if again:
                people = await job.people(usable_address(transcript.visitor.email))
                if not people:
                    raise Refused(RECORD_GONE)
                target = _chosen(core.choose(people, job.settings))
            return await self._placed(job, transcript, target, begun=True)

        try:
            return await with_survivor(place)
        except EffectFailure as failure:
            return Filed((_said(job, transcript, result_of(failure), failure.code),))

    async def _by_match(self, job: Job, transcript: TranscriptCompleted) -> Filed:
        """Put it into the feed of who has the visitor's address, or of the lead that the policy wants for everybody."""
        new_lead: core.Report | None = None

        async def place(again: bool) -> Filed:
            nonlocal new_lead
            # Two conversations of a newcomer that end together make one lead: the second search finds it.
            email = usable_address(transcript.visitor.email)
            async with self._once.one_at_this_address(email, workspace_id=job.workspace_id):
                step = await self._next_step(job, email, again=again)
                if isinstance(step, core.CreateLead):
                    new_lead = await self._new_lead(job, transcript, step)
            if isinstance(step, core.NoMatch):
                return Filed((_said(job, transcript, "no_match", step.code),))
            if isinstance(step, core.Attach):
                return await self._placed(job, transcript, _chosen(step))
            assert new_lead is not None
            if new_lead.settled.record is None:
                result = new_lead.settled.result
                return Filed((_said(job, transcript, result, f"lead_{result}"),))
            return await self._placed(job, transcript, _Target((new_lead.settled.record,)))

        try:
            filed = await with_survivor(place)
        except EffectFailure as failure:
            filed = Filed((_said(job, transcript, result_of(failure), failure.code),))
        return filed if new_lead is None else Filed((new_lead, *filed.reports), filed.person)

    async def _next_step(
        self, job: Job, email: str | None, *, again: bool
    ) -> core.Attach | core.CreateLead | core.NoMatch:
        if job.before.lead_begun and not again and email is not None:
            return core.CreateLead(email)
        return core.next_step(await job.people(email), job.settings, email=email)

    async def _new_lead(
        self, job: Job, transcript: TranscriptCompleted, step: core.CreateLead
    ) -> core.Report:
        """Create the lead that the policy wants, and return what is reported of it, with its record if it is there."""
        report = partial(core.conversation_report, "lead", transcript, workspace_id=job.workspace_id)
        try:
            lead = await self._leads.create(job, transcript.visitor, email=step.email)
        except EffectFailure as failure:
            return report(result=result_of(failure), code=failure.code)
        return report(result="done", record=lead.record, owner=lead.owner)

    async def _placed(
        self, job: Job, transcript: TranscriptCompleted, target: _Target, *, begun: bool = False
    ) -> Filed:
        """Put the conversation into these feeds. Raises what the CRM said if it is in none of them."""
        activity = activity_of(transcript, limits=job.declared.limits)
        entries: list[Found] = []
        failures: list[EffectFailure] = []
        for record in target.people:
            marker = core.activity_marker(
                record, effect=job.effect, workspace_id=job.workspace_id, settings=job.settings
            )

            # Where one gets it, an earlier run may have chosen another one.
            on = (record,) if job.settings.match_many == "all" else (*target.people, *target.others)

            async def add(crm: Connector, record: CrmRecord = record, marker: str = marker) -> Found:
                return await crm.add_activity(
                    activity, to=record, marker=marker, workspace_id=job.workspace_id
                )

            try:
                entries.append(await job.marked(marker, add, on=on, begun=begun))
            except EffectFailure as failure:
                failures.append(failure)
        if not entries:
            # Whoever stands for somebody who is gone is worth another search, whatever was wrong with the others.
            raise next((one for one in failures if is_gone(one)), failures[0])
        report = core.conversation_report(
            "activity",
            transcript,
            workspace_id=job.workspace_id,
            result="done",
            code=failures[0].code if failures else target.code,
            record=entries[0].record,
            owner=entries[0].owner,
        )
        return Filed((report,), target.people[0])


def _chosen(step: core.Attach) -> _Target:
    return _Target(
        tuple(one.record for one in step.people),
        core.PICKED if step.picked else None,
        tuple(one.record for one in step.others),
    )


def _said(job: Job, transcript: TranscriptCompleted, result: core.Result, code: str) -> core.Report:
    return core.conversation_report(
        "activity", transcript, workspace_id=job.workspace_id, result=result, code=code
    )
