"""What of the archive a reader sees, as conditions of queries: the other half of `access.MAY_READ`.

The one rule: an extent this module does not know shows nothing.
"""

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, or_, select, true

from services.transcript.api.access import WATCHED_BY, Caller, Noun
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
    """The same in parts that each have an index, unless a department is asked for, which has one."""
    v = tables.conversations.c
    many = len(caller.departments) > PARTS_MAX
    if caller.extent("missed") != "theirs" or department_id is not None or many:
        return [inbox(caller)]
    return [
        *(v.department_id == each for each in caller.departments),
        v.inbox_agent_id == caller.agent_id,
    ]


def had_by(agent_id: str | None) -> ColumnElement[bool]:
    """Of `tables.chats`: those in which an agent took part."""
    c, a = tables.chats.c, tables.chat_agents.alias().c
    return exists().where(
        a.workspace_id == c.workspace_id,
        a.chat_id == c.chat_id,
        a.revision == c.revision,
        a.ended_at_ms == c.ended_at_ms,
        a.agent_id == agent_id,
    )


def given_to(caller: Caller) -> Select[tuple[str]]:
    """The chats that an agent was given out of the missed inbox."""
    v = tables.conversations.alias().c
    return select(v.chat_id).where(v.workspace_id == caller.workspace_id, v.inbox_agent_id == caller.agent_id)


def _theirs(caller: Caller) -> ColumnElement[bool]:
    c = tables.chats.c
    return or_(
        c.department_id.in_(caller.departments),
        had_by(caller.agent_id),
        c.chat_id.in_(given_to(caller)),
    )


def _led_by_others(caller: Caller) -> ColumnElement[bool]:
    """Somebody took part whom the matrix does not let them watch."""
    c, a, g = tables.chats.c, tables.chat_agents.alias().c, standing.agents.alias().c
    return exists().where(
        a.workspace_id == c.workspace_id,
        a.chat_id == c.chat_id,
        a.revision == c.revision,
        a.ended_at_ms == c.ended_at_ms,
        g.workspace_id == a.workspace_id,
        g.agent_id == a.agent_id,
        g.role.not_in(WATCHED_BY[caller.role]),
    )


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
