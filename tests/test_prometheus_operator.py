"""What an operator would make Prometheus do: scrape each worker as the rules know it, and keep the rules.

The one rule: looked at is an overlay that names the component, as somebody's own would.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.runtime.series import DEFINITIONS
from services.runtime.settings import RuntimeSettings
from tests.ops.prometheus import DEPLOYED, RULES, promtool
from tests.test_kubernetes import (
    FOLDER,
    OVERLAYS,
    assert_fit,
    fetched,
    kustomized,
    of_kind,
    pods,
    selected,
)

OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.94.1"
KINDS = {"PodMonitor": "podmonitors", "PrometheusRule": "prometheusrules"}
SET = {"job", "instance", "worker", "namespace", "pod", "container", "endpoint"}
"""The labels of a target: by the monitor, and by the operator itself."""
RELABELINGS = {"sourceLabels": "source_labels", "targetLabel": "target_label"}


@pytest.fixture(scope="module", params=OVERLAYS)
def documents(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("overlay")
    wanted = {
        "resources": [os.path.relpath(FOLDER / "overlays" / request.param, folder)],
        "components": [os.path.relpath(FOLDER / "components" / "prometheus", folder)],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(wanted), "utf-8")  # which is YAML, too
    return kustomized(folder)


def the_monitor(documents: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    (monitor,) = of_kind(documents, "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    return monitor, endpoint


def test_it_is_what_the_operator_takes(documents: list[dict[str, Any]], tmp_path: Path) -> None:
    folder = fetched(OPERATOR, tmp_path) / "example" / "prometheus-operator-crd"
    for kind, plural in KINDS.items():
        defined = (folder / f"monitoring.coreos.com_{plural}.yaml").read_text("utf-8")
        assert_fit(of_kind(documents, kind), defined)


def test_it_stands_where_the_workers_do(documents: list[dict[str, Any]]) -> None:
    places = {each["metadata"].get("namespace") for each in documents if each["kind"] != "Namespace"}
    assert len(places) == 1


def test_its_rules_are_prometheus_own(documents: list[dict[str, Any]]) -> None:
    kept = [group for each in of_kind(documents, "PrometheusRule") for group in each["spec"]["groups"]]
    own = [group for path in RULES for group in yaml.safe_load(path.read_text("utf-8"))["groups"]]
    assert kept == own


def test_each_worker_is_scraped_as_the_rules_know_it(documents: list[dict[str, Any]], tmp_path: Path) -> None:
    monitor, endpoint = the_monitor(documents)
    (job,) = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    known = {group["labels"]["worker"]: group["targets"][0].split(":")[1] for group in job["static_configs"]}
    targets = [
        {
            "targets": [f"10.0.0.1:{port['containerPort']}"],
            "labels": {
                "__meta_kubernetes_pod_name": f"{name}-0",
                "__meta_kubernetes_pod_label_app_kubernetes_io_name": labels["app.kubernetes.io/name"],
            },
        }
        for name, pod, labels in pods(documents)
        if selected(monitor["spec"]["selector"], labels)
        for port in pod["containers"][0]["ports"]
        if port["name"] == endpoint["port"]
    ]
    relabelings = [
        {RELABELINGS.get(name, name): value for name, value in each.items()}
        for each in endpoint["relabelings"]
    ]
    config = {"job_name": "as-it-likes", "static_configs": targets, "relabel_configs": relabelings}
    (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [config]}), "utf-8")
    said = promtool("check", "service-discovery", "--timeout=2s", tmp_path / "prometheus.yml", "as-it-likes")
    found = [each["labels"] for each in json.loads(said)]
    assert {each["worker"]: each["__address__"].split(":")[1] for each in found} == known
    assert {each["job"] for each in found} == {job["job_name"]}
    assert {each["instance"] for each in found} == {f"{name}-0" for name, _pod, _labels in pods(documents)}


def test_it_comes_with_the_token_that_the_workers_ask_for(documents: list[dict[str, Any]]) -> None:
    _monitor, endpoint = the_monitor(documents)
    token = endpoint["authorization"]["credentials"]
    assert token["key"].removeprefix("chat_") in RuntimeSettings.model_fields
    for name, pod, _labels in pods(documents):
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "secrets"]
        assert {"secret": {"name": token["name"]}} in volume["projected"]["sources"], name


def test_of_its_namespace_it_alone_may_ask(documents: list[dict[str, Any]]) -> None:
    (policy,) = [
        each for each in of_kind(documents, "NetworkPolicy") if each["metadata"]["name"] == "metrics"
    ]
    (rule,) = policy["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}
    assert peer["namespaceSelector"]["matchLabels"]
    ports = {
        port["containerPort"] for _n, pod, _l in pods(documents) for port in pod["containers"][0]["ports"]
    }
    assert {port["port"] for port in rule["ports"]} == ports


def test_no_series_has_a_label_that_its_target_has() -> None:
    assert {each.name: SET & set(each.labels) for each in DEFINITIONS if SET & set(each.labels)} == {}
