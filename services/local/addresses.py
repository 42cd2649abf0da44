"""Where the parts of an installation on this machine answer: written by `up` for the commands that look at it.

One rule: the file says where they would answer; whether they do, only asking shows.
"""

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from schemas.frozen import dataclass
from services.local.errors import LocalError
from services.local.files import write_whole

_FILE = "addresses.json"


@dataclass(frozen=True, slots=True)
class Addresses:
    """The Kafka, and the base address of each worker's pages by its name."""

    bootstrap: str
    workers: dict[str, str]


def keep_addresses(data: Path, *, bootstrap: str, workers: dict[str, str]) -> None:
    """Write them into the installation's folder."""
    write_whole(data / _FILE, json.dumps({"bootstrap": bootstrap, "workers": workers}))


def addresses_of(data: Path) -> Addresses:
    """Return those of the installation in a folder. Raises LocalError when there is none."""
    path = data / _FILE
    try:
        return TypeAdapter(Addresses).validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise LocalError(
            f"No installation has run in {data}: start one with `chat-routing up`, name its folder with --data, or name each "
            "worker with --worker NAME=URL."
        ) from error
    except (OSError, ValidationError) as error:
        raise LocalError(
            f"{path} can't be read: start `chat-routing up` again, which writes it anew."
        ) from error
