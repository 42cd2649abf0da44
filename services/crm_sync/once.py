"""Does what a record asks for once, and writes what came of it until it stands there.

The one rule: claim, do, settle, write, note as written. A claim found without an outcome was left by a crash, and so was a request
that broke off: whoever does it again is told so, and asks the CRM before anything is sent. `Away` goes through to the caller, which
brings the record again when the CRM may be back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from weakref import WeakValueDictionary

import orjson

from schemas import codec
from services.crm_sync import core
from services.crm_sync.addresses import email_key
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics

SOURCE = "/services/crm_sync"
OUTCOME = "outcome"
"""The ledger's target for the whole of what a record asks for; its outcome is the records to write."""
LEAD = "lead"
"""The ledger's target for a lead that was begun: a second run goes on with it, though a search would now find the lead."""

Write = Callable[[str, bytes], Awaitable[None]]
"""Writes one record of a workspace to `crm.activities.v1`; returns when it stands there."""


@dataclass(frozen=True, slots=True)
class Before:
    """What an earlier run has left. `resumed`: it was begun, and nobody knows how far it got."""

    resumed: bool
    lead_begun: bool


Do = Callable[[Before], Awaitable[Sequence[core.Report]]]
"""Does what a record asks for, and returns what is to be reported."""


class Once:
    """Keeps effects from being done twice. May be asked for many at a time."""

    def __init__(self, ledger: Ledger, write: Write, *, metrics: Metrics, now_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._write = write
        self._metrics = metrics
        self._now_ms = now_ms
        self._busy: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def run(self, effect: str, workspace_id: str, do: Do) -> None:
        """Do what is not done, and write what is not written. Waits while another worker is at it."""
        async with self._one_at_a_time(workspace_id, effect):
            standing = (await self._ledger.claim(effect, (OUTCOME,), now_ms=self._now_ms()))[OUTCOME]
            if standing.state == "reported":
                return
            outcome = standing.outcome
            if outcome is None:
                resumed = standing.state == "unknown"
                lead_begun = resumed and LEAD in await self._ledger.standings(effect)
                done = await do(Before(resumed, lead_begun))
                outcome = self._records(done, workspace_id)
                await self._ledger.settle(effect, {OUTCOME: outcome, LEAD: ""}, now_ms=self._now_ms())
                for report in done:
                    self._metrics.add("effects", kind=report.settled.kind, result=report.settled.result)
            for record in orjson.loads(outcome):
                await self._write(workspace_id, record.encode())
            await self._ledger.report(effect, (OUTCOME, LEAD), now_ms=self._now_ms())

    def one_at_this_address(
        self, email: str | None, *, workspace_id: str
    ) -> AbstractAsyncContextManager[object]:
        """Keep others of this process waiting that look for the same person; two newcomers without an address are two."""
        return nullcontext() if email is None else self._one_at_a_time(workspace_id, email_key(email))

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
