"""HubSpot's API for CRM objects: an account, the paths, what its answers hold and what its errors mean.

The one rule: of an error only names are told that HubSpot or this connector gave: a property's, a problem's. Its sentences quote values.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Annotated, Literal, TypeAlias
from urllib.parse import quote

from pydantic import Field as Key
from pydantic import SecretStr, TypeAdapter, ValidationError

from schemas.outcomes import CrmOwner
from services.crm_sync.connectors.interface import RECORD_GONE, SETUP_NEEDED
from services.crm_sync.connectors.vendor.logins import Fixed
from services.crm_sync.connectors.vendor.reach import Resolve
from services.crm_sync.connectors.vendor.remembered import Remembered
from services.crm_sync.connectors.vendor.site import Failed, Params, Site, refused_field
from services.runtime.effects import RETRY_AFTER_MAX_S, EffectFailure, Refused, Transient, Unavailable

Area: TypeAlias = Literal["objects", "properties", "owners", "lists"]
CONTACTS, DEALS, COMPANIES, NOTES, TICKETS = "contacts", "deals", "companies", "notes", "tickets"
MARKER = "chat_marker"
"""The property that no two records of a kind share a value of."""
ALREADY_THERE = "already_there"
"""The code of a refusal of a value that is another record's and can't be this one's as well."""
MARKER_NOT_UNIQUE = "marker_not_unique"
LOCKED_PAUSE_S = 2.0
"""What HubSpot asks for after a 423."""
BURST_PAUSE_S = 10.0
"""The window of the burst limit, for a 429 that does not name it."""


@dataclass(frozen=True)  # no slots: the accounts file takes its defaults from here
class HubspotAccount:
    """One HubSpot account. `api_version`: a date such as 2026-03, or v3; `portal_id`: its number, for links to records."""

    token: SecretStr
    url: str = "https://api.hubapi.com"
    api_version: str = "2026-03"
    portal_id: str | None = None
    app_url: str = "https://app.hubspot.com"
    lead_stages: tuple[str, ...] = ("subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead")
    ticket_pipeline: str = "0"
    ticket_stage: str = "1"
    private_addresses: bool = False


# ---------------------------------------------------------------- what answers hold


@dataclass(frozen=True, slots=True)
class _Linked:
    id: str


