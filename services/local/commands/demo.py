"""`chat-routing demo`: a whole installation, a sample day in half a minute, and the checks."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from services.local.demo import CHATS, PARTITIONS, TICK_INTERVAL_MS, Outcome, act_out, day_of
from services.local.display import Bars
from services.local.errors import LocalError
from services.local.installation import Installation
from services.router.worker import RouterSettings

_SHOWN_MAX = 10
_INTERRUPTED_CODE = 130
_REASONS = ("transfer_declined", "transfer_not_attended", "no_agent_message", "visitor_left", "no_reply")
_ANSWERS = ("offer.accepted.v1", "offer.declined.v1")
_MAILS = ("unattended", "reply", "transcript", "ip_blocked", "feedback")


def demo(
    chats: Annotated[int, typer.Option(min=1, max=100_000, help="How many chats are requested.")] = CHATS,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another day.")] = 1,
    bootstrap: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Use this Kafka instead of the embedded one.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Keep everything in this new folder; by default nothing is kept.")
    ] = None,
) -> None:
    """Act out a sample day on a real Kafka and the four workers, and check every record of it."""
    console = Console()
    try:
        outcome = _perform(console, chats=chats, seed=seed, bootstrap=bootstrap, data=data)
    except LocalError as error:
        _fail([str(error)])
    except KeyboardInterrupt:
        console.print("Stopped.")
        sys.exit(_INTERRUPTED_CODE)
    console.print(_table(outcome))
    failures = outcome.failures()
    if failures:
        _fail(failures)
    sys.stdout.write(f"{outcome.line}\n")


def _perform(console: Console, *, chats: int, seed: int, bootstrap: str | None, data: Path | None) -> Outcome:
    overrides = {"CHAT_TICK_INTERVAL_MS": str(TICK_INTERVAL_MS)}
    with (
        Bars(console) as bars,
        Installation(
            data, bootstrap=bootstrap, partitions=PARTITIONS, overrides=overrides, progress=bars
        ) as installation,
    ):
        return asyncio.run(
            act_out(
                day_of(chats=chats, seed=seed),
                installation,
                group=RouterSettings.model_fields["group"].default,
                progress=bars,
            )
        )


def _fail(sentences: list[str]) -> NoReturn:
    for sentence in sentences[1:_SHOWN_MAX]:
        sys.stdout.write(f"{sentence}\n")
    more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
    sys.stdout.write(f"demo failed: {sentences[0].rstrip('.')}{more}\n")
    sys.exit(1)


def _table(outcome: Outcome) -> Table:
    books = outcome.accounts
    late = sum(books.refusals[answer] for answer in _ANSWERS)
    table = Table("what", "count", title="The sample day", title_justify="left")
    table.columns[1].justify = "right"
    rows: list[tuple[str, int]] = [
        ("requested", books.chats),
        ("handled", books.outcomes("handled")),
        ("handled by bot", books.outcomes("handled_by_bot")),
        ("missed", books.outcomes("missed")),
        *((f"  {reason}", books.missed_by_reason[reason]) for reason in _REASONS),
        ("offers", books.offers),
        ("  accepted", books.accepted),
        ("  declined", books.withdrawn["declined"]),
        ("  timed out", books.withdrawn["timed_out"]),
        ("  answered too late", late),
        ("transfers", books.transfers.total()),
        ("  taken over", books.transfers["taken"]),
        ("  declined or unanswered", books.transfers["failed"]),
        ("colleagues who joined a chat", books.joined["participant"]),
        ("supervisors who looked in", books.joined["monitor"]),
        ("  whispers to the agent", len(books.whispers)),
        ("  copies in which visitors read them", len(outcome.leaks)),
        ("missed inbox: given to an agent", books.inbox["assigned"]),
        ("  closed or deleted", books.inbox["closed"] + books.inbox["deleted"]),
        ("notes in the archive", outcome.archived_notes),
        ("mails", books.mails.total()),
        *((f"  {kind}", books.mails[kind]) for kind in _MAILS),
        ("CRM: requests by agents", books.crm_requests),
        ("  activities", books.activities),
        ("  leads created", books.leads),
        ("  conversations nobody matches", books.unmatched),
        ("other requests refused", books.refusals.total() - late),
        ("dead letters", books.dead_letters),
        ("records published", outcome.played.published),
        ("records checked", outcome.verified.records + outcome.verified.decisions),
    ]
    for name, count in rows:
        table.add_row(name, str(count))
    table.add_row("append to decision, p50", f"{outcome.wait_ms(0.50)} ms")
    table.add_row("append to decision, p99", f"{outcome.wait_ms(0.99)} ms")
    return table
