"""`chat-routing dlq`: dead letters are listed, looked at, and put back once their cause is mended."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.topics import dead_letters
from services.local.commands.replay import moment_ms
from services.local.dlq import DeadLetterLog, Filed, Filter, kafka_writers, redrive, waiting
from services.local.errors import LocalError
from services.local.growing.layout import demand_whole
from services.local.letter_views import SHOWN_BYTES_MAX, detail, summary

LISTED_MAX = 50
REDRIVEN_MAX = 100
"""Letters put back in a run: fewer than the dead letters a minute at which a worker stops, if they are poison still."""
_PIPE_COLUMNS = 160
_PLACE = re.compile(r"(.+)/(\d+)/(\d+)")

app = typer.Typer(
    no_args_is_help=True,
    help="Dead letters: records a worker could not read. Look at them, mend the cause, put them back.",
)

_Bootstrap = Annotated[str, typer.Option(metavar="HOST:PORT", help="The Kafka of the running service.")]
_Topic = Annotated[
    str | None, typer.Option(metavar="TOPIC", help="Refused records of this topic; by default of all.")
]
_Partition = Annotated[int | None, typer.Option(min=0, help="Of this partition.")]
_Exception = Annotated[str | None, typer.Option(metavar="NAME", help="Refused by this exception.")]
_Reason = Annotated[
    str | None, typer.Option(metavar="TEXT", help="With this text in the reason; case does not matter.")
]
_Workspace = Annotated[str | None, typer.Option(metavar="ID", help="Of this workspace: the record's key.")]
_Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Refused then or later (RFC 3339, with its zone).")
]
_Until = Annotated[str | None, typer.Option(metavar="TIME", help="Refused before then.")]


@app.command("list")
def list_letters(
    bootstrap: _Bootstrap = "127.0.0.1:9092",
    topic: _Topic = None,
    partition: _Partition = None,
    exception: _Exception = None,
    reason: _Reason = None,
    workspace: _Workspace = None,
    since: _Since = None,
    until: _Until = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show the newest so many.")] = LISTED_MAX,
    redriven: Annotated[bool, typer.Option("--all", help="Also those that were put back already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List dead letters, oldest first."""
    wanted = _filter(topic, partition, exception, reason, workspace, since, until)
    shown, count = asyncio.run(_newest(bootstrap, wanted, limit=limit, redriven=redriven))
    if as_json:
        sys.stdout.buffer.writelines(orjson.dumps(each) + b"\n" for each in shown)
        return
    _print_table(shown)
    print(f"Dead letters: {count}{f', of which the newest {limit} are shown' if count > limit else ''}.")


@app.command()
def show(
    letter: Annotated[str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="As `list` names it.")],
    bootstrap: _Bootstrap = "127.0.0.1:9092",
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Also the bytes and the headers' values, escaped. They are hidden otherwise: a dead letter holds what "
            "people wrote, their names and addresses, and a terminal is often shared or recorded.",
        ),
    ] = False,
    bytes_max: Annotated[int, typer.Option(min=1, help="Show so many bytes at most.")] = SHOWN_BYTES_MAX,
) -> None:
    """Show one dead letter: why it was refused, where it stood, its headers and its shape."""
    found = asyncio.run(_found(bootstrap, _place(letter)))
    if found is None:
        raise LocalError(
            f"There is no dead letter {letter}: `chat-routing dlq list --all` names those there are."
        )
    print(detail(found, raw=raw, bytes_max=bytes_max))


