"""Starts and stops the programs of the local installation.

One rule: every program is started through `spawn`, so that none of them outlives us, whatever ends us.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic

_LEASH = Path(__file__).with_name("leash.py")

# The kernel's "parent died" means the *thread* that forked, so all programs are forked by one thread which lives
# as long as we do; a caller may well be in a short-lived one (`asyncio.to_thread`).
_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")

Process = subprocess.Popen[bytes]


def spawn(command: Sequence[str], *, environment: Mapping[str, str], folder: Path, output: Path) -> Process:
    """Start `command` in `folder`, its output appended to the file `output`; it is killed when we die.

    It stands in a process group of its own: a Ctrl-C in the terminal reaches us only, and we stop it in our order.
    """
    return _forker.submit(_fork, command, environment=environment, folder=folder, output=output).result()


def _fork(command: Sequence[str], *, environment: Mapping[str, str], folder: Path, output: Path) -> Process:
    with output.open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *command],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            process_group=0,
        )


def stop(processes: Iterable[Process], *, grace_s: float) -> None:
    """Send SIGTERM to all at once, wait together for at most `grace_s`, kill what is left; return when all are gone.

    A second Ctrl-C shortens the wait: whatever interrupts it, nothing is left running.
    """
    running = [process for process in processes if process.poll() is None]
    deadline_s = monotonic() + grace_s
    try:
        for process in running:
            process.terminate()
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline_s - monotonic()))
    finally:
        kill(running)


def kill(processes: Iterable[Process]) -> None:
    """Send SIGKILL to all at once and return when they are gone."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.kill()
    for process in running:
        process.wait()
