"""Which SMTP server a workspace's mails go through: its own, or the default one.

The one rule: each server has its own connections, its own circuit and its own limit, so one that is away or slow has nothing that
others need. What the servers file holds is never shown: an error names the place and what is wrong, not the value.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

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


class Outlets:
    """The outlets of all workspaces. Make it with `opened`."""

    def __init__(self, default: Outlet, own: Mapping[str, Outlet]) -> None:
        self._default = default
        self._own = own

    def of(self, workspace_id: str) -> Outlet:
        """Return where a workspace's mails go."""
        return self._own.get(workspace_id, self._default)


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


@asynccontextmanager
async def opened(
    default: Server, own: Mapping[str, Server], *, limits: Limits, metrics: Metrics
) -> AsyncIterator[Outlets]:
    """Open the outlets; workspaces that name the same server and account share one."""
    async with AsyncExitStack() as stack:
        made: dict[Server, Outlet] = {}
        for server in (default, *own.values()):
            if server not in made:
                name = f"{server.host}:{server.port}"
                queue = f"{name}/{len(made)}"
                downstream = Downstream(name, kind="mail", limits=limits, metrics=metrics, queue=queue)
                slow = SlowLane(f"{queue}/slow", connections_max=limits.calls_max)
                made[server] = Outlet(await stack.enter_async_context(Post(server)), downstream, slow)
        yield Outlets(made[default], {workspace_id: made[server] for workspace_id, server in own.items()})
