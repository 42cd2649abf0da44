"""Settings of the notifier; each is an environment variable named `CHAT_…`."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from schemas.addresses import usual_form
from schemas.types import Language
from services.notifier.servers import read_servers
from services.notifier.smtp import Server, Tls
from services.runtime.effect_settings import EffectSettings
from services.runtime.failures import WorkerFailed
from services.runtime.links import LinkSettings


class NotifierSettings(EffectSettings, LinkSettings):
    """What the notifier can be told beyond what every worker can."""

    group: str = Field(default="chat-notifier", min_length=1, description="consumer group")
    http_port: int = Field(default=9102, ge=0, le=65_535, description="port of the pages (0: any free one)")
    smtp_host: str = Field(
        default="127.0.0.1", min_length=1, description="SMTP server of workspaces without their own"
    )
    smtp_port: int = Field(default=587, ge=1, le=65_535, description="its port")
    smtp_tls: Tls = Field(
        default="auto", description="auto (STARTTLS is required off this machine), starttls, tls or off"
    )
    smtp_user: str | None = Field(default=None, description="user to log in as (none: no login)")
    smtp_password_file: Path | None = Field(default=None, description="file that holds the password")
    smtp_servers_file: Path | None = Field(
        default=None,
        description='secret file with the servers of workspaces that have their own: `{"WORKSPACE": {"host", "port", "tls", '
        '"user", "password"}}`, all but the host optional',
    )
    smtp_connections_max: int = Field(
        default=32,
        ge=1,
        le=100,
        description="mails being sent through one server at a time; three quarters of them at most to those it is slow about",
    )
    mail_concurrency: int = Field(
        default=32, ge=1, le=1_000, description="records of a topic handled at a time"
    )
    mail_from: Annotated[str, AfterValidator(usual_form)] = Field(
        default="chat-routing@localhost",
        description="sender where neither department nor workspace names one",
    )
    mail_language: Language = Field(default="en", description="language of mails about the CRM")
    ledger_url: str = Field(
        default="sqlite:///chat-notifier.db",
        description="database of the ledger, and of what waits for servers that are away: SQLite for one worker, PostgreSQL beyond",
    )

    def server(self) -> Server:
        """Return the SMTP server, its password read from the file. Raises WorkerFailed where that is of no use."""
        password = _first_line(self.smtp_password_file) if self.smtp_password_file else None
        return Server(
            host=self.smtp_host,
            port=self.smtp_port,
            tls=self.smtp_tls,
            user=self.smtp_user,
            password=password,
            local_hostname=self._local_hostname,
        )

    def servers(self) -> dict[str, Server]:
        """Return the servers of workspaces that have their own. Raises WorkerFailed where their file is of no use."""
        if self.smtp_servers_file is None:
            return {}
        try:
            return read_servers(self.smtp_servers_file, local_hostname=self._local_hostname)
        except OSError as error:
            raise WorkerFailed(f"CHAT_SMTP_SERVERS_FILE can't be read ({type(error).__name__}).") from error
        except ValueError as error:
            raise WorkerFailed(f"CHAT_SMTP_SERVERS_FILE can't be used: {error}.") from None

    @property
    def _local_hostname(self) -> str:
        return self.mail_from.rpartition("@")[2]


def _first_line(path: Path) -> str:
    try:
        return path.read_text("utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WorkerFailed(f"CHAT_SMTP_PASSWORD_FILE can't be read ({type(error).__name__}).") from error
