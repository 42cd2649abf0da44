"""Carries out what agents ask of the CRM: a lead for the visitor, a note for the owner of their record, their phone number.

The one rule: every request ends in one report, and what can't be done says why. Only a lead creates anybody, and only where nobody is.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from schemas.notices import NoticeCrmRequested
from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync import core
from services.crm_sync.addresses import usable_address
from services.crm_sync.connectors.interface import Connector
from services.crm_sync.connectors.records import Found, NewNote, Staff
from services.crm_sync.conversation import note_text
from services.crm_sync.job import Job, result_of, with_survivor
from services.crm_sync.leads import Leads
from services.crm_sync.once import Once
from services.runtime.effects import EffectFailure, Refused


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a request, as its report has it."""

    record: CrmRecord
    owner: CrmOwner | None
    code: str | None = None
    tell_owner_by_mail: bool = False


class Requests:
    """Carries out the requests of all workspaces."""

    def __init__(self, leads: Leads, once: Once) -> None:
        self._leads = leads
        self._once = once

    async def request(self, job: Job, request: NoticeCrmRequested) -> core.Report:
        """Carry out one request and return its report; a lead that it made stands there as its record."""
        report = partial(core.request_report, request, workspace_id=job.workspace_id)
        email = usable_address(request.visitor.email)
        refusal = core.refusal(request.kind, job.settings, email=email, declared=job.declared)
        if refusal is not None or email is None:
            return report(result="refused", code=refusal.code if refusal else core.NO_EMAIL)
        do = {"lead": self._lead, "note": self._note, "phone": self._phone}[request.kind]
        try:
            done = await do(job, request, email)
        except EffectFailure as failure:
            return report(result=result_of(failure), code=failure.code)
        return report(
            result="done",
            code=done.code,
            record=done.record,
            owner=done.owner,
            tell_owner_by_mail=done.tell_owner_by_mail,
        )

    async def _lead(self, job: Job, request: NoticeCrmRequested, email: str) -> Done:
        note = None if request.value is None else note_text(request.value, limits=job.declared.limits)
        async with self._once.one_at_this_address(email, workspace_id=job.workspace_id):
            if not job.before.lead_begun and await job.people(email):
                raise Refused("already_a_customer")
            lead = await self._leads.create(job, request.visitor, email=email, note=note or None)
        return Done(lead.record, lead.owner)

    async def _note(self, job: Job, request: NoticeCrmRequested, email: str) -> Done:
        agent = request.agent
        author = Staff(agent.id, agent.name, agent.team, agent.group)
        text = note_text(request.value or "", limits=job.declared.limits)
        if not text:
            raise Refused("text_missing")
        note = NewNote(text, author)

        async def add(chosen: core.Attach) -> Done:
            (person,) = chosen.people

            async def send(crm: Connector) -> Found:
                return await crm.add_note(
                    note, to=person.record, marker=job.effect, workspace_id=job.workspace_id
                )

            on = tuple(one.record for one in (person, *chosen.others))
            found = await job.marked(job.effect, send, on=on)
            told = core.owner_to_tell((found.owner, person.owner), declared=job.declared)
            # The person's record: it is what the owner's mail leads to.
            code = told.code or _why(chosen)
            return Done(person.record, told.owner, code, told.by_mail)

        return await _with_person(job, email, add)

    async def _phone(self, job: Job, request: NoticeCrmRequested, email: str) -> Done:
        phone = core.phone_number(request.value or "", region=job.settings.region)
        if isinstance(phone, core.Refusal):
            raise Refused(phone.code)

        async def change(chosen: core.Attach) -> Done:
            (person,) = chosen.people
            try:
                found = await job.ask(
                    lambda crm: crm.set_phone(phone, of=person.record, workspace_id=job.workspace_id)
                )
            finally:
                job.changed(email)
            return Done(found.record, found.owner or person.owner, _why(chosen))

        return await _with_person(job, email, change)


async def _with_person(job: Job, email: str, do: Callable[[core.Attach], Awaitable[Done]]) -> Done:
    """What `do` makes of the one whom a conversation would go to first."""

    async def search_and_do(_again: bool) -> Done:
        people = await job.people(email)
        if not people:
            raise Refused("nobody_found")
        return await do(core.choose(people, replace(job.settings, match_many="newest")))

    return await with_survivor(search_and_do)


def _why(chosen: core.Attach) -> str | None:
    return core.PICKED if chosen.picked else None
