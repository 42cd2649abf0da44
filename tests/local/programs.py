"""Running other programs in tests, and looking at what they leave behind."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LIMIT_S = 30.0


def eventually(condition: Callable[[], bool], *, what: str, limit_s: float = LIMIT_S) -> None:
    """Wait until the condition holds; fail, saying what was waited for, after the limit."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Say whether the process exists and is no zombie (an orphan's is reaped by whoever is init here)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def is_served(port: int) -> bool:
    """Say whether somebody accepts connections on this port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python program whose output can be read."""
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
