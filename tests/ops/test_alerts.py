"""The alerts as they are deployed: each is silent when all is well and fires when it is not, names what there is, and is explained.

The one rule: promtool judges, as it would before a deployment; `test_alerts_provoked.py` lets them happen.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.runtime.series import DEFINITIONS
from tests.ops.alert_cases import CASES, Case
from tests.ops.prometheus import DEPLOYED, RULES, faster, promtool

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
GROUPS: list[dict[str, Any]] = [
    group for path in RULES for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
]
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule
}
RECORDED = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}
EXPOSED = {
    name
    for each in DEFINITIONS
    for name in (
        [f"{each.full_name}_{part}" for part in ("bucket", "sum", "count")]
        if each.exposed == "histogram"
        else [each.full_name]
    )
}


def unknown(query: str) -> set[str]:
    """The names in a query that nobody exposes or records."""
    return set(re.findall(r"\bchat[_:][\w:]+", query)) - EXPOSED - RECORDED


def asked(case: Case, installations: Sequence[Mapping[str, str]]) -> Iterator[dict[str, Any]]:
    """What promtool is to ask of one case that befalls each of these installations."""
    rule = ALERTS[case.alert]
    fired = [
        {
            "exp_labels": {**rule["labels"], **case.labels, **each},
            "exp_annotations": {**rule["annotations"], "summary": case.summary},
        }
        for each in ([{}] if case.of_all else installations)
    ]
    for moment, expected in ((case.silent, []), (case.fires, fired), (case.over, [])):
        if moment is not None:
            yield {"eval_time": moment, "alertname": case.alert, "exp_alerts": expected}


def of(series: str, installation: Mapping[str, str]) -> str:
    """Return the series as one installation exposes it."""
    name, _, labels = series.rstrip("}").partition("{")
    more = [f'{label}="{value}"' for label, value in installation.items()]
    return f"{name}{{{','.join([labels, *more] if labels else more)}}}"


def test_promtool_takes_settings_and_rules() -> None:
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", "prometheus.yml")
    assert "SUCCESS" in promtool("check", "rules", *RULES)


def tables(*installations: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """What promtool reads: one file for each file of rules."""
    for path in RULES:
        groups = yaml.safe_load(path.read_text("utf-8"))["groups"]
        names = {rule.get("alert") for group in groups for rule in group["rules"]}
        tests = [
            {
                "name": case.alert,
                "interval": "1m",
                "input_series": [
                    {"series": of(name, each), "values": values}
                    for each in installations
                    for name, values in case.series.items()
                ],
                "alert_rule_test": list(asked(case, installations)),
            }
            for case in CASES
            if case.alert in names
        ]
        yield {"rule_files": [str(path)], "evaluation_interval": "1m", "tests": tests}


@pytest.mark.parametrize(
    "installations",
    [[{}], [{"namespace": "production"}, {"namespace": "trial"}]],
    ids=["one installation", "two on one Prometheus"],
)
def test_every_alert_is_silent_and_then_fires(tmp_path: Path, installations: list[dict[str, str]]) -> None:
    assert {case.alert for case in CASES} == set(ALERTS), "an alert has no case"
    for number, table in enumerate(tables(*installations)):
        (tmp_path / f"{number}.yaml").write_text(json.dumps(table), "utf-8")  # which is YAML, too
    promtool("test", "rules", *sorted(tmp_path.iterdir()))


def test_names_are_given_once() -> None:
    names = Counter(rule.get("alert") or rule["record"] for group in GROUPS for rule in group["rules"])
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize(
    "rule",
    [rule for group in GROUPS for rule in group["rules"]],
    ids=lambda rule: rule.get("alert") or rule["record"],
)
def test_rules_use_series_that_workers_expose(rule: dict[str, Any]) -> None:
    assert unknown(rule["expr"]) == set()


def test_a_name_that_nobody_exposes_is_found() -> None:
    assert unknown('rate(chat_records_in{topic="x"}[5m]) / chat:nothing:rate5m + up') == {
        "chat_records_in",
        "chat:nothing:rate5m",
    }


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_whom_it_calls_and_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"


def test_every_alert_has_its_section_and_no_section_is_an_orphan() -> None:
    page = PAGE.read_text("utf-8")
    sections = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert Counter(sections) == Counter(list(ALERTS))
    for section in page.split("\n### ")[1:]:
        name = section.partition("\n")[0]
        for part in ("**Means.**", "**Look at.**", "**Do.**"):
            assert section.count(part) == 1, f"{name}: {part}"


@pytest.mark.parametrize(
    ("written", "runs"),
    [
        ("rate(chat_ticks_total[5m])", "rate(chat_ticks_total[10s])"),
        ("for: 15m\n", "for: 30s\n"),
        ("x offset 1h > 15 * 60", "x offset 120s > 15 * 2"),
        ("chat:decisions_late:ratio_rate3d > 6 * 0.005", "chat:decisions_late:ratio_rate3d > 6 * 0.005"),
        ("increase(x[3d]) + max_over_time(x[6h:5m])", "increase(x[8640s]) + max_over_time(x[720s:10s])"),
    ],
)
def test_a_minute_becomes_two_seconds(written: str, runs: str) -> None:
    assert faster(written) == runs


def test_the_deployed_settings_find_the_rules() -> None:
    assert yaml.safe_load((DEPLOYED / "prometheus.yml").read_text("utf-8"))["rule_files"] == ["rules/*.yaml"]
    assert len(RULES) == 3
