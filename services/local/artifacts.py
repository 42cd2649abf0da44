"""Fetches the libraries Apache Kafka consists of, once per user.

One rule: a file enters the cache only after its SHA-256 equals the committed one in `kafka.lock`, by a rename, so an
interrupted fetch leaves nothing half done, and what is damaged in the cache is fetched again.
`python -m services.local.artifacts` resolves the dependencies anew and rewrites `kafka.lock`.
"""

import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

import requests
from jgo.maven import MavenContext
from jgo.parse import Coordinate

from services.local.errors import LocalError
from services.local.progress import Progress
from services.local.settings import LocalSettings

KAFKA_VERSION = "4.3.0"
# kafka-clients must be named: left alone, the resolver takes an older one from kafka_2.13's test scope.
_ROOTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    f"org.apache.kafka:kafka-clients:{KAFKA_VERSION}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.2",
    "org.apache.logging.log4j:log4j-core:2.25.2",
    "org.apache.logging.log4j:log4j-1.2-api:2.25.2",
)
_LOCK = Path(__file__).with_name("kafka.lock")
_ATTEMPTS_MAX = 3
_ANSWER_LIMIT_S = 15
_CHUNK_BYTES = 256 * 1024
_STAGE = "fetching Apache Kafka"


@dataclass(frozen=True, slots=True)
class Jar:
    """One library: its Maven coordinates, its size and the sum its bytes must have."""

    group: str
    artifact: str
    version: str
    size_bytes: int
    sha256: str

    @property
    def filename(self) -> str:
        """Return the name of the file, which is unique among the locked ones."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def repository_path(self) -> str:
        """Return where a Maven repository keeps it."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.filename}"

    def is_whole(self, path: Path) -> bool:
        """Say whether the file at `path` is this library, byte for byte."""
        if not path.is_file() or path.stat().st_size != self.size_bytes:
            return False
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == self.sha256


def locked_jars() -> tuple[Jar, ...]:
    """Return what `kafka.lock` lists."""
    jars = []
    for line in _LOCK.read_text(encoding="ascii").splitlines():
        coordinates, size_bytes, sha256 = line.split()
        group, artifact, version = coordinates.split(":")
        jars.append(Jar(group, artifact, version, int(size_bytes), sha256))
    return tuple(jars)


def kafka_class_path(settings: LocalSettings, *, progress: Progress) -> str:
    """Return the Java class path of Kafka, after fetching what is missing or damaged.

    Raises LocalError when something cannot be fetched or stored.
    """
    folder = settings.cache_folder / f"kafka-{KAFKA_VERSION}"
    jars = locked_jars()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock"):
            missing = [jar for jar in jars if not jar.is_whole(folder / jar.filename)]
            if missing:
                _fetch(missing, folder=folder, maven_url=settings.maven_url, progress=progress)
    except OSError as error:
        raise LocalError(_cannot_store(folder, error)) from error
    return os.pathsep.join(str(folder / jar.filename) for jar in jars)


def _cannot_store(folder: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk of {folder} is full: free 100 MB for Kafka's libraries, "
            "or set CHAT_LOCAL_CACHE_FOLDER to a folder on another disk."
        )
    return (
        f"Kafka's libraries cannot be kept in {folder} ({error.strerror}): "
        "set CHAT_LOCAL_CACHE_FOLDER to a folder you may write to."
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time fill the cache; the others wait and find it filled."""
    with path.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetch(jars: list[Jar], *, folder: Path, maven_url: str, progress: Progress) -> None:
    total_bytes = sum(jar.size_bytes for jar in jars)
    done_bytes = 0
    progress(_STAGE, done=0, total=total_bytes)
    with (
        requests.Session() as session,
        tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as staging,
    ):
        for jar in jars:
            draft = Path(staging) / jar.filename
            url = f"{maven_url.rstrip('/')}/{jar.repository_path}"
            for received_bytes in _download(session, url, draft):
                # A repeated attempt begins anew; what is shown never goes back.
                progress(_STAGE, done=done_bytes + min(received_bytes, jar.size_bytes), total=total_bytes)
            if not jar.is_whole(draft):
                raise LocalError(
                    f"{url} is not the file it should be (its SHA-256 differs): find out what changes downloads "
                    "on your network, or set CHAT_LOCAL_MAVEN_URL to another mirror."
                )
            draft.replace(folder / jar.filename)
            done_bytes += jar.size_bytes


def _download(session: requests.Session, url: str, target: Path) -> Iterator[int]:
    """Store what `url` answers, yielding how many bytes have come so far at most, over all attempts."""
    most_bytes = 0
    failure = ""
    for _ in range(_ATTEMPTS_MAX):
        try:
            with (
                session.get(url, stream=True, timeout=_ANSWER_LIMIT_S) as answer,
                target.open("wb") as content,
            ):
                if answer.ok:
                    for chunk in answer.iter_content(_CHUNK_BYTES):
                        most_bytes = max(most_bytes, content.tell() + content.write(chunk))
                        yield most_bytes
                    return
                failure = f"cannot be fetched (HTTP {answer.status_code})"
                if answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                    break
        except requests.RequestException:
            failure = "cannot be reached"
    raise LocalError(
        f"{url} {failure}, and Apache Kafka has to be fetched once: check the network or the HTTPS_PROXY variable and "
        "run it again, set CHAT_LOCAL_MAVEN_URL to a mirror, or use your own Kafka with --bootstrap HOST:PORT."
    )


def _lock_anew() -> None:
    """Resolve Kafka's dependencies and write their sums to `kafka.lock`."""
    with tempfile.TemporaryDirectory(prefix="kafka-lock-") as staging:
        context = MavenContext(repo_cache=Path(staging), local_repos=[])
        roots = [
            context.create_dependency(replace(Coordinate.parse(root), scope="compile")) for root in _ROOTS
        ]
        resolved, transitive = context.resolver.resolve(roots)
        lines = []
        for dependency in [*resolved, *transitive]:
            if dependency.scope in ("compile", "runtime"):
                jar: Path = dependency.artifact.resolve()
                sha256 = hashlib.sha256(jar.read_bytes()).hexdigest()
                coordinates = f"{dependency.groupId}:{dependency.artifactId}:{dependency.version}"
                lines.append(f"{coordinates} {jar.stat().st_size} {sha256}\n")
    _LOCK.write_text("".join(sorted(lines)), encoding="ascii")


if __name__ == "__main__":
    _lock_anew()
