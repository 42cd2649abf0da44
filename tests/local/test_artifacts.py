"""Kafka's libraries are fetched once, checked byte for byte, and whatever goes wrong is said in one sentence."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.local.artifacts import kafka_class_path, locked_jars
from services.local.errors import LocalError
from services.local.ports import free_ports
from services.local.progress import silent
from services.local.settings import LocalSettings


@contextmanager
def repository(contents: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve files by name as a Maven repository would; yield its address and the names asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            content = contents.get(name)
            asked.append(name)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep the test's output readable."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/maven2", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def jars() -> dict[str, bytes]:
    """Return Kafka's libraries from this machine's cache, which is filled first."""
    paths = kafka_class_path(LocalSettings(), progress=silent).split(":")
    return {Path(path).name: Path(path).read_bytes() for path in paths}


def test_a_cache_is_filled_once_and_repaired(jars: dict[str, bytes], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def watch(stage: str, *, done: int, total: int) -> None:
        seen.append((done, total))

    with repository(jars) as (url, asked):
        settings = LocalSettings(cache_folder=tmp_path, maven_url=url)
        class_path = kafka_class_path(settings, progress=watch)
        assert sorted(asked) == sorted(jar.filename for jar in locked_jars())
        assert seen[-1] == (sum(map(len, jars.values())),) * 2
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)

        asked.clear()
        damaged = Path(class_path.split(":")[3])
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
        Path(class_path.split(":")[5]).unlink()
        assert kafka_class_path(settings, progress=silent) == class_path
        assert asked == [damaged.name, Path(class_path.split(":")[5]).name]

    assert kafka_class_path(settings, progress=silent) == class_path, (
        "nothing is fetched, the repository is gone"
    )
    assert {path.name for path in damaged.parent.iterdir()} == {*jars, ".lock"}


def complaint(settings: LocalSettings) -> str:
    with pytest.raises(LocalError) as caught:
        kafka_class_path(settings, progress=silent)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def test_no_network_is_said_in_one_sentence(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/maven2"
    sentence = complaint(LocalSettings(cache_folder=tmp_path, maven_url=url))
    assert sentence.startswith(f"{url}/")
    assert "cannot be reached" in sentence
    assert "--bootstrap" in sentence


def test_a_repository_without_kafka_is_said_in_one_sentence(tmp_path: Path) -> None:
    with repository({}) as (url, _):
        assert "CHAT_LOCAL_MAVEN_URL" in complaint(LocalSettings(cache_folder=tmp_path, maven_url=url))


def test_a_changed_download_never_enters_the_cache(jars: dict[str, bytes], tmp_path: Path) -> None:
    changed = dict.fromkeys(jars, b"<html>log in to our network</html>")
    with repository(changed) as (url, _):
        assert "SHA-256" in complaint(LocalSettings(cache_folder=tmp_path, maven_url=url))
    assert not list(tmp_path.rglob("*.jar"))


def test_a_cache_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "CHAT_LOCAL_CACHE_FOLDER" in complaint(LocalSettings(cache_folder=tmp_path / "file" / "cache"))
