"""Full-text search, Japanese included: every two neighbouring characters of a text are in the index (bigrams), and each ideograph alone.

The one rule: the index only finds candidates; a text matches if it holds the term itself, so nothing is found that is not there.

What stands in the index is a number made of the workspace and the characters: one workspace's texts don't make another's search slower,
and the index by itself tells nobody what was said. On SQLite it is an FTS5 table without contents, on PostgreSQL arrays under a GIN index.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any
from zlib import crc32

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    RowMapping,
    Select,
    and_,
    cast,
    column,
    delete,
    func,
    insert,
    literal,
    select,
    table,
    tuple_,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY

from services.transcript.archive import standing, tables
from services.transcript.archive.folding import folded, searched
from services.transcript.archive.writing import chunks, having

TERMS_MAX = 10
TERM_CHARS_MAX = 100
GRAMS_MAX = 32
"""Of a term so many grams are looked up: what they find is compared with the whole term anyway."""
_IDEOGRAPH = re.compile("[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
"""A kanji, or what repeats one: more or less a word by itself."""
_SIGN = 1 << 31
_grams = table("text_grams", column("rowid"), column("grams"), column("text_grams"))

CREATE = {
    "sqlite": (
        "CREATE VIRTUAL TABLE text_grams USING fts5(grams, content='', columnsize=0, detail=none, tokenize='ascii')",
    ),
    "postgresql": (
        "CREATE TABLE text_grams (rowid BIGINT PRIMARY KEY, grams INTEGER[] NOT NULL)",
        "CREATE INDEX ix_text_grams ON text_grams USING gin (grams)",
    ),
}
"""The index is no table that SQLAlchemy knows: a migration makes it with these."""
_STORE = {
    "sqlite": sql("INSERT INTO text_grams (rowid, grams) VALUES (:id, :grams)"),
    "postgresql": sql("INSERT INTO text_grams (rowid, grams) VALUES (:id, :grams)"),
}
_REMOVE = {
    # FTS5 keeps no contents, so it has to be told what to take out.
    "sqlite": sql("INSERT INTO text_grams (text_grams, rowid, grams) VALUES ('delete', :id, :grams)"),
    "postgresql": sql("DELETE FROM text_grams WHERE rowid = :id"),
}

_REMOVE_ALL = {
    "sqlite": sql("INSERT INTO text_grams (text_grams) VALUES ('delete-all')"),
    "postgresql": sql("DELETE FROM text_grams"),
}


class Unsearchable(ValueError):
    """A text that can't be searched for; the message says what can."""


# ---------------------------------------------------------------- asking


def found_by(term: str, *, workspace_id: str, dialect: str, whispers: bool) -> ColumnElement[bool]:
    """The condition on `tables.chats` of a workspace that a chat's question or messages hold one of `terms`.

    It is for a term that the index knows few texts with (`candidates`): they are looked up first. `whispers`: internal messages count
    as well, which only those may ask for who may read them.
    """
    c, t = tables.chats.c, standing.texts.c
    known = t.id.in_(candidates(term, workspace_id=workspace_id, dialect=dialect))
    # By no index: SQLite would go through all texts of the workspace.
    of_workspace = (t.workspace_id + literal("")) == workspace_id
    holding = select(t.chat_id, t.revision).where(known, of_workspace, _holds(term, whispers=whispers))
    return tuple_(c.chat_id, c.revision).in_(holding)


def held_by_chat(term: str, *, whispers: bool) -> ColumnElement[bool]:
    """The same condition, for a term that many chats hold: each chat's own texts are looked at."""
    c, t = tables.chats.c, standing.texts.c
    same = and_(t.workspace_id == c.workspace_id, t.chat_id == c.chat_id, t.revision == c.revision)
    # No EXISTS: PostgreSQL would make a join of it, and look at every chat's texts before the first one is given.
    return select(t.id).where(same, _holds(term, whispers=whispers)).limit(1).scalar_subquery().is_not(None)


def candidates(term: str, *, workspace_id: str, dialect: str) -> Select[tuple[int]]:
    """The texts that may hold a term, by the index."""
    return select(_grams.c.rowid).where(_candidate(term, workspace_id, dialect))


def _holds(term: str, *, whispers: bool) -> ColumnElement[bool]:
    t = standing.texts.c
    holds = t.folded.contains(term, autoescape=True)
    return holds if whispers else and_(holds, t.internal.is_(False))


def terms(written: str) -> list[str]:
    """The terms of what somebody wrote into a search box. Raises `Unsearchable`."""
    found = list(dict.fromkeys(folded(written).split()))
    if not found:
        raise Unsearchable("an empty text was given; a word or a part of one was expected")
    if len(found) > TERMS_MAX or any(len(term) > TERM_CHARS_MAX for term in found):
        raise Unsearchable(f"at most {TERMS_MAX} terms of at most {TERM_CHARS_MAX} characters were expected")
    for term in found:
        if len(term) == 1 and not _IDEOGRAPH.match(term):
            raise Unsearchable("a single letter was given; two characters, or one ideograph, were expected")
    return found


