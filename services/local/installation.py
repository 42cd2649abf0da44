"""A whole working installation on one machine: Kafka, topics, mail sink, and the four workers as processes.

One rule: all that it keeps lies in one folder, which one run at a time may use.

    <data>/kafka/        the embedded broker (absent with a Kafka of the user's)
    <data>/mails/        NNNN.eml and NNNN.json, what the notifier sent
    <data>/*.db          archive, CRM, ledgers
    <data>/logs/         one log for each worker
    <data>/tryton/       the CRM Tryton, where one is wanted
    <data>/ports.json    the ports, chosen once
    <data>/addresses.json  where everything answers, for `chat-routing top`
"""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from schemas.topics import PARTITIONS_DEFAULT
from services.local.addresses import keep_addresses
from services.local.errors import LocalError
from services.local.files import claim, unwritable, write_whole
from services.local.kafka import EmbeddedKafka
from services.local.mailbox import Mailbox
from services.local.ports import LOOPBACK, demand_free, kept_ports
from services.local.progress import Progress, silent
from services.local.settings import LocalSettings
from services.local.supervisor import Supervisor, Worker
from services.local.topic_log import reached
from services.local.topics import Report, ensure_topics
from services.local.tryton import trial

ROUTER, NOTIFIER, TRANSCRIPT, CRM_SYNC = "chat-router", "chat-notifier", "chat-transcript", "chat-crm-sync"
_MODULES = {
    ROUTER: "services.router.worker",
    NOTIFIER: "services.notifier.worker",
    TRANSCRIPT: "services.transcript.worker",
    CRM_SYNC: "services.crm_sync.worker",
}
LINK_SECRET, API_SECRET = "link_secret", "api_secret"
"""Files of the folder that hold keys."""
_NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})


def archive_of(data: Path) -> str:
    """Return the address of the archive's database of an installation in this folder, as SQLAlchemy writes it."""
    return f"sqlite:///{data / 'archive.db'}"


class Installation:
    """The installation as a context manager: entered, everything is ready; left, no process and no port is there.

    Without `data` everything is temporary. `bootstrap` names a Kafka of the user's instead of the embedded one.
    `overrides` are environment variables for all workers, such as a shorter tick. `with_tryton` starts a Tryton beside them. Entering runs an event loop of its
    own for a moment, so it happens outside of one (or in `asyncio.to_thread`). Raises LocalError.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        bootstrap: str | None = None,
        partitions: int = PARTITIONS_DEFAULT,
        overrides: Mapping[str, str] = _NO_OVERRIDES,
        with_tryton: bool = False,
        settings: LocalSettings | None = None,
        progress: Progress = silent,
    ) -> None:
        self._wanted_data = data
        self._wanted_bootstrap = bootstrap
        self._partitions = partitions
        self._overrides = overrides
        self._with_tryton = with_tryton
        self._settings = settings or LocalSettings()
        self._progress = progress
        self._parts = ExitStack()
        self.data: Path
        self.bootstrap: str
        self.topics: Report
        self.mailbox: Mailbox
        self.supervisor: Supervisor
        self.kafka: EmbeddedKafka | None = None
        self.tryton: trial.Trial | None = None
        self.http_ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            try:
                self._enter(parts)
            except OSError as error:
                raise LocalError(unwritable(self.data, error)) from error
            self._parts = parts.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._parts.__exit__(kind, error, where)

    @property
    def archive_url(self) -> str:
        """Return the address of the archive's database, as SQLAlchemy writes it."""
        return archive_of(self.data)

    @property
    def crm_url(self) -> str:
        """Return the address of the embedded CRM's database."""
        return f"sqlite:///{self.data / 'crm.db'}"

    def http_url(self, worker: str) -> str:
        """Return the base address of a worker's pages."""
        return f"http://{LOOPBACK}:{self.http_ports[worker]}"

    def check(self) -> None:
        """Raise LocalError if a worker, or the CRM, has died."""
        self.supervisor.check()
        if self.tryton is not None:
            self.tryton.check()

    def _enter(self, parts: ExitStack) -> None:
        if self._wanted_data is None:
            self.data = Path(tempfile.mkdtemp(prefix="chat-routing-"))
            parts.callback(shutil.rmtree, self.data, ignore_errors=True)
        else:
            self.data = self._wanted_data.absolute()
        parts.enter_context(claim(self.data))
        ports_file = self.data / "ports.json"
        smtp_port, *http_ports = kept_ports(ports_file, count=1 + len(_MODULES))
        self.http_ports = dict(zip(_MODULES, http_ports, strict=True))
        for port in (smtp_port, *http_ports):
            demand_free(port, owner=ports_file)
        if self._wanted_bootstrap is None:
            if "security_protocol" in reached(LOOPBACK).client():
                raise LocalError(
                    "CHAT_KAFKA_… is for a Kafka of yours: name it with --bootstrap, or unset these variables."
                )
            self.kafka = parts.enter_context(
                EmbeddedKafka(self.data / "kafka", settings=self._settings, progress=self._progress)
            )
            self.bootstrap = self.kafka.bootstrap
        else:
            self.bootstrap = self._wanted_bootstrap
        self.topics = asyncio.run(ensure_topics(self.bootstrap, partitions=self._partitions))
        keep_addresses(
            self.data, bootstrap=self.bootstrap, workers={name: self.http_url(name) for name in _MODULES}
        )
        self.mailbox = parts.enter_context(Mailbox(self.data / "mails", port=smtp_port))
        if self._with_tryton:
            home, folder = self._settings.tryton_folder, self.data / "tryton"
            self.tryton = parts.enter_context(trial.running(home, folder, progress=self._progress))
        workers = [
            Worker(name, module, self.http_ports[name], self._environment(name))
            for name, module in _MODULES.items()
        ]
        self.supervisor = parts.enter_context(
            Supervisor(workers, logs=self.data / "logs", settings=self._settings, progress=self._progress)
        )

    def _environment(self, name: str) -> dict[str, str]:
        """Return the settings of one worker; each reads those it knows."""
        return {
            "CHAT_BOOTSTRAP": self.bootstrap,
            # Static membership: a restarted worker gets its partitions back at once.
            "CHAT_INSTANCE_ID": f"{name}-1",
            "CHAT_HTTP_HOST": LOOPBACK,
            "CHAT_HTTP_PORT": str(self.http_ports[name]),
            "CHAT_SMTP_HOST": LOOPBACK,
            "CHAT_SMTP_PORT": str(self.mailbox.port),
            "CHAT_ARCHIVE_URL": self.archive_url,
            "CHAT_PUBLIC_URL": self.http_url(TRANSCRIPT),
            "CHAT_CRM_URL": self.crm_url,
            "CHAT_ARCHIVE_API_URL": self.http_url(TRANSCRIPT),
            "CHAT_LEDGER_URL": f"sqlite:///{self.data / f'{name}-ledger.db'}",
            "CHAT_LINK_SECRET": self._secret(LINK_SECRET),
            "CHAT_API_SECRET": self._secret(API_SECRET),
            **({"CHAT_CRM_ACCOUNTS_FILE": str(self.tryton.accounts)} if self.tryton else {}),
            **self._overrides,
        }

    def _secret(self, name: str) -> str:
        """Return the key that signs the links in mails, or the API's tokens; what was made yesterday is good today."""
        path = self.data / name
        if not path.exists():
            write_whole(path, secrets.token_urlsafe(32), mode=0o600)
        return path.read_text("ascii")