@app.command("redrive")
def redrive_letters(
    letter: Annotated[
        str | None,
        typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="This one; otherwise those the options mean."),
    ] = None,
    bootstrap: _Bootstrap = "127.0.0.1:9092",
    topic: _Topic = None,
    partition: _Partition = None,
    exception: _Exception = None,
    reason: _Reason = None,
    workspace: _Workspace = None,
    since: _Since = None,
    until: _Until = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Put back so many at most, the oldest first.")
    ] = REDRIVEN_MAX,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be put back.")] = False,
) -> None:
    """Put dead letters back where they came from: the same bytes, headers, key and partition, at the topic's end.

    Where partitions were added since and the workspace has moved, a record goes to the workspace's partition of today.
    Each is put back once, however often this is run, by however many, and wherever it was interrupted. One that still can't
    be read becomes a new letter that names the old one.
    """
    wanted = _filter(topic, partition, exception, reason, workspace, since, until)
    if letter is not None:
        if wanted != Filter():
            raise typer.BadParameter("a letter or options that choose letters, not both", param_hint="letter")
        wanted = _place(letter)
    asyncio.run(demand_whole(bootstrap))
    if dry_run:
        shown = asyncio.run(_would_redrive(bootstrap, wanted, limit=limit))
        _print_table(shown)
        print(f"Would be put back: {len(shown)}.")
    else:
        asyncio.run(_redrive(bootstrap, wanted, limit=limit))


def _filter(
    topic: str | None,
    partition: int | None,
    exception: str | None,
    reason: str | None,
    workspace: str | None,
    since: str | None,
    until: str | None,
) -> Filter:
    return Filter(
        topic=None if topic is None else _dead_letter_topic(topic),
        partition=partition,
        exception=exception,
        reason=reason,
        workspace_id=workspace,
        since_ms=None if since is None else moment_ms(since, option="--since"),
        until_ms=None if until is None else moment_ms(until, option="--until"),
    )


def _dead_letter_topic(topic: str) -> str:
    """Return the dead-letter topic for its own name or that of the topic whose records were refused."""
    return dead_letters(topic.removesuffix(dead_letters("")))


def _place(text: str) -> Filter:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text}: TOPIC/PARTITION/OFFSET was expected", param_hint="letter")
    topic, partition, offset = match.groups()
    return Filter(topic=_dead_letter_topic(topic), partition=int(partition), offset=int(offset))


async def _all(log: DeadLetterLog) -> AsyncIterator[Filed]:
    for at in log.places:
        async for filed in log.filed(at):
            yield filed


async def _newest(
    bootstrap: str, wanted: Filter, *, limit: int, redriven: bool
) -> tuple[list[dict[str, Any]], int]:
    """Return the newest `limit` letters, oldest first, and how many there are."""
    shown: list[dict[str, Any]] = []
    count = 0
    async with DeadLetterLog(bootstrap, wanted) as log:
        async for filed in _all(log):
            if filed.redriven and not redriven:
                continue
            count += 1
            shown.append(summary(filed))
            if len(shown) >= 2 * limit:
                shown = _last(shown, limit)
    return _last(shown, limit), count


def _last(shown: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    return sorted(shown, key=lambda each: each["refused_at"])[-limit:]


async def _found(bootstrap: str, wanted: Filter) -> Filed | None:
    async with DeadLetterLog(bootstrap, wanted) as log:
        found = [filed async for filed in _all(log)]
    return found[0] if found else None


async def _would_redrive(bootstrap: str, wanted: Filter, *, limit: int) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    async with DeadLetterLog(bootstrap, wanted) as log:
        for at in log.places:
            async for filed in waiting(log.filed(at)):
                if len(shown) == limit:
                    return shown
                shown.append(summary(filed))
    return shown


async def _redrive(bootstrap: str, wanted: Filter, *, limit: int) -> None:
    count = 0
    try:
        async with DeadLetterLog(bootstrap, wanted) as log:
            async for letters in redrive(log, writers=kafka_writers(bootstrap), limit=limit):
                count += len(letters)
    finally:
        print(f"Put back: {count}.")


def _print_table(shown: list[dict[str, Any]]) -> None:
    if not shown:
        return
    table = Table("letter", "refused at", "workspace", "why", "bytes", "put back", box=SIMPLE_HEAD)
    for each in shown:
        cells = (
            each["letter"],
            each["refused_at"],
            each["workspace"] or "-",
            f"{each['exception']}: {each['reason']}",
            str(each["bytes"]),
            "yes" if each["redriven"] else "",
        )
        table.add_row(*map(Text, cells))  # as text: what a publisher sent must not be taken for markup
    Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS).print(table)
