"""What Kubernetes would be given: built by kustomize, held to the API's own schemas, and to what the workers really need."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from schemas.topics import TOPICS
from services.crm_sync.settings import CrmSyncSettings
from services.notifier.settings import NotifierSettings
from services.router.worker import RouterSettings
from services.runtime.connection import SECRETS_FOLDER
from services.runtime.settings import RuntimeSettings
from services.transcript.worker import TranscriptSettings

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "kubernetes"
OVERLAYS = ("small", "large")
KUBERNETES = "1.37"
KEDA = "github.com/kedacore/keda/v2@v2.21.0"
LIMIT_S = 120
WORKERS: dict[str, tuple[str, type[RuntimeSettings]]] = {
    "router": ("chat-router", RouterSettings),
    "notifier": ("chat-notifier", NotifierSettings),
    "transcript": ("chat-transcript", TranscriptSettings),
    "crm-sync": ("chat-crm-sync", CrmSyncSettings),
}
CLAIMS = {"Deployment", "StatefulSet", "Job"}


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing")
        pytest.skip(f"{name} is missing")
    return found


def built(overlay: str) -> list[dict[str, Any]]:
    command = [program("kubectl"), "kustomize", str(FOLDER / "overlays" / overlay)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S).stdout
    return [document for document in yaml.safe_load_all(text) if document]


@pytest.fixture(scope="module", params=OVERLAYS)
def documents(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return built(request.param)


def of_kind(documents: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] in kinds]


def pods(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Name, pod specification and labels of everything that runs."""
    for document in of_kind(documents, *CLAIMS):
        template = document["spec"]["template"]
        yield document["metadata"]["name"], template["spec"], template["metadata"]["labels"]


def selected(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", ())
    )


def test_each_document_is_what_the_api_takes(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        if document["apiVersion"].split("/")[0] != "keda.sh":
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_every_pod_runs_with_the_least_it_needs(documents: list[dict[str, Any]]) -> None:
    for name, pod, _labels in pods(documents):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] == 10001, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"].keys() == {"requests", "limits"}, name
            assert container["image"].startswith("chat-routing:"), name
            for variable in container.get("env", ()):
                assert not {"SECRET", "PASSWORD", "TOKEN"} & set(variable["name"].split("_")), variable


def test_every_worker_is_its_command_with_its_port_probes_and_known_settings(
    documents: list[dict[str, Any]],
) -> None:
    shared = next(d for d in documents if d["metadata"]["name"] == "chat-settings")["data"]
    running = {name: pod for name, pod, _labels in pods(documents)}
    assert running.keys() == WORKERS.keys() | {"chat-topics"}
    everything = {f"CHAT_{field.upper()}" for _c, kind in WORKERS.values() for field in kind.model_fields}
    assert shared.keys() <= everything
    for name, (command, settings) in WORKERS.items():
        (container,) = running[name]["containers"]
        assert container["command"] == [command]
        known = {f"CHAT_{field.upper()}" for field in settings.model_fields}
        own = {variable["name"]: variable for variable in container["env"]}
        assert own.keys() <= known
        assert own["CHAT_INSTANCE_ID"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
        port = settings.model_fields["http_port"].default
        assert own["CHAT_HTTP_PORT"]["value"] == str(port)
        assert container["ports"] == [{"name": "http", "containerPort": port}]
        paths = [
            container[probe]["httpGet"]["path"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        ]
        assert paths == ["/healthz", "/healthz", "/readyz"]
        grace_s = settings.model_fields["grace_s"].default
        assert running[name]["terminationGracePeriodSeconds"] > grace_s
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert ("secrets" in mounts) == (name != "router")
        if "secrets" in mounts:
            assert mounts["secrets"]["mountPath"] == str(SECRETS_FOLDER)
            assert mounts["secrets"]["readOnly"] is True


def test_what_selects_pods_selects_some(documents: list[dict[str, Any]]) -> None:
    labels = [labels for _name, _pod, labels in pods(documents)]
    for document in of_kind(documents, "Service"):
        (port,) = document["spec"]["ports"]
        chosen = [
            pod
            for _name, pod, mine in pods(documents)
            if selected({"matchLabels": document["spec"]["selector"]}, mine)
        ]
        assert [pod["containers"][0]["ports"][0]["containerPort"] for pod in chosen] == [port["port"]]
    for document in of_kind(documents, "NetworkPolicy", "PodDisruptionBudget"):
        selector = document["spec"].get("podSelector", document["spec"].get("selector"))
        assert any(selected(selector, mine) for mine in labels), document["metadata"]["name"]


def test_nothing_is_reachable_that_no_policy_names(documents: list[dict[str, Any]]) -> None:
    policies = {
        document["metadata"]["name"]: document["spec"] for document in of_kind(documents, "NetworkPolicy")
    }
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, policy in policies.items():
        for rule in (*policy.get("ingress", ()), *policy.get("egress", ())):
            assert rule.get("ports"), f"{name} opens all ports"


def test_the_large_one_scales_what_runs_by_the_lag_of_its_own_groups() -> None:
    documents = built("large")
    partitions = 240
    command = next(pod for name, pod, _labels in pods(documents) if name == "chat-topics")["containers"][0]
    assert command["command"][-4:] == ["--partitions", str(partitions), "--replicas", "3"]
    running = {document["metadata"]["name"]: document for document in of_kind(documents, *CLAIMS)}
    scaled = of_kind(documents, "ScaledObject")
    assert {each["metadata"]["name"] for each in scaled} == WORKERS.keys()
    for each in scaled:
        spec = each["spec"]
        target = running[spec["scaleTargetRef"]["name"]]
        assert target["kind"] == spec["scaleTargetRef"]["kind"]
        assert "replicas" not in target["spec"]
        assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] <= partitions
        group = WORKERS[target["metadata"]["name"]][1].model_fields["group"].default
        for trigger in spec["triggers"]:
            assert trigger["type"] == "kafka"
            assert trigger["metadata"]["consumerGroup"] == group
            assert trigger["metadata"]["topic"] in {topic.name for topic in TOPICS}
            assert trigger["metadata"]["excludePersistentLag"] == "true"


def test_a_scaled_object_is_what_keda_takes(tmp_path: Path) -> None:
    fetched = subprocess.run(
        [program("go"), "mod", "download", "-json", KEDA],
        check=True,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=tmp_path,
    ).stdout
    path = Path(json.loads(fetched)["Dir"]) / "config" / "crd" / "bases" / "keda.sh_scaledobjects.yaml"
    definition = yaml.safe_load(path.read_text(encoding="utf-8"))
    (version,) = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    scaled = of_kind(built("large"), "ScaledObject")
    assert scaled
    for each in scaled:
        assert each["apiVersion"] == f"{definition['spec']['group']}/{version['name']}"
        jsonschema.validate(each, _closed(schema))


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as the API server applies it: what it does not name is not kept, so here it is refused."""
    closed = dict(schema)
    if "properties" in closed:
        closed["properties"] = {name: _closed(value) for name, value in closed["properties"].items()}
        if closed["properties"].keys() != {"metadata"} and not closed.get(
            "x-kubernetes-preserve-unknown-fields"
        ):
            closed.setdefault("additionalProperties", False)
    if "items" in closed:
        closed["items"] = _closed(closed["items"])
    return closed
