"""Monitors: who watches which chats without being noticed (the contract, Monitoring and Who may).

The one rule: a step only notes the chats that may be watched otherwise than before; the drain compares each of them, once, with
what the monitors want now. Joining, leaving and whispering go by the matches that stand on the chat.
"""

from collections.abc import Callable, Iterator
from operator import attrgetter

from schemas.decisions import MonitorMatched, MonitorUnmatched, ParticipantLeft
from schemas.events import AgentConfigured, AgentDeleted, MonitorConfigured, MonitorDeleted
from schemas.types import RefusalCode
from services.router.core import blocking
from services.router.core.permissions import MAY_WATCH, may_watch
from services.router.core.refusals import refuse
from services.router.core.state import Chat, Emission, Monitor, Watch, Workspace

MONITORS_MAX = 1_000
"""Per workspace. Each one that watches an agent or a visitor is named in a decision for every chat of theirs."""
_VALUES: dict[str, Callable[[Chat], str | None]] = {
    "agent": attrgetter("owner_id"),
    "ip": attrgetter("visitor.ip"),
    "visitor_email": attrgetter("visitor.email"),
}
"""What each kind looks at in a chat."""


def matched(chat: Chat, agent_id: str) -> bool:
    """Whether one of an agent's monitors matches a chat: they may join it and whisper."""
    return agent_id in chat.watchers.values()


def watch(kind: str, value: str | None) -> Watch | None:
    """What a monitor and a chat have in common where they match: addresses compare as addresses, mail addresses whatever their case.

    None for what nobody can be found by, such as an address that is none.
    """
    if kind == "ip":
        value = blocking.written(value)
    elif kind == "visitor_email":
        value = (value or "").strip().casefold()
    return (kind, value) if value else None


def obstacle(ws: Workspace, event: MonitorConfigured | MonitorDeleted) -> tuple[RefusalCode, str] | None:
    """Why a monitor can't be had or deleted, in words that betray nothing of it."""
    agent_id = event.by_agent_id if isinstance(event, MonitorDeleted) else event.owner_agent_id
    agent = ws.agent(agent_id)
    if agent is None:
        return "unknown_agent", "the agent is not known"
    known = ws.monitors.get(event.monitor_id)
    theirs = known is not None and known.settings.owner_agent_id == agent.id
    role = agent.settings.role
    if isinstance(event, MonitorDeleted):
        allowed = theirs or role == "admin" or (known is None and bool(MAY_WATCH[role]))
        return None if allowed else ("not_permitted", "the agent may not delete this monitor")
    if not MAY_WATCH[role] or (known is not None and not theirs):
        return "not_permitted", "the agent may not have this monitor"
    if event.kind == "agent":
        watched = ws.agent(event.value)
        if watched is None:
            return "unknown_agent", "the agent is not known"
        if not may_watch(agent, watched):
            return "not_permitted", "the agent may not have this monitor"
    if known is None and len(ws.monitors) >= MONITORS_MAX:
        return "limit_exceeded", "the workspace has too many monitors"
    return None


# ---------------------------------------------------------------- for `decide`


def answered(ws: Workspace, event: MonitorConfigured | MonitorDeleted) -> tuple[Emission, ...]:
    """Refusals only: what a monitor matches is found by the drain. To delete one that is gone already comes to nothing."""
    refused = None if ws.accepted == event.monitor_id else obstacle(ws, event)
    return () if refused is None else (refuse(ws, *refused, subject=event.monitor_id),)


def drain(ws: Workspace) -> tuple[Emission, ...]:
    """All that changed between monitors and chats in this step, oldest chats first."""
    chats = sorted((ws.chats[chat_id] for chat_id in ws.rewatch), key=lambda chat: chat.sequence)
    return tuple([change for chat in chats for change in _changes(ws, chat)])


def _changes(ws: Workspace, chat: Chat) -> Iterator[Emission]:
    """Whose monitors match a chat no more, and whose do now. Who had joined as a monitor leaves first, with their last match."""
    wanted = _wanted(ws, chat)
    gone = {monitor_id: owner for monitor_id, owner in chat.watchers.items() if monitor_id not in wanted}
    for owner_id in dict.fromkeys(gone.values()):
        if chat.participant_ids.get(owner_id) == "monitor" and owner_id not in wanted.values():
            yield ParticipantLeft(chat_id=chat.id, agent_id=owner_id, role="monitor")
    for monitor_id, owner_id in gone.items():
        yield MonitorUnmatched(monitor_id=monitor_id, chat_id=chat.id, owner_agent_id=owner_id)
    for monitor_id, owner_id in wanted.items():
        if monitor_id not in chat.watchers:
            yield MonitorMatched(monitor_id=monitor_id, chat_id=chat.id, owner_agent_id=owner_id)


