"""`chat-routing erase`: a visitor erased wherever they are kept, and a report of what remains until when."""

import asyncio
import sys
from typing import Annotated

import orjson
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.envelope import from_ms
from services.local.archives import ArchiveUrl, opened
from services.local.display import Bars, visible
from services.local.erasing import Report, erase_visitor
from services.local.forgetting import GROUP
from services.local.progress import Progress

_PIPE_COLUMNS = 160


def erase(
    workspace: Annotated[str, typer.Option(metavar="ID", help="The visitor's workspace.")],
    visitor: Annotated[
        str, typer.Option(metavar="ID", help="The visitor, as `visitor_id` of their chats names them.")
    ],
    by: Annotated[
        str | None,
        typer.Option(
            metavar="AGENT",
            help="The admin or supervisor who deletes the visitor's chats from the missed inbox, where there are any.",
        ),
    ] = None,
    ledger: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="A ledger in which mails or CRM entries may wait (CHAT_LEDGER_URL of notifier and crm_sync); once for each.",
        ),
    ] = None,
    archive: ArchiveUrl = None,
    group: Annotated[
        str, typer.Option(metavar="NAME", help="The transcript worker's consumer group (its CHAT_GROUP).")
    ] = GROUP,
    bootstrap: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The Kafka of the running service.")
    ] = "127.0.0.1:9092",
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Erase a visitor: from the archive, the missed inbox, the transcript worker's state, and what waits for mail server or CRM.

    What stands in topics goes with their retention; the report says when. Refused while a chat of theirs is open. Run again, it
    does nothing but look. Read docs/erasure.md first: it can't be undone.
    """
    with Bars(Console(stderr=True)) as progress:
        report = asyncio.run(
            _erase(
                bootstrap,
                archive,
                workspace=workspace,
                visitor=visitor,
                by=by,
                ledgers=ledger or [],
                group=group,
                progress=progress,
            )
        )
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(told(report)) + b"\n")
    else:
        _print(report)


async def _erase(
    bootstrap: str,
    url: str | None,
    *,
    workspace: str,
    visitor: str,
    by: str | None,
    ledgers: list[str],
    group: str,
    progress: Progress,
) -> Report:
    async with opened(url) as archive:
        return await erase_visitor(
            bootstrap,
            archive,
            workspace_id=workspace,
            visitor_id=visitor,
            by_agent_id=by,
            ledgers=ledgers,
            group=group,
            progress=progress,
        )


def told(report: Report) -> dict[str, object]:
    """Return the report for programs: times as text."""
    return {
        "workspace": report.workspace_id,
        "visitor_hash": report.visitor_hash,
        "at": from_ms(report.at_ms),
        "erased_before_at": _at(report.before_ms),
        "did_something": report.did_something,
        "chats": report.chats,
        "erased": {
            "archive": report.archive_rows,
            "missed_inbox": report.inbox,
            "transcript_worker_state": report.worker_records,
            "waiting_effects": report.waiting_effects,
        },
        "remains": [
            {
                "topic": each.topic,
                "records": each.records,
                "holds": each.holds,
                "newest_at": from_ms(each.newest_ms),
                "gone_by": _at(each.gone_by_ms),
            }
            for each in report.remains
        ],
        "router_forgets_by": _at(report.router_until_ms),
        "crm": [{"type": each.type, "id": each.id, "url": each.url} for each in report.crm],
    }


def _at(at_ms: int | None) -> str | None:
    return None if at_ms is None else from_ms(at_ms)


def _print(report: Report) -> None:
    print(
        f"Visitor {report.visitor_hash[:16]}… of {visible(report.workspace_id)}: {report.chats} chat(s) known."
    )
    if report.did_something:
        tables = ", ".join(f"{name} {count}" for name, count in report.archive_rows.items())
        print(f"Erased: archive rows: {tables or 'none'}; missed inbox: {report.inbox} chat(s);")
        print(f"  transcript worker's state: {report.worker_records} record(s);")
        waiting = sum(report.waiting_effects.values())
        print(f"  waiting mails and CRM entries: {waiting} in {len(report.waiting_effects)} ledger(s).")
    elif report.before_ms is not None:
        print(f"They were erased before, at {from_ms(report.before_ms)}: nothing was left to do.")
    else:
        print("There was nothing to erase.")
    if not report.waiting_effects:
        print("The ledgers of notifier and crm_sync were not looked at: name them with --ledger.")
    if report.router_until_ms is not None:
        print(
            f"The router knows their chats until {from_ms(report.router_until_ms)} at the latest; then they leave its state."
        )
    if report.remains:
        table = Table("topic", "records", "hold", "newest", "gone by", box=SIMPLE_HEAD)
        for each in report.remains:
            gone = _at(each.gone_by_ms) or "never: the topic has no retention"
            cells = (each.topic, str(each.records), each.holds, from_ms(each.newest_ms), gone)
            table.add_row(*map(Text, cells))
        print("Topics still hold, until their retention ends:")
        Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS).print(table)
    for record in report.crm:
        where = f"{record.type} {record.id} {record.url or ''}".strip()
        print(f"The CRM has {visible(where)}: erase it there.")
