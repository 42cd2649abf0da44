"""How settings and presence change the state: the part of `evolve` about workspaces, departments and agents.

The one rule: a `*.configured.v1` event replaces the settings whole; what runs already (timers, open offers) keeps running.
"""

from schemas.events import (
    AgentConfigured,
    AgentDeleted,
    AgentHeartbeat,
    AgentPresence,
    DepartmentConfigured,
    DepartmentDeleted,
    WorkspaceConfigured,
)
from schemas.memory import KNOWN_MISSED_S
from services.router.core import entering, mail, membership
from services.router.core.departments import choose, resolve_again
from services.router.core.state import Agent, Department, Rota, Workspace
from services.router.core.timers import Agenda

HEARTBEAT_LIMIT_S = 60
"""Silence after which an agent who has sent heartbeats counts as offline (the contract, Inputs)."""


def workspace_configured(ws: Workspace, event: WorkspaceConfigured) -> None:
    """Takes the workspace's settings, and makes its default department if it has none yet."""
    ws.profile.settings = event
    ws.touch(ws.profile)
    for department in ws.departments.values():
        ws.mail_plans[department.id] = mail.resolve(ws, department)
    default = ws.departments.get(ws.default_id)
    if default is None or not default.configured:
        _settle(ws, DepartmentConfigured(department_id=ws.default_id, name=event.name), configured=False)


def department_configured(ws: Workspace, event: DepartmentConfigured) -> None:
    """Takes a department's settings; the default one can't be made private."""
    if event.department_id == ws.default_id and event.visibility == "private":
        return
    _settle(ws, event, configured=True)


def department_deleted(ws: Workspace, event: DepartmentDeleted) -> None:
    """Removes a department but the default one; what waits there moves."""
    department = ws.departments.get(event.department_id)
    if department is None or department.removed or event.department_id == ws.default_id:
        return
    _forget_departments(ws)
    before = tuple(dict.fromkeys(department.settings.agent_ids))
    department.removed = True
    membership.staff(ws, department, before)
    _move_waiting(ws, department)
    ws.touch(department)


def _forget_departments(ws: Workspace) -> None:
    """Drops those deleted before that no known chat is in any more: so there are never more of them than chats, and the last one."""
    in_use = {chat.department_id for chat in ws.chats.values()}
    for gone in [each for each in ws.departments.values() if each.removed and each.id not in in_use]:
        ws.forget(ws.departments.pop(gone.id))
        ws.forget(ws.rotas.pop(gone.id))
        del ws.indexes[gone.id], ws.mail_plans[gone.id]


def _settle(ws: Workspace, settings: DepartmentConfigured, *, configured: bool) -> None:
    department = ws.departments.get(settings.department_id)
    before: tuple[str, ...] = ()
    if department is None or department.removed:
        department = Department(settings.department_id, settings)
        ws.departments[department.id] = department
        rota = ws.rotas[department.id] = Rota(department.id)
        ws.touch(rota)
    else:
        before = tuple(dict.fromkeys(department.settings.agent_ids))
        department.settings = settings
    department.configured = configured
    membership.staff(ws, department, before)
    ws.touch(department)
    if not department.open:
        _move_waiting(ws, department)
        return
    for place in ws.indexes[department.id].waiting:
        entering.reopen_tiers(ws, ws.chats[place.chat_id])


def _move_waiting(ws: Workspace, department: Department) -> None:
    """Waiting chats of a closed department go to the default one, however long its queue; their offers are withdrawn by `decide`.

    A bot's chat goes along, but one that was missed already stays with the department that missed it.
    """
    for place in list(ws.indexes[department.id].waiting):
        chat = ws.chats[place.chat_id]
        ws.moved[chat.id] = None
        entering.enter(ws, chat, resolve_again(ws, department.id))
    for chat in ws.chats.values():
        if chat.phase == "bot" and chat.department_id == department.id and chat.missed_reason is None:
            chat.department_id = choose(ws, ws.default_id, by_visitor=False).department_id
            ws.touch(chat)


