"""The router's stored state: one changelog record per entity, and its way back.

The one rule: keys are `scope/workspace/id` with percent-encoded parts, so that ids with slashes can't run together.

A partition may come from a newer version, and go back to it: what that has stored and this one does not know stays as it is.
"""

from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

import orjson

from schemas.decisions import AvailableAgent
from schemas.stored import Damaged, Stored, dumps
from services.router.contexts import CONTEXT
from services.router.core import membership
from services.router.core.clock import Clock
from services.router.core.last_agents import LastAgent
from services.router.core.partition import Partition
from services.router.core.seen import SEEN_MS
from services.router.core.state import (
    Agent,
    Chat,
    Counts,
    Department,
    Entity,
    Monitor,
    Profile,
    Rota,
    Workspace,
)
from services.runtime.newer_state import NewerState
from services.runtime.ports import Change

CLOCK = b"clock"
"""The key of what is the partition's own; all others are a workspace's."""
_CARDS_CACHED_MAX = 65_536

_SCOPES: dict[type, str] = {
    Profile: "profile",
    Counts: "counts",
    Department: "department",
    Rota: "rota",
    Agent: "agent",
    Chat: "chat",
    Monitor: "monitor",
    LastAgent: "last_agent",
}


@lru_cache(maxsize=_CARDS_CACHED_MAX)
def _card(*values: Any) -> AvailableAgent:
    """One for all chats that began while the agent was available with the same load: there are many."""
    return AvailableAgent(*values)


_STORED: dict[str, Stored[Any]] = {
    "clock": Stored(Clock),
    "profile": Stored(Profile),
    "counts": Stored(Counts),
    "department": Stored(Department),
    "rota": Stored(Rota),
    "agent": Stored(Agent),
    "chat": Stored(Chat, also={AvailableAgent: _card}),
    "monitor": Stored(Monitor),
    "last_agent": Stored(LastAgent),
}
"""Writers and readers by scope, made once for all partitions."""


def _key(scope: str, workspace: str, entity_id: str) -> bytes:
    """`workspace`: encoded already, since many keys in a row have it in common."""
    return f"{scope}/{workspace}/{_encoded(entity_id)}".encode()


def _encoded(part: str) -> str:
    return quote(part, safe="")


def _decoded(part: str) -> str:
    """Most parts hold nothing that is encoded, and `unquote` takes longer to say so."""
    return unquote(part) if "%" in part else part


def workspace_of(key: bytes) -> str | None:
    """The workspace a stored record is of; None where it is the partition's own."""
    _, *rest = key.decode().split("/")
    return _decoded(rest[0]) if rest else None


class Changelog:
    """Writes what changed in a partition, and builds a partition from what was written."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._chunks: dict[str, deque[tuple[bytes, int]]] = {}
        """Stored chunks of seen ids per workspace, oldest first: key and time of the newest id in it."""
        self._newer = NewerState()
        self._stored_seen: list[tuple[str, bytes, list[tuple[str, int]]]] = []

    def changes(self) -> Iterator[Change]:
        """Every entity that changed since the last call, deleted ones as None, and the clock."""
        for ws in self._partition.active.values():
            workspace = _encoded(ws.id)
            for (kind, entity_id), entity in ws.changed.items():
                scope = _SCOPES[kind]
                key = _key(scope, workspace, entity_id)
                if entity is None:
                    self._newer.forget(key)
                    yield key, None
                else:
                    yield key, _STORED[scope].dumps(entity, self._newer.of(key))
            ws.changed.clear()
        self._partition.active.clear()
        yield from self._seen()
        yield CLOCK, _STORED["clock"].dumps(self._partition.clock, self._newer.of(CLOCK))

    def everything(self) -> Iterator[tuple[bytes, bytes]]:
        """The whole state as changelog records, for a snapshot."""
        for ws in self._partition.workspaces.values():
            workspace = _encoded(ws.id)
            for entities in (
                (ws.profile, ws.counts),
                ws.departments.values(),
                ws.rotas.values(),
                ws.agents.values(),
                ws.chats.values(),
                ws.monitors.values(),
                ws.last_agents,
            ):
                for entity in entities:
                    scope = _SCOPES[type(entity)]
                    key = _key(scope, workspace, entity.id)
                    yield key, _STORED[scope].dumps(entity, self._newer.of(key))
        for workspace_id, seen_id, at_ms in self._partition.seen.all():
            yield _key("seen", _encoded(workspace_id), seen_id), dumps([(seen_id, at_ms)])
        yield CLOCK, _STORED["clock"].dumps(self._partition.clock, self._newer.of(CLOCK))

    def _seen(self) -> Iterator[Change]:
        """Newly seen ids, one chunk per workspace and call; chunks whose ids are all forgotten are deleted."""
        seen = self._partition.seen
        for workspace_id, ids in seen.fresh.items():
            workspace = _encoded(workspace_id)
            chunks = self._chunks.setdefault(workspace_id, deque())
            key = _key("seen", workspace, f"{ids[0][1]}-{ids[0][0]}")
            chunks.append((key, ids[-1][1]))
            yield key, dumps(ids)
            oldest_ms = seen.oldest_ms(workspace_id) or ids[-1][1] - SEEN_MS
            while chunks[0][1] < oldest_ms:  # the one just written is never stale
                stale, _ = chunks.popleft()
                yield stale, None
        seen.fresh.clear()

    def restore(self, key: bytes, value: bytes) -> None:
        """Takes one stored record; of several with the same key the last one stands. Raises `Damaged`."""
        scope, *rest = key.decode().split("/")
        partition = self._partition
        if scope == "clock":
            partition.clock = self._loads(scope, key, value)
            return
        if scope == CONTEXT:
            return  # no part of the state: the processor takes it
        if scope != "seen" and scope not in _STORED:
            self._newer.pass_over(scope)
            return
        workspace_id = _decoded(rest[0])
        if scope == "seen":
            self._stored_seen.append((workspace_id, key, _chunk(value)))
            return
        ws = partition.workspaces.get(workspace_id)
        if ws is None:
            ws = partition.workspaces[workspace_id] = Workspace(workspace_id, partition.agenda)
        _put(ws, self._loads(scope, key, value))

    def _loads(self, scope: str, key: bytes, value: bytes) -> Any:
        known, kept = _STORED[scope].loads(value)
        self._newer.keep(key, kept)
        return known

    def restored(self) -> None:
        """Builds the indexes and the seen ids."""
        self._newer.tell(self._partition.number)
        for ws in self._partition.workspaces.values():
            membership.rebuild(ws)
        for workspace_id, key, chunk in self._stored_seen:
            self._chunks.setdefault(workspace_id, deque()).append((key, chunk[-1][1]))
            self._partition.seen.restore(
                workspace_id, chunk
            )  # as they were written, so the oldest come first
        self._stored_seen.clear()


def _put(ws: Workspace, entity: Entity) -> None:
    match entity:
        case Chat():
            ws.chats[entity.id] = entity
        case Agent():
            ws.agents[entity.id] = entity
        case Monitor():
            ws.monitors[entity.id] = entity
        case Rota():
            ws.rotas[entity.id] = entity
        case Counts():
            ws.counts = entity
        case Department():
            ws.departments[entity.id] = entity
        case Profile():
            ws.profile = entity
        case LastAgent():
            ws.last_agents.take(entity)


def _chunk(value: bytes) -> list[tuple[str, int]]:
    try:
        return [(key, at_ms) for key, at_ms in orjson.loads(value)]
    except (ValueError, TypeError) as error:
        raise Damaged(f"stored seen ids: {type(error).__name__}") from None
