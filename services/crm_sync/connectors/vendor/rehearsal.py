"""Goes through everything a connector declares, once, with somebody made up: what a recording of an account consists of.

The one rule: everything it sends follows from one word, so a recording can be played back to the same requests. It leaves a lead, a
note, an entry in the feed and a ticket behind: for a sandbox, or an account where somebody removes them.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from schemas.events import Layouts
from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.interface import Connector
from services.crm_sync.connectors.records import NewActivity, NewLead, NewNote, NewTicket, Staff

AT = "2026-11-21T09:00:00.000Z"
LINK = "https://chat.example.com/t/rehearsal"
AGENT = Staff("rehearsal", "Rehearsal Agent")
PLAN = "rehearsal.json"
"""Beside the exchanges: what has to be the same when they are played back."""
SECRET = frozenset({"token", "password", "user", "client_id", "client_secret", "refresh_token"})


def plan(accounts: bytes, *, workspace_id: str, connector: str, word: str) -> bytes:
    """Return what `PLAN` holds: the connector, the word, and the workspace's entry of the accounts file without secrets and addresses."""
    entry = without_secrets(orjson.loads(accounts)[workspace_id])
    return orjson.dumps(
        {"connector": connector, "word": word, "account": entry},
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
    )


def without_secrets(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of the accounts file with which a connector can be made, and nobody let in."""

    def kept(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return without_secrets(value)
        if isinstance(value, str) and value.startswith("http"):
            return "https://masked.example.com"
        return "masked" if name in SECRET else value

    return {name: kept(name, value) for name, value in entry.items()}


async def rehearse(connector: Connector, *, word: str, workspace_id: str) -> list[CrmRecord]:
    """Return what was made. `word`: letters and digits that were not used for an earlier rehearsal. Raises what the connector does."""
    email = f"rehearsal.{word}@example.com"
    name = f"Rehearsal {word}"
    can = connector.declared.capabilities
    made: list[CrmRecord] = []
    await connector.find_people(email, workspace_id=workspace_id)
    if "lead" in can:
        lead = NewLead(name, email, "chat", note="A rehearsal.", phone="+14155550123")
        made.append((await connector.create_lead(lead, marker=f"{word}L", workspace_id=workspace_id)).record)
        await connector.find_marker(f"{word}L", workspace_id=workspace_id)
    people = await connector.find_people(email, workspace_id=workspace_id)
    to = people[0].record if people else (made[0] if made else None)
    if to is not None:
        made += await _about(connector, to, word=word, workspace_id=workspace_id)
    if "ticket" in can:
        ticket = NewTicket(
            "missed_chat", "Missed chat", "Do you ship?", "Do you ship?", name, LINK, AT, email=email
        )
        made.append(
            (await connector.create_ticket(ticket, marker=f"{word}T", workspace_id=workspace_id)).record
        )
        await connector.find_marker(f"{word}T", workspace_id=workspace_id)
    if "card" in can:
        await connector.card_fields(workspace_id=workspace_id)
    return made


async def _about(connector: Connector, to: CrmRecord, *, word: str, workspace_id: str) -> list[CrmRecord]:
    """What is done to a record that is there."""
    can = connector.declared.capabilities
    made = []
    if "activity" in can:
        entry = NewActivity("chat", "Chat", "Do you ship?\nYes.", AT, AT, LINK, (AGENT,))
        found = await connector.add_activity(entry, to=to, marker=f"{word}A", workspace_id=workspace_id)
        made.append(found.record)
        await connector.find_marker(f"{word}A", workspace_id=workspace_id, on=(to,))
    if "note" in can:
        note = NewNote("Please call.", AGENT)
        made.append(
            (await connector.add_note(note, to=to, marker=f"{word}N", workspace_id=workspace_id)).record
        )
    if "phone" in can:
        await connector.set_phone("+14155550124", of=to, workspace_id=workspace_id)
    if "card" in can:
        await connector.read_card(to, layouts=Layouts(), workspace_id=workspace_id)
    return made
