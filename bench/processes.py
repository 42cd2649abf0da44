"""Workers as the measurements start them, and how much memory they take.

One rule: memory is what the kernel says is resident, so shared libraries count in full for each process.
"""

import subprocess
from pathlib import Path

from services.local.ports import LOOPBACK, free_ports
from services.local.supervisor import Worker

GROUP = "bench-router"


def router(name: str, bootstrap: str) -> Worker:
    """Return a router of the group of these measurements, a static member by its name."""
    (port,) = free_ports(1)
    environment = {
        "CHAT_BOOTSTRAP": bootstrap,
        "CHAT_GROUP": GROUP,
        "CHAT_INSTANCE_ID": name,
        "CHAT_HTTP_HOST": LOOPBACK,
        "CHAT_HTTP_PORT": str(port),
    }
    return Worker(name, "services.router.worker", port, environment)


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process now."""
    answer = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], check=True, capture_output=True, text=True)
    return int(answer.stdout) / 1024


def peak_memory_mb(pid: int) -> float:
    """Return the most memory a process ever had; what it has now where the kernel does not say (it does on Linux)."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return memory_mb(pid)
    (peak,) = (line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024
