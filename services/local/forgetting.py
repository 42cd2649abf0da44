"""What workers keep of a visitor for themselves, deleted: the transcript worker's stored state, and what waits in ledgers.

One rule: a running worker's state is only written by whoever has fenced that worker, so that it reads its state anew afterwards.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

import orjson
from sqlalchemy import Connection, MetaData, Table, delete, inspect, make_url, select, text
from sqlalchemy.exc import SQLAlchemyError

from schemas.topics import TRANSCRIPT_STATE
from services.local.errors import LocalError
from services.local.topic_log import TopicLog
from services.local.traces import Marks
from services.local.verify import committed_offsets
from services.runtime.broker import Row
from services.runtime.database import open_single
from services.runtime.failures import TaskCorrupted, TaskMigrated, WorkerFailed
from services.runtime.kafka import KafkaWriter
from services.runtime.settings import RuntimeSettings

GROUP = "chat-transcript"
"""The transcript worker's consumer group by default; its transactional ids begin with it."""
TRANSACTION_LIMIT_MS = 10_000
"""A killed erasure's transaction keeps the worker from reading its state until the broker ends it."""
ROWS_PER_PAGE = 200
"""Rows of a ledger looked at in one go: a record is at most 1 MB."""
_WAITING = {"effects_parked": "record_value", "digest_notices": "notice"}
"""Tables in which records wait, and the column that holds them (`services.runtime.parking`, `services.notifier.digest`)."""


# ---------------------------------------------------------------- the transcript worker's state


async def forget_stored(
    bootstrap: str, *, group: str, workspace_id: str, chat_ids: Collection[str], number: int
) -> int:
    """Delete chats from the transcript worker's state; return how many records of it. Raises LocalError."""
    if not await _stored(bootstrap, workspace_id=workspace_id, chat_ids=chat_ids, number=number):
        return 0
    if not await committed_offsets(bootstrap, group=group):
        raise LocalError(
            f"Kafka knows no consumer group {group}: name the transcript worker's, its CHAT_GROUP, with --group. Its state was not "
            "touched, nor the archive."
        )
    settings = RuntimeSettings(bootstrap=bootstrap, group=group)
    writer = KafkaWriter(settings, number, transaction_limit_ms=TRANSACTION_LIMIT_MS)
    try:
        await writer.start()  # from here on the worker writes nothing before it has read its state again
        keys = await _stored(bootstrap, workspace_id=workspace_id, chat_ids=chat_ids, number=number)
        if keys:
            await writer.begin()
            for delivery in await writer.send(TRANSCRIPT_STATE, [Row(key, None) for key in keys]):
                await delivery
            await writer.commit()
    except (TaskMigrated, TaskCorrupted, WorkerFailed) as error:
        raise LocalError(
            f"The transcript worker's state could not be written ({str(error).rstrip('.')}): run it again."
        ) from error
    finally:
        await writer.close()
    return len(keys)


async def _stored(
    bootstrap: str, *, workspace_id: str, chat_ids: Collection[str], number: int
) -> list[bytes]:
    """The keys of what the state holds of these chats. Raises LocalError while a transcript of one is still to be made."""
    wanted = {(workspace_id, chat_id) for chat_id in chat_ids}
    keys: dict[bytes, bool] = {}
    async with TopicLog(bootstrap, (TRANSCRIPT_STATE,), partition=number) as log:
        async for record in log.stream():
            if record.key is None:
                continue
            keys.pop(record.key, None)
            if record.value is None:
                continue
            match orjson.loads(record.key):
                case ["chat" | "message", workspace, chat_id, *_] if (workspace, chat_id) in wanted:
                    keys[record.key] = False
                case ["closing", *_]:
                    closing = orjson.loads(record.value)
                    if (closing["workspace_id"], closing["closed"]["chat_id"]) in wanted:
                        keys[record.key] = True
                case _:
                    pass
    if any(keys.values()):
        raise LocalError(
            "A transcript of the visitor is still to be made: start the transcript worker, and run it again."
        )
    return list(keys)


# ---------------------------------------------------------------- what waits in ledgers


def named(url: str) -> str:
    """A database's address without its password."""
    return make_url(url).render_as_string(hide_password=True)


def demand(urls: Iterable[str]) -> None:
    """Raise LocalError unless these can be databases that are there: one that is made for it holds nothing."""
    for url in urls:
        try:
            place = make_url(url)
        except SQLAlchemyError:
            raise LocalError("A ledger's address must be sqlite:///FILE or postgresql://….") from None
        if place.get_backend_name() == "sqlite" and not Path(place.database or "").is_file():
            raise LocalError(f"There is no ledger in {place.database}: look at --ledger again.")


def forget_waiting(url: str, *, workspace_id: str, marks: Marks) -> int:
    """Delete records about a visitor that wait in a ledger; return how many. Raises LocalError."""
    try:
        engine = open_single(url)
        try:
            with engine.connect() as connection:
                if engine.dialect.name == "sqlite":
                    connection.execute(text("PRAGMA secure_delete=ON"))
                    connection.commit()
                with connection.begin():
                    present = [name for name in _WAITING if inspect(connection).has_table(name)]
                    count = sum(_forget_in(connection, name, workspace_id, marks) for name in present)
                if engine.dialect.name == "sqlite":
                    connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
                return count
        finally:
            engine.dispose()
    except (SQLAlchemyError, OSError) as error:
        raise LocalError(
            f"The ledger {named(url)} can't be used just now ({type(error).__name__})."
        ) from error


def _forget_in(connection: Connection, name: str, workspace_id: str, marks: Marks) -> int:
    table = Table(name, MetaData(), autoload_with=connection)
    keys, held = list(table.primary_key), table.c[_WAITING[name]]
    rows = connection.execute(select(*keys, held).execution_options(yield_per=ROWS_PER_PAGE))
    about = [tuple(row[:-1]) for row in rows if _is_about(row[-1], workspace_id, marks)]
    for place in about:
        same = [column == value for column, value in zip(keys, place, strict=True)]
        connection.execute(delete(table).where(*same))
    return len(about)


def _is_about(value: bytes, workspace_id: str, marks: Marks) -> bool:
    return marks.stand_in(value) and orjson.loads(value).get("workspaceid") == workspace_id
