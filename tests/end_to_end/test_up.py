"""`chat-routing up` as a person uses it: started, looked at, stopped by Ctrl-C; nothing stays behind but the data."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.local.programs import eventually, is_running, is_served

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

START_LIMIT_S = 90.0


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, theirs included."""
    found = []
    for folder in Path(f"/proc/{pid}/task").iterdir():
        for child in (folder / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


def test_ctrl_c_leaves_no_process_and_no_port(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("w") as sink:
        up = subprocess.Popen(
            [sys.executable, "-m", "services.local.cli", "up", "--data", tmp_path / "data"],
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "200"},
        )
    try:
        eventually(
            lambda: "Ctrl-C stops everything" in output.read_text() or up.poll() is not None,
            what="the installation is up",
            limit_s=START_LIMIT_S,
        )
        assert up.poll() is None, output.read_text()
        processes = children(up.pid)
        ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", output.read_text())}
        assert len(processes) >= 5  # four workers and a broker
        assert len(ports) >= 6
        assert all(is_served(port) for port in ports)
        up.send_signal(signal.SIGINT)
        assert up.wait(START_LIMIT_S) == 0
    finally:
        up.kill()
        up.wait()
    assert not [pid for pid in processes if is_running(pid)]
    assert not [port for port in ports if is_served(port)]
    assert (tmp_path / "data" / "ports.json").exists()
