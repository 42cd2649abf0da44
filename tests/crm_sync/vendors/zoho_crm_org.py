"""What is in an organization at Zoho CRM, and the part of COQL that the connector writes.

The one rule: nothing is checked here but that a query is one: people in Zoho's own pages may do more than the API. [COQL] is
https://www.zoho.com/crm/developer/docs/api/v8/COQL-Overview.html and COQL-Limitations.html there; [KAIZEN] help.zoho.com, "Kaizen #171:
FAQs on COQL API".
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

_NUMBERS = count(5_725_767_000_000_411_001)
OWN_FIELDS = "id Owner Created_Time Modified_Time"
FIELDS: Mapping[str, tuple[str, ...]] = {
    module: tuple(f"{OWN_FIELDS} {own}".split())
    for module, own in {
        "Leads": "First_Name Last_Name Company Designation Email Secondary_Email Phone Mobile Lead_Status Lead_Source Description "
        "Industry Website City Country Chat_Reference Budget",
        "Contacts": "First_Name Last_Name Title Department Email Secondary_Email Phone Mobile Lead_Source Account_Name Budget",
        "Deals": "Deal_Name Stage Amount Closing_Date Contact_Name Account_Name Priority",
        "Accounts": "Account_Name Industry Website Phone Billing_City Billing_Country Tier",
    }.items()
}
CUSTOM = frozenset({"Chat_Reference", "Budget", "Priority", "Tier"})
LOOKUPS: Mapping[str, str] = {"Contact_Name": "Contacts", "Account_Name": "Accounts"}
VALUES_MAX, LIMIT_MAX = 100, 2_000
"""[COQL] Values of `in`, and records of a query."""
_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|[A-Za-z_][\w.]*|\d+|[(),=])")

Row = dict[str, Any]
Test = Callable[[Row], bool]


class Malformed(Exception):
    """What is no query. `column`: the field that there is not."""

    def __init__(self, said: str, *, column: str | None = None) -> None:
        super().__init__(said)
        self.column = column


@dataclass
class Org:
    """An organization. `api`: the user whose token it is; `unique`: fields of leads whose values no two may share."""

    api: str
    users: Mapping[str, str]
    unique: set[str] = field(default_factory=lambda: {"Chat_Reference"})
    fields: dict[str, list[str]] = field(
        default_factory=lambda: {module: list(names) for module, names in FIELDS.items()}
    )
    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: {module: {} for module in FIELDS})
    notes: dict[str, Row] = field(default_factory=dict)
    converted: set[str] = field(default_factory=set)
    credits_left: int = 5_000
    """[LIM] Of 24 hours, in the Free edition."""

    def add(self, module: str, **given: Any) -> Row:
        number = str(next(_NUMBERS))
        row = {
            "id": number,
            "Owner": self.user(given.pop("owner_id", None) or self.api),
            "Created_Time": "2026-11-21T18:00:00+09:00",
        }
        made = dict.fromkeys(FIELDS[module]) | row | given
        self.rows[module][number] = made
        return made

    def user(self, user_id: str) -> Row:
        return {"name": self.users[user_id], "id": user_id, "email": f"{user_id}@acme.example"}

    def note(self, module: str, parent_id: str, given: Mapping[str, Any]) -> Row:
        number = str(next(_NUMBERS))
        self.notes[number] = {"id": number, "module": module, "parent": parent_id} | dict(given)
        return self.notes[number]

    def find(self, module: str, record_id: str) -> Row | None:
        """A record that is there. Assumed: one that was converted is out of the way of the API."""
        return None if record_id in self.converted else self.rows[module].get(record_id)

    def query(self, text: str) -> list[Row]:
        """The rows of a query. Raises Malformed."""
        return _Parser(text, self).rows()


class _Parser:
    """select … from … where … [order by … desc] [limit …], whose keywords may have any case."""

    def __init__(self, text: str, org: Org) -> None:
        self._tokens = list(_tokens(text))
        self._org = org
        self._module = ""

    def rows(self) -> list[Row]:
        self._take("select")
        names = [self._next()]
        while self._has(","):
            names.append(self._next())
        self._take("from")
        self._module = self._next()
        if self._module not in FIELDS:
            raise Malformed("INVALID_MODULE")
        for name in names:
            self._known(name)
        # [COQL] WHERE is mandatory.
        self._take("where")
        test = self._pair()
        there = [row for row in self._org.rows[self._module].values() if row["id"] not in self._org.converted]
        found = [row for row in there if test(row)]
        if self._has("order"):
            self._take("by")
            by = self._known(self._next())
            found.sort(key=lambda row: str(row[by]), reverse=self._has("desc"))
        limit = int(self._next()) if self._has("limit") else 200
        if self._tokens or not 1 <= limit <= LIMIT_MAX:
            raise Malformed("SYNTAX_ERROR")
        return [self._shown(row, names) for row in found[:limit]]

    def _shown(self, row: Row, names: list[str]) -> Row:
        # [COQL] Of a lookup the id comes, and no name.
        shown = {
            name: {"id": row[name]["id"]} if isinstance(row[name], dict) else row[name] for name in names
        }
        return {"id": row["id"]} | shown

    def _pair(self) -> Test:
        """[COQL] More than two criteria are put into brackets, pair by pair."""
        left = self._one()
        for word, both in (("or", any), ("and", all)):
            if self._has(word):
                right = self._one()
                return lambda row: both((left(row), right(row)))
        return left

    def _one(self) -> Test:
        if self._has("("):
            inner = self._pair()
            self._take(")")
            return inner
        path = self._known(self._next())
        if self._has("="):
            values = [self._text()]
        else:
            self._take("in")
            self._take("(")
            values = [self._text()]
            while self._has(","):
                values.append(self._text())
            self._take(")")
        if len(values) > VALUES_MAX:
            raise Malformed("LIMIT_EXCEEDED")
        # Assumed: texts are compared without letter case.
        wanted = {one.casefold() for one in values}
        return lambda row: str(self._value(row, path) or "").casefold() in wanted

    def _value(self, row: Row, path: str) -> Any:
        name, _, rest = path.partition(".")
        if not rest:
            return row[name]
        referred = row[name] and self._org.find(LOOKUPS[name], row[name]["id"])
        return referred[rest] if referred else None

    def _known(self, path: str) -> str:
        name, _, rest = path.partition(".")
        fields = self._org.fields
        if name not in fields[self._module] or (rest and rest not in fields[LOOKUPS.get(name, "Accounts")]):
            raise Malformed("INVALID_QUERY", column=path)
        return path

    def _text(self) -> str:
        """[KAIZEN] A single quote within single quotes is written twice."""
        token = self._next()
        if not token.startswith("'"):
            raise Malformed("SYNTAX_ERROR")
        return token[1:-1].replace("''", "'")

    def _next(self) -> str:
        if not self._tokens:
            raise Malformed("SYNTAX_ERROR")
        return self._tokens.pop(0)

    def _has(self, token: str) -> bool:
        found = bool(self._tokens) and self._tokens[0].lower() == token
        if found:
            self._tokens.pop(0)
        return found

    def _take(self, token: str) -> None:
        if not self._has(token):
            raise Malformed("SYNTAX_ERROR")


def _tokens(text: str) -> Iterator[str]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Malformed("SYNTAX_ERROR")
        yield found[1]
        at = found.end()
