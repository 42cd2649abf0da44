"""Settings, pages, metrics, logs and links: what every worker process shows of itself."""

import asyncio
import io
import json
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from itsdangerous.encoding import base64_encode
from pydantic import ValidationError
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from services.runtime import health as health_module
from services.runtime.failures import TaskCorrupted, WorkerFailed
from services.runtime.health import Health, Pages
from services.runtime.links import (
    LINK_PATH,
    LinkExpired,
    LinkInvalid,
    TranscriptLink,
    _signer,
    read_link,
    transcript_link,
)
from services.runtime.logs import configure_logs, explain, log
from services.runtime.metrics import DEFINITIONS, Metrics
from services.runtime.process import EXIT_FAILED, EXIT_SETTINGS, main_of
from services.runtime.runner import Context, Runner, run_parts
from services.runtime.settings import RuntimeSettings
from tests.runtime.counting import Counting

SECRET = "a secret of some length"


# ---------------------------------------------------------------- links


def link(*, secret: str = SECRET, expires_at_ms: int = 2_000) -> str:
    return transcript_link(
        "https://chat.example/", secret, TranscriptLink("会社", "c/1", 2, 500, expires_at_ms)
    )


def token_of(address: str) -> str:
    return address.removeprefix(f"https://chat.example{LINK_PATH}")


def test_a_link_opens_what_it_was_made_for_until_it_expires() -> None:
    token = token_of(link())
    assert read_link(token, SECRET, now_ms=1_999) == TranscriptLink("会社", "c/1", 2, 500, 2_000)
    with pytest.raises(LinkExpired):
        read_link(token, SECRET, now_ms=2_000)


def test_a_link_is_the_same_on_every_machine() -> None:
    assert link() == (
        "https://chat.example/t/WyLkvJrnpL4iLCJjLzEiLDIsNTAwLDIwMDBd.ldzyg55CgRQCG-v1cVTvFzvzmTVG1HR8sTM3U6pWd-w"
    )


@pytest.mark.parametrize("token", ["", ".", "abc", "é", "x" * 5_000, "WyJhIl0.WyJhIl0"])
def test_what_is_no_link_is_refused(token: str) -> None:
    with pytest.raises(LinkInvalid):
        read_link(token, SECRET, now_ms=0)


def test_a_changed_link_or_another_secret_is_refused() -> None:
    token = token_of(link())
    for changed in (token[:-1] + ("A" if token[-1] != "A" else "B"), "B" + token[1:]):
        with pytest.raises(LinkInvalid):
            read_link(changed, SECRET, now_ms=0)
    with pytest.raises(LinkInvalid):
        read_link(token_of(link(secret="another secret, as long")), SECRET, now_ms=0)


def test_a_genuine_token_that_says_something_else_is_refused() -> None:
    for said in (b'["w","c",1,2000]', b'["w","c",1,2,3,4]', b"7", b"{}", b"null"):
        token = _signer(SECRET).sign(base64_encode(said)).decode()
        with pytest.raises(LinkInvalid):
            read_link(token, SECRET, now_ms=0)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16 characters"):
        link(secret="short")


# ---------------------------------------------------------------- metrics


def test_only_defined_metrics_exist() -> None:
    metrics = Metrics()
    with pytest.raises(KeyError):
        metrics.add("invented")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="label"):
        metrics.add("records_in", 1, workspace="acme")
    assert len({each.name for each in DEFINITIONS}) == len(DEFINITIONS)


def test_ages_of_a_batch_fall_into_their_buckets() -> None:
    metrics = Metrics()
    ages = metrics.spread("decision_latency_seconds")
    ages.put_ages(10_000, [-90_000, 9_000, 9_990, 10_500])
    ages.put_ages(10_000, [9_995])
    assert metrics.value("decision_latency_seconds_bucket", le="0.001") == 1
    assert metrics.value("decision_latency_seconds_bucket", le="0.005") == 2
    assert metrics.value("decision_latency_seconds_bucket", le="0.01") == 3
    assert metrics.value("decision_latency_seconds_bucket", le="1.0") == 4
    assert metrics.value("decision_latency_seconds_bucket", le="+Inf") == 5
    assert metrics.value("decision_latency_seconds_count") == 5
    assert metrics.value("decision_latency_seconds_sum") == pytest.approx(101.015)


