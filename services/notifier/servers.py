"""Which SMTP server a workspace's mails go through: its own, or the default one.

The one rule: each server has its own connections, its own circuit and its own limit, so one that is away or slow has nothing that
others need. What the servers file holds is never shown: an error names the place and what is wrong, not the value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from schemas.types import Id
from services.notifier.slow import SlowLane
from services.notifier.smtp import Post, Server, Tls
from services.runtime.effects import Downstream, Limits
from services.runtime.metrics import Metrics


class _Entry(BaseModel):
    """One workspace's server in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1)
    port: int = Field(default=587, ge=1, le=65_535)
    tls: Tls = "auto"
    user: str | None = None
    password: SecretStr | None = None


_FILE = TypeAdapter(dict[Id, _Entry])


@dataclass(frozen=True, slots=True)
class Outlet:
    """A server's connections, the circuit all mails through it take, and what keeps slow ones from taking them all."""

    post: Post
    downstream: Downstream
    slow: SlowLane


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The servers of all workspaces, and how they are treated."""

    default: Server
    own: Mapping[str, Server]
    limits: Limits


class Outlets:
    """The outlets of all workspaces; those that name the same server and account share one. A context manager: left, it ends their connections."""

    def __init__(self, servers: Servers, *, metrics: Metrics) -> None:
        self._metrics = metrics
        self._numbers = count()
        self._made: dict[tuple[Server, Limits], Outlet] = {}
        self._servers = servers
        self.take(servers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for outlet in self._made.values():
            outlet.post.close()

    def of(self, workspace_id: str) -> Outlet:
        """Return where a workspace's mails go."""
        servers = self._servers
        return self._made[servers.own.get(workspace_id, servers.default), servers.limits]

    def take(self, servers: Servers) -> None:
        """From now on these. Mails under way end where they began; what waits for a server that is gone goes to the new one."""
        self._servers = servers
        used = dict.fromkeys((server, servers.limits) for server in (servers.default, *servers.own.values()))
        for gone in self._made.keys() - used.keys():
            outlet = self._made.pop(gone)
            outlet.downstream.retire()
            outlet.post.close()
        for one in used:
            if one not in self._made:
                self._made[one] = self._outlet(*one)

    def _outlet(self, server: Server, limits: Limits) -> Outlet:
        name = f"{server.host}:{server.port}"
        queue = f"{name}/{next(self._numbers)}"
        downstream = Downstream(name, kind="mail", limits=limits, metrics=self._metrics, queue=queue)
        return Outlet(Post(server), downstream, SlowLane(f"{queue}/slow", connections_max=limits.calls_max))


def read_servers(path: Path, *, local_hostname: str) -> dict[str, Server]:
    """Return the servers of the workspaces that have their own. Raises OSError, or ValueError that says what is wrong where."""
    try:
        entries = _FILE.validate_json(path.read_bytes())
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        told = (f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in problems)
        raise ValueError("; ".join(told)) from None
    return {
        workspace_id: Server(
            host=entry.host,
            port=entry.port,
            tls=entry.tls,
            user=entry.user,
            password=entry.password.get_secret_value() if entry.password else None,
            local_hostname=local_hostname,
        )
        for workspace_id, entry in entries.items()
    }
