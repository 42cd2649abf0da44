"""A CRM on loopback that files whatever it is sent, and a connector to it; run as a program, crm_sync with that connector alone.

The one rule: it outlives the workers that are killed, so what stands in it is what they did. It files first and answers later, and
never looks whether a marker is there already: only a worker that asks before it sends again keeps a double out.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.embedded.connector import NAME as EMBEDDED
from services.crm_sync.connectors.embedded.connector import EmbeddedCrm
from services.crm_sync.connectors.interface import Connector, OutcomeUnknown, Undeclared
from services.crm_sync.connectors.records import (
    Capability,
    Declaration,
    Found,
    Limits,
    NewActivity,
    NewLead,
    Person,
)
from services.crm_sync.settings import CrmSyncSettings
from services.crm_sync.worker import serve
from services.runtime.effects import Unavailable
from services.runtime.process import main_of

NAME = "remote"
PORT = "TEST_CRM_PORT"
ANSWER_S = 0.02
CREATED: tuple[Capability, ...] = "lead", "activity"
DECLARED = Declaration(
    name=NAME,
    capabilities=frozenset(CREATED),
    limits=Limits(body_max=65_536, body_unit="characters", name_chars_max=256, people_found_max=100),
)


class CrmServer:
    """What it filed: the markers of leads and activities by workspace, in order. It hangs up on workspaces in `down`."""

    def __init__(self) -> None:
        self.port = 0
        self.down: set[str] = set()
        self.refusals = 0
        self.leads: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.activities: dict[str, list[str]] = defaultdict(list)
        self.looked_up = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                asked = orjson.loads(line)
                if asked["workspace"] in self.down:
                    self.refusals += 1
                    break
                answer = self._do(**asked)
                await asyncio.sleep(ANSWER_S)
                writer.write(orjson.dumps(answer) + b"\n")
                await writer.drain()
        except ConnectionError:
            pass  # its client was killed
        finally:
            writer.close()

    def _do(self, *, workspace: str, what: str, key: str, email: str = "") -> list[str]:
        """The ids of people with an address, the kind of what carries a marker, or the id of the new entry."""
        leads, activities = self.leads[workspace], self.activities[workspace]
        match what:
            case "people":
                return [marker for marker, address in leads if address == key]
            case "marker":
                self.looked_up += 1
                kinds = {marker: "lead" for marker, _ in leads} | dict.fromkeys(activities, "activity")
                return [kinds[key]] if key in kinds else []
            case "lead":
                leads.append((key, email))
            case "activity":
                activities.append(key)
        return [key]

    @asynccontextmanager
    async def open(self) -> AsyncIterator["CrmServer"]:
        """Serve on a free port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()


class RemoteCrm(Undeclared, Connector):
    """The connector: one connection for each request."""

    def __init__(self, port: int) -> None:
        self._port = port

    @property
    def declared(self) -> Declaration:
        return DECLARED

    async def _ask(self, **asked: str) -> list[str]:
        failure = OutcomeUnknown if asked["what"] in CREATED else Unavailable
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            raise Unavailable("refused") from None
        try:
            writer.write(orjson.dumps(asked) + b"\n")
            answer = await reader.readline()
        except OSError:
            raise failure("broken_off") from None
        finally:
            writer.close()
        if not answer:
            raise Unavailable("hung_up")
        found: list[str] = orjson.loads(answer)
        return found

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        found = await self._ask(workspace=workspace_id, what="people", key=email)
        return [Person(CrmRecord("lead", marker), "lead", 0) for marker in found]

    async def create_lead(self, lead: NewLead, *, marker: str, workspace_id: str) -> Found:
        await self._ask(workspace=workspace_id, what="lead", key=marker, email=lead.email)
        return Found(CrmRecord("lead", marker))

    async def add_activity(
        self,
        activity: NewActivity,  # noqa: ARG002  its marker is enough
        *,
        to: CrmRecord,
        marker: str,
        workspace_id: str,
    ) -> Found:
        assert to.type == "lead"
        await self._ask(workspace=workspace_id, what="activity", key=marker)
        return Found(CrmRecord("activity", marker))

    async def find_marker(
        self,
        marker: str,
        *,
        workspace_id: str,
        on: Sequence[CrmRecord] = (),  # noqa: ARG002  it can look everywhere
    ) -> Found | None:
        found = await self._ask(workspace=workspace_id, what="marker", key=marker)
        return Found(CrmRecord(found[0], marker)) if found else None

    async def close(self) -> None:
        """Nothing is kept open."""


async def run(settings: CrmSyncSettings, stop: asyncio.Event) -> None:
    crm = await EmbeddedCrm.open(settings.crm_url)
    connector: Any = RemoteCrm(int(os.environ[PORT]))
    try:
        await serve(settings, stop, crm=crm, connectors={NAME: connector, EMBEDDED: connector})
    finally:
        await crm.close()


if __name__ == "__main__":
    main_of(CrmSyncSettings, run)