def test_a_forgotten_value_is_not_shown() -> None:
    metrics = Metrics()
    metrics.set("lag_records", 7, topic="a", partition="1")
    assert b'chat_lag_records{partition="1",topic="a"} 7.0' in metrics.render()
    metrics.forget("lag_records", topic="a", partition="1")
    metrics.forget("lag_records", topic="a", partition="2")
    assert b"chat_lag_records{" not in metrics.render()


# ---------------------------------------------------------------- pages


async def test_the_pages_of_a_worker() -> None:
    metrics = Metrics()
    health = Health(metrics)
    routes = [Route("/own", lambda _request: PlainTextResponse("own"))]
    reason = "partition 1: restoring"
    async with (
        Pages(host="127.0.0.1", port=0, health=health, metrics=metrics, routes=routes) as pages,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{pages.port}") as client,
    ):
        assert (await client.get("/readyz")).status_code == 503
        health.ready_when(lambda: "")
        health.ready_when(lambda: reason)
        assert (await client.get("/readyz")).text == "partition 1: restoring"
        reason = ""
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/own")).text == "own"
        shown = await client.get("/metrics")
        assert shown.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "# HELP chat_fences_total" in shown.text


async def test_a_port_that_is_taken_is_one_sentence() -> None:
    metrics = Metrics()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        pages = Pages(host="127.0.0.1", port=other.getsockname()[1], health=Health(metrics), metrics=metrics)
        with pytest.raises(WorkerFailed, match="CHAT_HTTP_PORT"):
            await pages.__aenter__()


# ---------------------------------------------------------------- parts


async def test_the_first_part_that_fails_stops_the_others_and_is_raised() -> None:
    finished = []

    async def fails(_context: Context) -> None:
        raise WorkerFailed("no disk")

    async def waits(context: Context) -> None:
        await context.stop.wait()
        finished.append(True)

    with pytest.raises(WorkerFailed, match="no disk"):
        await asyncio.wait_for(run_parts(Context(asyncio.Event()), [waits, fails]), 5)
    assert finished == [True]


HANGING = """
import asyncio
from services.runtime.failures import WorkerFailed
from services.runtime.process import main_of
from services.runtime.runner import Context, run_parts
from services.runtime.settings import RuntimeSettings

async def fails(_context):
    raise WorkerFailed("no disk")

async def hangs(_context):
    print("runs", flush=True)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def work(_settings, stop):
    await run_parts(Context(stop), [hangs, *PARTS])

main_of(RuntimeSettings, work)
"""
"""A worker with a part that does not end, whatever it is told."""


