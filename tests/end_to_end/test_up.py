"""`chat-routing up` as a person uses it: started, looked at, stopped by Ctrl-C; nothing stays behind but the data."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import PARTITIONS_DEFAULT
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


def status(data: Path) -> tuple[int, Any]:
    """Ask how things stand, with no address given: return the exit code, and what is told."""
    asked = (sys.executable, "-m", "services.local.cli", "status", "--json", "--interval", "0.2", "--data")
    answer = subprocess.run([*asked, str(data)], capture_output=True, text=True, check=False)
    return answer.returncode, json.loads(answer.stdout)


def _status_is_told(data: Path, processes: list[int]) -> None:
    """All is well; then the router stands still: it does not answer, and Kafka says how far behind it is."""
    code, told = status(data)
    assert (code, told["concerns"]) == (0, [])
    assert [worker["state"] for worker in told["workers"]] == ["ready"] * 4
    assert {number: row["chat-router"]["owner"] for number, row in told["partitions"].items()} == {
        str(number): "chat-router" for number in range(PARTITIONS_DEFAULT)
    }
    router = next(
        pid for pid in processes if b"services.router.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(router, signal.SIGSTOP)
    try:
        code, told = status(data)
    finally:
        os.kill(router, signal.SIGCONT)
    assert code == 1
    assert told["concerns"][0].startswith("chat-router: does not answer")
    assert {type(row["chat-router"]["lag"]) for row in told["partitions"].values()} == {int}


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
        _status_is_told(tmp_path / "data", processes)
        up.send_signal(signal.SIGINT)
        assert up.wait(START_LIMIT_S) == 0
    finally:
        up.kill()
        up.wait()
    assert not [pid for pid in processes if is_running(pid)]
    assert not [port for port in ports if is_served(port)]
    assert (tmp_path / "data" / "ports.json").exists()
