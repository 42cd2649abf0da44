"""The CRM Tryton, with its module "sale_opportunity": leads and deals are opportunities, contacts are parties, the feed is their notes.

    lead      sale.opportunity in state `lead`, with a party of its own that has the address
    deal      sale.opportunity in state `opportunity` or `converted`
    contact   party.party without an open lead or deal
    activity  ir.note on the opportunity, or on the party
    owner     company.employee, named by the code of its party

The one rule: Tryton keeps no marker unique. A note's marker is its last line, a lead's its reference, and nothing is looked for before it
is sent: the sync's claim lets one worker at a time send it, and has the marker asked for before it is sent again.
"""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import phonenumbers

from schemas.events import Layouts
from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.addresses import email_key, spellings
from services.crm_sync.connectors.interface import RECORD_GONE, Undeclared, check_size
from services.crm_sync.connectors.records import (
    Card,
    CardKind,
    Declaration,
    Field,
    Found,
    Limits,
    NewActivity,
    NewLead,
    NewNote,
    Person,
    PersonKind,
)
from services.crm_sync.connectors.tryton import cards
from services.crm_sync.connectors.tryton.rpc import NotTaken, TrytonAccount, TrytonRpc
from services.crm_sync.connectors.tryton.values import OWNER, moment_ms, owner_of
from services.crm_sync.connectors.vendor.opened import Opened
from services.crm_sync.connectors.vendor.remembered import Remembered
from services.crm_sync.connectors.vendor.site import refused_field
from services.runtime.effects import Refused, Transient

NAME = "tryton"
OPPORTUNITY, PARTY, NOTE = "sale.opportunity", "party.party", "ir.note"
MODELS: Mapping[str, str] = {"lead": OPPORTUNITY, "deal": OPPORTUNITY, "contact": PARTY}
OPEN: Mapping[str, PersonKind] = {"lead": "lead", "opportunity": "deal", "converted": "deal"}
"""States of an opportunity that is not won, lost or cancelled."""
DECLARED = Declaration(
    name=NAME,
    capabilities=frozenset({"lead", "activity", "note", "phone", "card"}),
    # Tryton limits none of these: a note may be of any length, but nobody reads a longer one.
    limits=Limits(body_max=65_536, body_unit="characters", name_chars_max=200, people_found_max=50),
)
MERGES_FOLLOWED_MAX = 5
ANY = ["active", "in", [True, False]]
"""What is not active as well, which Tryton leaves out of a search that does not name it."""