@pytest.mark.parametrize("told_by", ["failure", "signal"])
def test_a_part_that_hangs_is_left_after_the_grace_time(told_by: str) -> None:
    parts = "[fails]" if told_by == "failure" else "[]"
    with subprocess.Popen(
        [sys.executable, "-c", HANGING.replace("PARTS", parts)],
        env={**os.environ, "CHAT_GRACE_S": "0.2", "CHAT_STOP_LIMIT_S": "0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "runs\n"
            if told_by == "signal":
                process.send_signal(signal.SIGTERM)
            told = process.communicate(timeout=20)[1]
        finally:
            process.kill()
    assert process.returncode == EXIT_FAILED
    assert "grace_time_over" in told


async def test_a_runner_that_fails_tells_the_others_before_it_lets_go() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        settings = RuntimeSettings(
            bootstrap=f"127.0.0.1:{nobody.getsockname()[1]}", start_limit_s=0.01, io_limit_s=1.0
        )
        context = Context(asyncio.Event())
        runner = Runner(
            context, settings=settings, inputs=("in",), changelog="state", factory=lambda _: Counting("out")
        )
        with pytest.raises(WorkerFailed, match="No Kafka answers"):
            await asyncio.wait_for(runner.run(), 20)
    assert context.stop.is_set()


# ---------------------------------------------------------------- logs


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    monkeypatch.setattr(root, "level", root.level)
    configure_logs("INFO")
    return stream


async def test_why_a_worker_is_not_ready_is_logged_in_one_line_now_and_then(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "BEAT_INTERVAL_S", 0.001)
    monkeypatch.setattr(health_module, "UNREADY_LOG_INTERVAL_S", 0.01)
    reasons = ["partition 1: restoring, nothing read yet; partition 2: taking over"] * 2
    ready = asyncio.Event()

    def unready() -> str:
        if not reasons:
            ready.set()
        return reasons.pop() if reasons else ""

    health = Health(Metrics())
    health.ready_when(unready)
    beating = asyncio.create_task(health.beat())
    await asyncio.wait_for(ready.wait(), 30)
    beating.cancel()
    entries = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [entry["why"] for entry in entries if entry["event"] == "not_ready"] == [
        ["partition 1: restoring, nothing read yet", "partition 2: taking over"]
    ] * 2


def test_no_personal_data_is_logged(written: io.StringIO) -> None:
    log("tests.private").info(
        "closed",
        chat_id="c1",
        text="my phone is 12",
        reason="mail to Taro.Yamada+x@例え.jp bounced",
        detail={"question": "secret question", "codes": ["a@b.example", 550]},
        raw=b"bytes",
    )
    logging.getLogger("some.client").warning("sent to %s", "hanako@visitor.example")
    entry, foreign = [json.loads(line) for line in written.getvalue().splitlines()]
    assert entry["chat_id"] == "c1"
    assert (entry["text"], entry["raw"]) == ("[redacted]", "[redacted]")
    assert entry["reason"] == "mail to [address] bounced"
    assert entry["detail"] == {"question": "[redacted]", "codes": ["[address]", 550]}
    assert (entry["level"], entry["logger"]) == ("info", "tests.private")
    assert foreign["event"] == "sent to [address]"


def test_of_a_foreign_exception_only_type_and_place_are_logged(written: io.StringIO) -> None:
    def fail() -> None:
        raise TaskCorrupted("commit: no answer in time") from ValueError("value of a visitor")

    try:
        fail()
    except TaskCorrupted as error:
        log("tests.errors").exception("failed")
        told = explain(error)
    assert "value of a visitor" not in written.getvalue()
    assert json.loads(written.getvalue())["error"] == told
    assert told["message"] == "commit: no answer in time"
    assert told["cause"] == {"type": "ValueError", "at": []}
    assert "test_process_frame.py" in told["at"][0]


def test_a_client_that_says_the_same_again_and_again_is_heard_now_and_then(written: io.StringIO) -> None:
    client = logging.getLogger("aiokafka.tests")
    for attempt in range(500):
        client.error("Unable connect to node with id %s: %s", attempt % 3, "refused")
        client.error("Failed fetch messages")
        log("tests.own").warning("task_failed")
    told = Counter(json.loads(line)["event"] for line in written.getvalue().splitlines())
    assert told["task_failed"] == 500
    assert 1 <= told["Unable connect to node with id 0: refused"] <= 10
    assert 1 <= told["Failed fetch messages"] <= 10


def test_a_database_error_is_told_by_its_code(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "full.db")) as database:
        database.execute("PRAGMA max_page_count = 1")
        with pytest.raises(sqlite3.OperationalError) as full:
            database.execute("CREATE TABLE visitors (name)")
    told = explain(full.value)
    assert told["sqlite_errorname"] == "SQLITE_FULL"
    assert "message" not in told


# ---------------------------------------------------------------- settings


def test_settings_that_can_not_be_used_are_named_without_their_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def never(_settings: RuntimeSettings, _stop: asyncio.Event) -> None:
        raise AssertionError("not reached")

    monkeypatch.setenv("CHAT_HTTP_PORT", "99999999")
    with pytest.raises(SystemExit) as exit_of:
        main_of(RuntimeSettings, never)
    assert exit_of.value.code == EXIT_SETTINGS
    told = capsys.readouterr().err
    assert told.startswith("CHAT_HTTP_PORT: ")
    assert "99999999" not in told


def test_a_producer_may_not_take_the_whole_grace_time_to_close() -> None:
    assert RuntimeSettings().stop_limit_s < RuntimeSettings().grace_s
    with pytest.raises(ValidationError, match="CHAT_STOP_LIMIT_S must be less than CHAT_GRACE_S"):
        RuntimeSettings(grace_s=5.0, stop_limit_s=5.0)
