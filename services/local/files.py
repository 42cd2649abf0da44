"""Files of the installation's folders. One rule: a file is whole or absent, whenever we are interrupted."""

import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

from services.local.errors import LocalError

DISK_FREE_MIN_BYTES = 300 * 1024 * 1024
_TAIL_BYTES_MAX = 64 * 1024
_LAST_WORDS_LINES_MAX = 5


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace the file by a whole new one, readable by whom `mode` says, or leave the old one."""
    draft = path.with_name(path.name + ".new")
    with os.fdopen(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8"
    ) as handle:
        handle.write(text)
    draft.replace(path)


def read_from(path: Path, *, mark_bytes: int) -> str:
    """Return the text of a log after a mark; a log that has rolled since then is read from its beginning."""
    try:
        with path.open("rb") as log:
            if log.seek(0, os.SEEK_END) < mark_bytes:
                mark_bytes = 0
            log.seek(mark_bytes)
            return log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def size_of(path: Path) -> int:
    """Return the size of a file in bytes, 0 when there is none."""
    return path.stat().st_size if path.exists() else 0


def tail(path: Path) -> str:
    """Return the end of a log, at most 64 KiB; nothing when there is none."""
    return read_from(path, mark_bytes=max(0, size_of(path) - _TAIL_BYTES_MAX))


def last_words(log_text: str) -> str:
    """Return the last lines of a log that say something, for the end of an error message: no frames of Java's stack."""
    said = [line for line in log_text.splitlines() if line.strip() and not line.startswith("\t")]
    return "\n".join(said[-_LAST_WORDS_LINES_MAX:])


def claim(folder: Path) -> IO[bytes]:
    """Make a data folder ours alone until the returned handle is closed or we end.

    Raises LocalError when another run has it, when it cannot be written, or when its disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("ab")
    except OSError as error:
        raise LocalError(unwritable(folder, error)) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise LocalError(
            f"The data folder {folder} is in use by another run: stop that one, or choose another with --data."
        ) from None
    if shutil.disk_usage(folder).free < DISK_FREE_MIN_BYTES:
        handle.close()
        raise LocalError(disk_full(folder))
    return handle


def unwritable(folder: Path, error: OSError) -> str:
    """Return the sentence for a folder that refuses to be written."""
    return f"{folder} cannot be written ({error.strerror}): choose another folder with --data."


def disk_full(folder: Path) -> str:
    """Return the sentence for a full disk."""
    needed_mb = DISK_FREE_MIN_BYTES // (1024 * 1024)
    return (
        f"The disk of {folder} is full: free {needed_mb} MB, or choose a folder on another disk with --data."
    )
