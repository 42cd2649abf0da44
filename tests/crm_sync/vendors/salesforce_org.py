"""What is in a Salesforce org, and the part of SOQL that the connector writes.

The one rule: nothing is checked here but that a query is one: people in Salesforce's own pages may do more than the API.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

_NUMBERS = count(1)
PREFIXES: Mapping[str, str] = {
    "Lead": "00Q",
    "Contact": "003",
    "Opportunity": "006",
    "Account": "001",
    "Task": "00T",
    "User": "005",
    "OpportunityContactRole": "00K",
}
_SYSTEM = "Id Name CreatedDate IsDeleted"
FIELDS: Mapping[str, set[str]] = {
    kind: set(f"{_SYSTEM} {own}".split())
    for kind, own in {
        "Lead": "FirstName LastName Company Industry Website City Country Title Email Phone MobilePhone Status LeadSource Description OwnerId IsConverted "
        "MasterRecordId Chat_Marker__c Budget__c",
        "Contact": "FirstName LastName Title Department Email Phone MobilePhone LeadSource OwnerId AccountId MasterRecordId Budget__c",
        "Opportunity": "StageName Amount CloseDate IsClosed OwnerId AccountId",
        "Account": "Industry Website Phone BillingCity BillingCountry Tier__c",
        "Task": "Subject Description Status ActivityDate WhoId WhatId OwnerId Chat_Marker__c",
        "User": "Email",
        "OpportunityContactRole": "ContactId OpportunityId IsPrimary",
    }.items()
}
PARENTS: Mapping[str, str] = {
    "Owner": "User",
    "Account": "Account",
    "Contact": "Contact",
    "Opportunity": "Opportunity",
}
"""Relationships that lead from a record to the one whose id stands in the field of that name with `Id`."""
_TOKEN = re.compile(r"\s*('(?:[^'\\]|\\[nNrRtTbBfF\"'\\])*'|[A-Za-z_][\w.]*|\d+|[(),=])")
_UNESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}

Row = dict[str, Any]
Test = Callable[[Row], bool]


class Malformed(Exception):
    """What is no query, or asks for what there is not."""


@dataclass
class _Query:
    items: list["str | _Query"]
    kind: str
    test: Test
    newest_by: str | None = None
    rows_max: int | None = None


@dataclass
class Org:
    """An org, with one user who is the API's."""

    owners: tuple[str, ...]
    locked_out: bool = False
    duplicate_rule: str | None = None
    """`alert` or `block`: what a rule does with a lead whose address another lead has."""
    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: {kind: {} for kind in PREFIXES})

    def __post_init__(self) -> None:
        for owner_id in self.owners:
            user = {"Id": owner_id, "Name": "Ken Sato", "Email": f"{owner_id}@example.com"}
            self.rows["User"][owner_id] = self._blank("User") | user

    def _blank(self, kind: str) -> Row:
        return {name: False if name.startswith("Is") else None for name in FIELDS[kind]}

    def add(self, kind: str, given: Mapping[str, Any]) -> Row:
        number = f"{PREFIXES[kind]}{next(_NUMBERS):015d}"
        named = " ".join(filter(None, (given.get("FirstName"), given.get("LastName")))) or given.get("Name")
        made = {
            "Id": number,
            "Name": named,
            "CreatedDate": "2026-11-21T09:00:00.000+0000",
            "OwnerId": self.owners[0],
        }
        row = (
            self._blank(kind)
            | {name: value for name, value in made.items() if name in FIELDS[kind]}
            | dict(given)
        )
        self.rows[kind][number] = row
        return row

    def find(self, kind: str, record_id: object) -> Row | None:
        row = self.rows[kind].get(str(record_id))
        return None if row is None or row["IsDeleted"] else row

    # ------------------------------------------------------------ queries

    def query(self, text: str, *, deleted_too: bool = False) -> list[Row]:
        """The rows of a query. Raises Malformed."""
        query = _Parser(text).query()
        rows = [row for row in self.rows[query.kind].values() if deleted_too or not row["IsDeleted"]]
        return [self._shown(query, row) for row in _chosen(query, rows)]

    def _shown(self, query: _Query, row: Row) -> Row:
        shown: Row = {"attributes": {"type": query.kind}}
        for item in query.items:
            if isinstance(item, _Query):
                of = [one for one in self.rows[item.kind].values() if one.get(f"{query.kind}Id") == row["Id"]]
                records = [self._shown(item, one) for one in _chosen(item, of)]
                shown["OpportunityContactRoles"] = (
                    {"totalSize": len(records), "done": True, "records": records} if records else None
                )
            else:
                self._put(shown, query.kind, row, item.split("."))
        return shown

    def _put(self, shown: Row, kind: str, row: Row, path: list[str]) -> None:
        name, *rest = path
        if not rest:
            if name not in FIELDS[kind]:
                raise Malformed(f"No such column '{name}' on entity '{kind}'")
            shown[name] = row[name]
            return
        if f"{name}Id" not in FIELDS[kind]:
            raise Malformed(f"Didn't understand relationship '{name}'")
        parent = self.find(PARENTS[name], row[f"{name}Id"])
        if parent is None:
            shown.setdefault(name, None)
            return
        self._put(
            shown.setdefault(name, {"attributes": {"type": PARENTS[name]}}), PARENTS[name], parent, rest
        )


