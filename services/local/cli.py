"""The command line `chat-routing`. One rule: here commands are registered, what they do stands in `commands/`."""

import logging
import signal
import sys
from types import FrameType

import typer

from services.local.commands.acls import acls
from services.local.commands.archive import app as archive
from services.local.commands.crm import app as crm
from services.local.commands.deliveries import app as deliveries
from services.local.commands.demo import demo
from services.local.commands.dlq import app as dlq
from services.local.commands.erase import erase
from services.local.commands.explain import explain
from services.local.commands.grow import grow
from services.local.commands.link import app as link
from services.local.commands.mail import app as mail
from services.local.commands.play import play, publish
from services.local.commands.replay import export, replay
from services.local.commands.sample import sample
from services.local.commands.token import token
from services.local.commands.top import status, top
from services.local.commands.topics import topics
from services.local.commands.up import up
from services.local.commands.verify import verify
from services.local.errors import LocalError

app = typer.Typer(
    name="chat-routing",
    help="Routing of chats to contact-centre agents, on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up)
app.command()(topics)
app.command()(acls)
app.command()(grow)
for command in (top, status, sample, play, publish, export, replay, explain, verify, demo, token, erase):
    app.command()(command)
app.add_typer(archive, name="archive")
app.add_typer(crm, name="crm")
app.add_typer(dlq, name="dlq")
app.add_typer(deliveries, name="deliveries")
app.add_typer(mail, name="mail")
app.add_typer(link, name="link")


def main() -> None:
    """Run the command line; a LocalError is printed as its sentence, and the exit code is 1."""
    for stopping in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stopping, _interrupt)
    # What a client logs as an error reaches us as an exception, and we say it in a sentence.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        app(prog_name="chat-routing")
    except LocalError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


def _interrupt(_signal_number: int, _frame: FrameType | None) -> None:
    """Be stopped by the system as by Ctrl-C: everything we started is stopped in order."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