def agent_configured(ws: Workspace, event: AgentConfigured) -> None:
    """Takes an agent's settings."""
    agent = ws.agent(event.agent_id)
    if agent is None:
        if event.agent_id in ws.agents:
            forget_agent(ws, event.agent_id)
            _uninvite(ws, event.agent_id)
        agent = ws.agents[event.agent_id] = Agent(event.agent_id, event)
    else:
        membership.leave_departments(ws, agent)
        agent.settings = event
    membership.join_departments(ws, agent)


def agent_deleted(ws: Workspace, event: AgentDeleted) -> None:
    """Removes an agent; their offers and chats are taken from them by `decide`."""
    agent = ws.agent(event.agent_id)
    if agent is None:
        return
    membership.free_kept(ws, agent)
    membership.leave_departments(ws, agent)
    agent.status = "offline"
    agent.removed = True
    ws.disarm_all(agent)
    agent.load -= sum(agent.wrap_ups.values())
    agent.wrap_ups.clear()
    ws.arm(agent, "forget", KNOWN_MISSED_S)


def forget_agent(ws: Workspace, agent_id: str) -> None:
    """Drops a deleted agent: after as long as a missed chat is known, since chats name who served them; or as they come back anew."""
    agent = ws.agents.pop(agent_id)
    ws.disarm_all(agent)
    for index in (ws.owned, ws.ringing, ws.joined):
        index.pop(agent_id, None)
    ws.forget(agent)


def _uninvite(ws: Workspace, agent_id: str) -> None:
    """Who comes back as somebody new may not join where they once were invited."""
    for chat in ws.chats.values():
        if agent_id in chat.invited_ids:
            chat.invited_ids.remove(agent_id)
            ws.touch(chat)


def presence(ws: Workspace, event: AgentPresence) -> None:
    """Takes an agent's status; going offline starts the grace time of the chats they own."""
    agent = ws.agent(event.agent_id)
    if agent is None:
        return
    agent.sound = event.sound
    agent.unanswered = 0
    if event.status == "online" and agent.status != "online":
        agent.idle_since_ms = ws.now_ms
    change_status(ws, agent, event.status)
    if agent.beats and event.status != "offline":
        ws.arm(agent, "heartbeat", HEARTBEAT_LIMIT_S)


def heartbeat(ws: Workspace, event: AgentHeartbeat) -> None:
    """A sign of life: the silence is measured anew, unless the agent is offline already."""
    agent = ws.agent(event.agent_id)
    if agent is None:
        return
    agent.beats = True
    ws.touch(agent)
    if agent.status != "offline":
        ws.arm(agent, "heartbeat", HEARTBEAT_LIMIT_S)


def change_status(ws: Workspace, agent: Agent, status: str) -> None:
    """Moves an agent to another status, with what follows for the chats they own."""
    before = agent.status
    agent.status = status  # type: ignore[assignment]
    membership.place_agent(ws, agent, roomier=before != "online")
    if before == "online" != status:
        membership.recheck_transfers(ws, agent)
        membership.free_kept(ws, agent)
    if status == "offline":
        ws.disarm(agent, "heartbeat")
    for chat in entering.owned_chats(ws, agent.id):
        routing = ws.departments[chat.department_id].settings.routing
        if status != "offline":
            ws.disarm(chat, "grace")
        elif before != "offline" and routing.offline_policy == "requeue":
            ws.arm(chat, "grace", routing.offline_grace_s)


def new_workspace(workspace_id: str, agenda: Agenda) -> Workspace:
    """A workspace as it begins: default settings, and one department named after it, without agents."""
    ws = Workspace(workspace_id, agenda)
    _settle(ws, DepartmentConfigured(department_id=workspace_id, name=workspace_id), configured=False)
    return ws
