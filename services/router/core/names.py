"""Which workspaces and departments have a name in the metrics; all others are `other` together.

The one rule: a name once given stays for as long as the process lives, and no more are given than the limits say, so what Prometheus has
to keep is bounded, and no counter changes its name. Where there are more workspaces than names, a setting says which come first.
"""

import re
from collections.abc import Iterable

OTHER = "other"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Ids are the tenants' choice: one that could be an address or a sentence is not shown."""

Where = tuple[str, ...]
"""The labels `workspace` and `department`."""


class Names:
    """The names given so far in one process."""

    def __init__(self, *, workspaces_max: int, departments_max: int, first: Iterable[str] = ()) -> None:
        """`departments_max`: of each workspace; `first`: workspaces that have a name before any other is given."""
        self._workspaces_max = workspaces_max
        self._departments_max = departments_max
        self._departments: dict[str, dict[str, Where]] = {}
        for workspace_id in first:
            self.workspace(workspace_id)

    def workspace(self, workspace_id: str) -> str:
        """The label of a workspace."""
        if workspace_id in self._departments:
            return workspace_id
        if len(self._departments) >= self._workspaces_max or _PLAIN.fullmatch(workspace_id) is None:
            return OTHER
        self._departments[workspace_id] = {}
        return workspace_id

    def where(self, workspace_id: str, department_id: str) -> Where:
        """The labels of a department."""
        named = self._departments.get(workspace_id)
        found = None if named is None else named.get(department_id)
        return self._given(workspace_id, department_id) if found is None else found

    def _given(self, workspace_id: str, department_id: str) -> Where:
        workspace = self.workspace(workspace_id)
        if workspace == OTHER:
            return OTHER, OTHER
        named = self._departments[workspace_id]
        if len(named) >= self._departments_max or _PLAIN.fullmatch(department_id) is None:
            return workspace, OTHER
        given = named[department_id] = (workspace, department_id)
        return given
