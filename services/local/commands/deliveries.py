"""`chat-routing deliveries`: what became of a chat's mails, and a failed one sent again, once."""

import asyncio
import sys
from typing import Annotated

import orjson
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.local.display import visible
from services.local.resending import Outcome, outcomes_of_chat
from services.local.resending import resend as put_back

_PIPE_COLUMNS = 160

app = typer.Typer(help="What became of a chat's mails (--chat); send a failed one again, once.")

_Workspace = Annotated[
    str | None, typer.Option(metavar="ID", help="The workspace, where several use the same id.")
]
_Bootstrap = Annotated[str, typer.Option(metavar="HOST:PORT", help="The Kafka of the running service.")]


@app.callback(invoke_without_command=True)
def deliveries(
    context: typer.Context,
    chat: Annotated[str | None, typer.Option(metavar="ID", help="The chat whose mails are meant.")] = None,
    workspace: _Workspace = None,
    bootstrap: _Bootstrap = "127.0.0.1:9092",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show what became of each of a chat's mails, for each recipient; addresses are in no topic, only their hashes."""
    if context.invoked_subcommand is not None:
        return
    if chat is None:
        raise typer.BadParameter("say which chat", param_hint="--chat")
    outcomes = asyncio.run(outcomes_of_chat(bootstrap, chat, workspace_id=workspace))
    if as_json:
        sys.stdout.buffer.writelines(orjson.dumps(each.told()) + b"\n" for each in outcomes)
    elif outcomes:
        Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS).print(_table(outcomes))
    else:
        print(f"No mail about chat {visible(chat)} has an outcome.")


@app.command()
def resend(
    notice: Annotated[str, typer.Argument(metavar="NOTICE", help="As `deliveries --chat` names it.")],
    workspace: _Workspace = None,
    bootstrap: _Bootstrap = "127.0.0.1:9092",
) -> None:
    """Send a mail again to those for whom it failed: once, however often and by however many this is run."""
    done = asyncio.run(put_back(bootstrap, notice, workspace_id=workspace))
    print("It will be sent again." if done else "It has been sent again before: nothing is done.")


def _table(outcomes: list[Outcome]) -> Table:
    table = Table("at", "notice", "kind", "recipient", "result", "code", box=SIMPLE_HEAD)
    for each in outcomes:
        told = each.told()
        cells = (told[name] for name in ("at", "notice", "kind", "recipient", "result", "code"))
        table.add_row(*(Text(visible(cell or "")) for cell in cells))
    return table
