"""What of the archive a reader sees, as conditions of queries: the other half of `access.MAY_READ`.

The one rule: an extent this module does not know shows nothing.
"""

from sqlalchemy import ColumnElement, Select, Table, and_, exists, false, func, or_, select, true

from services.transcript.api.access import WATCHED_BY, Caller, Noun
from services.transcript.api.listing import apart
from services.transcript.archive import standing, tables

PARTS_MAX = 100
"""Of an agent in more departments the whole list is gone through; SQLite joins 500 queries at most."""


def ended_chats(caller: Caller, noun: Noun = "chats") -> ColumnElement[bool]:
    """Of `tables.chats`: those that have ended."""
    match caller.extent(noun):
        case "all":
            return true()
        case "theirs":
            return _theirs(caller)
        case "watchable":
            return or_(_theirs(caller), tables.chats.c.outcome == "missed", ~_led_by_others(caller))
        case _:
            return false()


def live_chats(caller: Caller, noun: Noun = "chats") -> ColumnElement[bool]:
    """Of `tables.requests`, outer-joined with `tables.conversations`: chats that live now."""
    return and_(_lives(), _live_chats(caller, noun))


def _lives() -> ColumnElement[bool]:
    """Nothing has ended the revision that was begun last."""
    c, v, r = tables.chats.alias().c, tables.conversations.c, tables.requests.c
    return ~exists().where(
        c.workspace_id == r.workspace_id,
        c.chat_id == r.chat_id,
        c.revision >= func.coalesce(v.revision, 1),
        c.ended_at_ms.is_not(None),
    )


def _live_chats(caller: Caller, noun: Noun) -> ColumnElement[bool]:
    match caller.extent(noun):
        case "all":
            return true()
        case "theirs":
            return _theirs_now(caller)
        case "watchable":
            return or_(_theirs_now(caller), _watchable_now(caller))
        case _:
            return false()


def department_now() -> ColumnElement[str]:
    """Of the same two tables: the department a chat is in. Until a decision names it, the one that was asked for, or else the default one."""
    v, r, d = tables.conversations.c, tables.requests.c, standing.departments.alias().c
    asked_for = (
        select(d.department_id)
        .where(d.workspace_id == r.workspace_id, d.department_id == r.department_id)
        .where(d.enabled, d.visibility == "public")
        .scalar_subquery()
    )
    return func.coalesce(v.department_id, asked_for, r.workspace_id)


def inbox(caller: Caller) -> ColumnElement[bool]:
    """Of `tables.conversations`: the missed inbox."""
    v = tables.conversations.c
    match caller.extent("missed"):
        case "all":
            return true()
        case "theirs":
            return or_(v.department_id.in_(caller.departments), v.inbox_agent_id == caller.agent_id)
        case _:
            return false()


def parts_of_inbox(caller: Caller, department_id: str | None) -> list[ColumnElement[bool]]:
    """The same in parts that each have an index; of one department it is a single part."""
    v = tables.conversations.c
    if caller.extent("missed") != "theirs" or (department_id is None and len(caller.departments) > PARTS_MAX):
        return [inbox(caller)]
    if department_id in caller.departments:
        return [true()]
    given = v.inbox_agent_id == caller.agent_id
    if department_id is not None:
        return [given]
    return [*(v.department_id == each for each in caller.departments), given]


def had_by(agent_id: str | None) -> ColumnElement[bool]:
    """Of `tables.chats`: those in which an agent took part."""
    return _part_of(agent_id, tables.chats).exists()


def had_too(agent_id: str | None) -> ColumnElement[bool]:
    """Of `tables.chat_agents`: the parts that others had in the chats of an agent, to go through both side by side."""
    a, mine = tables.chat_agents.c, tables.chat_agents.alias().c
    same = (mine[name] == a[name] for name in ("workspace_id", "ended_at_ms", "chat_id", "revision"))
    return and_(*same, mine.agent_id == agent_id)


def given_to(caller: Caller) -> Select[tuple[str]]:
    """The chats that an agent was given out of the missed inbox."""
    v = tables.conversations.alias().c
    return select(v.chat_id).where(v.workspace_id == caller.workspace_id, v.inbox_agent_id == caller.agent_id)


def _part_of(agent_id: str | None, chats: Table) -> Select[tuple[str]]:
    """An agent's part in the chat at hand."""
    c, a = chats.c, tables.chat_agents.alias().c
    return select(a.agent_id).where(
        a.workspace_id == c.workspace_id,
        a.chat_id == c.chat_id,
        a.revision == c.revision,
        a.ended_at_ms == c.ended_at_ms,
        a.agent_id == agent_id,
    )


def _is_any(of_chat: Select[tuple[str]]) -> ColumnElement[bool]:
    """Whether there is one for the chat at hand. Below an OR, PostgreSQL would answer EXISTS and IN by finding those of all chats first."""
    return of_chat.limit(1).scalar_subquery().is_not(None)


def _theirs(caller: Caller) -> ColumnElement[bool]:
    c, given = tables.chats.c, given_to(caller)
    return or_(
        c.department_id.in_(caller.departments),
        _is_any(_part_of(caller.agent_id, tables.chats)),
        _is_any(given.where(given.selected_columns.chat_id == c.chat_id)),
    )


def _led_by_others(caller: Caller) -> ColumnElement[bool]:
    """Somebody took part whom the matrix does not let them watch."""
    c, a, g = tables.chats.c, tables.chat_agents.alias().c, standing.agents.alias().c
    others = select(a.agent_id).where(
        a.workspace_id == c.workspace_id,
        a.chat_id == c.chat_id,
        a.revision == c.revision,
        a.ended_at_ms == c.ended_at_ms,
        g.workspace_id == a.workspace_id,
        g.agent_id == apart(a.agent_id),  # SQLite would ask for every agent whether they took part
        g.role.not_in(WATCHED_BY[caller.role]),
    )
    return _is_any(others)


def _theirs_now(caller: Caller) -> ColumnElement[bool]:
    v, m = tables.conversations.c, standing.matches.alias().c
    # Not by a path: an agent's id may hold what means something in one.
    joined = func.json_each(v.participants).table_valued("key")
    watched = exists().where(
        m.workspace_id == v.workspace_id,
        m.chat_id == v.chat_id,
        m.owner_agent_id == caller.agent_id,
        m.until_ms.is_(None),
    )
    return or_(
        department_now().in_(caller.departments),
        v.owner_id == caller.agent_id,
        v.inbox_agent_id == caller.agent_id,
        exists().where(joined.c.key == caller.agent_id),
        watched,
    )


def _watchable_now(caller: Caller) -> ColumnElement[bool]:
    v, g = tables.conversations.c, standing.agents.alias().c
    watched = WATCHED_BY[caller.role]
    led_by_others = exists().where(
        and_(g.workspace_id == v.workspace_id, g.agent_id == v.owner_id, g.role.not_in(watched))
    )
    return ~led_by_others
