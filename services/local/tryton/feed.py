"""Reads the feed of the Tryton on this machine, through its own API, as one of its sales people.

One rule: a person may read the notes of records they know, as in Tryton's client, so records are asked for first.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr, TypeAdapter

from services.crm_sync.connectors.tryton.rpc import TrytonAccount, TrytonRpc
from services.local.errors import LocalError
from services.local.ports import LOOPBACK
from services.local.tryton.trial import DATABASE, PERSON
from services.runtime.effects import EffectFailure

RECORDS_MAX = 200
"""Leads, deals and parties looked at, of each the newest."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A note, and what it stands on."""

    id: int
    what: str
    name: str
    text: str


async def read_feed(folder: Path, *, latest: int) -> list[Entry]:
    """Return the latest notes of each sort of record, the oldest first. Raises LocalError."""
    try:
        (port,) = TypeAdapter(tuple[int]).validate_json((folder / "ports.json").read_bytes())
        passwords = TypeAdapter(dict[str, str]).validate_json((folder / "passwords.json").read_bytes())
    except FileNotFoundError:
        raise LocalError(
            f"There is no Tryton in {folder}: start one with `chat-routing up --crm tryton`."
        ) from None
    account = TrytonAccount(f"http://{LOOPBACK}:{port}", DATABASE, PERSON, SecretStr(passwords[PERSON]))
    rpc = TrytonRpc(account)
    try:
        found = [
            *await _notes(rpc, "sale.opportunity", "party.rec_name", latest=latest),
            *await _notes(rpc, "party.party", "rec_name", latest=latest),
        ]
    except EffectFailure as failure:
        raise LocalError(
            f"Tryton does not answer ({failure.code}): is `chat-routing up --crm tryton` running?"
        ) from None
    finally:
        await rpc.close()
    return sorted(found, key=lambda one: one.id)


async def _notes(rpc: TrytonRpc, model: str, name: str, *, latest: int) -> list[Entry]:
    wanted = [name, *(["state:string"] if model == "sale.opportunity" else [])]
    records = {
        f"{model},{one['id']}": one for one in await rpc.search(model, [], wanted, records_max=RECORDS_MAX)
    }
    if not records:
        return []
    notes = await rpc.search(
        "ir.note", [["resource", "in", list(records)]], ["resource", "message"], records_max=latest
    )
    return [
        Entry(
            note["id"],
            record.get("state:string", "Party"),
            (record["party."] or {"rec_name": ""})["rec_name"] if "party." in record else record["rec_name"],
            note["message"],
        )
        for note in notes
        for record in [records[note["resource"]]]
    ]
