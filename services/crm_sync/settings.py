"""Settings of crm_sync; each is an environment variable named `CHAT_…`."""

from pathlib import Path

from pydantic import Field, SecretStr

from services.runtime.effect_settings import EffectSettings

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
    crm_feed_token: SecretStr | None = Field(
        default=None,
        min_length=TOKEN_CHARS_MIN,
        description="password of the embedded CRM's feed page; without one the page is shown on loopback only",
    )
    crm_feed_token_file: Path | None = Field(default=None, description="file that holds this password")

    def feed_token(self) -> str | None:
        """Return the feed page's password, if there is one. Raises OSError or ValueError where its file is of no use."""
        if self.crm_feed_token is not None:
            return self.crm_feed_token.get_secret_value()
        if self.crm_feed_token_file is None:
            return None
        token = self.crm_feed_token_file.read_text("utf-8").strip()
        if len(token) < TOKEN_CHARS_MIN:
            raise ValueError(f"CHAT_CRM_FEED_TOKEN_FILE holds fewer than {TOKEN_CHARS_MIN} characters")
        return token
