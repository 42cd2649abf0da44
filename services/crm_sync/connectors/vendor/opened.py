"""What stands for the CRM account of each workspace that has one.

The one rule: a workspace without an account is refused by name, so that whoever asked sees what is missing.
"""

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from services.runtime.effects import Refused


class Closing(Protocol):
    """Something with connections."""

    async def close(self) -> None:
        """Close them."""


Account = TypeVar("Account", bound=Closing)


class Opened(Generic[Account]):
    """The accounts of one connector, by workspace; several workspaces may share one."""

    def __init__(self, accounts: Mapping[str, Account]) -> None:
        self._accounts = accounts

    def of(self, workspace_id: str) -> Account:
        """Return the workspace's account. Raises Refused("no_account") where it has none."""
        account = self._accounts.get(workspace_id)
        if account is None:
            raise Refused("no_account")
        return account

    async def close(self) -> None:
        """Close the connections of all accounts."""
        for account in set(self._accounts.values()):
            await account.close()
