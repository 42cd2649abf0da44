"""The dashboards as Grafana reads them: made by the code, of series there are, with labels these have.

The one rule: this is what needs no Prometheus; that every query gives data is shown in `test_alerts_provoked.py`, where there is one.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.runtime.series import DEFINITIONS
from tests.ops.test_alerts import unknown

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted((FOLDER / "dashboards").glob("*.json"))
}
LABELS = {label for each in DEFINITIONS for label in each.labels} | {
    *("le", "worker", "instance", "job", "namespace")
}
LIMIT_S = 60


def queries() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Dashboard, panel and query of all that is shown."""
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield name, panel["title"], target


def test_the_json_is_what_the_code_gives() -> None:
    command = [sys.executable, str(FOLDER / "dashboards.py"), "--check"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    assert ran.returncode == 0, ran.stderr


def test_there_are_two_and_each_panel_says_what_it_shows() -> None:
    assert {board["uid"] for board in BOARDS.values()} == BOARDS.keys()
    assert BOARDS.keys() == {"chat-routing-operations", "chat-routing-contact-centre"}
    for board in BOARDS.values():
        shown = [panel for panel in board["panels"] if panel["type"] != "row"]
        assert all(panel["description"].endswith(".") and panel["targets"] for panel in shown)
        places = Counter((panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"])
        assert set(places.values()) == {1}, "panels lie on each other"


@pytest.mark.parametrize(("board", "panel", "target"), list(queries()))
def test_queries_use_series_and_labels_there_are(board: str, panel: str, target: dict[str, Any]) -> None:
    query = target["expr"]
    assert unknown(query) == set(), (board, panel)
    kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", query))))
    assert kept <= LABELS
    assert set(re.findall(r"{{(\w+)}}", target.get("legendFormat", ""))) <= (kept or LABELS)
    chosen = set(re.findall(r"\$(\w+)", query)) - {"__rate_interval"}
    assert chosen <= {variable["name"] for variable in BOARDS[board]["templating"]["list"]}


@pytest.mark.parametrize(("board", "panel", "target"), list(queries()))
def test_each_series_is_that_of_the_installations_chosen(
    board: str, panel: str, target: dict[str, Any]
) -> None:
    series = re.findall(r"\b(?:chat[_:][\w:]+|up|ALERTS)\b(?:{([^}]*)})?", target["expr"])
    assert series
    assert all('namespace=~"$namespace"' in matchers for matchers in series), (board, panel)


def test_grafana_finds_dashboards_and_data() -> None:
    folder = FOLDER / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "chat-routing.yaml").read_text("utf-8"))[
        "providers"
    ]
    compose = yaml.safe_load((FOLDER.parent / "compose.yaml").read_text("utf-8"))["services"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose
    mounted = dict(volume.split(":")[:2] for volume in compose["grafana"]["volumes"])
    assert mounted["./grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./grafana/provisioning"] == "/etc/grafana/provisioning"
