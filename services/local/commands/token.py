"""`chat-routing token`: a token for the archive's read API."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from services.local.errors import LocalError
from services.local.installation import API_SECRET
from services.local.settings import LocalSettings
from services.runtime.wall_clock import now_ms
from services.transcript.api.access import TOKEN_LIFETIME_S_MAX, ApiSettings, Role, Token, make_token


def token(
    workspace: Annotated[str, typer.Option(metavar="ID", help="The only workspace it reads of.")],
    role: Annotated[Role, typer.Option(help="What it may read, at most.")],
    agent: Annotated[
        str | None, typer.Option(metavar="ID", help="Whose it is; an agent's or a supervisor's must say so.")
    ] = None,
    lifetime_s: Annotated[
        float, typer.Option(min=1, max=TOKEN_LIFETIME_S_MAX, help="How long it works.")
    ] = 3600,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the installation that `chat-routing up` runs.")
    ] = None,
) -> None:
    """Print a token for the read API, signed with CHAT_API_SECRET, CHAT_API_SECRET_FILE or the secret of the local installation."""
    try:
        made = Token(
            workspace=workspace,
            role=role,
            agent=agent,
            expires_at_ms=now_ms() + int(lifetime_s * 1000),
        )
    except ValidationError as error:
        said = [problem["msg"].removeprefix("Value error, ") for problem in error.errors()]
        raise LocalError(f"No such token can be made: {'; '.join(said)}.") from error
    typer.echo(make_token(made, secret=_secret(data)))


def _secret(data: Path | None) -> str:
    """The secret of the folder, where one is named; else that of the environment; else that of the user's installation."""
    file = (data or LocalSettings().data_folder) / API_SECRET
    try:
        settings = ApiSettings(api_secret=None, api_secret_file=file) if data else ApiSettings()
        secret = settings.token_secret
        if secret is None:
            secret = ApiSettings(api_secret_file=file).token_secret
    except ValidationError as error:
        raise LocalError(
            f"There is no usable secret in CHAT_API_SECRET, CHAT_API_SECRET_FILE or {file}: set one, or name the folder with --data."
        ) from error
    assert secret is not None, "a file holds one"
    return secret