def _chosen(query: _Query, rows: list[Row]) -> list[Row]:
    found = [row for row in rows if query.test(row)]
    if query.newest_by is not None:
        by = query.newest_by
        found.sort(key=lambda row: row[by], reverse=True)
    return found[: query.rows_max]


class _Parser:
    """SELECT … FROM … [WHERE …] [ORDER BY … DESC] [LIMIT …]."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))

    def query(self) -> _Query:
        found = self._query()
        if self._tokens:
            raise Malformed(f"unexpected token: {self._tokens[0]}")
        return found

    def _query(self) -> _Query:
        self._take("SELECT")
        items = [self._item()]
        while self._has(","):
            items.append(self._item())
        self._take("FROM")
        kind = self._next()
        if kind == "OpportunityContactRoles":
            kind = "OpportunityContactRole"
        if kind not in PREFIXES:
            raise Malformed(f"sObject type '{kind}' is not supported")
        query = _Query(items, kind, self._any(kind) if self._has("WHERE") else lambda _: True)
        if self._has("ORDER"):
            self._take("BY")
            query.newest_by = self._field(kind)
            self._take("DESC")
        if self._has("LIMIT"):
            query.rows_max = int(self._next())
        return query

    def _item(self) -> "str | _Query":
        if not self._has("("):
            return self._next()
        inner = self._query()
        self._take(")")
        return inner

    def _any(self, kind: str) -> Test:
        tests = [self._all(kind)]
        while self._has("OR"):
            tests.append(self._all(kind))
        return lambda row: any(test(row) for test in tests)

    def _all(self, kind: str) -> Test:
        tests = [self._one(kind)]
        while self._has("AND"):
            tests.append(self._one(kind))
        return lambda row: all(test(row) for test in tests)

    def _one(self, kind: str) -> Test:
        if self._has("("):
            inner = self._any(kind)
            self._take(")")
            return inner
        name = self._field(kind)
        self._take("=")
        literal = self._next()
        if literal in {"true", "false"}:
            return lambda row: row[name] is (literal == "true")
        if not literal.startswith("'"):
            raise Malformed(f"unexpected token: {literal}")
        wanted = re.sub(r"\\(.)", lambda found: _UNESCAPED[found[1].lower()], literal[1:-1]).casefold()
        return lambda row: str(row[name] or "").casefold() == wanted

    def _field(self, kind: str) -> str:
        name = self._next()
        if name not in FIELDS[kind]:
            raise Malformed(f"No such column '{name}' on entity '{kind}'")
        return name

    def _next(self) -> str:
        if not self._tokens:
            raise Malformed("unexpected end of query")
        return self._tokens.pop(0)

    def _has(self, token: str) -> bool:
        found = bool(self._tokens) and self._tokens[0] == token
        if found:
            self._tokens.pop(0)
        return found

    def _take(self, token: str) -> None:
        if not self._has(token):
            raise Malformed(f"expecting {token}")


def _tokens(text: str) -> Iterator[str]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Malformed(f"unexpected character at {at}")
        yield found[1]
        at = found.end()
