"""Settings that change while a worker runs: all that may, or nothing; and nothing is lost meanwhile."""

import logging
import signal
from collections.abc import Iterator, MutableMapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas.topics import dead_letters
from services.runtime.failures import WorkerFailed
from services.runtime.logs import set_level
from services.runtime.reloading import Reloads
from services.runtime.settings import RuntimeSettings
from tests.runtime.brokerage import Program, Scene, publish, read_all, scene
from tests.runtime.counting import POISON
from tests.runtime.test_on_kafka import numbered, outputs, plain_run


class Settings(RuntimeSettings):
    """What a worker may be told."""

    limit: int = 1
    secret_file: Path | None = None

    @property
    def secret(self) -> str | None:
        try:
            return None if self.secret_file is None else self.secret_file.read_text("utf-8")
        except OSError:
            raise WorkerFailed("CHAT_SECRET_FILE can't be read.") from None


class Mounted:
    """A folder as Kubernetes mounts one: files are links into a folder that is exchanged as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def put(self, **values: str) -> None:
        self._count += 1
        made = self.folder / f"..{self._count}"
        made.mkdir(parents=True)
        for name, value in values.items():
            (made / name).write_text(f"{value}\n")
            link = self.folder / name
            if not link.is_symlink():
                link.symlink_to(Path("..data") / name)
        (self.folder / "..new").symlink_to(made.name)
        (self.folder / "..new").rename(self.folder / "..data")
        for link in self.folder.glob("chat_*"):
            if link.name not in values:
                link.unlink()


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mounted:
    monkeypatch.setenv("CHAT_SETTINGS_FOLDER", str(tmp_path / "settings"))
    return Mounted(tmp_path / "settings")


@pytest.fixture(autouse=True)
def _level() -> Iterator[None]:
    before = logging.getLogger().level
    yield
    set_level(logging.getLevelName(before))


def reloaded(reloads: Reloads) -> MutableMapping[str, Any]:
    with capture_logs() as told:
        reloads.reload()
    (entry,) = told
    return entry


def names(entry: MutableMapping[str, Any]) -> tuple[list[str], list[str]]:
    assert entry["event"] == "settings_reloaded", entry
    return entry["changed"], entry["ignored"]


def test_what_may_change_does_and_what_may_not_is_named_until_a_restart(
    mounted: Mounted, tmp_path: Path
) -> None:
    secret, fixed = tmp_path / "secret", tmp_path / "fixed"
    secret.write_text("one")
    mounted.put(chat_limit="1", chat_group="chat", chat_secret_file=str(secret))
    reloads, taken = Reloads(Settings()), list[object]()
    reloads.on("limit", read=attrgetter("limit"), apply=taken.append)
    reloads.on("secret_file", read=attrgetter("secret"), apply=taken.append)
    assert names(reloaded(reloads)) == ([], [])
    mounted.put(chat_limit="7", chat_group="other", chat_secret_file=str(secret), chat_log_level="ERROR")
    assert names(reloaded(reloads)) == (["CHAT_LIMIT", "CHAT_LOG_LEVEL"], ["CHAT_GROUP"])
    assert logging.getLogger().level == logging.ERROR
    assert names(reloaded(reloads)) == ([], ["CHAT_GROUP"]), "it is still not in force"
    secret.write_text("two")
    assert names(reloaded(reloads)) == (["CHAT_SECRET_FILE"], ["CHAT_GROUP"])
    assert taken == [7, "two"]
    fixed.write_text("two")
    mounted.put(chat_limit="7", chat_group="chat", chat_secret_file=str(fixed))
    assert names(reloaded(reloads)) == (["CHAT_LOG_LEVEL"], []), "another file, the same secret"


def test_what_can_never_change_is_named_by_what_stands_in_its_file(mounted: Mounted, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one")
    mounted.put(chat_secret_file=str(secret))
    reloads = Reloads(Settings())
    reloads.on("secret_file", read=attrgetter("secret"))
    secret.write_text("two")
    for _ in range(2):
        assert names(reloaded(reloads)) == ([], ["CHAT_SECRET_FILE"])


@pytest.mark.parametrize(
    ("put", "told"),
    [
        ({"chat_limit": "seven"}, "CHAT_LIMIT: Input should be a valid integer"),
        ({"chat_log_level": "LOUD"}, "CHAT_LOG_LEVEL: Input should be 'DEBUG', 'INFO'"),
        ({"chat_secret_file": "/nowhere/pssst"}, "CHAT_SECRET_FILE can't be read."),
        ({"chat_kafka_user": "pssst"}, "set both CHAT_KAFKA_USER and its password"),
    ],
)
def test_where_one_file_is_of_no_use_nothing_changes(
    mounted: Mounted, put: dict[str, str], told: str
) -> None:
    mounted.put(chat_limit="1")
    reloads, taken = Reloads(Settings()), list[object]()
    reloads.on("limit", read=attrgetter("limit"), apply=taken.append)
    reloads.on("secret_file", read=attrgetter("secret"), apply=taken.append)
    level = logging.getLogger().level
    mounted.put(**{"chat_limit": "2", "chat_log_level": "ERROR", **put})
    entry = reloaded(reloads)
    assert (entry["event"], entry["log_level"]) == ("settings_not_reloaded", "error")
    assert any(reason.startswith((told, f"Value error, {told}")) for reason in entry["reasons"]), entry
    assert "pssst" not in str(entry)
    assert (taken, logging.getLogger().level) == ([], level)


def test_a_file_that_is_no_text_is_told_by_its_setting(mounted: Mounted) -> None:
    mounted.put(chat_limit="1")
    reloads = Reloads(Settings())
    (mounted.folder / "chat_group").write_bytes(b"\xff\xfepssst")
    entry = reloaded(reloads)
    assert entry["event"] == "settings_not_reloaded"
    assert '"group"' in entry["reasons"][0]
    assert "pssst" not in str(entry)


def test_variables_win_over_files_and_a_folder_that_is_not_there_is_told(
    mounted: Mounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WorkerFailed, match="CHAT_SETTINGS_FOLDER: there is no such folder"):
        Settings()
    mounted.put(chat_limit="7", chat_log_level="ERROR")
    monkeypatch.setenv("CHAT_LIMIT", "3")
    assert (Settings().limit, Settings().log_level) == (3, "ERROR")


def test_files_may_be_called_like_variables_and_there_may_be_none(mounted: Mounted) -> None:
    mounted.put()
    assert Settings().limit == 1
    mounted.put(CHAT_LIMIT="7")
    assert Settings().limit == 7


@pytest.mark.kafka
async def test_a_worker_takes_new_settings_and_loses_nothing(kafka: str, tmp_path: Path) -> None:
    of: Scene = await scene(kafka)
    mounted = Mounted(tmp_path / "settings")
    mounted.put(chat_dead_letters_per_minute_max="3", chat_log_level="INFO")
    environment = {**of.environment(), "CHAT_SETTINGS_FOLDER": str(mounted.folder)}
    program = Program(environment, tmp_path / "log")
    poison = [(n % 3, b"k", POISON) for n in range(6)]
    try:
        await program.ready()
        await publish(of, numbered(200))
        mounted.put(chat_dead_letters_per_minute_max="many", chat_log_level="INFO")
        program.send(signal.SIGHUP)
        refused = await program.wait_for("settings_not_reloaded")
        assert refused["reasons"][0].startswith("CHAT_DEAD_LETTERS_PER_MINUTE_MAX: ")
        mounted.put(
            chat_dead_letters_per_minute_max="100", chat_batch_records_max="50", chat_log_level="WARNING"
        )
        await publish(of, numbered(200, start=200))
        program.send(signal.SIGHUP)
        done = await program.wait_for("settings_reloaded")
        assert done["changed"] == ["CHAT_DEAD_LETTERS_PER_MINUTE_MAX", "CHAT_LOG_LEVEL"]
        assert done["ignored"] == ["CHAT_BATCH_RECORDS_MAX"]
        await publish(of, numbered(200, start=400))
        assert await outputs(of, 600) == await plain_run(of)
        await publish(of, poison)
        await read_all(of, dead_letters(of.inputs[0]), count=len(poison))
        metrics = (await program.get("/metrics")).text
        assert 'chat_settings_reloads_total{result="done"} 1.0' in metrics
        assert 'chat_settings_reloads_total{result="refused"} 1.0' in metrics
        program.send(signal.SIGTERM)
        assert await program.ended() == 0, "six dead letters are allowed now"
        assert not program.entries("stopped"), "only warnings are logged now"
    finally:
        program.kill()