def _wanted(ws: Workspace, chat: Chat) -> dict[str, str]:
    """The monitors that match a chat as it is now, by id, with their owners; a chat that nobody owns is watched by none."""
    watched = ws.agent(chat.owner_id)
    if watched is None:
        return {}
    keys = [key for kind, value in _VALUES.items() if (key := watch(kind, value(chat))) is not None]
    found = sorted(monitor_id for key in keys for monitor_id in ws.watches.get(key, ()))
    owners = {monitor_id: ws.monitors[monitor_id].settings.owner_agent_id for monitor_id in found}
    return {monitor_id: owner for monitor_id, owner in owners.items() if may_watch(ws.agents[owner], watched)}


# ---------------------------------------------------------------- for `evolve`


def configured(ws: Workspace, event: MonitorConfigured) -> None:
    """Takes a monitor's settings, where its owner may have it."""
    if obstacle(ws, event) is not None:
        return
    known = ws.monitors.get(event.monitor_id)
    if known is not None:
        _take_out(ws, known)
    monitor = ws.monitors[event.monitor_id] = Monitor(event.monitor_id, event)
    _enter(ws, monitor)
    _look_for(ws, monitor)
    ws.touch(monitor)
    ws.accepted = monitor.id


def deleted(ws: Workspace, event: MonitorDeleted) -> None:
    """Forgets a monitor; `decide` tells from `accepted` that there was one."""
    known = ws.monitors.get(event.monitor_id)
    if known is not None and obstacle(ws, event) is None:
        _forget(ws, known)
        ws.accepted = known.id


def agent_configured(ws: Workspace, event: AgentConfigured) -> None:
    """Notes what a change of role opens or closes, before it is made: whose chats the agent watches, and who watches theirs."""
    agent = ws.agent(event.agent_id)
    if agent is None or agent.settings.role == event.role:
        return
    for chat_id in ws.owned.get(agent.id, ()):
        look_again(ws, chat_id)
    for monitor in _owned_by(ws, agent.id):
        _look_for(ws, monitor)


def agent_deleted(ws: Workspace, event: AgentDeleted) -> None:
    """The monitors of a removed agent go with them; those on the agent stay, should they come back."""
    for monitor in _owned_by(ws, event.agent_id):
        _forget(ws, monitor)


def look_again(ws: Workspace, chat_id: str) -> None:
    """Notes that another owner, or none, or what became known of the visitor may change who watches a chat."""
    if ws.watches:
        chat = ws.chats[chat_id]
        if chat.watchers or chat.owner_id is not None:
            ws.rewatch[chat_id] = None


def match(ws: Workspace, fact: MonitorMatched) -> None:
    """Enters a match on its chat."""
    chat = ws.chats[fact.chat_id]
    chat.watchers[fact.monitor_id] = fact.owner_agent_id
    ws.touch(chat)


def unmatch(ws: Workspace, fact: MonitorUnmatched) -> None:
    """Takes a match off its chat."""
    chat = ws.chats[fact.chat_id]
    del chat.watchers[fact.monitor_id]
    ws.touch(chat)


def rebuild(ws: Workspace) -> None:
    """Enters the stored monitors, after a restore."""
    for monitor in ws.monitors.values():
        _enter(ws, monitor)


def _owned_by(ws: Workspace, agent_id: str) -> list[Monitor]:
    return [monitor for monitor in ws.monitors.values() if monitor.settings.owner_agent_id == agent_id]


def _forget(ws: Workspace, monitor: Monitor) -> None:
    _take_out(ws, monitor)
    del ws.monitors[monitor.id]
    ws.forget(monitor)


def _enter(ws: Workspace, monitor: Monitor) -> None:
    wanted = _watch_of(monitor)
    if wanted is not None:
        ws.watches.setdefault(wanted, {})[monitor.id] = None


def _take_out(ws: Workspace, monitor: Monitor) -> None:
    """Takes a monitor out of the index, having noted the chats it matches."""
    _look_for(ws, monitor)
    wanted = _watch_of(monitor)
    if wanted is not None:
        del ws.watches[wanted][monitor.id]
        if not ws.watches[wanted]:
            del ws.watches[wanted]


def _watch_of(monitor: Monitor) -> Watch | None:
    """What a monitor is found by, while it is on."""
    settings = monitor.settings
    return watch(settings.kind, settings.value) if settings.enabled else None


def _look_for(ws: Workspace, monitor: Monitor) -> None:
    """Notes the chats that a monitor may match: of an agent those they own; for a visitor's all that agents own are looked through."""
    wanted = _watch_of(monitor)
    if wanted is None:
        return
    kind = monitor.settings.kind
    if kind == "agent":
        ws.rewatch.update(ws.owned.get(monitor.settings.value, {}))
        return
    value = _VALUES[kind]
    for owned in ws.owned.values():
        for chat_id in owned:
            if watch(kind, value(ws.chats[chat_id])) == wanted:
                ws.rewatch[chat_id] = None
