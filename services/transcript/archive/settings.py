"""Settings as they stand: workspaces, departments, agents, canned messages, monitors.

The one rule: what stands follows from the newest snapshot of each that was not refused; whenever a snapshot or a refusal comes, what it is
about is looked up again. So it does not matter which of the two topics is read first.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from sqlalchemy import Connection, Table, delete, func, select

from schemas import events as e
from schemas.envelope import Envelope
from services.transcript.archive import standing, tables
from services.transcript.archive.folding import folded
from services.transcript.archive.rows import Row, plain
from services.transcript.archive.writing import chunks, having, put

Subject: TypeAlias = tuple[str, str, str]
"""Workspace id, kind, and the id of what is set."""
Values: TypeAlias = dict[str, Any]

_NAMES: dict[type, tuple[str, str]] = {
    e.WorkspaceConfigured: ("workspace", ""),
    e.DepartmentConfigured: ("department", "department_id"),
    e.DepartmentDeleted: ("department", "department_id"),
    e.AgentConfigured: ("agent", "agent_id"),
    e.AgentDeleted: ("agent", "agent_id"),
    e.CannedCategoryConfigured: ("canned_category", "category_id"),
    e.CannedCategoryDeleted: ("canned_category", "category_id"),
    e.CannedMessageConfigured: ("canned_message", "canned_message_id"),
    e.CannedMessageDeleted: ("canned_message", "canned_message_id"),
    e.MonitorConfigured: ("monitor", "monitor_id"),
    e.MonitorDeleted: ("monitor", "monitor_id"),
    e.AgentPresence: ("presence", "agent_id"),
}
"""The kind of each event about settings or presence, and the field that names its subject."""
_TABLES = {
    "workspace": standing.workspaces,
    "department": standing.departments,
    "agent": standing.agents,
    "canned_category": standing.canned_categories,
    "canned_message": standing.canned_messages,
    "monitor": standing.monitors,
}
_DELETIONS = tuple(kind for kind in _NAMES if kind.__name__.endswith("Deleted"))
_REFUSABLE = frozenset(kind.TYPE for kind in _NAMES)  # type: ignore[attr-defined]


def snapshot(envelope: Envelope[str, Any], *, offset: int, at_ms: int) -> Row | None:
    """The row of an event about settings or presence; None for any other."""
    data = envelope.data
    if type(data) not in _NAMES:
        return None
    kind, field = _NAMES[type(data)]
    values = {
        "workspace_id": envelope.workspaceid,
        "source": envelope.source,
        "event_id": envelope.id,
        "kind": kind,
        "subject_id": getattr(data, field) if field else envelope.workspaceid,
        "offset": offset,
        "at_ms": at_ms,
        "data": None if isinstance(data, _DELETIONS) else plain(data),
    }
    return Row(standing.snapshots, values)


def settle(connection: Connection, rows: Iterable[Row], workspaces: Iterable[str]) -> None:
    """Brings what stands up to date with these rows, which are written; `workspaces`: those that were heard of."""
    by_kind: dict[str, dict[Subject, Values | None]] = defaultdict(dict)
    touched = {**_touched(connection, rows), **_unseen(connection, workspaces)}
    for subject, data in _newest(connection, touched).items():
        by_kind[subject[1]][subject] = data
    for kind, found in by_kind.items():
        if kind == "department":
            _settle_departments(connection, found)
        elif kind == "monitor":
            _settle(connection, kind, _with_owners(connection, found))
        else:
            _settle(connection, kind, found)


def settle_all(connection: Connection) -> None:
    """Makes everything anew that stands, of the snapshots that are there."""
    s = standing.snapshots.c
    for table in (standing.members, *_TABLES.values()):
        connection.execute(delete(table))
    subjects = connection.execute(select(s.workspace_id, s.kind, s.subject_id).distinct()).mappings().all()
    heard = connection.scalars(select(standing.freshness.c.workspace_id)).all()
    settle(connection, [Row(standing.snapshots, dict(subject)) for subject in subjects], heard)


def _unseen(connection: Connection, workspaces: Iterable[str]) -> dict[Subject, None]:
    """The default departments that are not there yet."""
    d = standing.departments.c
    unseen = set(workspaces)
    for chunk in chunks(unseen):
        there = select(d.workspace_id).where(d.workspace_id.in_(chunk), d.department_id == d.workspace_id)
        unseen.difference_update(connection.scalars(there))
    return {(workspace_id, "department", workspace_id): None for workspace_id in sorted(unseen)}


def _touched(connection: Connection, rows: Iterable[Row]) -> dict[Subject, None]:
    """What these rows are about, and what depends on that: a default department has its workspace's name, monitors go with their owner."""
    touched: dict[Subject, None] = {}
    refused: list[tuple[str, int]] = []
    for row in rows:
        values = row.values
        if row.table is standing.snapshots:
            touched[values["workspace_id"], values["kind"], values["subject_id"]] = None
        elif row.table is tables.refusals and values["request_type"] in _REFUSABLE:
            refused.append((values["workspace_id"], values["request_offset"]))
    s = standing.snapshots.c
    for of_requests in having((s.workspace_id, s.offset), refused):
        about = select(s.workspace_id, s.kind, s.subject_id).where(of_requests)
        touched |= {
            (each.workspace_id, each.kind, each.subject_id): None for each in connection.execute(about)
        }
    for workspace_id, kind, _ in list(touched):
        if kind == "workspace":
            touched[workspace_id, "department", workspace_id] = None
    owners = {workspace_id for workspace_id, kind, _ in touched if kind == "agent"}
    for chunk in chunks(owners):
        monitors = (
            select(s.workspace_id, s.subject_id)
            .where(s.workspace_id.in_(chunk), s.kind == "monitor")
            .distinct()
        )
        touched |= {
            (each.workspace_id, "monitor", each.subject_id): None for each in connection.execute(monitors)
        }
    return {subject: None for subject in touched if subject[1] != "presence"}