def _candidate(term: str, workspace_id: str, dialect: str) -> ColumnElement[bool]:
    numbers = sorted(grams(term, workspace_id))[:GRAMS_MAX]
    if dialect == "postgresql":
        return _grams.c.grams.op("@>")(cast(numbers, ARRAY(Integer)))
    return _grams.c.text_grams.op("MATCH")(_words(numbers))


def grams(line: str, workspace_id: str) -> set[int]:
    """The numbers of a folded text's bigrams and ideographs, 32 bits with a sign. No bigram reaches over white space."""
    seed = crc32(workspace_id.encode() + b"\n")
    found = {a + b for word in line.split() for a, b in pairwise(word)}
    found.update(_IDEOGRAPH.findall(line))
    return {crc32(gram.encode(), seed) - _SIGN for gram in found}


def _words(numbers: Iterable[int]) -> str:
    """Numbers as FTS5 reads them; in a query all of them are wanted."""
    return " ".join(f"{number + _SIGN:08x}" for number in numbers)


# ---------------------------------------------------------------- keeping


def keep(
    connection: Connection,
    found: Iterable[Mapping[str, Any]],
    *,
    replaced: Iterable[tuple[str, str, int, int]],
) -> None:
    """Keeps the texts of parts of transcripts, in the transaction that writes their rows.

    `replaced`: parts that were there already (workspace, chat, revision, part); of their texts none is left but those that are the same.
    """
    t = standing.texts.c
    key = (t.workspace_id, t.chat_id, t.revision, t.part, t.internal)
    new = {tuple(each[c.name] for c in key): each for each in found}
    gone: list[RowMapping] = []
    for which in having(key[:-1], replaced):
        for row in connection.execute(select(standing.texts).where(which)).mappings():
            name = tuple(row[c.name] for c in key)
            if name in new and new[name]["folded"] == row["folded"]:
                del new[name]
            else:
                gone.append(row)
    _remove(connection, gone)
    if new:
        first = (connection.scalar(select(func.max(t.id))) or 0) + 1
        rows = [{"id": number, **each} for number, each in enumerate(new.values(), start=first)]
        connection.execute(insert(standing.texts), rows)
        connection.execute(_STORE[connection.dialect.name], [_indexed(connection, row) for row in rows])


def build(connection: Connection) -> None:
    """Makes the texts of all transcripts that are in the archive: for a database that had no index."""
    c, t, m = tables.chats.c, tables.transcripts.c, tables.messages.c
    every = (
        select(t.workspace_id, t.chat_id, t.revision, t.part, c.question)
        .join(tables.chats, and_(*(c[name] == t[name] for name in ("workspace_id", "chat_id", "revision"))))
        .order_by(t.workspace_id, t.chat_id, t.revision, t.part)
    )
    for chunk in chunks([tuple(row) for row in connection.execute(every)]):
        said: dict[Any, list[tuple[bool, str]]] = defaultdict(list)
        for of_chats in having((m.workspace_id, m.chat_id), {row[:2] for row in chunk}):
            of_parts = (
                select(m.workspace_id, m.chat_id, m.revision, m.part, m.internal, m.text)
                .where(of_chats)
                .order_by(m.position)
            )
            for row in connection.execute(of_parts):
                said[tuple(row)[:4]].append((row.internal, row.text))
        found = [
            {"workspace_id": key[0], "chat_id": key[1], "revision": key[2], "part": key[3], **text}
            for *key, question in chunk
            for text in searched(question if key[3] == 1 else None, said[tuple(key)])
        ]
        keep(connection, found, replaced=())


def forget_all(connection: Connection) -> None:
    """Takes every text away, and empties the index."""
    connection.execute(delete(standing.texts))
    connection.execute(_REMOVE_ALL[connection.dialect.name])


def forget(connection: Connection, *, workspace_id: str, chat_ids: Iterable[str]) -> int:
    """Takes all texts of some chats away, and out of the index; returns how many."""
    t = standing.texts.c
    count = 0
    for chunk in chunks(chat_ids):
        of_chats = select(standing.texts).where(t.workspace_id == workspace_id, t.chat_id.in_(chunk))
        found = connection.execute(of_chats).mappings().all()
        _remove(connection, found)
        count += len(found)
    return count


def _remove(connection: Connection, rows: Iterable[RowMapping]) -> None:
    gone = list(rows)
    if gone:
        connection.execute(_REMOVE[connection.dialect.name], [_indexed(connection, row) for row in gone])
    for chunk in chunks([row["id"] for row in gone]):
        connection.execute(delete(standing.texts).where(standing.texts.c.id.in_(chunk)))


def _indexed(connection: Connection, row: Mapping[Any, Any]) -> dict[str, Any]:
    numbers = sorted(grams(row["folded"], row["workspace_id"]))
    return {"id": row["id"], "grams": numbers if connection.dialect.name == "postgresql" else _words(numbers)}
