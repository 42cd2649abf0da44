"""Which account at a CRM a workspace uses: what `CHAT_CRM_ACCOUNTS_FILE` says.

    {"acme": {"connector": "tryton", "url": "https://crm.example.com", "database": "acme", "user": "chat", "password": "…"},
     "shop": {"connector": "zendesk_sell", "token": "…"}}

The one rule: what the file holds is never shown: an error names the place and what is wrong, not the value. Passwords go over TLS, or
nowhere beyond this machine.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from schemas.types import Id
from services.crm_sync.connectors.hubspot.api import HubspotAccount
from services.crm_sync.connectors.salesforce.api import SalesforceAccount
from services.crm_sync.connectors.tryton.rpc import TrytonAccount
from services.crm_sync.connectors.zendesk_sell.api import APP_URL as SELL_APP_URL
from services.crm_sync.connectors.zendesk_sell.api import URL as SELL_URL
from services.crm_sync.connectors.zendesk_sell.api import OAuth, SellAccount
from services.crm_sync.connectors.zoho_crm.api import ZohoCrmAccount
from services.crm_sync.connectors.zoho_desk import DeskAccount

Account = TrytonAccount | SellAccount | HubspotAccount | SalesforceAccount | ZohoCrmAccount | DeskAccount
Accounts = Mapping[str, tuple[Account, ...]]
"""By workspace: its CRM's, and a second one for tickets where it has that."""
Kind = TypeVar("Kind", bound=Account)


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address such as https://crm.example.com was expected")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("an address without user, query and fragment was expected")
    if parts.scheme == "http" and not _on_loopback(parts.hostname):
        raise ValueError("https was expected: http is for this machine only")
    return url.rstrip("/")


def _on_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_ApiName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
"""Of a field: it becomes a part of queries."""


class _Part(BaseModel):
    """Something in the file. `connector` tells the CRMs apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _ZohoClient(_Part):
    """What logs in at a product of Zoho's."""

    client_id: str = Field(min_length=1)
    client_secret: SecretStr = Field(min_length=1)
    refresh_token: SecretStr = Field(min_length=1)
    accounts_url: Annotated[str, AfterValidator(_address)] = "https://accounts.zoho.com"
    private_addresses: bool = False


class _Desk(_ZohoClient):
    """Zoho Desk, for the tickets of a workspace whose CRM has none."""

    org_id: str = Field(pattern=r"^[0-9]+$")
    department_id: str = Field(pattern=r"^[0-9]+$")
    url: Annotated[str, AfterValidator(_address)] = "https://desk.zoho.com"
    api_version: str = Field(default="v1", pattern=r"^v[0-9]+$")
    reference_field: str = Field(default="cf_chat_reference", pattern=r"^cf_\w+$")
    type_field: str = Field(default="cf_chat_type", pattern=r"^cf_\w+$")
    tag_field: str = Field(default="cf_chat_tag", pattern=r"^cf_\w+$")


class _WithoutTickets(_Part):
    """An account at a CRM that has no tickets."""

    desk: _Desk | None = None


class _Tryton(_WithoutTickets):
    connector: Literal["tryton"]
    url: Annotated[str, AfterValidator(_address)]
    database: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    user: str = Field(min_length=1, pattern=r"^[^:]+$")
    password: SecretStr = Field(min_length=1)

    def account(self) -> TrytonAccount:
        return TrytonAccount(self.url, self.database, self.user, self.password)


class _Sell(_WithoutTickets):
    connector: Literal["zendesk_sell"]
    url: Annotated[str, AfterValidator(_address)] = SELL_URL
    api_version: str = Field(default="v2", pattern=r"^v[0-9]+$")
    app_url: Annotated[str, AfterValidator(_address)] = SELL_APP_URL
    token: SecretStr | None = Field(default=None, min_length=1)
    client_id: str | None = Field(default=None, min_length=1)
    client_secret: SecretStr | None = Field(default=None, min_length=1)
    refresh_token: SecretStr | None = Field(default=None, min_length=1)
    reference_field: str = Field(default="Chat reference", min_length=1)
    private_addresses: bool = False

    @model_validator(mode="after")
    def _has_one_login(self) -> Self:
        of_app = (self.client_id, self.client_secret, self.refresh_token)
        if (self.token is None) is not all(of_app) or (self.token is not None and any(of_app)):
            raise ValueError("a token was expected, or client_id, client_secret and refresh_token")
        return self

    def account(self) -> SellAccount:
        login: SecretStr | OAuth | None = self.token
        if self.client_id and self.client_secret and self.refresh_token:
            login = OAuth(self.client_id, self.client_secret, self.refresh_token)
        assert login is not None
        return SellAccount(
            login,
            self.reference_field,
            self.url,
            self.api_version,
            self.app_url,
            private_addresses=self.private_addresses,
        )