class TrytonCrm(Undeclared):
    """A `Connector` to the Trytons of all workspaces that have an account. `now_s`: any clock that only goes forward."""

    def __init__(
        self,
        accounts: Mapping[str, TrytonAccount],
        *,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        # Workspaces that name the same account share its session.
        made = {account: TrytonRpc(account, now_s=now_s) for account in accounts.values()}
        self._accounts = accounts
        self._rpc = Opened({workspace_id: made[account] for workspace_id, account in accounts.items()})
        self._owners = Remembered[tuple[str, str], tuple[int, CrmOwner]](now_s=now_s)
        self._columns = Remembered[str, cards.Columns](now_s=now_s)

    @property
    def declared(self) -> Declaration:
        """What this connector is, can do and allows."""
        return DECLARED

    async def close(self) -> None:
        """Close the connections of all accounts."""
        await self._rpc.close()

    # ------------------------------------------------------------ who is there

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        """Return open leads and deals of the parties with this address, and the parties that have none.

        An address that was deactivated counts: merging two parties does that to the addresses of the one that goes.
        """
        parties = await self._parties(email, workspace_id=workspace_id)
        if not parties:
            return []
        opportunities = await self._rpc.of(workspace_id).search(
            OPPORTUNITY,
            [["party", "in", list(parties)]],
            ["party", "state", "create_date", *OWNER],
            records_max=DECLARED.limits.people_found_max,
        )
        found = [
            Person(
                self._record(OPEN[one["state"]], one["id"], workspace_id),
                OPEN[one["state"]],
                moment_ms(one["create_date"]),
                owner=owner_of(one),
            )
            for one in opportunities
            if one["state"] in OPEN
        ]
        taken_care_of = {one["party"] for one in opportunities if one["state"] in OPEN}
        for party, created_ms in parties.items():
            if party not in taken_care_of:
                past = next((owner_of(one) for one in opportunities if one["party"] == party), None)
                record = self._record("contact", party, workspace_id)
                found.append(Person(record, "contact", created_ms, owner=past))
        return found

    async def find_marker(
        self, marker: str, *, workspace_id: str, on: Sequence[CrmRecord] = ()
    ) -> Found | None:
        """Return the lead or the note that carries this marker; a note on a party only if the party is among `on`.

        Tryton lets nobody but its administrators search all notes; those of opportunities can be searched through these.
        """
        rpc = self._rpc.of(workspace_id)
        pattern = _pattern(marker)
        opportunities = await rpc.search(
            OPPORTUNITY,
            ["OR", ["reference", "=", marker], ["notes", "where", [["message", "like", pattern]]]],
            ["state", "reference", *OWNER],
            records_max=1,
        )
        if opportunities and opportunities[0]["reference"] == marker:
            (lead,) = opportunities
            kind = OPEN.get(lead["state"], "deal")
            return Found(self._record(kind, lead["id"], workspace_id), owner_of(lead))
        places = [f"{OPPORTUNITY},{one['id']}" for one in opportunities] + [
            f"{PARTY},{one.id}" for one in on if MODELS.get(one.type) == PARTY
        ]
        if not places:
            return None
        notes = await rpc.search(
            NOTE, [["resource", "in", places], ["message", "like", pattern]], ["id"], records_max=1
        )
        owner = owner_of(opportunities[0]) if opportunities else None
        return Found(_note(notes[0]["id"]), owner) if notes else None

    # ------------------------------------------------------------ what is written

    async def create_lead(self, lead: NewLead, *, marker: str, workspace_id: str) -> Found:
        """Create a party and its lead. A party that was left without its lead gets it."""
        rpc = self._rpc.of(workspace_id)
        employee, owner = None, None
        if lead.owner_id is not None:
            employee, owner = await self._employee(lead.owner_id, workspace_id=workspace_id)
        party = await self._party(lead, workspace_id=workspace_id)
        values = {"party": party, "reference": marker, "description": lead.source, "comment": lead.note}
        if employee is not None:
            values["employee"] = employee
        return Found(
            self._record("lead", await rpc.create(OPPORTUNITY, values), workspace_id),
            owner,
        )

    async def add_activity(
        self, activity: NewActivity, *, to: CrmRecord, marker: str, workspace_id: str
    ) -> Found:
        """Add a note to an opportunity or a party."""
        check_size(len(activity.text), DECLARED.limits)
        to = await self._standing(to, workspace_id=workspace_id)
        message = f"{activity.title}\n\n{activity.text}\n{_last_line('chat', marker)}"
        return await self._add(message, to=to, owner=None, workspace_id=workspace_id)

    async def add_note(self, note: NewNote, *, to: CrmRecord, marker: str, workspace_id: str) -> Found:
        """Add an agent's note to an opportunity or a party; its owner comes back, who is told by others."""
        check_size(len(note.text), DECLARED.limits)
        to = await self._standing(to, workspace_id=workspace_id)
        owner = await self._owner(to, workspace_id=workspace_id)
        message = f"{note.text}\n— {note.author.name}\n{_last_line('note', marker)}"
        return await self._add(message, to=to, owner=owner, workspace_id=workspace_id)

    async def set_phone(self, phone: str, *, of: CrmRecord, workspace_id: str) -> Found:
        """Change the party's first phone number, or add one."""
        of = await self._standing(of, workspace_id=workspace_id)
        way = "" if MODELS[of.type] == PARTY else "party."
        fields = [f"{way}contact_mechanisms.{name}" for name in ("type", "value", "value_compact")]
        one = await self._read(of, fields, workspace_id=workspace_id)
        of_party = one["party."] if way else one
        if of_party is None:
            raise Refused("lead_without_party")
        rpc = self._rpc.of(workspace_id)
        numbers = [each for each in of_party["contact_mechanisms."] if each["type"] in ("phone", "mobile")]
        if not numbers:
            await rpc.create(
                "party.contact_mechanism", {"party": of_party["id"], "type": "phone", "value": phone}
            )
        elif phone not in (numbers[0]["value"], numbers[0]["value_compact"]):
            await rpc.change("party.contact_mechanism", numbers[0]["id"], {"value": phone})
        return Found(of)

    # ------------------------------------------------------------ cards

    async def card_fields(self, *, workspace_id: str) -> Mapping[CardKind, Sequence[Field]]:
        """Return the fields of leads and persons. Tryton knows no company of a person: a party is either."""
        known = await self._card_columns(workspace_id=workspace_id)
        return {kind: tuple(one.field for one in columns) for kind, columns in known.items()}

    async def read_card(self, record: CrmRecord, *, layouts: Layouts, workspace_id: str) -> Card:
        """Return the lead or deal with its party, or the party alone."""
        record = await self._standing(record, workspace_id=workspace_id)
        layout = cards.Layout(await self._card_columns(workspace_id=workspace_id), layouts)
        if MODELS[record.type] == OPPORTUNITY:
            one = await self._read(record, [*layout.of_lead, *OWNER], workspace_id=workspace_id)
            return Card(record, layout.lead(one), owner_of(one))
        one = await self._read(record, layout.of_person, workspace_id=workspace_id)
        return Card(record, layout.person(one), await self._owner(record, workspace_id=workspace_id))

    async def _card_columns(self, *, workspace_id: str) -> cards.Columns:
        return await self._columns.of(workspace_id, lambda: cards.columns(self._rpc.of(workspace_id)))

    # ------------------------------------------------------------ inside

    def _record(self, kind: PersonKind, number: int, workspace_id: str) -> CrmRecord:
        account = self._accounts[workspace_id]
        url = f"{account.url}/#{account.database}/model/{MODELS[kind]}/{number}"
        return CrmRecord(kind, str(number), url)

    async def _parties(self, email: str, *, workspace_id: str) -> dict[int, int]:
        """Return the parties with this address, the newest first, each with when it was created."""
        spelt = [["value", "ilike", _literally(one)] for one in spellings(email)]
        found = await self._rpc.of(workspace_id).search(
            "party.contact_mechanism",
            [["type", "=", "email"], ANY, ["party.active", "=", True], ["OR", *spelt]],
            ["value", "party", "party.create_date"],
            records_max=DECLARED.limits.people_found_max,
        )
        key = email_key(email)
        return {
            one["party"]: moment_ms(one["party."]["create_date"])
            for one in found
            if email_key(one["value"]) == key
        }

    async def _party(self, lead: NewLead, *, workspace_id: str) -> int:
        """Return the party of a new lead: a new one, or one that was left without its lead."""
        rpc = self._rpc.of(workspace_id)
        ways = [{"type": "email", "value": lead.email}]
        if lead.phone is not None:
            ways.append({"type": _phone_type(lead.phone), "value": lead.phone})
        # Parties that are created at the same moment get the same code on SQLite, and all but one are turned down for it.
        async with rpc.alone:
            left_behind = await self._party_without_lead(lead.email, workspace_id=workspace_id)
            if left_behind is not None:
                return left_behind
            try:
                return await rpc.create(PARTY, {"name": lead.name, "contact_mechanisms": [["create", ways]]})
            except NotTaken:
                # So may another worker's, and Tryton says it in a sentence only.
                raise Transient("party_not_taken") from None

    async def _party_without_lead(self, email: str, *, workspace_id: str) -> int | None:
        """Return a party with this address and no opportunity: one whose creation was the last thing that went well."""
        parties = await self._parties(email, workspace_id=workspace_id)
        if not parties:
            return None
        taken = await self._rpc.of(workspace_id).search(
            OPPORTUNITY,
            [["party", "in", list(parties)]],
            ["party"],
            records_max=DECLARED.limits.people_found_max,
        )
        with_one = {one["party"] for one in taken}
        return next((party for party in parties if party not in with_one), None)

    async def _employee(self, code: str, *, workspace_id: str) -> tuple[int, CrmOwner]:
        async def ask() -> tuple[int, CrmOwner]:
            rpc = self._rpc.of(workspace_id)
            found = await rpc.search(
                "company.employee",
                [["party.code", "=", code], ["company", "=", (await rpc.context())["company"]]],
                ["party.code", "party.rec_name", "party.email"],
                records_max=1,
            )
            owner = owner_of({"employee.": found[0]}) if found else None
            if owner is None:
                raise refused_field("owner_id", "unknown")
            return found[0]["id"], owner

        return await self._owners.of((workspace_id, code), ask)

    async def _standing(self, record: CrmRecord, *, workspace_id: str) -> CrmRecord:
        """Return the record itself, or whom the party was merged into. What an opportunity is, is found when it is written to."""
        if record.type not in MODELS or not (record.id.isascii() and record.id.isdigit()):
            raise Refused(RECORD_GONE)
        number = int(record.id)
        if MODELS[record.type] == OPPORTUNITY:
            return record
        for _ in range(MERGES_FOLLOWED_MAX):
            found = await self._rpc.of(workspace_id).search(
                PARTY, [["id", "=", number], ANY], ["active", "replaced_by"], records_max=1
            )
            if not found:
                break
            if found[0]["active"]:
                return self._record("contact", number, workspace_id)
            if found[0]["replaced_by"] is None:
                break
            number = found[0]["replaced_by"]
        raise Refused(RECORD_GONE)

    async def _read(
        self, record: CrmRecord, fields: Sequence[str], *, workspace_id: str
    ) -> Mapping[str, Any]:
        found = await self._rpc.of(workspace_id).search(
            MODELS[record.type], [["id", "=", int(record.id)]], fields, records_max=1
        )
        if not found:
            raise Refused(RECORD_GONE)
        return found[0]

    async def _owner(self, record: CrmRecord, *, workspace_id: str) -> CrmOwner | None:
        """Return the owner of an opportunity; of a party, that of its newest opportunity."""
        by = "id" if MODELS[record.type] == OPPORTUNITY else "party"
        found = await self._rpc.of(workspace_id).search(
            OPPORTUNITY, [[by, "=", int(record.id)]], list(OWNER), records_max=1
        )
        if by == "id" and not found:
            raise Refused(RECORD_GONE)
        return owner_of(found[0]) if found else None

    async def _add(self, message: str, *, to: CrmRecord, owner: CrmOwner | None, workspace_id: str) -> Found:
        try:
            number = await self._rpc.of(workspace_id).create(
                NOTE, {"resource": f"{MODELS[to.type]},{to.id}", "message": message}
            )
        except NotTaken:
            # Tryton says so in a sentence, in the user's language.
            await self._read(to, ["id"], workspace_id=workspace_id)
            raise
        return Found(_note(number), owner)


def _note(number: int) -> CrmRecord:
    return CrmRecord("note", str(number))


def _last_line(what: str, marker: str) -> str:
    return f"[{what} {marker}]"


def _pattern(marker: str) -> str:
    """What the messages of notes with this marker are like: it is their last line, after the four letters of `chat` or `note`."""
    return f"%\n[____ {_literally(marker)}]"


def _literally(text: str) -> str:
    """Return what in a pattern of Tryton's `like` stands for this text alone."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _phone_type(phone: str) -> str:
    """Return the sort of contact mechanism: a Tryton that checks phone numbers would refuse a lead over one that is none."""
    try:
        valid = phonenumbers.is_valid_number(phonenumbers.parse(phone))
    except phonenumbers.NumberParseException:
        valid = False
    return "phone" if valid else "other"
