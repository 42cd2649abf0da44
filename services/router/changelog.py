"""The router's stored state: one changelog record per entity, and its way back.

The one rule: keys are `scope/workspace/id` with percent-encoded parts, so that ids with slashes can't run together.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import orjson
from pydantic import TypeAdapter

from schemas.codec import dumps
from services.router.core import membership
from services.router.core.clock import Clock
from services.router.core.partition import Partition
from services.router.core.seen import SEEN_MS
from services.router.core.state import Agent, Chat, Department, Profile, Workspace
from services.runtime.ports import Change

_READERS: dict[str, TypeAdapter[Any]] = {
    "clock": TypeAdapter(Clock),
    "profile": TypeAdapter(Profile),
    "department": TypeAdapter(Department),
    "agent": TypeAdapter(Agent),
    "chat": TypeAdapter(Chat),
}


def _key(*parts: str) -> bytes:
    return "/".join(quote(part, safe="") for part in parts).encode()


class Changelog:
    """Writes what changed in a partition, and builds a partition from what was written."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._chunks: dict[str, dict[str, int]] = {}
        """Stored chunks of seen ids per workspace: key part and time of the newest id in it."""
        self._stored_seen: list[tuple[str, str, list[tuple[str, int]]]] = []

    def changes(self) -> Iterator[Change]:
        """Every entity that changed since the last call, deleted ones as None, and the clock."""
        for ws in self._partition.workspaces.values():
            for scope, entity_id in ws.changed:
                entity = _find(ws, scope, entity_id)
                yield _key(scope, ws.id, entity_id), None if entity is None else dumps(entity)
            ws.changed.clear()
        yield from self._seen()
        yield _key("clock"), dumps(self._partition.clock)

    def everything(self) -> Iterator[tuple[bytes, bytes]]:
        """The whole state as changelog records, for a snapshot."""
        for ws in self._partition.workspaces.values():
            yield _key("profile", ws.id, ""), dumps(ws.profile)
            for scope, entities in (("department", ws.departments), ("agent", ws.agents), ("chat", ws.chats)):
                for entity_id, entity in entities.items():
                    yield _key(scope, ws.id, entity_id), dumps(entity)
        for workspace_id, key, at_ms in self._partition.seen.all():
            yield _key("seen", workspace_id, key), dumps([(key, at_ms)])
        yield _key("clock"), dumps(self._partition.clock)

    def _seen(self) -> Iterator[Change]:
        """Newly seen ids, one chunk per workspace and call; chunks whose ids are all forgotten are deleted."""
        seen = self._partition.seen
        for workspace_id, ids in seen.fresh.items():
            chunks = self._chunks.setdefault(workspace_id, {})
            name = f"{ids[0][1]}-{ids[0][0]}"
            chunks[name] = ids[-1][1]
            yield _key("seen", workspace_id, name), dumps(ids)
            oldest_ms = seen.oldest_ms(workspace_id) or ids[-1][1] - SEEN_MS
            for stale in [name for name, newest_ms in chunks.items() if newest_ms < oldest_ms]:
                del chunks[stale]
                yield _key("seen", workspace_id, stale), None
        seen.fresh.clear()

    def restore(self, key: bytes, value: bytes) -> None:
        """Takes one stored record."""
        scope, *rest = (unquote(part) for part in key.decode().split("/"))
        partition = self._partition
        if scope == "clock":
            partition.clock = _READERS[scope].validate_json(value)
            return
        workspace_id, entity_id = rest
        if scope == "seen":
            self._stored_seen.append((workspace_id, entity_id, orjson.loads(value)))
            return
        ws = partition.workspaces.get(workspace_id)
        if ws is None:
            ws = partition.workspaces[workspace_id] = Workspace(workspace_id, partition.agenda)
        entity = _READERS[scope].validate_json(value)
        match scope:
            case "profile":
                ws.profile = entity
            case "department":
                ws.departments[entity_id] = entity
            case "agent":
                ws.agents[entity_id] = entity
            case _:
                ws.chats[entity_id] = entity

    def restored(self) -> None:
        """Builds the indexes and the seen ids, oldest first."""
        for ws in self._partition.workspaces.values():
            membership.rebuild(ws)
        ids: list[tuple[int, str, str]] = []
        for workspace_id, name, chunk in self._stored_seen:
            self._chunks.setdefault(workspace_id, {})[name] = chunk[-1][1]
            ids += [(at_ms, workspace_id, key) for key, at_ms in chunk]
        for at_ms, workspace_id, key in sorted(ids, key=lambda item: item[0]):
            self._partition.seen.restore(workspace_id, key, at_ms)
        self._stored_seen.clear()


def _find(ws: Workspace, scope: str, entity_id: str) -> Chat | Agent | Department | Profile | None:
    match scope:
        case "profile":
            return ws.profile
        case "department":
            return ws.departments.get(entity_id)
        case "agent":
            return ws.agents.get(entity_id)
        case _:
            return ws.chats.get(entity_id)