class _Hubspot(_Part):
    connector: Literal["hubspot"]
    token: SecretStr = Field(min_length=1)
    url: Annotated[str, AfterValidator(_address)] = HubspotAccount.url
    api_version: str = Field(default=HubspotAccount.api_version, pattern=r"^(v[0-9]+|[0-9]{4}-[0-9]{2})$")
    portal_id: str | None = Field(default=None, pattern=r"^[0-9]+$")
    app_url: Annotated[str, AfterValidator(_address)] = HubspotAccount.app_url
    lead_stages: tuple[str, ...] = HubspotAccount.lead_stages
    ticket_pipeline: str = HubspotAccount.ticket_pipeline
    ticket_stage: str = HubspotAccount.ticket_stage
    private_addresses: bool = False

    def account(self) -> HubspotAccount:
        return HubspotAccount(**self.model_dump(exclude={"connector"}))


class _Salesforce(_WithoutTickets):
    connector: Literal["salesforce"]
    url: Annotated[str, AfterValidator(_address)]
    client_id: str = Field(min_length=1)
    client_secret: SecretStr = Field(min_length=1)
    api_version: str = Field(default=SalesforceAccount.api_version, pattern=r"^v[0-9]+\.[0-9]$")
    marker_field: str = Field(default=SalesforceAccount.marker_field, pattern=r"^[A-Za-z]\w*__c$")
    company: str = Field(default=SalesforceAccount.company, min_length=1, max_length=255)
    task_status: str = Field(default=SalesforceAccount.task_status, min_length=1)
    private_addresses: bool = False

    def account(self) -> SalesforceAccount:
        return SalesforceAccount(**self.model_dump(exclude={"connector", "desk"}))


class _ZohoCrm(_WithoutTickets, _ZohoClient):
    connector: Literal["zoho_crm"]
    url: Annotated[str, AfterValidator(_address)] = ZohoCrmAccount.url
    app_url: Annotated[str, AfterValidator(_address)] = ZohoCrmAccount.app_url
    api_version: str = Field(default=ZohoCrmAccount.api_version, pattern=r"^v[0-9]+(\.[0-9]+)?$")
    reference_field: _ApiName = ZohoCrmAccount.reference_field
    email_fields: tuple[_ApiName, ...] = Field(
        default=ZohoCrmAccount.email_fields, min_length=1, max_length=5
    )
    company: str = Field(default=ZohoCrmAccount.company, min_length=1, max_length=200)
    closed_statuses: tuple[str, ...] = ZohoCrmAccount.closed_statuses
    closed_stages: tuple[str, ...] = ZohoCrmAccount.closed_stages

    def account(self) -> ZohoCrmAccount:
        return ZohoCrmAccount(**self.model_dump(exclude={"connector", "desk"}))


_Entry = _Tryton | _Sell | _Hubspot | _Salesforce | _ZohoCrm
CONNECTORS = ("tryton", "zendesk_sell", "hubspot", "salesforce", "zoho_crm")
_FILE = TypeAdapter(dict[Id, Annotated[_Entry, Field(discriminator="connector")]])


def read_accounts(path: Path) -> Accounts:
    """Return the accounts of the workspaces that have one. Raises OSError, or ValueError that says what is wrong where."""
    try:
        entries = _FILE.validate_json(path.read_bytes())
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        raise ValueError("; ".join(map(_told, problems))) from None
    return {workspace_id: _accounts(entry) for workspace_id, entry in entries.items()}


def _accounts(entry: _Entry) -> tuple[Account, ...]:
    of_desk = entry.desk if isinstance(entry, _WithoutTickets) else None
    return (entry.account(),) if of_desk is None else (entry.account(), DeskAccount(**dict(of_desk)))


def _told(problem: ErrorDetails) -> str:
    """Where and what. The place is the one in the file, which knows nothing of the kind that its connector chose."""
    workspace_id, *rest = problem["loc"] or ("the file",)
    if problem["type"] == "union_tag_invalid":
        return f"{workspace_id}.connector: one of {', '.join(CONNECTORS)} was expected"
    if problem["type"] == "union_tag_not_found":
        return f"{workspace_id}.connector: Field required"
    return f"{'.'.join(map(str, (workspace_id, *rest[1:])))}: {problem['msg']}"


def of_kind(accounts: Accounts, kind: type[Kind]) -> dict[str, Kind]:
    """Return those at one CRM."""
    return {
        workspace_id: account
        for workspace_id, of_workspace in accounts.items()
        for account in of_workspace
        if isinstance(account, kind)
    }
