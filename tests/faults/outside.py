"""Whom workers with side effects reach: a CRM and mail servers, which are away at first for two workspaces.

The one rule: who is back stays. A server that leaves in the middle of a mail lets it come twice, which is no fault of a worker's.
"""

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from services.local.mailbox import Mailbox
from services.local.ports import LOOPBACK, free_ports
from services.local.sample_company import NORTHWIND, SAKURA
from tests.faults.crm_server import PORT, CrmServer

AWAY = (SAKURA.workspace_id, NORTHWIND.workspace_id)
CIRCUIT_OPEN_MS = 300


class Outside:
    """The mail servers as a context manager; the CRM is served by whoever has a loop (`crm.open`)."""

    def __init__(self, folder: Path) -> None:
        self.crm = CrmServer()
        self.crm.down = set(AWAY)
        port, self.crm.port, *own_ports = free_ports(2 + len(AWAY))
        self._box = Mailbox(folder / "mails", port=port)
        self._own = {
            name: Mailbox(folder / f"mails-{name}", port=own)
            for name, own in zip(AWAY, own_ports, strict=True)
        }
        self._parts = ExitStack()
        servers = folder / "servers.json"
        theirs = {name: {"host": LOOPBACK, "port": box.port} for name, box in self._own.items()}
        servers.write_text(json.dumps(theirs), "utf-8")
        self.environment = {
            "CHAT_SMTP_PORT": str(port),
            "CHAT_SMTP_SERVERS_FILE": str(servers),
            "CHAT_CIRCUIT_OPEN_MS": str(CIRCUIT_OPEN_MS),
            PORT: str(self.crm.port),
        }

    @property
    def mails(self) -> list[Path]:
        """Return the folders with what has arrived."""
        return [box.folder for box in (self._box, *self._own.values())]

    def __enter__(self) -> Self:
        self._parts.enter_context(self._box)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._parts.__exit__(kind, error, where)

    def back(self, workspace_id: str) -> None:
        """From now on a workspace's mail server and CRM answer."""
        self.crm.down.remove(workspace_id)
        self._parts.enter_context(self._own[workspace_id])
