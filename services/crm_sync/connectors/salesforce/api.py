"""Salesforce's REST API as far as the connector needs it: an account, its queries, what its answers hold and what its errors mean.

The one rule: whatever comes from outside goes into a query through `quoted`, and of an error only codes and names of fields are told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import Field as Key
from pydantic import SecretStr, TypeAdapter, ValidationError

from schemas.outcomes import CrmOwner
from services.crm_sync.connectors.interface import LOGIN_REFUSED, RECORD_GONE, SETUP_NEEDED
from services.crm_sync.connectors.vendor.grants import Grant
from services.crm_sync.connectors.vendor.logins import Kept, Renewed
from services.crm_sync.connectors.vendor.reach import Resolve
from services.crm_sync.connectors.vendor.site import NOTHING, Failed, Site, refused_field
from services.runtime.effects import RETRY_AFTER_MAX_S, EffectFailure, Refused, Transient, Unavailable

LEAD, CONTACT, OPPORTUNITY, ACCOUNT, TASK, USER = "Lead", "Contact", "Opportunity", "Account", "Task", "User"
ROLE, ROLES = "OpportunityContactRole", "OpportunityContactRoles"
"""Contacts of an opportunity: the kind of record, and what leads from either to it."""
TOKEN_PATH = "/services/oauth2/token"  # noqa: S105 - a path
ALREADY_THERE = "already_there"
"""The code of a refusal of a value that another record has."""
BAD_REFERENCE = "bad_reference"
"""The code of a refusal of a record that refers to one that is not there."""
_ESCAPES = {
    "\\": "\\\\",
    "'": "\\'",
    '"': '\\"',
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\b": "\\b",
    "\f": "\\f",
}


@dataclass(frozen=True)  # no slots: the accounts file takes its defaults from here
class SalesforceAccount:
    """One org. `url`: its My Domain address; `marker_field`: a unique text field of leads and activities.

    `company`: of a lead, who has to have one; `task_status`: of what has happened already.
    """

    url: str
    client_id: str
    client_secret: SecretStr
    api_version: str = "v62.0"
    marker_field: str = "Chat_Marker__c"
    company: str = "[not provided]"
    task_status: str = "Completed"
    private_addresses: bool = False


# ---------------------------------------------------------------- what answers hold


@dataclass(frozen=True, slots=True)
class _Owner:
    """A user, or a queue, which has no address that is its own."""

    id: Annotated[str, Key(validation_alias="Id")]
    name: Annotated[str | None, Key(validation_alias="Name")] = None
    email: Annotated[str | None, Key(validation_alias="Email")] = None

    def owner(self) -> CrmOwner:
        return CrmOwner(self.id, self.name, self.email)


@dataclass(frozen=True, slots=True)
class Record:
    """A record, with what of it was asked for."""

    id: Annotated[str, Key(validation_alias="Id")] = ""
    created: Annotated[datetime | None, Key(validation_alias="CreatedDate")] = None
    of: Annotated[_Owner | None, Key(validation_alias="Owner")] = None
    name: Annotated[str | None, Key(validation_alias="Name")] = None
    email: Annotated[str | None, Key(validation_alias="Email")] = None
    is_converted: Annotated[bool, Key(validation_alias="IsConverted")] = False
    is_closed: Annotated[bool, Key(validation_alias="IsClosed")] = False
    master: Annotated[str | None, Key(validation_alias="MasterRecordId")] = None
    who: Annotated[str | None, Key(validation_alias="WhoId")] = None
    what: Annotated[str | None, Key(validation_alias="WhatId")] = None
    contact: Annotated[str | None, Key(validation_alias="ContactId")] = None
    deals: Annotated["_Deals | None", Key(validation_alias="OpportunityContactRoles")] = None

    @property
    def owner(self) -> CrmOwner | None:
        """Who owns it."""
        return None if self.of is None else self.of.owner()

    @property
    def created_ms(self) -> int:
        """When it was created, in milliseconds."""
        return 0 if self.created is None else int(self.created.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class _Role:
    deal: Annotated[Record, Key(validation_alias="Opportunity")]


@dataclass(frozen=True, slots=True)
class _Deals:
    records: tuple[_Role, ...] = ()


@dataclass(frozen=True, slots=True)
class _Page:
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class _Rows:
    records: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class _Part:
    status: Annotated[int, Key(validation_alias="httpStatusCode")]
    body: Any


@dataclass(frozen=True, slots=True)
class _Parts:
    parts: Annotated[tuple[_Part, ...], Key(validation_alias="compositeResponse")]


@dataclass(frozen=True, slots=True)
class _Made:
    id: str


@dataclass(frozen=True, slots=True)
class SalesforceField:
    """A field of a kind of record, as `describe` tells it."""

    name: str
    label: str
    custom: bool = False


@dataclass(frozen=True, slots=True)
class _Described:
    fields: tuple[SalesforceField, ...]


_PAGE, _ROWS, _PARTS = TypeAdapter(_Page), TypeAdapter(_Rows), TypeAdapter(_Parts)
_MADE, _DESCRIBED = TypeAdapter(_Made), TypeAdapter(_Described)

# ---------------------------------------------------------------- what errors mean


@dataclass(frozen=True, slots=True)
class _Error:
    """`message` is looked into, and told to nobody."""

    code: Annotated[str, Key(validation_alias="errorCode")] = ""
    message: str = ""
    fields: tuple[str, ...] = ()


_ERRORS = TypeAdapter(tuple[_Error, ...])
GONE = frozenset({"ENTITY_IS_DELETED", "NOT_FOUND", "MALFORMED_ID", "INVALID_ID_FIELD"})
REFERENCES = frozenset({"INVALID_CROSS_REFERENCE_KEY", "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"})
LIMITS = frozenset({"REQUEST_LIMIT_EXCEEDED", "TOO_MANY_APEX_REQUESTS"})
NO_FIELD = frozenset({"INVALID_FIELD", "INVALID_FIELD_FOR_INSERT_UPDATE"})
"""There is no such field, or the app's user may not write it."""


