"""What if: two runs side by side, what can't differ between them, the picture, and how mistakes are answered."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from schemas.events import DepartmentConfigured, Routing
from schemas.topics import PARTITIONS_DEFAULT
from services.local import compare, replay, sample_day, scenario
from services.local.arrivals import built_in_curve
from services.local.cli import app
from services.local.errors import LocalError
from services.local.input_log import line
from services.local.measures import observe
from services.local.rehearsal import Rehearsal
from services.router.core.offline import Happening
from services.router.core.partition import Entry
from tests.local.rehearsed import log_of
from tests.router.scenes import Scene, office, value_of

SVG = "{http://www.w3.org/2000/svg}"
DAY = sample_day.make(chats=60, seed=4, curve=built_in_curve(), day_ms=1_800_000, pace=4)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["replay", *map(str, arguments)])


def written(path: Path, scene: Scene) -> Path:
    path.write_bytes(
        b"".join(
            line(value_of(entry), partition=0, offset=entry.offset, at_ms=entry.at_ms)
            for entry in scene.entries
        )
    )
    return path


def settings(folder: Path, **routing: Any) -> Path:
    path = folder / "new.json"
    path.write_text(json.dumps(routing))
    return path


def rung_late() -> Scene:
    """Two agents; each of three chats is accepted 10 s after it was asked for, and one chat is abandoned."""
    scene = office("ann", "bob", max_chats=2, first_reply_timeout_s=0)
    for number, agent_id in enumerate(("ann", "bob", "ann")):
        scene.at(100 * number).ask(f"c{number}")
        scene.at(100 * number + 10).accept(agent_id, f"c{number}")
    scene.at(300).ask("c3")
    scene.at(330).leave("c3")
    return scene


@cache
def acted_day() -> bytes:
    return log_of(tuple(Rehearsal(DAY, PARTITIONS_DEFAULT).run()))


def day_file(folder: Path, *, acted: bool) -> Path:
    path = folder / "day"
    path.write_bytes(b"".join(scenario.write(DAY)) if acted else acted_day())
    return path


def compared(folder: Path, *arguments: object, acted: bool, **routing: Any) -> dict[str, Any]:
    """The comparison of the sample day under its own settings and others for one department, as a program reads it."""
    how = ["--scenario"] if acted else []
    override = f"northwind={settings(folder, **routing)}"
    result = invoke(
        day_file(folder, acted=acted), *how, "--routing", override, "--compare", "--json", *arguments
    )
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


# ---------------------------------------------------------------- side by side


def test_two_runs_stand_side_by_side_within_80_columns(tmp_path: Path) -> None:
    log = written(tmp_path / "events.jsonl", rung_late())
    result = invoke(log, "--routing", f"office={settings(tmp_path, mode='auto')}", "--compare")
    assert result.exit_code == 0, result.output
    rows = result.stdout.splitlines()
    assert max(map(len, rows)) <= compare.WIDTH == 80
    assert rows[0] == "What if office=new.json?"
    told = {re.split(r"  +", row.strip())[0]: re.split(r"  +", row.strip())[1:] for row in rows if row}
    assert told["Waits for an agent"] == ["recorded", "what if", "change"]
    assert told["chats requested ="] == ["4", "4"]
    assert told["offers accepted by agents ="] == ["3", "3"]
    assert told["answered"] == ["3", "4", "+1"]
    assert told["abandoned by the visitor"] == ["1", "0", "-1"]
    assert told["mean wait"] == ["10.0 s", "0.0 s", "-10.0 s"]
    assert told["service level, of answerable waits"] == ["75.0 %", "100.0 %", "+25.0 pp"]
    assert told["visitor_left"] == ["1", "0", "-1"]
    assert told["no_agent_message"] == ["0", "1", "+1"]
    assert told["answers in vain: no such offer was open"] == ["0", "3", "+3"]
    assert told["acme/ann"] == ["2", "2"]
    assert told["acme/bob"] == ["1", "2", "+1"]
    assert "3 answers met no open offer, 0 under" in " ".join(rows)


def test_the_target_is_the_callers(tmp_path: Path) -> None:
    log = written(tmp_path / "events.jsonl", rung_late())
    override = f"office={settings(tmp_path, mode='auto')}"
    result = invoke(log, "--routing", override, "--compare", "--json", "--target-s", 9.5)
    found = json.loads(result.stdout)
    assert found["target_s"] == 9.5
    assert found["before"]["service_level_offered"] == 0


def test_many_agents_are_named_up_to_a_limit(tmp_path: Path) -> None:
    longest = "a" + "0" * 127
    scene = office(longest, *(f"a{number:03d}" for number in range(24)), mode="auto")
    scene.ask("c1")
    log = written(tmp_path / "events.jsonl", scene)
    override = f"office={settings(tmp_path, strategy='longest_idle')}"
    text = invoke(log, "--routing", override, "--compare").stdout
    assert len(re.findall(r"^ +acme/a", text, re.MULTILINE)) == compare.AGENTS_SHOWN_MAX
    assert "0… " in text
    assert max(map(len, text.splitlines())) <= compare.WIDTH
    assert "    and 15 more, with --json" in text
    found = json.loads(invoke(log, "--routing", override, "--compare", "--json").stdout)
    assert len(found["after"]["load_by_agent"]) == 25


@pytest.mark.parametrize("acted", [False, True], ids=["log", "scenario"])
def test_the_first_column_is_the_day_as_it_was(tmp_path: Path, acted: bool) -> None:
    as_it_was: list[Happening] = []
    for one in Rehearsal(DAY, PARTITIONS_DEFAULT).run():
        as_it_was += (one.entry, *one.emitted)
    found = compared(tmp_path, acted=acted, mode="ring_all")
    assert found["before"] == asdict(observe(as_it_was).figures(target_s=20))
    assert found["after"] != found["before"]


CHANGES: list[dict[str, Any]] = [
    {"mode": "auto"},
    {"mode": "ring_all", "offer_timeout_s": 2},
    {"strategy": "longest_idle", "wait_timeout_s": 3},
    {"max_queue": 1, "no_answer_limit": 1},
]


@pytest.mark.parametrize("routing", CHANGES, ids="+".join)
@pytest.mark.parametrize("acted", [False, True], ids=["log", "scenario"])
def test_what_is_said_to_be_fixed_is(tmp_path: Path, acted: bool, routing: dict[str, Any]) -> None:
    found = compared(tmp_path, acted=acted, **routing)
    assert found["fixed"] == list(compare.FIXED_IN_SCENARIO if acted else compare.FIXED_IN_LOG)
    assert [found["before"][name] for name in found["fixed"]] == [
        found["after"][name] for name in found["fixed"]
    ]


def test_people_repeat_themselves_in_a_log_and_react_in_a_scenario(tmp_path: Path) -> None:
    repeated = compared(tmp_path, acted=False, strategy="longest_idle")
    acted = compared(tmp_path, acted=True, strategy="longest_idle")
    assert repeated["after"]["answers_in_vain"] > acted["after"]["answers_in_vain"]
    assert repeated["after"]["answered"] < acted["after"]["answered"]


@pytest.mark.parametrize("acted", [False, True], ids=["log", "scenario"])
def test_it_repeats_byte_for_byte(tmp_path: Path, acted: bool) -> None:
    how = ["--scenario"] if acted else []
    day, override = day_file(tmp_path, acted=acted), f"northwind={settings(tmp_path, mode='auto')}"
    runs = []
    for name in ("one.svg", "two.svg"):
        picture = tmp_path / name
        result = invoke(day, *how, "--routing", override, "--compare", "--plot", picture)
        assert result.exit_code == 0, result.output
        runs.append((result.stdout, picture.read_bytes()))
    assert runs[0] == runs[1]


def test_a_scenario_without_a_comparison_gives_its_decisions(tmp_path: Path) -> None:
    day, log = day_file(tmp_path, acted=True), tmp_path / "log.jsonl"
    log.write_bytes(acted_day())
    result = invoke(day, "--scenario")
    assert result.exit_code == 0
    assert result.stdout_bytes == invoke(log).stdout_bytes
    midday = "2026-11-21T00:12:00Z"
    until = invoke(day, "--scenario", "--until", midday).stdout_bytes
    assert until == invoke(log, "--until", midday).stdout_bytes != result.stdout_bytes


# ---------------------------------------------------------------- settings


ROUTING: dict[str, Any] = {
    "mode": "ring_all",
    "strategy": "tiers",
    "tiers": [{"agent_ids": ["ann"], "after_s": 5}],
    "offer_timeout_s": 1,
    "wait_timeout_s": 2,
    "first_reply_timeout_s": 3,
    "decline_cooldown_s": 4,
    "wrap_up_s": 5,
    "idle_close_s": 6,
    "max_queue": 7,
    "overflow_department_id": "acme",
    "sticky": "last_agent",
    "sticky_wait_s": 8,
    "channel_cost": {"email": 2},
    "no_answer_limit": 9,
    "offline_grace_s": 10,
    "offline_policy": "keep",
    "priority_head_start_s": {"vip": 11},
    "skills_relax_s": 12,
    "after_hours": "queue",
}


def test_every_routing_setting_can_be_asked_about(tmp_path: Path) -> None:
    assert ROUTING.keys() == {field.name for field in fields(Routing)}
    log = written(tmp_path / "events.jsonl", rung_late())
    overrides = {"office": replay.read_routing(settings(tmp_path, **ROUTING))}
    [used] = [
        happening.envelope.data.routing
        for happening in replay.repeated(log, overrides=overrides)
        if isinstance(happening, Entry) and isinstance(happening.envelope.data, DepartmentConfigured)
    ]
    plain = json.loads(json.dumps(asdict(used)))
    assert plain == ROUTING


def test_settings_that_are_not_named_stay(tmp_path: Path) -> None:
    scene = office("ann", wait_timeout_s=7)
    log = written(tmp_path / "events.jsonl", scene)
    [used] = [
        happening.envelope.data.routing
        for happening in replay.repeated(log, overrides={"office": {"mode": "auto"}})
        if isinstance(happening, Entry) and isinstance(happening.envelope.data, DepartmentConfigured)
    ]
    assert used == Routing(mode="auto", wait_timeout_s=7)


# ---------------------------------------------------------------- mistakes


def nothing_in_it() -> Scene:
    return Scene()


def nobody_asks() -> Scene:
    return office("ann")


NOTHING = "There is nothing to compare: no chat is requested in the file, or none up to --until."
MISTAKES: list[tuple[Callable[[], Scene], list[str], str]] = [
    (rung_late, ["--routing", "sales={new}"], "no department sales is configured there; these are: office."),
    (nothing_in_it, ["--routing", "office={new}"], NOTHING),
    (nobody_asks, ["--routing", "office={new}"], NOTHING),
    (rung_late, ["--routing", "office={new}", "--until", "2026-11-20T00:00:00Z"], NOTHING),
    (rung_late, ["--routing", "office={new}", "--plot", "{new}/out.svg"], "cannot be written"),
    (rung_late, ["--routing", "office={new}", "--scenario"], "events.jsonl:1:"),
]


@pytest.mark.parametrize(("scene", "options", "message"), MISTAKES)
def test_what_cannot_be_compared_says_so(
    tmp_path: Path, scene: Callable[[], Scene], options: list[str], message: str
) -> None:
    log = written(tmp_path / "events.jsonl", scene())
    new = settings(tmp_path, mode="auto")
    result = invoke(log, "--compare", *(option.format(new=new) for option in options))
    assert result.exit_code == 1
    assert isinstance(result.exception, LocalError)
    assert message in str(result.exception)


def test_of_many_departments_some_are_named(tmp_path: Path) -> None:
    scene = Scene()
    for number in range(25):
        scene.department(id=f"d{number:02d}")
    scene.ask("c1")
    log = written(tmp_path / "events.jsonl", scene)
    result = invoke(log, "--compare", "--routing", f"sales={settings(tmp_path, mode='auto')}")
    assert str(result.exception).endswith(", d18, d19 and 5 more.")


@pytest.mark.parametrize(
    "options",
    [
        ["--compare"],
        ["--plot", "out.svg"],
        ["--json"],
        ["--compare", "--routing", "office={new}", "--target-s", "-1"],
    ],
)
def test_options_that_need_each_other_are_refused_alone(tmp_path: Path, options: list[str]) -> None:
    log = written(tmp_path / "events.jsonl", rung_late())
    new = settings(tmp_path, mode="auto")
    result = invoke(log, *(option.format(new=new) for option in options))
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_bad_line_gives_no_figures(tmp_path: Path) -> None:
    log = written(tmp_path / "events.jsonl", rung_late())
    log.write_bytes(log.read_bytes() + b"nonsense\n")
    result = invoke(log, "--compare", "--routing", f"office={settings(tmp_path, mode='auto')}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{log}:{len(rung_late().entries) + 1}: not JSON")


# ---------------------------------------------------------------- the picture


def drawn(folder: Path, scene: Scene, *, name: str = "new.json") -> ET.Element:
    log, picture = written(folder / "events.jsonl", scene), folder / "out.svg"
    new = settings(folder, mode="auto").rename(folder / name)
    result = invoke(log, "--compare", "--routing", f"office={new}", "--plot", picture)
    assert result.exit_code == 0, result.output
    return ET.fromstring(picture.read_text("utf-8"))


def test_the_picture_says_what_it_shows_in_light_and_dark(tmp_path: Path) -> None:
    root = drawn(tmp_path, rung_late(), name="<new & odd>.json")
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert texts[:3] == ["What if office=<new & odd>.json?", "recorded", "what if"]
    assert "10 s" in texts
    assert "09:05" in texts
    assert texts[-1] == "time of day (UTC), from 2026-11-23"
    above = "Wait for an agent, of chats that were answered, by when they began to wait"
    assert f"{above} (s; solid: p90, dashed: mean; of each 5 s)" in texts
    assert "Chats waiting (chats; solid: most at once, dashed: mean; of each 5 s)" in texts
    style = root.find(f"{SVG}style")
    assert style is not None
    used = set(re.findall(r"var\((--\w+)\)", style.text or ""))
    light, dark = (style.text or "").split("@media (prefers-color-scheme: dark)")
    assert used == set(re.findall(r"(--\w+):", light)) == set(re.findall(r"(--\w+):", dark))


def test_a_line_holds_its_value_and_breaks_where_there_is_none(tmp_path: Path) -> None:
    paths = [
        (element.get("class"), element.get("d"))
        for element in drawn(tmp_path, rung_late()).iter(f"{SVG}path")
    ]
    kinds = ["before high", "before mean", "after high", "after mean"]
    assert [name for name, _ in paths] == [f"line {kind}" for kind in kinds] * 2
    # 330 s in intervals of 5 s over 864 units of width: 67 of them. Ten seconds is the most anybody waited: the top of the panel.
    width = 864 / 67
    at_0, at_100, at_200 = (round(72 + width * number, 1) for number in (0, 20, 40))
    steps = [
        f"M{begin},84.0 H{round(72 + width * (number + 1), 1)}"
        for begin, number in ((at_0, 0), (at_100, 20), (at_200, 40))
    ]
    assert paths[0][1] == " ".join(steps)
    assert (
        paths[2][1]
        == paths[0][1].replace(",84.0", ",294.0")
        + f" M{round(72 + width * 60, 1)},294.0 H{round(72 + width * 61, 1)}"
    )


def test_the_queue_is_drawn_at_its_length(tmp_path: Path) -> None:
    """Two chats wait from 0 to 5 s and one to 7.5 s: at most 2, and on average 2, then 0.5."""
    scene = office("ann")
    scene.ask("c1")
    scene.ask("c2")
    scene.at(5).leave("c1")
    scene.at(7.5).leave("c2")
    scene.at(400).agent("bob")
    paths = [element.get("d") or "" for element in drawn(tmp_path, scene).iter(f"{SVG}path")]
    top, bottom = 358, 568
    heights = [[float(y) for y in re.findall(r",([\d.]+)", path)] for path in paths[4:]]
    assert heights[0] == [top, (top + bottom) / 2, bottom]
    assert heights[1] == [top, bottom - 0.25 * (bottom - top), bottom]
    assert heights[2] == heights[3] == [bottom]


@pytest.mark.parametrize(
    ("lasts_s", "interval", "first", "second"),
    [
        (0, "1 s", "09:00:00", "09:00:01"),
        (60, "1 s", "09:00:00", "09:00:10"),
        (3600, "1 min", "09:00", "09:10"),
        (22 * 3600, "15 min", "09:00", "12:00"),
        (3 * 86_400, "1 h", "11-23 12:00", "11-24 00:00"),
        (30 * 86_400, "12 h", "11-23 00:00", "11-27 00:00"),
        (400 * 86_400, "5 d", "12-03 00:00", "01-17 00:00"),
    ],
)
def test_the_axis_fits_the_log(tmp_path: Path, lasts_s: int, interval: str, first: str, second: str) -> None:
    scene = office("ann")
    scene.ask("c1")
    scene.at(lasts_s).agent("bob")
    texts = [element.text or "" for element in drawn(tmp_path, scene).iter(f"{SVG}text")]
    assert any(text.endswith(f"of each {interval})") for text in texts)
    assert [text for text in texts if ":" in text and "solid" not in text][:2] == [first, second]
