"""The archive a command works on: the one named, that of the worker's environment, or that of this user's installation.

The one rule: an archive that is not there is not made; what is done in an empty one would seem done, and help nobody.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.exc import SQLAlchemyError

from services.local.errors import LocalError
from services.local.installation import archive_of
from services.local.settings import LocalSettings
from services.runtime.connection import SECRETS_FOLDER
from services.runtime.logs import explain
from services.transcript.archive.database import Archive

ArchiveUrl = Annotated[
    str | None,
    typer.Option(
        "--archive",
        metavar="URL",
        help="The archive: sqlite:///FILE or postgresql://…; by default that of CHAT_ARCHIVE_URL, else of `chat-routing up`.",
    ),
]


class _Environment(BaseSettings):
    """What the transcript worker's surroundings say, read as the worker reads it."""

    model_config = SettingsConfigDict(
        env_prefix="CHAT_", secrets_dir=SECRETS_FOLDER if SECRETS_FOLDER.is_dir() else None, extra="ignore"
    )

    archive_url: str | None = None


@asynccontextmanager
async def opened(url: str | None) -> AsyncIterator[Archive]:
    """Open the archive, its tables up to date. Raises LocalError when it can't be used, from within the block too."""
    archive = _at(url or _Environment().archive_url or archive_of(LocalSettings().data_folder))
    try:
        await archive.prepare()
        yield archive
    except (SQLAlchemyError, OSError) as error:
        raise LocalError(f"The archive can't be used just now: {explain(error)}") from error
    finally:
        await archive.close()


def _at(url: str) -> Archive:
    try:
        archive = Archive.at(url)
    except (SQLAlchemyError, ValueError) as error:
        raise LocalError("The archive's address must be sqlite:///FILE or postgresql://….") from error
    place = archive.engine.url
    if place.get_backend_name() == "sqlite" and not Path(place.database or "").is_file():
        raise LocalError(
            f"There is no archive in {place.database}: name it with --archive or CHAT_ARCHIVE_URL."
        )
    return archive
