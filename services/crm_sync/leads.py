"""Creates leads: one for each address, whoever asks for it and however often, owned by whose turn it is.

The one rule: a lead's marker follows from its address, and so does its turn, so conversations and requests of one newcomer, in
several workers, make one lead with one owner.
"""

from collections.abc import Callable
from typing import Protocol

from schemas.events import Visitor
from services.crm_sync import core
from services.crm_sync.connectors.interface import Connector
from services.crm_sync.connectors.records import Found
from services.crm_sync.job import Job
from services.crm_sync.once import LEAD
from services.runtime.effects import Away, EffectFailure
from services.runtime.ledger import Ledger


class Turns(Protocol):
    """Who counts the leads of a workspace."""

    async def take_turn(self, lead_id: str, *, workspace_id: str) -> int:
        """Return the number of this lead, the same each time it is asked for."""


class Leads:
    """Makes the leads of all workspaces."""

    def __init__(self, ledger: Ledger, turns: Turns, *, now_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._turns = turns
        self._now_ms = now_ms

    async def create(self, job: Job, visitor: Visitor, *, email: str, note: str | None = None) -> Found:
        """Return the address's lead, made now or before. Raises Refused, or Transient after its tries."""
        marker = core.lead_id(email, workspace_id=job.workspace_id)
        await self._ledger.claim(job.effect, (LEAD,), now_ms=self._now_ms())
        turn = await self._turns.take_turn(marker, workspace_id=job.workspace_id)
        wanted = core.new_lead(
            visitor,
            email=email,
            owner_id=core.lead_owner(job.settings, turn=turn),
            note=note,
            declared=job.declared,
        )

        async def create(crm: Connector) -> Found:
            return await crm.create_lead(wanted, marker=marker, workspace_id=job.workspace_id)

        # Another conversation of this newcomer may be at it too: in another worker after a rebalance, or when one was killed.
        standing = (await self._ledger.claim(marker, (LEAD,), now_ms=self._now_ms()))[LEAD]
        try:
            lead = await job.marked(marker, create, begun=standing.state != "new")
        except (EffectFailure, Away):
            await self._let_others(marker)
            raise
        finally:
            job.changed(email)
        await self._let_others(marker)
        return lead

    async def _let_others(self, marker: str) -> None:
        """Nobody is at this lead any more; whoever comes next asks whether it is there."""
        await self._ledger.settle(marker, {LEAD: ""}, now_ms=self._now_ms())
        await self._ledger.report(marker, (LEAD,), now_ms=self._now_ms())
