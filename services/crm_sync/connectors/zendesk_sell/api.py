"""Zendesk Sell's API as far as the connector needs it: one account's requests, and the fields it reads of a record.

The one rule: everything comes in an envelope, one thing under `data`, many under `items`, each of these in an envelope of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, SecretStr, TypeAdapter

from services.crm_sync.connectors.interface import RECORD_GONE, SETUP_NEEDED
from services.crm_sync.connectors.vendor.grants import Grant
from services.crm_sync.connectors.vendor.logins import Fixed, Kept, Login, Renewed
from services.crm_sync.connectors.vendor.site import Failed, Params, Site, refused_field
from services.runtime.effects import EffectFailure, Refused, Unavailable

Thing = TypeVar("Thing")

URL = "https://api.getbase.com"
APP_URL = "https://app.futuresimple.com"
VERSION = "v2"
TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path
TOKEN_LASTS_S = 3_600
PAGE_MAX = 100
"""Things on a page, as Sell allows at most."""
PAGES_MAX = 10
"""Pages read of what an account has a few of: its stages, its sources."""


@dataclass(frozen=True, slots=True)
class OAuth:
    """A developer app of the account, and the refresh token somebody has got for it."""

    client_id: str
    client_secret: SecretStr
    refresh_token: SecretStr


@dataclass(frozen=True, slots=True)
class SellAccount:
    """A workspace's account at Sell. `login`: an access token made in Sell's settings, or an app that renews its own.

    `reference_field`: the name of the leads' custom text field that holds the marker; it has to be filterable. `app_url`: of the pages
    that people see, for links to records.
    """

    login: SecretStr | OAuth
    reference_field: str
    url: str = URL
    version: str = VERSION
    app_url: str = APP_URL
    private_addresses: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A lead, a deal or a contact; what its kind lacks is None."""

    id: int
    created_at: datetime
    owner_id: int | None = None
    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    organization_name: str | None = None
    title: str | None = None
    description: str | None = None
    industry: str | None = None
    website: str | None = None
    email: str | None = None
    phone: str | None = None
    mobile: str | None = None
    status: str | None = None
    source_id: int | None = None
    unqualified_reason_id: int | None = None
    is_organization: bool = False
    contact_id: int | None = None
    """Of a deal the contact it is with; of a person the company they belong to."""
    stage_id: int | None = None
    value: str | float | None = None
    currency: str | None = None
    customer_status: str | None = None
    prospect_status: str | None = None
    address: Mapping[str, str | None] | None = None
    tags: tuple[str, ...] = ()
    custom_fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def called(self) -> str:
        """Return the name people see."""
        whole = " ".join(part for part in (self.first_name, self.last_name) if part)
        return self.name or whole or self.organization_name or ""


@dataclass(frozen=True, slots=True)
class Note:
    """A note on a record."""

    id: int
    content: str


@dataclass(frozen=True, slots=True)
class Named:
    """A source, a stage, a user or a custom field."""

    id: int
    name: str
    email: str | None = None
    category: str | None = None
    """Of a stage."""
    for_contact: bool = True
    for_organisation: bool = True
    """Of a contact's custom field: whether people have it, and companies."""


class One(BaseModel, Generic[Thing]):
    """One thing as Sell answers it."""

    data: Thing


class Many(BaseModel, Generic[Thing]):
    """A page of things."""

    items: list[One[Thing]]

    @property
    def things(self) -> list[Thing]:
        """Return them without their envelopes."""
        return [item.data for item in self.items]


RECORD = TypeAdapter(One[Record])
RECORDS = TypeAdapter(Many[Record])
NOTE = TypeAdapter(One[Note])
NOTES = TypeAdapter(Many[Note])
NAMED = TypeAdapter(One[Named])
MANY_NAMED = TypeAdapter(Many[Named])


class _Error(BaseModel):
    code: str
    field: str | None = None


class _ErrorEnvelope(BaseModel):
    error: _Error


class _Errors(BaseModel):
    errors: list[_ErrorEnvelope]


_ERRORS = TypeAdapter(_Errors)
OF_A_NOTE = "/resource_id"
"""The field that is refused where a note's record is not there."""
OWN = "/custom_fields/"
"""What a custom field that is refused begins with: only the marker's is written."""


def judge(failed: Failed) -> EffectFailure | None:
    """What Sell means by an error: the first of them that names a field, in the order of its answer."""
    said = failed.read(_ERRORS)
    errors = [] if said is None else [one.error for one in said.errors]
    if failed.status == 404 and any(one.code == "incorrect_path" for one in errors):
        return Unavailable("path_unknown")
    if failed.status in (400, 422):
        for one in errors:
            if one.field == OF_A_NOTE:
                return Refused(RECORD_GONE)
            if one.field is not None and one.field.startswith(OWN):
                return Unavailable(SETUP_NEEDED)
            if one.field is not None:
                return refused_field(one.field, one.code)
    return None


class Sell:
    """One account."""

    def __init__(self, account: SellAccount, *, kept: Kept) -> None:
        self._version = account.version
        self._site = Site(
            account.url,
            login=_login(account, kept),
            judge=judge,
            private_addresses=account.private_addresses,
        )

    async def close(self) -> None:
        """End its connections."""
        await self._site.close()

    async def one(self, path: str, answer: TypeAdapter[One[Thing]]) -> Thing:
        """Return the thing at this path."""
        return (await self._site.read("GET", self._at(path), answer)).data

    async def page(self, path: str, answer: TypeAdapter[Many[Thing]], **wanted: str | int) -> list[Thing]:
        """Return the first page, of the greatest size there is."""
        params: Params = {"per_page": PAGE_MAX, **wanted}
        return (await self._site.read("GET", self._at(path), answer, params=params)).things

    async def all(self, path: str, answer: TypeAdapter[Many[Thing]]) -> list[Thing]:
        """Return what stands on all pages. Raises Refused where these are more than an account can well have."""
        found: list[Thing] = []
        for number in range(1, PAGES_MAX + 1):
            page = await self.page(path, answer, page=number)
            found += page
            if len(page) < PAGE_MAX:
                return found
        raise Refused("too_many_pages")

    async def create(self, path: str, data: Mapping[str, Any], answer: TypeAdapter[One[Thing]]) -> Thing:
        """Return the new thing."""
        return (await self._site.write("POST", self._at(path), answer, json={"data": data})).data

    async def change(self, path: str, data: Mapping[str, Any], answer: TypeAdapter[One[Thing]]) -> Thing:
        """Return the changed thing. What is not named stays as it is."""
        return (await self._site.write("PUT", self._at(path), answer, json={"data": data})).data

    def _at(self, path: str) -> str:
        return f"/{self._version}/{path}"


def _login(account: SellAccount, kept: Kept) -> Login:
    if isinstance(account.login, SecretStr):
        return Fixed(account.login.get_secret_value())
    app = account.login
    grant = Grant(
        url=account.url.rstrip("/") + TOKEN_PATH,
        form={"grant_type": "refresh_token", "refresh_token": app.refresh_token.get_secret_value()},
        basic=(app.client_id, app.client_secret.get_secret_value()),
        lasts_s=TOKEN_LASTS_S,
        private_addresses=account.private_addresses,
    )
    return Renewed(grant.credentials, renew=grant.token, kept=kept)
