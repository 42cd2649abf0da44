"""One record being worked on, and how the CRM is asked for it.

The one rule: what carries a marker is sent until it is there, and never twice. After an unknown outcome the marker is asked for before
anything is sent again.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

from schemas.notices import NoticeCrmConfigured
from schemas.outcomes import CrmRecord
from services.crm_sync import core
from services.crm_sync.addresses import email_key
from services.crm_sync.admission import Admission
from services.crm_sync.cards.answers import Answers, Known
from services.crm_sync.connectors.interface import RECORD_GONE, Connector, OutcomeUnknown
from services.crm_sync.connectors.records import Declaration, Found, Person
from services.crm_sync.once import Before
from services.runtime.effects import Downstreams, EffectFailure, Refused

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Crm:
    """A connector, the circuits the calls to it go through, one for each workspace, and what it has answered about people.

    Without `admission` everybody is let in.
    """

    connector: Connector
    downstreams: Downstreams
    admission: Admission | None = None
    known: Answers[Known] = field(default_factory=Answers)

    def admitted(self, workspace_id: str, *, of_agent: bool = False) -> AbstractAsyncContextManager[None]:
        """Around the work on one record. Raises Away when it is not let in now."""
        if self.admission is None:
            return nullcontext()
        return self.admission.admitted(workspace_id, of_agent=of_agent)


@dataclass(frozen=True, slots=True)
class Job:
    """One record being worked on: its effect, for whom, and what an earlier run has left."""

    workspace_id: str
    effect: str
    settings: NoticeCrmConfigured
    crm: Crm
    before: Before

    @property
    def declared(self) -> Declaration:
        """What the CRM can do and allows."""
        return self.crm.connector.declared

    async def ask(self, do: Callable[[Connector], Awaitable[Result]]) -> Result:
        """What the connector answers; for questions, and for what may be done twice. Raises Refused, or Transient after its tries."""
        return await self.crm.downstreams.of(self.workspace_id).call(lambda: do(self.crm.connector))

    async def people(self, email: str | None) -> Sequence[Person]:
        """Who has this address in the CRM; nobody has none."""
        if email is None:
            return ()
        return await self.ask(lambda crm: crm.find_people(email, workspace_id=self.workspace_id))

    def changed(self, email: str) -> None:
        """The CRM may know something new about an address: the next card shows it."""
        self.crm.known.forget(email_key(email), workspace_id=self.workspace_id)

    async def marked(
        self,
        marker: str,
        send: Callable[[Connector], Awaitable[Found]],
        *,
        on: Sequence[CrmRecord] = (),
        begun: bool = False,
    ) -> Found:
        """Send something with a marker until it is there, never twice.

        `on`: the records it may stand on. `begun`: somebody may have sent it already.
        Raises Refused, or Transient after its tries.
        """
        in_doubt = self.before.resumed or begun

        async def find(crm: Connector) -> Found | None:
            return await crm.find_marker(marker, workspace_id=self.workspace_id, on=on)

        async def attempt(crm: Connector) -> Found:
            nonlocal in_doubt
            if in_doubt and (found := await find(crm)) is not None:
                return found
            in_doubt = True  # also when this attempt is cut off by its time-out
            try:
                return await send(crm)
            except OutcomeUnknown:
                raise
            except EffectFailure:
                in_doubt = False
                raise

        try:
            return await self.ask(attempt)
        except OutcomeUnknown:
            # The last try may have been carried out: what is reported must be what is there.
            found = await self.ask(find)
            if found is None:
                raise
            return found


def is_gone(failure: EffectFailure) -> bool:
    """Whether the record is not there any more, so that somebody else may stand for it."""
    return isinstance(failure, Refused) and failure.code == RECORD_GONE


async def with_survivor(do: Callable[[bool], Awaitable[Result]]) -> Result:
    """What `do` returns. It is done once more, and told so, when the record it chose is gone: it looks for the person again."""
    try:
        return await do(False)
    except Refused as failure:
        if not is_gone(failure):
            raise
    return await do(True)


def result_of(failure: EffectFailure) -> core.Result:
    """How a failure is reported."""
    return "refused" if isinstance(failure, Refused) else "failed"