def _newest(connection: Connection, subjects: Iterable[Subject]) -> dict[Subject, Values | None]:
    """The newest snapshot of each that was not refused; None: there is none, or it is a deletion."""
    s = standing.snapshots.c
    found: dict[Subject, Values | None] = dict.fromkeys(subjects)
    for of_subjects in having((s.workspace_id, s.kind, s.subject_id), found):
        place = func.row_number().over(
            partition_by=(s.workspace_id, s.kind, s.subject_id), order_by=s.offset.desc()
        )
        ranked = (
            select(s.workspace_id, s.kind, s.subject_id, s.data, s.offset, place.label("place"))
            .where(of_subjects)
            .where(~tables.refused(standing.snapshots))
            .subquery()
        )
        for row in connection.execute(select(ranked).where(ranked.c.place == 1, ranked.c.data.is_not(None))):
            key = (row.workspace_id, row.kind, row.subject_id)
            found[key] = {**row.data, "offset": row.offset}
    return found


# ---------------------------------------------------------------- what stands


def _settle(connection: Connection, kind: str, found: Mapping[Subject, Values | None]) -> None:
    """Writes the rows of one kind; what is deleted, or was never granted, has none."""
    table = _TABLES[kind]
    key = table.primary_key.columns
    gone = [(subject[0], subject[2])[: len(key)] for subject, data in found.items() if data is None]
    for which in having(list(key), gone):
        connection.execute(delete(table).where(which))
    put(connection, [_row(table, subject, data) for subject, data in found.items() if data is not None])


def _row(table: Table, subject: Subject, data: Values) -> Row:
    """A snapshot as a row: its fields are the columns."""
    given = {
        **data,
        "group_name": data.get("group"),
        "folded": folded(data.get("text") or data.get("name") or ""),
    }
    return Row(
        table, {"workspace_id": subject[0], **{name: given.get(name) for name in table.columns.keys()[1:]}}
    )


def _settle_departments(connection: Connection, found: dict[Subject, Values | None]) -> None:
    """The default department can't be deleted; until it is configured it has its workspace's name."""
    unnamed = [subject[0] for subject, data in found.items() if data is None and subject[0] == subject[2]]
    names = _newest(connection, [(workspace_id, "workspace", workspace_id) for workspace_id in unnamed])
    for workspace_id in unnamed:
        workspace = names[workspace_id, "workspace", workspace_id] or {"name": workspace_id}
        default = e.DepartmentConfigured(department_id=workspace_id, name=workspace["name"])
        found[workspace_id, "department", workspace_id] = plain(default)
    _settle(connection, "department", found)
    m = standing.members.c
    for of_departments in having((m.workspace_id, m.department_id), [(key[0], key[2]) for key in found]):
        connection.execute(delete(standing.members).where(of_departments))
    put(
        connection,
        [
            Row(
                standing.members,
                {"workspace_id": subject[0], "department_id": subject[2], "agent_id": agent_id},
            )
            for subject, data in found.items()
            if data is not None
            for agent_id in data.get("agent_ids", ())
        ],
    )


def _with_owners(connection: Connection, found: dict[Subject, Values | None]) -> dict[Subject, Values | None]:
    """The monitors whose owner was not deleted after they were set up."""
    s = standing.snapshots.c
    owners = {(subject[0], "agent", data["owner_agent_id"]) for subject, data in found.items() if data}
    deleted: dict[tuple[str, str], int] = {}
    for of_owners in having((s.workspace_id, s.kind, s.subject_id), owners):
        query = (
            select(s.workspace_id, s.subject_id, func.max(s.offset))
            .where(of_owners, s.data.is_(None))
            .where(~tables.refused(standing.snapshots))
            .group_by(s.workspace_id, s.subject_id)
        )
        deleted |= {(row[0], row[1]): row[2] for row in connection.execute(query)}
    return {
        subject: data
        if data is not None and data["offset"] > deleted.get((subject[0], data["owner_agent_id"]), -1)
        else None
        for subject, data in found.items()
    }
