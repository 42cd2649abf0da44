"""An engine for containers with a folder of its own, the base images of our Dockerfile, and containers as a cluster runs them.

Where no registry is in reach Debian's own packages stand in for the Python images: then the Dockerfile's steps are tried, not their base.
The one rule: nothing is shared with other containers of this machine, and nothing of it stays.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.programs import program

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
IMAGE = "localhost/chat-routing:tested"
BUILT_WITH, RUNS_ON = "docker.io/library/python:3.11-bookworm", "docker.io/library/python:3.11-slim-bookworm"
"""What the Dockerfile begins with, by their whole names."""
LIMIT_S = 120
BUILD_LIMIT_S = 1_500
STOP_GRACE_S = 20
"""As in the compose file."""
HARDENED = (
    *("--network", "host"),
    *("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp:mode=1777,size=64m"),
    *("--cap-drop", "all", "--security-opt", "no-new-privileges", "--pids-limit", "512", "--memory", "512m"),
    *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--cgroupns", "host"),
)
"""As the compose file has it; the last line asks for no more than a sandbox may give."""
_INCLUDED = "python3,python3-venv,python-is-python3,ca-certificates"
_COMPILER = "RUN apt-get update -qq && apt-get install -qq --no-install-recommends gcc libc6-dev python3-dev"
_OURS = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
"""How this machine reaches the package registry."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Podman, with its storage below `folder`."""

    folder: Path
    path: str

    def __call__(
        self, *arguments: str | Path, limit_s: float = LIMIT_S, given: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its commands."""
        ran = subprocess.run(
            [
                *(self.path, "--root", self.folder / "store", "--runroot", self.folder / "run"),
                *("--storage-driver", "overlay", "--runtime", "runc"),
                *("--cgroup-manager", "cgroupfs", "--events-backend", "file"),
                *arguments,
            ],
            check=False,
            input=given,
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
        assert ran.returncode == 0 or not check, f"{arguments}: {ran.stderr[-3000:]}"
        return ran

    def build(self, tag: str, file: str | Path, context: Path, *, given: str = "") -> None:
        """Build an image; of what it stands on nothing is fetched."""
        self(
            *("build", "--isolation", "chroot", "--network", "host", "--pull-never", "--format", "docker"),
            *("--tag", tag, "--file", file, context),
            limit_s=BUILD_LIMIT_S,
            given=given,
        )

    def inspect(self, name: str) -> dict[str, Any]:
        """What it says about an image or a container."""
        (found,) = json.loads(self("inspect", name).stdout)
        return dict(found)

    def once(self, *command: str) -> str:
        """What a command says that runs in a container of the image and ends."""
        return self("run", "--rm", *HARDENED, IMAGE, *command).stdout

    @contextmanager
    def worker(
        self, name: str, command: str, *, environment: Mapping[str, str], mounts: Mapping[Path, str]
    ) -> Iterator[None]:
        """A worker in a container of that name."""
        variables = [text for key, value in environment.items() for text in ("--env", f"{key}={value}")]
        volumes = [text for path, where in mounts.items() for text in ("--volume", f"{path}:{where}")]
        self("run", "--detach", "--name", name, *HARDENED, *variables, *volumes, IMAGE, command)
        try:
            yield
        finally:
            self("rm", "--force", "--time", "0", name)


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """The engine; the test is skipped, or fails in CI, where it can't be had."""
    program("runc", package="runc")
    found = Engine(folder, program("podman", package="podman"))
    if os.geteuid() != 0:
        pytest.skip("containers need root here")
    try:
        yield found
    finally:
        found("rm", "--all", "--force", "--time", "0", check=False)
        found("rmi", "--all", "--force", check=False)


def prepare_bases(podman: Engine) -> bool:
    """Have what the Dockerfile begins with. False: Debian's packages stand in for it."""
    if all(podman("pull", "--quiet", name, check=False).returncode == 0 for name in (RUNS_ON, BUILT_WITH)):
        return True
    archive = podman.folder / "base.tar"
    hooks = [f"--customize-hook=copy-in {path} {Path(path).parent}" for path in _OURS if Path(path).exists()]
    subprocess.run(
        [
            program("mmdebstrap", package="mmdebstrap"),
            *("--quiet", "--mode=root", "--variant=minbase", f"--include={_INCLUDED}", *hooks),
            *("bookworm", str(archive)),
        ],
        check=True,
        capture_output=True,
        timeout=BUILD_LIMIT_S,
    )
    podman("import", archive, RUNS_ON)
    archive.unlink()
    podman.build(BUILT_WITH, "-", podman.folder, given=f"FROM {RUNS_ON}\n{_COMPILER}\n")
    return False
