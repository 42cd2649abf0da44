"""Makes a Tryton database and serves it on loopback.

    <environment>/bin/…              Tryton itself, put there by `make tryton`
    <environment>/prepared/*.sqlite  a database with the modules' tables, made once for each of Tryton's versions
    <folder>/trytond.conf, *.sqlite  what one server runs on

One rule: Tryton runs in an environment of its own, by its own Python; it and we meet on the network only.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from services.local import processes
from services.local.errors import LocalError
from services.local.files import last_words, tail, write_whole
from services.local.ports import LOOPBACK
from services.local.progress import Progress, silent

MODULE = "sale_opportunity"
PREPARE_LIMIT_S = 600.0
"""Making the tables takes half a minute; twenty times that on a slow machine."""
START_LIMIT_S = 60.0
STOP_GRACE_S = 10.0
POLL_INTERVAL_S = 0.1
STEPS = (("--all", "--email", "admin@example.com"), ("-u", MODULE, "--activate-dependencies"))
"""What `trytond-admin` is told in turn."""
_STAGE = "preparing Tryton's database (once)"
_COMPANY = Path(__file__).with_name("company.py")


@dataclass(frozen=True, slots=True)
class Served:
    """A Tryton that answers at `url`."""

    url: str
    log: Path
    process: processes.Process

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None


class Tryton:
    """Tryton's environment in the folder `home`. Raises LocalError where it is not there."""

    def __init__(self, home: Path) -> None:
        self._bin = home / "bin"
        if not (self._bin / "trytond").exists():
            raise LocalError(f"There is no Tryton in {home}: put it there with `make tryton`.")
        self._prepared = home / "prepared"

    def make_database(
        self, folder: Path, name: str, company: Mapping[str, Any], *, progress: Progress = silent
    ) -> None:
        """Make a database with this company, its people and its users."""
        shutil.copyfile(self._base(progress), folder / f"{name}.sqlite")
        self._run(
            folder, "python", str(_COMPANY), str(_config(folder)), name, told=json.dumps(company).encode()
        )

    @contextmanager
    def serving(self, folder: Path, names: Sequence[str], *, port: int) -> Iterator[Served]:
        """Serve the databases of this folder on `port`; yields once it answers."""
        log = folder / "trytond.log"
        process = processes.spawn(
            [str(self._bin / "trytond"), "-c", str(_config(folder, port=port)), "-d", *names],
            environment=_environment(),
            folder=folder,
            output=log,
        )
        served = Served(f"http://{LOOPBACK}:{port}", log, process)
        try:
            _await_answer(served)
            yield served
        finally:
            processes.stop([process], grace_s=STOP_GRACE_S)

    def _base(self, progress: Progress) -> Path:
        """Return a database with the modules' tables, made when there is none of these versions yet."""
        versions = sorted(one.name for one in self._bin.parent.glob("lib/*/site-packages/trytond*.dist-info"))
        made = self._prepared / f"{sha256(repr((versions, STEPS)).encode()).hexdigest()[:16]}.sqlite"
        if made.exists():
            return made
        self._prepared.mkdir(exist_ok=True)
        # Not at its place before it is whole; two who make it at the same time don't meet.
        folder = self._prepared / f"draft-{os.getpid()}"
        folder.mkdir()
        try:
            draft = folder / "base.sqlite"
            draft.touch()  # Tryton takes an empty file only
            for done, step in enumerate(STEPS):
                progress(_STAGE, done=done, total=len(STEPS))
                self._run(
                    folder,
                    "trytond-admin",
                    *("-c", str(_config(folder)), "-d", "base", *step),
                    password=os.urandom(16).hex(),
                )
            progress(_STAGE, done=len(STEPS), total=len(STEPS))
            draft.replace(made)
        finally:
            shutil.rmtree(folder)
        return made

    def _run(
        self, folder: Path, program: str, *arguments: str, told: bytes = b"", password: str | None = None
    ) -> None:
        environment = _environment()
        if password is not None:
            secret = folder / "password"
            write_whole(secret, password, mode=0o600)
            environment["TRYTONPASSFILE"] = str(secret)
        ended = subprocess.run(
            [str(self._bin / program), *arguments],
            input=told,
            env=environment,
            cwd=folder,
            capture_output=True,
            check=False,
            timeout=PREPARE_LIMIT_S,
        )
        if ended.returncode != 0:
            raise LocalError(
                f"{program} failed on {folder}; its last words:\n{last_words(ended.stderr.decode(errors='replace'))}"
            )


def _config(folder: Path, *, port: int | None = None) -> Path:
    """Write Tryton's configuration for this folder."""
    path = folder / "trytond.conf"
    lines = ["[database]", "uri = sqlite://", f"path = {folder}"]
    if port is not None:
        # Nothing of the user's folder `www` is served, which is Tryton's own default.
        lines += ["[web]", f"listen = {LOOPBACK}:{port}", "root ="]
    write_whole(path, "\n".join(lines) + "\n")
    return path


def _environment() -> dict[str, str]:
    """Return ours without what is meant for another Tryton or another Python."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TRYTON", "PYTHON", "CHAT_")) and name != "VIRTUAL_ENV"
    }


def _await_answer(served: Served) -> None:
    deadline_s = time.monotonic() + START_LIMIT_S
    while True:
        try:
            httpx.post(f"{served.url}/rpc/", json={"id": 1, "method": "common.server.version", "params": []})
        except httpx.TransportError:
            if not served.runs or time.monotonic() > deadline_s:
                raise LocalError(
                    f"Tryton did not start, read {served.log}; its last words:\n{last_words(tail(served.log))}"
                ) from None
            time.sleep(POLL_INTERVAL_S)
        else:
            return
