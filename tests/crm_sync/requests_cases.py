"""What a conversation, or an agent's request, costs in requests: the cases of `docs/connectors/requests.md`, acted out on a connector.

The one rule: the page says what is counted here, and the test of each connector compares its column.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from schemas.events import Visitor
from services.crm_sync import core
from services.crm_sync.connectors.interface import OutcomeUnknown
from services.crm_sync.connectors.records import Capability
from services.crm_sync.connectors.requests import counted
from services.crm_sync.store import Store
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics
from tests.crm_sync.connector_world import NOTE, World
from tests.crm_sync.material import enveloped, lead_request, settings, transcript
from tests.crm_sync.ports import Weather
from tests.crm_sync.scene import Process, Scene

PAGE = Path("docs/connectors/requests.md")
ADDRESS = "hanako@example.com"
PHONE = "+81 3 1234 5678"

Act = Callable[[Process], Awaitable[None]]


def conversation(number: int, email: str | None = ADDRESS) -> Act:
    async def act(process: Process) -> None:
        await process.transcript(enveloped(transcript(chat_id=f"c{number}", visitor_email=email)))

    return act


def request(number: int, kind: Any, *, email: str = ADDRESS, value: str | None = "Please call") -> Act:
    async def act(process: Process) -> None:
        visitor = Visitor("v1", "山田 花子", email)
        asked = lead_request(
            request_id=f"r{number}", chat_id=f"x{number}", kind=kind, visitor=visitor, value=value
        )
        await process.notice(enveloped(asked))

    return act


async def requests_by_case(world: World, folder: Path) -> Mapping[str, int]:
    """Act out what the connector can do, on somebody it knows and on strangers; return the requests of each case."""
    await world.add("山田 花子", ADDRESS)
    await _asked_once(world)
    metrics = Metrics()
    url = f"sqlite:///{folder}/requests.db"
    store = await Store.open(url)
    asked: dict[str, int] = {}
    async with Ledger(url, group="effects") as ledger:
        weather = Weather(counted(world.connector, pace=None, metrics=metrics))

        async def case(
            name: str,
            act: Act,
            *,
            needs: Capability,
            tickets: core.Tickets = "off",
            ahead: Mapping[str, list[tuple[Exception, bool]]] | None = None,
            **configured: Any,
        ) -> None:
            if needs not in world.connector.declared.capabilities:
                return
            weather.ahead = dict(ahead or {})
            scene = Scene(weather, ledger, store, tickets=tickets)
            before = sent(metrics)
            await act(scene.sync(settings(**configured)))
            assert {one.result for one in scene.settled()} <= {"done", "no_match"}, (name, scene.told())
            asked[name] = sent(metrics) - before

        await case("the visitor has no address", conversation(1, None), needs="activity")
        await case("nobody has it", conversation(2, "stranger@example.com"), needs="activity")
        await case("somebody has it", conversation(3), needs="activity")
        await case(
            "… and the answer to the entry got lost",
            conversation(4),
            needs="activity",
            ahead={"add_activity": [(OutcomeUnknown("broken_off"), True)]},
        )
        await case("… and a ticket is made", conversation(5), needs="ticket", tickets="all")
        await case(
            "nobody has it, and a lead is made by policy",
            conversation(6, "new@example.com"),
            needs="lead",
            lead_policy="always",
        )
        await case("an agent asks for a lead", request(7, "lead", email="asked@example.com"), needs="lead")
        await case("an agent notifies sales", request(8, "note"), needs="note")
        await case("an agent sets a phone number", request(9, "phone", value=PHONE), needs="phone")
    await store.close()
    return asked


async def _asked_once(world: World) -> None:
    """Let it log in, and ask for what it keeps: fields, sources, owners."""
    crm = world.connector
    (somebody, *_) = await crm.find_people(ADDRESS, workspace_id="acme")
    await crm.find_marker("none", workspace_id="acme")
    if "lead" in crm.declared.capabilities:
        lead = replace(world.lead, email="first@example.com")
        await crm.create_lead(lead, marker="first", workspace_id="acme")
    if "note" in crm.declared.capabilities:
        await crm.add_note(NOTE, to=somebody.record, marker="second", workspace_id="acme")


def sent(metrics: Metrics) -> int:
    """How many requests were counted, whatever they were for."""
    lines = metrics.render().decode().splitlines()
    return int(
        sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("chat_crm_requests_total{"))
    )


def told(connector: str) -> Mapping[str, int]:
    """What the page says of a connector."""
    table = next(block for block in PAGE.read_text().split("\n\n") if block.startswith("| case"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    column = rows[0].index(connector)
    return {row[0]: int(row[column]) for row in rows[2:] if row[column].isdigit()}