@dataclass(frozen=True, slots=True)
class _Links:
    results: tuple[_Linked, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """A record of any kind. Only properties that were asked for are there, and those without a value are None."""

    id: str
    properties: dict[str, str | None]
    associations: dict[str, _Links] = field(default_factory=dict)

    def get(self, name: str) -> str:
        """Return a property's value, empty where it has none."""
        return self.properties.get(name) or ""

    def linked(self, kind: str) -> tuple[str, ...]:
        """Return the ids of the records of a kind it is associated with, each once: HubSpot names one for every label it has."""
        return tuple(dict.fromkeys(one.id for one in self.associations.get(kind, _Links()).results))


@dataclass(frozen=True, slots=True)
class _Batch:
    results: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """One of the values a property can have, and what people read."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Property:
    """What HubSpot knows of a property."""

    name: str
    label: str
    unique: Annotated[bool, Key(validation_alias="hasUniqueValue")] = False
    hubspots_own: Annotated[bool, Key(validation_alias="hubspotDefined")] = False
    hidden: bool = False
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class _Properties:
    results: tuple[Property, ...]


@dataclass(frozen=True, slots=True)
class Owner:
    """A user who can own records."""

    id: str
    email: str | None = None
    first_name: Annotated[str | None, Key(validation_alias="firstName")] = None
    last_name: Annotated[str | None, Key(validation_alias="lastName")] = None


RECORD = TypeAdapter(Record)
PROPERTY = TypeAdapter(Property)
PROPERTIES = TypeAdapter(_Properties)
OWNER = TypeAdapter(Owner)
_BATCH = TypeAdapter(_Batch)

# ---------------------------------------------------------------- what errors mean


@dataclass(frozen=True, slots=True)
class _Detail:
    code: str | None = None
    context: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Error:
    """All of it may be missing, says HubSpot."""

    message: str = ""
    policy: Annotated[str, Key(validation_alias="policyName")] = ""
    errors: tuple[_Detail, ...] = ()


@dataclass(frozen=True, slots=True)
class _Invalid:
    """A property that was refused, as the message of an error lists them in JSON."""

    name: str
    error: str = "invalid"


_ERROR = TypeAdapter(_Error)
_INVALID = TypeAdapter(tuple[_Invalid, ...])


def judge(failed: Failed) -> EffectFailure | None:
    """Return what an error of HubSpot means, or None where its status says it all."""
    error = failed.read(_ERROR) or _Error()
    match failed.status:
        case 429:
            return Unavailable("rate_limited", retry_after_s=_pause_s(failed, error))
        case 423:  # too much is written to one record at a time; nothing was
            return Transient("locked", retry_after_s=failed.pause_s or LOCKED_PAUSE_S)
        case 477:  # the account moves to another data centre
            return Unavailable("migrating", retry_after_s=failed.pause_s or RETRY_AFTER_MAX_S)
        case 409:
            return Refused(ALREADY_THERE)
        case 400:
            return _refusal(error)
    return None


def _pause_s(failed: Failed, error: _Error) -> float:
    if failed.pause_s is not None:
        return failed.pause_s
    if error.policy == "DAILY":  # until midnight in the account's time zone, which it does not tell
        return RETRY_AFTER_MAX_S
    window = failed.headers.get("x-hubspot-ratelimit-interval-milliseconds", "")
    return int(window) / 1000 if re.fullmatch(r"\d{1,9}", window) else BURST_PAUSE_S


def _refusal(error: _Error) -> EffectFailure | None:
    if error.message.endswith(" already has that value."):
        return Refused(ALREADY_THERE)
    if "associations are not valid" in error.message:
        return Refused(RECORD_GONE)
    problems = _problems(error)
    if any(problem == "PROPERTY_DOESNT_EXIST" for _, problem in problems):
        # One of ours, or it would not be sent: somebody has deleted it.
        return Unavailable(SETUP_NEEDED)
    return refused_field(*problems[0]) if problems else None


def _problems(error: _Error) -> list[tuple[str, str]]:
    """Return the properties that were refused and what is wrong with them."""
    detailed = [
        (name, detail.code or "invalid")
        for detail in error.errors
        for name in detail.context.get("propertyName", ())
    ]
    try:
        listed = _INVALID.validate_json(error.message.partition(": ")[2])
    except ValidationError:
        listed = ()
    return detailed + [(one.name, one.error) for one in listed]


# ---------------------------------------------------------------- requests


class Desk:
    """An account and the way to it. `prepared`: kinds of records that have their properties; `preparing`: one makes them."""

    def __init__(
        self,
        account: HubspotAccount,
        *,
        resolve: Resolve | None = None,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self.account = account
        self.owners = Remembered[str, CrmOwner](now_s=now_s)
        self.prepared: set[str] = set()
        self.preparing = asyncio.Lock()
        self.site = Site(
            account.url,
            login=Fixed(account.token.get_secret_value()),
            judge=judge,
            private_addresses=account.private_addresses,
            resolve=resolve,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.site.close()

    def path(self, area: Area, *parts: str) -> str:
        """Return a path of this account's version: `/crm/objects/2026-03/…`, or `/crm/v3/objects/…` as it was before the dates."""
        version = self.account.api_version
        order = (version, area) if version.startswith("v") else (area, version)
        return "/".join(("/crm", *order, *(quote(part, safe="") for part in parts)))

    def is_lead(self, contact: Record) -> bool:
        """Whether a contact is in a lead's stage."""
        return contact.get("lifecyclestage") in self.account.lead_stages

    async def get(
        self,
        kind: str,
        record_id: str,
        *,
        properties: Iterable[str] = (),
        links: Iterable[str] = (),
        by: str | None = None,
    ) -> Record | None:
        """Return a record by its id, or by the unique property `by`, or None. One that was merged is the one it was merged into.

        This reads the record itself. A search would read an index, in which a record that was just made is missing for a while.
        """
        params: Params = {
            name: value
            for name, value in (
                ("properties", ",".join(properties)),
                ("associations", ",".join(links)),
                ("idProperty", by or ""),
            )
            if value
        }
        try:
            return await self.site.read("GET", self.path("objects", kind, record_id), RECORD, params=params)
        except Refused as refused:
            if refused.code != RECORD_GONE:
                raise
            return None

    async def get_all(
        self, kind: str, record_ids: Iterable[str], *, properties: Iterable[str]
    ) -> tuple[Record, ...]:
        """Return those of these records (at most 100) that are there, in one request."""
        asked = {"inputs": [{"id": one} for one in record_ids], "properties": list(properties)}
        batch = await self.site.read("POST", self.path("objects", kind, "batch", "read"), _BATCH, json=asked)
        return batch.results
