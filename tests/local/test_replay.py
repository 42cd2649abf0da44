"""The offline run: what it prints, where it stops, and that it repeats what a live run decided."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from schemas import codec
from schemas.events import AgentConfigured, AgentPresence, ChatRequested, DepartmentConfigured, Event, Visitor
from services.local.cli import app
from services.router.records import encode_emitted
from tests.local.rehearsed import log_of, rehearsal

START_MS = 1_795_219_200_000
SECOND_MS = 1000


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["replay", *map(str, arguments)])


def written(path: Path, *happenings: tuple[int, Event]) -> Path:
    """A log of plain envelopes, which say nothing about where they stood."""
    path.write_bytes(
        b"".join(
            codec.encode(
                data,
                event_id=f"e{number}",
                source="/test",
                at_ms=START_MS + second * SECOND_MS,
                workspace_id="acme",
            )
            + b"\n"
            for number, (second, data) in enumerate(happenings)
        )
    )
    return path


def lonely_request(path: Path) -> Path:
    """A chat that nobody is there for: it is missed after the default two minutes."""
    return written(path, (0, ChatRequested("c1", "web", "Anybody?", Visitor("v1"))))


def staffed_request(path: Path) -> Path:
    return written(
        path,
        (0, AgentConfigured("ann", "Ann")),
        (0, DepartmentConfigured("desk", "Desk", agent_ids=("ann",))),
        (0, AgentPresence("ann", "online")),
        (1, ChatRequested("c1", "web", "Anybody?", Visitor("v1"), department_id="desk")),
    )


def types(output: str) -> list[str]:
    return [json.loads(line)["type"] for line in output.splitlines()]


def test_a_log_with_ticks_gives_what_was_decided_byte_for_byte(tmp_path: Path) -> None:
    _, records = rehearsal(400)
    path = tmp_path / "events.jsonl"
    path.write_bytes(log_of(records))
    result = invoke(path)
    assert result.exit_code == 0
    wanted = [encode_emitted(item).value for one in records for item in one.emitted]
    assert result.stdout_bytes.splitlines() == wanted


@pytest.mark.parametrize(
    ("until", "missed"),
    [
        ("2026-11-21T00:01:59.999Z", False),
        ("2026-11-21T00:02:00Z", True),
        ("2026-11-21T09:02:00+09:00", True),
    ],
)
def test_without_ticks_deadlines_fire_at_their_time_up_to_and_including_until(
    tmp_path: Path, until: str, missed: bool
) -> None:
    result = invoke(lonely_request(tmp_path / "events.jsonl"), "--until", until)
    assert result.exit_code == 0
    rest = ["chat.missed.v1", "chat.closed.v1"] if missed else []
    assert types(result.stdout) == ["chat.queued.v1", *rest]
    if missed:
        assert json.loads(result.stdout.splitlines()[1])["time"] == "2026-11-21T00:02:00.000Z"


def test_without_until_the_last_events_time_ends_it(tmp_path: Path) -> None:
    assert types(invoke(lonely_request(tmp_path / "events.jsonl")).stdout) == ["chat.queued.v1"]


def test_until_leaves_out_later_records(tmp_path: Path) -> None:
    result = invoke(staffed_request(tmp_path / "events.jsonl"), "--until", "2026-11-21T00:00:00Z")
    assert result.exit_code == 0
    assert result.stdout == ""


def test_a_line_without_a_place_stands_in_partition_0_at_its_number(tmp_path: Path) -> None:
    decided = json.loads(invoke(staffed_request(tmp_path / "events.jsonl")).stdout)
    assert decided["type"] == "chat.offered.v1"
    assert decided["data"]["cause"] == {"event_id": "e3", "partition": 0, "offset": 3}


def test_a_record_is_never_before_the_line_above_it(tmp_path: Path) -> None:
    path = written(
        tmp_path / "events.jsonl",
        (50, DepartmentConfigured("desk", "Desk")),
        (10, ChatRequested("c1", "web", "Anybody?", Visitor("v1"))),
    )
    assert json.loads(invoke(path).stdout)["time"] == "2026-11-21T00:00:50.000Z"


def test_an_unknown_type_is_skipped_and_keeps_its_number(tmp_path: Path) -> None:
    path = staffed_request(tmp_path / "events.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    newer = lines[0].replace("agent.configured.v1", "agent.promoted.v9")
    path.write_text("".join([newer, *lines]))
    decided = json.loads(invoke(path).stdout)
    assert decided["data"]["cause"]["offset"] == 4


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("not JSON\n", "not JSON"),
        ("\n", "not JSON"),
        ("{}\n", "missing"),
        (
            '{"specversion":"1.0","id":"x","source":"/t","type":"visitor.left.v1","workspaceid":"acme","data":{}}\n',
            "time",
        ),
        (
            (
                '{"specversion":"1.0","id":"x","source":"/t","type":"visitor.left.v1","time":"2026-11-21T00:00:09Z",'
                '"workspaceid":"acme","data":{"chat_id":5}}\n'
            ),
            "chat_id",
        ),
        (
            (
                '{"specversion":"1.0","id":"x","source":"/t","type":"visitor.left.v1","time":"2026-11-21T00:00:09Z",'
                '"workspaceid":"acme","data":{"chat_id":"c1"},"offset":"7"}\n'
            ),
            "offset",
        ),
        (
            (
                '{"specversion":"1.0","id":"x","source":"/t","type":"router.snapshot.v1","time":"2026-11-21T00:00:09Z",'
                '"data":{"partitions":[]}}\n'
            ),
            "first line",
        ),
    ],
)
def test_a_bad_line_ends_it_with_2_and_earlier_decisions_stand(tmp_path: Path, bad: str, reason: str) -> None:
    path = staffed_request(tmp_path / "events.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    again = lines[3].replace('"e3"', '"e9"').replace('"c1"', '"c2"')
    path.write_text("".join([*lines, bad, again]))
    result = invoke(path)
    assert result.exit_code == 2
    assert types(result.stdout) == ["chat.offered.v1"]
    assert result.stderr.startswith(f"{path}:5: ")
    assert reason in result.stderr


def test_a_snapshot_of_a_state_is_refused_rather_than_ignored(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(
        '{"specversion":"1.0","id":"s","source":"/t","type":"router.snapshot.v1","time":"2026-11-21T00:00:09Z",'
        '"data":{"partitions":[{"partition":0}]}}\n'
    )
    result = invoke(path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{path}:1: router.snapshot.v1: ")


def test_other_settings_answer_what_if(tmp_path: Path) -> None:
    path = staffed_request(tmp_path / "events.jsonl")
    settings = tmp_path / "auto.json"
    settings.write_text('{"mode": "auto"}')
    assert types(invoke(path, "--routing", f"desk={settings}").stdout) == ["chat.assigned.v1"]
    assert types(invoke(path, "--routing", f"another={settings}").stdout) == ["chat.offered.v1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "an object"),
        ("nonsense", "cannot be read as JSON"),
        ('{"mod": 1}', "mod is no routing setting"),
    ],
)
def test_settings_that_are_none_say_so(tmp_path: Path, text: str, message: str) -> None:
    settings = tmp_path / "routing.json"
    settings.write_text(text)
    result = invoke(staffed_request(tmp_path / "events.jsonl"), "--routing", f"desk={settings}")
    assert result.exit_code == 1
    assert message in str(result.exception)


@pytest.mark.parametrize(
    "options", [("--until", "yesterday"), ("--until", "2026-11-21T00:00:00"), ("--routing", "desk")]
)
def test_options_that_mean_nothing_are_refused(tmp_path: Path, options: tuple[str, str]) -> None:
    result = invoke(staffed_request(tmp_path / "events.jsonl"), *options)
    assert result.exit_code == 2
    assert result.stdout == ""
