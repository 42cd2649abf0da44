"""Settings of crm_sync; each is an environment variable named `CHAT_…`."""

from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from services.crm_sync.accounts import Accounts, read_accounts
from services.runtime.connection import secret_of
from services.runtime.effect_settings import EffectSettings
from services.runtime.failures import WorkerFailed

TOKEN_CHARS_MIN = 16


class CrmSyncSettings(EffectSettings):
    """What crm_sync can be told, beyond what every worker can."""

    group: str = Field(default="chat-crm-sync", min_length=1, description="consumer group")
    http_port: int = Field(
        default=9104, ge=0, le=65_535, description="port of the worker's pages (0: any free one)"
    )
    ledger_url: str = Field(
        default="sqlite:///chat-crm-sync.db",
        description="database of the ledger, of what waits for a CRM that is away, and of the workspaces' CRM settings: SQLite for "
        "one worker, PostgreSQL beyond",
    )
    crm_url: str = Field(default="sqlite:///chat-crm.db", description="database of the embedded CRM")
    crm_concurrency: int = Field(
        default=16, ge=1, le=1_000, description="records of a topic handled at a time"
    )
    crm_tickets: Literal["off", "missed", "all"] = Field(
        default="all",
        description="which finished conversations become tickets, where the CRM can: all, missed ones only, or none (off)",
    )
    crm_accounts_file: Path | None = Field(
        default=None,
        description="file with the workspaces' accounts at their CRMs: JSON that maps a workspace to its connector and what that needs",
    )
    crm_feed_token: SecretStr | None = Field(
        default=None,
        min_length=TOKEN_CHARS_MIN,
        description="password of the embedded CRM's pages; without one they are shown on loopback only",
    )
    crm_feed_token_file: Path | None = Field(default=None, description="file that holds this password")
    archive_api_url: str | None = Field(
        default=None,
        description="address of the archive's read API, which is asked whom a chat is with, with the token of who asks for a card; https, or "
        "http on loopback or to a name without a dot, such as a container's; without one there are no cards",
    )

    @field_validator("archive_api_url")
    @classmethod
    def _tokens_go_there(cls, url: str | None) -> str | None:
        if url is None:
            return None
        told = "an address such as https://archive.example.com was expected"
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError(told) from None
        if (
            not host
            or parts.scheme not in ("http", "https")
            or "@" in parts.netloc
            or parts.query
            or parts.fragment
        ):
            raise ValueError(told)
        if parts.scheme == "http" and not _is_near(host):
            raise ValueError(
                "tokens are sent there, so it must be https; http does on loopback and to names without a dot"
            )
        return url.rstrip("/")

    def accounts(self) -> Accounts:
        """Return the workspaces' accounts. Raises WorkerFailed where their file is of no use."""
        if self.crm_accounts_file is None:
            return {}
        try:
            return read_accounts(self.crm_accounts_file)
        except OSError as error:
            raise WorkerFailed(f"CHAT_CRM_ACCOUNTS_FILE can't be read ({type(error).__name__}).") from error
        except ValueError as error:
            raise WorkerFailed(f"CHAT_CRM_ACCOUNTS_FILE can't be used: {error}.") from None

    def feed_token(self) -> str | None:
        """Return the feed page's password, if there is one. Raises OSError or ValueError where its file is of no use."""
        token = secret_of(self.crm_feed_token, self.crm_feed_token_file)
        if token is not None and len(token) < TOKEN_CHARS_MIN:
            raise ValueError(f"CHAT_CRM_FEED_TOKEN_FILE holds fewer than {TOKEN_CHARS_MIN} characters")
        return token


def _is_near(host: str) -> bool:
    """Whether a host is this machine, or a name that only a network of one's own knows."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        # A bare number is an address, too.
        return "." not in host and host[0].isalpha()
