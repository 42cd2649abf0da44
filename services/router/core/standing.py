"""How a partition's chats, queues and agents stand, counted for the metrics from what changed in its state.

The one rule: decisions are not heard here. So what is counted here can be held against what `figures` counts from them.
"""

from dataclasses import dataclass

from services.router.core.membership import category
from services.router.core.names import Names, Where
from services.router.core.partition import Partition
from services.router.core.state import Agent, Chat, Entity, Workspace

Labels = tuple[str, ...]
Gauge = dict[Labels, float]
Gauges = dict[str, Gauge]
"""By the name of the metric, and its labels."""


@dataclass(slots=True)
class _Desk:
    """How a department counts."""

    where: Where
    waiting: int
    available: int


@dataclass(slots=True)
class _Member:
    """How an agent counts."""

    standing: str
    capacity: int
    load: int


class Standing:
    """The gauges of one partition, kept by what changes."""

    def __init__(self, partition: Partition, names: Names) -> None:
        self._partition = partition
        self._names = names
        self.live = 0
        """Chats that go on."""
        self.waiting = 0
        """Chats in queues, as the queues say themselves."""
        self._chats: dict[tuple[str, str], Labels] = {}
        self._members: dict[tuple[str, str], _Member] = {}
        self._desks: dict[str, dict[str, _Desk]] = {}
        self._changed: dict[str, dict[tuple[type, str], Entity | None]] = {}
        """By workspace what is to be looked at again."""
        self._live: Gauge = {}
        self._waiting: Gauge = {}
        self._available: Gauge = {}
        self._agents: Gauge = {}
        self._capacity: Gauge = {}
        self._load: Gauge = {}

    def begin(self) -> list[tuple[Workspace, Chat]]:
        """Counts a state as it was restored; gives the live chats with their workspaces."""
        for ws in sorted(self._partition.workspaces.values(), key=lambda each: each.id):
            for department_id in sorted(ws.departments):
                self._names.where(ws.id, department_id)
            self._changed[ws.id] = {}
            for chat in ws.chats.values():
                self._chat(ws.id, chat.id, chat)
            for agent in ws.agents.values():
                self._agent(ws.id, agent.id, agent)
        workspaces = self._partition.workspaces
        return [(workspaces[ws_id], workspaces[ws_id].chats[chat_id]) for ws_id, chat_id in self._chats]

    def look(self) -> None:
        """Notes what changed since the changelog was last written. It is counted when somebody asks: most of it changes again before."""
        for ws in self._partition.active.values():
            changed = self._changed.get(ws.id)
            if changed is None:
                changed = self._changed[ws.id] = {}
            changed.update(ws.changed)

    def gauges(self) -> Gauges:
        """The gauges as they are now."""
        for workspace_id, changed in self._changed.items():
            for (kind, entity_id), entity in changed.items():
                if kind is Chat:
                    self._chat(workspace_id, entity_id, entity if isinstance(entity, Chat) else None)
                elif kind is Agent:
                    self._agent(workspace_id, entity_id, entity if isinstance(entity, Agent) else None)
            self._queues(self._partition.workspaces[workspace_id])
        self._changed.clear()
        return {
            "chats_live": self._live.copy(),
            "waiting_chats": self._waiting.copy(),
            "agents_available": self._available.copy(),
            "agents": self._agents.copy(),
            "agent_capacity": self._capacity.copy(),
            "agent_load": self._load.copy(),
        }

    def _chat(self, workspace_id: str, chat_id: str, chat: Chat | None) -> None:
        key = (workspace_id, chat_id)
        before = self._chats.get(key)
        if chat is None or chat.phase == "closed":
            if before is not None:
                del self._chats[key]
                self.live -= 1
                self._live[before] -= 1
            return
        now = (*self._names.where(workspace_id, chat.department_id), chat.phase)
        if now == before:
            return
        if before is None:
            self.live += 1
        else:
            self._live[before] -= 1
        self._chats[key] = now
        _shift(self._live, now, 1)

    def _agent(self, workspace_id: str, agent_id: str, agent: Agent | None) -> None:
        workspace = self._names.workspace(workspace_id)
        key = (workspace_id, agent_id)
        member = self._members.get(key)
        if agent is None or agent.removed:
            if member is not None:
                del self._members[key]
                self._count_in(workspace, member, -1)
            return
        standing = category(agent)
        online = standing == "room" or standing == "full"  # noqa: PLR1714 - compiled, it is quicker than a tuple
        capacity, load = (agent.settings.max_chats, agent.load) if online else (0, 0)
        if member is None:
            member = self._members[key] = _Member(standing, capacity, load)
            self._count_in(workspace, member, 1)
        elif member.standing == standing and member.capacity == capacity:
            if member.load != load:
                _shift(self._load, (workspace,), load - member.load)
                member.load = load
        else:
            self._count_in(workspace, member, -1)
            member.standing, member.capacity, member.load = standing, capacity, load
            self._count_in(workspace, member, 1)

    def _count_in(self, workspace: str, member: _Member, times: int) -> None:
        _shift(self._agents, (workspace, member.standing), times)
        _shift(self._capacity, (workspace,), times * member.capacity)
        _shift(self._load, (workspace,), times * member.load)

    def _queues(self, ws: Workspace) -> None:
        """Counts a workspace's queues, and who could take from them, as the core's indexes say."""
        before = self._desks.get(ws.id, {})
        now = {
            department_id: _Desk(
                self._names.where(ws.id, department_id), len(index.waiting), index.counts["room"]
            )
            for department_id, index in ws.indexes.items()
        }
        self._desks[ws.id] = now
        self._count_desks(before, -1)
        self._count_desks(now, 1)

    def _count_desks(self, desks: dict[str, _Desk], times: int) -> None:
        for desk in desks.values():
            self.waiting += times * desk.waiting
            _shift(self._waiting, desk.where, times * desk.waiting)
            _shift(self._available, desk.where, times * desk.available)


def _shift(gauge: Gauge, labels: Labels, change: int) -> None:
    gauge[labels] = gauge.get(labels, 0) + change
