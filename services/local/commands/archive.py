"""`chat-routing archive`: what can be done with the archive as a whole."""

import typer

from services.local.commands.archive_export import export_chats
from services.local.commands.archive_rebuild import rebuild

app = typer.Typer(no_args_is_help=True, help="The archive of finished chats.")
app.command("export")(export_chats)
app.command()(rebuild)