def judge(failed: Failed, account: SalesforceAccount) -> EffectFailure | None:
    """Return what an error of Salesforce means, or None where its status says it all."""
    if failed.status >= 500:
        return None
    errors = failed.read(_ERRORS)
    return _meaning(errors[0], account) if errors else None


def _meaning(error: _Error, account: SalesforceAccount) -> EffectFailure | None:
    match error.code:
        case code if code in NO_FIELD and account.marker_field in (*error.fields, *error.message.split("'")):
            return Unavailable(SETUP_NEEDED)
        case code if code in LIMITS:  # of 24 hours that roll on
            return Unavailable("rate_limited", retry_after_s=RETRY_AFTER_MAX_S)
        case "UNABLE_TO_LOCK_ROW":
            return Transient("locked")
        case "DUPLICATE_VALUE":
            return Refused(ALREADY_THERE)
        case code if code in GONE:
            return Refused(RECORD_GONE)
        case code if code in REFERENCES:
            return (
                refused_field(error.fields[0], code) if "OwnerId" in error.fields else Refused(BAD_REFERENCE)
            )
        case "API_DISABLED_FOR_ORG" | "INSUFFICIENT_ACCESS" | "INVALID_SESSION_ID" | "":
            return None
        case code:
            return refused_field(error.fields[0], code) if error.fields else Refused(code.lower()[:64])


# ---------------------------------------------------------------- requests


def quoted(value: str) -> str:
    """Return a text as SOQL has it between quotes."""
    return "'" + "".join(_ESCAPES.get(char, char) for char in value) + "'"


def select(what: str, of: str, where: str) -> str:
    """Return a query of SOQL."""
    return f"SELECT {what} FROM {of} WHERE {where}"  # noqa: S608 - values come from `quoted`


def within(what: str, of: str, order: str = "") -> str:
    """Return a query of what belongs to a record, as a part of what is asked of it."""
    return f"({f'SELECT {what} FROM {of} {order}'.rstrip()})"  # noqa: S608


class Org:
    """An account and the way to it."""

    def __init__(self, account: SalesforceAccount, *, kept: Kept, resolve: Resolve | None = None) -> None:
        self.account = account
        grant = Grant(
            url=f"{account.url.rstrip('/')}{TOKEN_PATH}",
            form={
                "grant_type": "client_credentials",
                "client_id": account.client_id,
                "client_secret": account.client_secret.get_secret_value(),
            },
            private_addresses=account.private_addresses,
            resolve=resolve,
        )
        self._site = Site(
            account.url,
            login=Renewed(grant.credentials, renew=grant.token, kept=kept),
            # Nobody is there to acknowledge an alert; a rule that blocks still does. Owners are the workspace's to choose.
            headers={"Sforce-Duplicate-Rule-Header": "allowSave=true", "Sforce-Auto-Assign": "FALSE"},
            judge=partial(judge, account=account),
            private_addresses=account.private_addresses,
            resolve=resolve,
        )

    async def close(self) -> None:
        """End its connections."""
        await self._site.close()

    async def query(self, *queries: str, deleted_too: str | None = None) -> tuple[tuple[Record, ...], ...]:
        """Return what each query finds, in one request; `deleted_too` is one more, in the recycle bin as well."""
        asked = [("query", one) for one in queries] + ([("queryAll", deleted_too)] if deleted_too else [])
        parts = [
            {"method": "GET", "url": f"{self._path(how)}?q={quote(query)}", "referenceId": f"q{number}"}
            for number, (how, query) in enumerate(asked)
        ]
        answer = await self._site.read(
            "POST", self._path("composite"), _PARTS, json={"allOrNone": False, "compositeRequest": parts}
        )
        try:
            for part in answer.parts:
                if part.status >= 300:
                    error = _ERRORS.validate_python(part.body)[0]
                    raise _meaning(error, self.account) or Unavailable(LOGIN_REFUSED)
            return tuple(_PAGE.validate_python(part.body).records for part in answer.parts)
        except (ValidationError, IndexError):
            raise Unavailable("answer_not_understood") from None

    async def rows(self, query: str) -> tuple[dict[str, Any], ...]:
        """Return what a query finds, with all that it asks for."""
        return (await self._site.read("GET", self._path("query"), _ROWS, params={"q": query})).records

    async def create(self, kind: str, fields: Mapping[str, str | None]) -> str:
        """Return the id of a new record."""
        given = {name: value for name, value in fields.items() if value is not None}
        return (await self._site.write("POST", self._path("sobjects", kind), _MADE, json=given)).id

    async def change(self, kind: str, record_id: str, fields: Mapping[str, str]) -> None:
        """Change fields of a record."""
        await self._site.write("PATCH", self._path("sobjects", kind, record_id), NOTHING, json=dict(fields))

    async def fields(self, kind: str) -> Sequence[SalesforceField]:
        """Return all fields of a kind of record."""
        return (await self._site.read("GET", self._path("sobjects", kind, "describe"), _DESCRIBED)).fields

    def _path(self, *parts: str) -> str:
        return "/".join(("/services/data", self.account.api_version, *parts))
