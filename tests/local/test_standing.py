"""What `top` and `status` make of the workers' pages: pages are rendered by the workers' own registry, pictures are approved."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from schemas.topics import EVENTS, NOTICES, ROUTING
from services.local.cli import app
from services.local.errors import LocalError
from services.local.ports import free_ports
from services.local.standing.answers import Answer
from services.local.standing.look import CRM_SYNC, NOTIFIER, ROUTER, TRANSCRIPT, Look
from services.local.standing.model import Lags, Standing, standing, unowned
from services.local.standing.view import WIDTH, lines, record
from services.runtime.metrics import Metrics
from tests.approved import approved

GOLDEN = Path(__file__).parent.parent / "golden" / "standing"
AT_MS = 1_795_305_600_000
PARTITIONS = 6


def router(*, records: int = 0, partitions: range = range(PARTITIONS), lag: int = 0) -> Metrics:
    metrics = Metrics()
    for number in partitions:
        metrics.set("lag_records", lag, topic=EVENTS, partition=str(number))
        metrics.tell(number, {"deadline_lag_seconds": {(str(number),): 0.4}})
    metrics.add("records_in", records + 100, topic=EVENTS, partition="0")
    metrics.add("records_out", 3 * records, topic=ROUTING, partition="0")
    metrics.add("ticks", 100)
    metrics.set("partitions_assigned", len(partitions))
    return metrics


def busy_router(*, records: int) -> Metrics:
    metrics = router(records=records)
    metrics.tell(
        0,
        {
            "waiting_chats": {("travel", "sales"): 3, ("travel", "support"): 0},
            "longest_wait_seconds": {("travel", "sales"): 185.0, ("travel", "support"): 0.0},
            "agents_available": {("travel", "sales"): 0, ("travel", "support"): 2},
            "agents": {("travel", each): count for each, count in zip(STANDINGS, (2, 3, 1, 4), strict=True)},
            "agent_capacity": {("travel",): 20},
            "agent_load": {("travel",): 15},
            "chats_live": {("travel", "sales", "waiting"): 3, ("travel", "sales", "owned"): 14},
        },
    )
    metrics.tallies["chats_missed"]["travel", "sales", "no_reply", "timed_out"] = 7
    metrics.tallies["chats_missed"]["travel", "support", "visitor_left", ""] = 2
    return metrics


STANDINGS = ("room", "full", "away", "offline")


def others() -> dict[str, Metrics]:
    transcript, notifier, crm = Metrics(), Metrics(), Metrics()
    for number in range(PARTITIONS):
        transcript.set("lag_records", 1, topic=EVENTS, partition=str(number))
        transcript.set("lag_records", 2, topic=ROUTING, partition=str(number))
        notifier.set("lag_records", 0, topic=NOTICES, partition=str(number))
        crm.set("lag_records", 0, topic=NOTICES, partition=str(number))
    for metrics in (transcript, notifier, crm):
        metrics.set("partitions_assigned", PARTITIONS)
    return {TRANSCRIPT: transcript, NOTIFIER: notifier, CRM_SYNC: crm}


def look(
    pages: Mapping[str, Metrics | None], *, at_s: float = 10.0, unready: Mapping[str, str] | None = None
) -> Look:
    why = unready or {}
    return Look.at(
        {
            name: Answer(
                f"http://127.0.0.1:{20_000 + number}",
                at_s,
                why.get(name, ""),
                None if metrics is None else metrics.render().decode(),
            )
            for number, (name, metrics) in enumerate(pages.items())
        }
    )


def well() -> Standing:
    before = look({ROUTER: busy_router(records=0), **others()}, at_s=8.0)
    return standing(look({ROUTER: busy_router(records=246), **others()}), before, {})


def down() -> Standing:
    """The router is gone, the transcript restores, SMTP is away, and Kafka says how far behind the router is."""
    rest = others()
    rest[TRANSCRIPT].set("partitions_assigned", PARTITIONS)
    notifier = rest[NOTIFIER]
    notifier.add("circuit_open", 1, target="smtp")
    notifier.set("effects_waiting_records", 1_234, target="smtp")
    notifier.set("effects_waiting_seconds", 4_000, target="smtp")
    notifier.set("effects_waiting_left_seconds", float("inf"), target="smtp")
    notifier.set("effects_undelivered_seconds", 4_000)
    restoring = "partition 2: restoring, 1,234 of 5,678 records read, 42% done, about 3 s left"
    answers = look(
        {ROUTER: None, **rest},
        unready={
            ROUTER: "does not answer (ConnectError)",
            TRANSCRIPT: f"{restoring}; partition 3: taking over",
        },
    )
    return standing(answers, None, {ROUTER: dict.fromkeys(range(PARTITIONS), 12_345)})


def large() -> Standing:
    """More of everything than there is room for, and names that would move the cursor or are two columns wide."""
    half = PARTITIONS * 4
    first, second = router(partitions=range(half), lag=7), router(partitions=range(half, 2 * half), lag=3)
    second.set("lag_records", 20_000, topic=EVENTS, partition=str(2 * half - 1))
    places = [("株式会社さくら旅行サービス" * 2, f"部署-{number:02}\x1b[2J") for number in range(30)]
    first.tell(
        0,
        {
            "waiting_chats": dict.fromkeys(places, 5),
            "longest_wait_seconds": {place: 60.0 * number for number, place in enumerate(places)},
            "agents_available": dict.fromkeys(places, 1),
        },
    )
    pages = {f"{ROUTER}-0": first, f"{ROUTER}-1": second}
    return standing(look(pages), None, {})


PICTURES = {"well": well, "down": down, "large": large}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_as_approved_and_fit_80_columns(name: str) -> None:
    picture = list(lines(PICTURES[name](), at_ms=AT_MS))
    assert [line for line in picture if cell_len(line) > WIDTH] == []
    assert not [line for line in picture if "\x1b" in line]
    found = "\n".join(picture).encode() + b"\n"
    assert found == approved(GOLDEN / f"{name}.txt", found)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(0, 246, 123.0), (246, 246, 0.0), (246, 0, None), (None, 246, None)],
    ids=["grew", "stood still", "began anew", "one look"],
)
def test_rates_are_of_two_looks_at_the_same_process(
    before: int | None, after: int, expected: float | None
) -> None:
    earlier = None if before is None else look({ROUTER: router(records=before)}, at_s=8.0)
    found = standing(look({ROUTER: router(records=after)}), earlier, {})
    assert found.events_per_s == expected
    assert found.decisions_per_s == (None if expected is None else 3 * expected)


def test_ticks_are_no_events() -> None:
    now = router(records=10)
    now.add("ticks", 6)
    now.add("records_in", 6, topic=EVENTS, partition="0")
    found = standing(look({ROUTER: now}), look({ROUTER: router()}, at_s=8.0), {})
    assert found.events_per_s == 5.0


PAGES = {ROUTER: router(), **others()}
CONCERNS: list[tuple[dict[str, Metrics | None], dict[str, str], Lags | None, tuple[str, ...]]] = [
    ({}, {}, {}, ()),
    (
        {CRM_SYNC: None},
        {CRM_SYNC: "does not answer (ReadTimeout)"},
        {},
        ("chat-crm-sync: does not answer (ReadTimeout)",),
    ),
    ({}, {NOTIFIER: "no partitions assigned"}, {}, ("chat-notifier: no partitions assigned",)),
    (
        {},
        {ROUTER: "partition 1: restoring, nothing read yet; partition 4: restoring, 2 of 3 records read"},
        {},
        ("chat-router: partitions 1, 4 restoring",),
    ),
    ({ROUTER: router(partitions=range(1, 4))}, {}, {}, ("chat-router: nobody runs partitions 0, 4-5",)),
    (
        {ROUTER: router(lag=10_001)},
        {},
        {},
        ("chat-router: more than 10,000 records behind in partitions 0-5",),
    ),
    ({}, {}, None, ("Kafka does not answer: how far silent workers are behind is not known",)),
]


@pytest.mark.parametrize(("pages", "unready", "lags", "expected"), CONCERNS)
def test_what_needs_attention(
    pages: dict[str, Metrics | None], unready: dict[str, str], lags: Lags | None, expected: tuple[str, ...]
) -> None:
    found = standing(look({**PAGES, **pages}, unready=unready), None, lags)
    assert found.concerns == expected
    assert found.well == (not expected)


def told(name: str, value: float, **labels: str) -> Metrics:
    metrics = router()
    if name == "chats_unaccounted":
        metrics.tell(0, {"chats_unaccounted": {(): value}})
    elif name == "circuit_open":
        metrics.add("circuit_open", value, **labels)
    elif name == "deadline_lag_seconds":
        metrics.tell(3, {"deadline_lag_seconds": {("3",): value}})
    else:
        metrics.set("effects_undelivered_seconds", value)
    return metrics


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (
            told("chats_unaccounted", 2),
            "chat-router: 2 chats lost or doubled: arrivals are not outcomes and live chats",
        ),
        (
            told("circuit_open", 1, target="smtp"),
            "smtp: left alone for now, it failed too often (1 circuit open)",
        ),
        (told("deadline_lag_seconds", 9.0), "chat-router: time-outs fire 9 s late"),
        (told("effects_undelivered_seconds", 1_200), "an effect has been waiting for 20 min"),
    ],
)
def test_what_the_metrics_say_needs_attention(metrics: Metrics, expected: str) -> None:
    assert standing(look({**PAGES, ROUTER: metrics}), None, {}).concerns == (expected,)


def test_what_is_no_workers_page_is_no_answer() -> None:
    answers = {ROUTER: Answer("http://127.0.0.1:20000", 1.0, "", "<html>not metrics</html> {")}
    found = standing(Look.at(answers), None, {})
    assert found.concerns == ("chat-router: answers, but not as a worker does",)


def test_kafka_is_asked_only_where_pages_do_not_tell() -> None:
    assert not unowned(look(PAGES))
    assert unowned(look({**PAGES, ROUTER: None}))
    assert unowned(look({**PAGES, ROUTER: router(partitions=range(2))}))


def test_the_record_says_the_same_to_programs() -> None:
    found = record(down(), at_ms=AT_MS)
    assert found["well"] is False
    assert found["partitions"][2]["chat-transcript"]["state"].startswith(
        "restoring, 1,234 of 5,678 records read"
    )
    assert found["partitions"][0]["chat-router"] == {"owner": None, "state": "nobody", "lag": 12_345}
    assert found["waiting"] == [{"target": "smtp", "records": 1_234, "oldest_s": 4_000.0, "left_s": None}]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--worker", "http://127.0.0.1:9101"], "NAME=URL was expected"),
        (["--worker", "chat-mailer=http://127.0.0.1:9101"], "NAME begins with chat-router"),
        (["--worker", "chat-router=127.0.0.1:9101"], "NAME=URL was expected"),
        (["--data", "/nowhere"], "No installation has run in /nowhere: start one with `chat-routing up`"),
    ],
)
def test_whom_to_ask_must_be_said_where_up_has_not(arguments: list[str], why: str) -> None:
    answer = CliRunner().invoke(app, ["status", *arguments])
    assert isinstance(answer.exception, LocalError)
    assert why in str(answer.exception)


def test_workers_are_named_where_they_run_elsewhere() -> None:
    port = free_ports(1)[0]
    answer = CliRunner().invoke(
        app, ["status", "--interval", "0.2", "--worker", f"chat-router-0=http://127.0.0.1:{port}"]
    )
    assert answer.exit_code == 1
    assert "! chat-router-0: does not answer (ConnectError)" in answer.stdout
