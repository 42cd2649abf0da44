"""A disk of a few megabytes that can be filled to its last page, and emptied again.

The one rule: it is a real file system of its own, so a full disk is one for everything that writes to it, and for nothing
else on the machine.
"""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_COMMAND_LIMIT_S = 30
_CHUNK = bytes(64 * 1024)


class SmallDisk:
    """A mounted disk. `folder`: where it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no room: not a page more can be written."""
        with self._filler.open("wb", buffering=0) as filler:
            while True:
                try:
                    filler.write(_CHUNK)
                except OSError as error:
                    if error.errno == errno.ENOSPC:
                        return
                    raise

    def make_room(self) -> None:
        """Take away what filled it."""
        self._filler.unlink()


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[SmallDisk]:
    """Mount such a disk at `folder`, which is made. Skips the test where nobody may mount, and fails it there in CI."""
    folder.mkdir()
    options = f"size={megabytes}m,mode=0777"
    problem = _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    if problem:
        says = f"no disk can be mounted here, so that none can be full: {problem}"
        if os.environ.get("CI") == "true":
            pytest.fail(says)
        pytest.skip(says)
    try:
        yield SmallDisk(folder)
    finally:
        problem = _run("umount", str(folder))
        assert not problem, problem


def _run(*command: str) -> str:
    """Run a command as root; return why it failed, or nothing."""
    root = () if os.geteuid() == 0 else ("sudo", "--non-interactive")
    if shutil.which((*root, *command)[0]) is None:
        return f"there is no {(*root, *command)[0]}"
    done = subprocess.run(
        [*root, *command], capture_output=True, text=True, timeout=_COMMAND_LIMIT_S, check=False
    )
    return done.stderr.strip() or "it says nothing" if done.returncode else ""
