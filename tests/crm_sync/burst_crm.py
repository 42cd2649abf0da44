"""A CRM on loopback that knows everybody and notes when it was asked; run as a program, crm_sync with two accounts of it, one with a rate.

The one rule: it keeps no limit itself, so what it noted is what the workers did.
"""

import asyncio
import os
from collections import defaultdict
from dataclasses import replace
from time import monotonic
from typing import Any

from services.crm_sync.connectors.embedded.connector import EmbeddedCrm
from services.crm_sync.connectors.records import Declaration
from services.crm_sync.connectors.requests import sending
from services.crm_sync.settings import CrmSyncSettings
from services.crm_sync.worker import serve
from services.runtime.process import main_of
from tests.faults.crm_server import DECLARED, PORT, CrmServer, RemoteCrm

PACED, UNPACED = "paced", "unpaced"
PER_S = "TEST_CRM_PER_S"


class KnowingCrm(CrmServer):
    """Everybody is a lead of it. `asked_s`: when it was asked by whom; `sought_s`, `filed_s`: when first for whom, and which entry it got."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_s: dict[str, list[float]] = defaultdict(list)
        self.sought_s: dict[str, float] = {}
        self.filed_s: dict[str, float] = {}

    def _do(self, *, workspace: str, what: str, key: str, email: str = "") -> list[str]:
        now_s = monotonic()
        self.asked_s[workspace].append(now_s)
        if what == "people":
            self.sought_s.setdefault(key, now_s)
            return [key]
        if what == "activity":
            self.filed_s[key] = now_s
        return super()._do(workspace=workspace, what=what, key=key, email=email)


class PacedCrm(RemoteCrm):
    """The connector under one of its names."""

    def __init__(self, port: int, *, name: str, per_s_max: float | None) -> None:
        super().__init__(port)
        limits = replace(DECLARED.limits, requests_per_s_max=per_s_max)
        self._declared = replace(DECLARED, name=name, limits=limits)

    @property
    def declared(self) -> Declaration:
        return self._declared

    async def _ask(self, **asked: str) -> list[str]:
        async with sending():
            return await super()._ask(**asked)


async def run(settings: CrmSyncSettings, stop: asyncio.Event) -> None:
    crm = await EmbeddedCrm.open(settings.crm_url)
    port, per_s_max = int(os.environ[PORT]), float(os.environ[PER_S])
    connectors: Any = {
        PACED: PacedCrm(port, name=PACED, per_s_max=per_s_max),
        UNPACED: PacedCrm(port, name=UNPACED, per_s_max=None),
    }
    try:
        await serve(settings, stop, crm=crm, connectors=connectors)
    finally:
        await crm.close()


if __name__ == "__main__":
    main_of(CrmSyncSettings, run)
