"""Zoho Desk for tickets, beside a CRM that has none: `with_desk` makes one connector of both.

The one rule: Desk has no key that keeps a ticket unique. Its marker stands in a custom field, and is asked for before a ticket is sent
again. A ticket is tied to Desk's own contact, which Desk finds or makes by the address.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

from pydantic import BaseModel, SecretStr, TypeAdapter

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.interface import SETUP_NEEDED, Connector, check_size
from services.crm_sync.connectors.records import Declaration, Found, NewTicket
from services.crm_sync.connectors.rich_text import as_html
from services.crm_sync.connectors.vendor.logins import Kept
from services.crm_sync.connectors.vendor.opened import Opened
from services.crm_sync.connectors.vendor.site import Failed, Site, refused_field
from services.crm_sync.connectors.vendor.zoho import SCHEME, login_of
from services.runtime.effects import EffectFailure, Refused, Unavailable
from services.runtime.logs import log

NAME = "zoho_desk"
DESCRIPTION_MAX, SUBJECT_MAX, LAST_NAME_MAX, CUSTOM_MAX = 65_535, 255, 80, 100
"""Characters of these fields. Only the description is never cut here: whoever makes the text knows how."""
CHANNEL = "Chat"
_log = log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskAccount:
    """A workspace's account at Desk. The fields are API names of tickets' custom text fields."""

    org_id: str
    department_id: str
    client_id: str
    client_secret: SecretStr
    refresh_token: SecretStr
    url: str = "https://desk.zoho.com"
    accounts_url: str = "https://accounts.zoho.com"
    api_version: str = "v1"
    reference_field: str = "cf_chat_reference"
    type_field: str = "cf_chat_type"
    tag_field: str = "cf_chat_tag"
    private_addresses: bool = False


class _Ticket(BaseModel):
    id: str
    webUrl: str | None = None  # noqa: N815 - Desk's name


class _Tickets(BaseModel):
    data: list[_Ticket]


_TICKET = TypeAdapter(_Ticket)
_FOUND: TypeAdapter[_Tickets | None] = TypeAdapter(_Tickets | None)
"""Nothing found is an answer without a body."""


@dataclass(frozen=True, slots=True)
class _FieldError:
    fieldName: str  # noqa: N815 - Desk's name
    errorType: str = "invalid"  # noqa: N815


@dataclass(frozen=True, slots=True)
class _Errors:
    errors: tuple[_FieldError, ...] = field(default=())


_ERRORS = TypeAdapter(_Errors)


def judge(failed: Failed, account: DeskAccount) -> EffectFailure | None:
    """What Desk means by an error."""
    if failed.status == 404:
        # No request here names a record that could be gone.
        return Unavailable("path_unknown")
    said = failed.read(_ERRORS) if failed.status == 422 else None
    if said is None or not said.errors:
        return None
    named = {one.fieldName.rpartition("/")[2] for one in said.errors}
    if named & {account.reference_field, account.type_field}:
        # What is written there is good for any field of text.
        return Unavailable(SETUP_NEEDED)
    return refused_field(said.errors[0].fieldName, said.errors[0].errorType)


class ZohoDesk:
    """The accounts at Desk of all workspaces that have one. `kept`: where renewed tokens are."""

    def __init__(self, accounts: Mapping[str, DeskAccount], *, kept: Kept) -> None:
        self._accounts = accounts
        self._sites = Opened({one: _site(account, kept) for one, account in accounts.items()})

    async def close(self) -> None:
        """Close the connections of all accounts."""
        await self._sites.close()

    async def create(self, ticket: NewTicket, *, marker: str, workspace_id: str) -> Found:
        """Create a ticket."""
        site, account = self._sites.of(workspace_id), self._accounts[workspace_id]
        try:
            return await _made(ticket, site, account, marker=marker)
        except Refused as refused:
            # Without its field, or with one that takes certain words only, a ticket matters more than its tag.
            if ticket.tag is None or account.tag_field.lower() not in refused.code:
                raise
            _log.warning("desk_tag_not_taken", code=refused.code)
        return await _made(replace(ticket, tag=None), site, account, marker=marker)

    async def find(self, marker: str, *, workspace_id: str) -> Found | None:
        """Return the ticket with this marker."""
        site, account = self._sites.of(workspace_id), self._accounts[workspace_id]
        found = await site.read(
            "GET",
            f"/api/{account.api_version}/tickets/search",
            _FOUND,
            params={
                "departmentId": account.department_id,
                "customField1": f"{account.reference_field}:{marker}",
                "limit": 1,
            },
        )
        return None if found is None or not found.data else Found(_record(found.data[0]))


async def _made(ticket: NewTicket, site: Site, account: DeskAccount, *, marker: str) -> Found:
    reached = {"email": ticket.email, "phone": ticket.phone}
    known = {name: value for name, value in reached.items() if value is not None}
    own = {account.reference_field: marker, account.type_field: ticket.type}
    if ticket.tag is not None:
        own[account.tag_field] = ticket.tag[:CUSTOM_MAX]
    made = await site.write(
        "POST",
        f"/api/{account.api_version}/tickets",
        _TICKET,
        json={
            "subject": ticket.title[:SUBJECT_MAX],
            "departmentId": account.department_id,
            "contact": {"lastName": ticket.name[:LAST_NAME_MAX], **known},
            **known,
            "description": as_html(ticket.text),
            "channel": CHANNEL,
            "cf": own,
        },
    )
    return Found(_record(made))


def _record(ticket: _Ticket) -> CrmRecord:
    return CrmRecord("ticket", ticket.id, ticket.webUrl)


def _site(account: DeskAccount, kept: Kept) -> Site:
    return Site(
        account.url,
        login=login_of(account, kept=kept),
        scheme=SCHEME,
        headers={"orgId": account.org_id},
        judge=partial(judge, account=account),
        private_addresses=account.private_addresses,
    )


class _WithDesk:
    """The CRM itself, but that tickets are Desk's."""

    def __init__(self, crm: Connector, desk: ZohoDesk) -> None:
        self._crm = crm
        self._desk = desk
        limits = crm.declared.limits
        # Characters are never more than those of the HTML that shows them, so what fits Desk counted as HTML fits the CRM too.
        assert limits.body_unit in ("characters", "html"), "bytes can't be compared with what Desk counts"
        self._declared = Declaration(
            name=f"{crm.declared.name}+{NAME}",
            capabilities=crm.declared.capabilities | {"ticket"},
            limits=replace(limits, body_max=min(limits.body_max, DESCRIPTION_MAX), body_unit="html"),
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._crm, name)

    @property
    def declared(self) -> Declaration:
        return self._declared

    async def create_ticket(self, ticket: NewTicket, *, marker: str, workspace_id: str) -> Found:
        check_size(len(as_html(ticket.text)), self._declared.limits)
        return await self._desk.create(ticket, marker=marker, workspace_id=workspace_id)

    async def find_marker(
        self, marker: str, *, workspace_id: str, on: Sequence[CrmRecord] = ()
    ) -> Found | None:
        found = await self._crm.find_marker(marker, workspace_id=workspace_id, on=on)
        return found or await self._desk.find(marker, workspace_id=workspace_id)


def with_desk(crm: Connector, desk: ZohoDesk) -> Connector:
    """Return the CRM with Desk's tickets, under a name of its own: `tryton+zoho_desk`. Closing both is the caller's."""
    return cast("Connector", _WithDesk(crm, desk))
