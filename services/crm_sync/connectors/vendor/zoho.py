"""Zoho's login, the same for all its products: a refresh token that stays, and access tokens of an hour.

The one rule: Zoho gives ten access tokens in ten minutes for a refresh token, so all workers share one.
"""

from typing import Protocol

from pydantic import SecretStr

from services.crm_sync.connectors.vendor.grants import Grant
from services.crm_sync.connectors.vendor.logins import Kept, Renewed
from services.crm_sync.connectors.vendor.reach import Resolve

SCHEME = "Zoho-oauthtoken"
TOKEN_LASTS_S = 3_600


class ZohoClient(Protocol):
    """An account's part that logs in: a self client of Zoho's API console."""

    @property
    def accounts_url(self) -> str:
        """Where tokens are given, in the account's data centre."""

    @property
    def client_id(self) -> str:
        """The client's id."""

    @property
    def client_secret(self) -> SecretStr:
        """The client's secret."""

    @property
    def refresh_token(self) -> SecretStr:
        """What the account's owner has granted."""

    @property
    def private_addresses(self) -> bool:
        """Whether the URL may lead to private addresses."""


def login_of(client: ZohoClient, *, kept: Kept, resolve: Resolve | None = None) -> Renewed:
    """Return the client's login. `kept`: where renewed tokens are."""
    grant = Grant(
        url=f"{client.accounts_url}/oauth/v2/token",
        form={
            "grant_type": "refresh_token",
            "client_id": client.client_id,
            "client_secret": client.client_secret.get_secret_value(),
            "refresh_token": client.refresh_token.get_secret_value(),
        },
        lasts_s=TOKEN_LASTS_S,
        private_addresses=client.private_addresses,
        resolve=resolve,
    )
    return Renewed(grant.credentials, renew=grant.token, kept=kept)
