"""Zoho CRM's API as far as the connector needs it: an account, what its answers hold and how it is asked.

The one rule: whatever comes from outside goes into a query through `quoted`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial, reduce
from typing import Annotated, Any, Literal, TypeVar

import httpx
import orjson
from pydantic import Field as Key
from pydantic import SecretStr, TypeAdapter, ValidationError

from schemas.outcomes import CrmOwner
from services.crm_sync.connectors.interface import RECORD_GONE, OutcomeUnknown
from services.crm_sync.connectors.vendor.logins import Kept
from services.crm_sync.connectors.vendor.reach import Resolve
from services.crm_sync.connectors.vendor.site import Failed, Params, Site, judged
from services.crm_sync.connectors.vendor.zoho import SCHEME, login_of
from services.crm_sync.connectors.zoho_crm.errors import SAID, Named, Result, judge, meaning
from services.runtime.effects import Refused, Unavailable

Answer = TypeVar("Answer")

LEADS, CONTACTS, DEALS, ACCOUNTS = "Leads", "Contacts", "Deals", "Accounts"
PARTS_MAX = 5
"""Requests in a composite one."""
FOUND_MAX = 25
"""Records that one of these may find."""


@dataclass(frozen=True)  # no slots: the accounts file takes its defaults from here
class ZohoCrmAccount:
    """One organization. `url` and `accounts_url`: of its data centre; `reference_field`: a text field of leads, for the marker.

    `email_fields`: where leads and contacts have addresses; `company`: of a lead, whose layout may ask for one.
    """

    client_id: str
    client_secret: SecretStr
    refresh_token: SecretStr
    url: str = "https://www.zohoapis.com"
    accounts_url: str = "https://accounts.zoho.com"
    app_url: str = "https://crm.zoho.com/crm"
    api_version: str = "v8"
    reference_field: str = "Chat_Reference"
    email_fields: tuple[str, ...] = ("Email",)
    company: str = "[not provided]"
    closed_statuses: tuple[str, ...] = ("Junk Lead", "Lost Lead", "Not Qualified")
    closed_stages: tuple[str, ...] = (
        "Closed Won",
        "Closed Lost",
        "Closed Lost to Competition",
        "Closed-Lost to Competition",
    )
    private_addresses: bool = False


# ---------------------------------------------------------------- what answers hold


@dataclass(frozen=True, slots=True)
class Record:
    """A record of any kind, with what of it was asked for."""

    id: str
    created: Annotated[datetime | None, Key(validation_alias="Created_Time")] = None
    of: Annotated[Named | None, Key(validation_alias="Owner")] = None
    status: Annotated[str | None, Key(validation_alias="Lead_Status")] = None
    stage: Annotated[str | None, Key(validation_alias="Stage")] = None
    contact: Annotated[Named | None, Key(validation_alias="Contact_Name")] = None
    content: Annotated[str | None, Key(validation_alias="Note_Content")] = None

    @property
    def owner(self) -> CrmOwner | None:
        """Who owns it."""
        return None if self.of is None else CrmOwner(self.of.id, self.of.name, self.of.email)

    @property
    def created_ms(self) -> int:
        """When it was created, in milliseconds."""
        return 0 if self.created is None else int(self.created.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class _Page:
    data: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rows:
    data: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class _PartAnswer:
    """204, whose body nobody describes, is nothing found."""

    status: Annotated[int, Key(validation_alias="status_code")]
    body: Any = None


@dataclass(frozen=True, slots=True)
class _PartDetails:
    response: _PartAnswer | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    details: _PartDetails
    code: str = ""


@dataclass(frozen=True, slots=True)
class _Parts:
    parts: Annotated[tuple[_Part, ...], Key(validation_alias="__composite_requests")]


@dataclass(frozen=True, slots=True)
class ZohoField:
    """What Zoho knows of a field."""

    name: Annotated[str, Key(validation_alias="api_name")]
    label: Annotated[str, Key(validation_alias="field_label")]
    custom: Annotated[bool, Key(validation_alias="custom_field")] = False


@dataclass(frozen=True, slots=True)
class _Fields:
    fields: tuple[ZohoField, ...]


_PAGE: TypeAdapter[_Page | None] = TypeAdapter(_Page | None)
_ROWS: TypeAdapter[_Rows | None] = TypeAdapter(_Rows | None)
_PARTS, _FIELDS = TypeAdapter(_Parts), TypeAdapter(_Fields)

# ---------------------------------------------------------------- requests


@dataclass(frozen=True, slots=True)
class Ask:
    """A request within a composite one."""

    method: Literal["GET", "POST"]
    uri: str
    params: Params | None = None
    body: Mapping[str, str] | None = None

    def told(self, number: int) -> dict[str, Any]:
        """Return it as Zoho wants it."""
        told = {"method": self.method, "uri": self.uri, "sub_request_id": str(number)}
        return told | {
            name: dict(value)
            for name, value in (("params", self.params), ("body", self.body))
            if value is not None
        }


def quoted(value: str) -> str:
    """Return a text as COQL has it between quotes."""
    return "'" + value.replace("'", "''") + "'"


def among(columns: Sequence[str], values: Sequence[str]) -> str:
    """Return the criterion that one of the columns has one of the values."""
    listed = ", ".join(map(quoted, values))
    # COQL takes criteria in pairs, each pair in brackets.
    return reduce("({} or {})".format, (f"{column} in ({listed})" for column in columns))


class Org:
    """An account and the way to it."""

    def __init__(self, account: ZohoCrmAccount, *, kept: Kept, resolve: Resolve | None = None) -> None:
        self.account = account
        self._judge = partial(judge, own=account.reference_field)
        self._site = Site(
            account.url,
            login=login_of(account, kept=kept, resolve=resolve),
            scheme=SCHEME,
            judge=self._judge,
            private_addresses=account.private_addresses,
            resolve=resolve,
        )

    async def close(self) -> None:
        """End its connections."""
        await self._site.close()

    def select(self, what: str, of: str, where: str) -> Ask:
        """Return a query for the newest records that meet a criterion."""
        query = f"select {what} from {of} where {where} order by Created_Time desc limit {FOUND_MAX}"  # noqa: S608
        return Ask("POST", self._path("coql"), body={"select_query": query})

    def notes_of(self, module: str, record_id: str) -> Ask:
        """Return a request for a record's newest notes."""
        params: Params = {
            "fields": "Note_Content",
            "per_page": FOUND_MAX,
            "sort_by": "Created_Time",
            "sort_order": "desc",
        }
        return Ask("GET", self._path(module, record_id, "Notes"), params=params)

    async def ask(self, *asked: Ask) -> list[tuple[Record, ...]]:
        """Return what each of these requests finds, five of them at a time; a record that is gone has nothing."""
        found: list[tuple[Record, ...]] = []
        for first in range(0, len(asked), PARTS_MAX):
            some = asked[first : first + PARTS_MAX]
            answer = await self._site.read(
                "POST",
                self._path("__composite_requests"),
                _PARTS,
                json={"__composite_requests": [one.told(number) for number, one in enumerate(some, start=1)]},
            )
            if len(answer.parts) != len(some):
                raise Unavailable("answer_not_understood")
            found += map(self._found, answer.parts)
        return found

    async def record(self, module: str, record_id: str, *fields: str) -> Record | None:
        """Return these fields of a record, or None where it is gone."""
        page = await self._got(_PAGE, module, record_id, params={"fields": ",".join(fields)})
        return page.data[0] if page is not None and page.data else None

    async def row(self, module: str, record_id: str) -> Mapping[str, Any] | None:
        """Return all fields of a record, or None where it is gone."""
        rows = await self._got(_ROWS, module, record_id)
        return rows.data[0] if rows is not None and rows.data else None

    async def fields(self, module: str) -> Sequence[ZohoField]:
        """Return all fields of a kind of record."""
        path = self._path("settings", "fields")
        return (await self._site.read("GET", path, _FIELDS, params={"module": module})).fields

    async def create(self, *path: str, given: Mapping[str, Any]) -> str:
        """Return the id of a new record."""
        return await self._written(
            "POST", path, {name: one for name, one in given.items() if one is not None}
        )

    async def change(self, module: str, record_id: str, given: Mapping[str, str]) -> None:
        """Change fields of a record."""
        await self._written("PUT", (module, record_id), given)

    def _found(self, part: _Part) -> tuple[Record, ...]:
        answer = part.details.response
        if answer is None:
            error = Result(part.code)
            raise meaning(error, own=self.account.reference_field) or Unavailable("answer_not_understood")
        if answer.status >= 300:
            failed = Failed(answer.status, httpx.Headers(), orjson.dumps(answer.body), writes=False)
            failure = self._judge(failed) or judged(failed)
            if failure.code != RECORD_GONE:
                raise failure
            return ()
        try:
            page = _PAGE.validate_python(answer.body or None)
        except ValidationError:
            raise Unavailable("answer_not_understood") from None
        return () if page is None else page.data

    async def _got(
        self, answer: TypeAdapter[Answer | None], *path: str, params: Params | None = None
    ) -> Answer | None:
        try:
            return await self._site.read("GET", self._path(*path), answer, params=params)
        except Refused as refused:
            if refused.code != RECORD_GONE:
                raise
            return None

    async def _written(
        self, method: Literal["POST", "PUT"], path: Sequence[str], given: Mapping[str, Any]
    ) -> str:
        said = await self._site.write(method, self._path(*path), SAID, json={"data": [given]})
        result = said.data[0] if said.data else said
        # A success may hold a record that failed.
        failure = meaning(result, own=self.account.reference_field) if result.status == "error" else None
        if failure is not None:
            raise failure
        if result.status != "success" or result.details.id is None:
            raise OutcomeUnknown("answer_not_understood")
        return result.details.id

    def _path(self, *parts: str) -> str:
        return "/".join(("/crm", self.account.api_version, *parts))
