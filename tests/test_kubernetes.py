"""What Kubernetes would be given: built by kustomize, held to the API's own schemas, and to what the workers really need."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from schemas.topics import EVENTS, PARTITIONS_DEFAULT, ROUTER_STATE, ROUTING, TOPICS, TRANSCRIPT_STATE
from services.crm_sync.settings import CrmSyncSettings
from services.local.acls import commands
from services.local.manifests import manifests
from services.local.principals import PRINCIPALS
from services.notifier.settings import NotifierSettings
from services.router.worker import RouterSettings
from services.runtime.connection import SECRETS_FOLDER
from services.runtime.settings import RuntimeSettings
from services.transcript.worker import TranscriptSettings
from tests.programs import program

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "kubernetes"
OVERLAYS = ("small", "large")
KUBERNETES = "1.37"
KEDA = "github.com/kedacore/keda/v2@v2.21.0"
KEDA_KINDS = {"ScaledObject": "scaledobjects", "TriggerAuthentication": "triggerauthentications"}
CUSTOM = {"keda.sh", "kafka.strimzi.io"}
"""Held to their own schemas: the first below, the second in tests/ops, since Strimzi's generator takes a while."""
LIMIT_S = 120
WORKERS: dict[str, tuple[str, type[RuntimeSettings]]] = {
    "router": ("chat-router", RouterSettings),
    "notifier": ("chat-notifier", NotifierSettings),
    "transcript": ("chat-transcript", TranscriptSettings),
    "crm-sync": ("chat-crm-sync", CrmSyncSettings),
}
RUNNING = ("Deployment", "StatefulSet")
GROUPS = {
    "router": {EVENTS},
    "transcript": {EVENTS, ROUTING},
    **{each.name.removeprefix("chat-"): set(each.reads) for each in PRINCIPALS if not each.transactional},
}
"""The topics each group reads; the states are read by their owners alone, and what the archive reads it reads without a group."""
SCALED_TO = {"small": (PARTITIONS_DEFAULT, 1), "large": (240, 3)}
"""Partitions, and replicas of each."""


def built(overlay: str) -> list[dict[str, Any]]:
    return kustomized(FOLDER / "overlays" / overlay)


def kustomized(folder: Path) -> list[dict[str, Any]]:
    command = [program("kubectl"), "kustomize", str(folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S).stdout
    return [document for document in yaml.safe_load_all(text) if document]


@pytest.fixture(scope="module", params=OVERLAYS)
def documents(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return built(request.param)


def of_kind(documents: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] in kinds]


def pods(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Name, pod specification and labels of everything that runs."""
    for document in of_kind(documents, *RUNNING):
        template = document["spec"]["template"]
        yield document["metadata"]["name"], template["spec"], template["metadata"]["labels"]


def selected(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", ())
    )


def test_each_document_is_what_the_api_takes(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        if document["apiVersion"].split("/")[0] not in CUSTOM:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_everything_stands_in_the_one_namespace(documents: list[dict[str, Any]]) -> None:
    (namespace,) = of_kind(documents, "Namespace")
    for document in documents:
        if document is not namespace:
            metadata = document["metadata"]
            assert metadata.get("namespace") == namespace["metadata"]["name"], metadata["name"]


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
    assert running.keys() == WORKERS.keys()
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
        assert mounts["secrets"]["mountPath"] == str(SECRETS_FOLDER)
        assert mounts["settings"]["mountPath"] == own["CHAT_SETTINGS_FOLDER"]["value"]
        assert mounts["secrets"]["readOnly"] is mounts["settings"]["readOnly"] is True
        assert {"name": "settings", "configMap": {"name": "chat-settings"}} in running[name]["volumes"]
        assert not shared.keys() & own.keys(), "what stands in a variable no file can change"


def test_each_worker_comes_to_kafka_as_itself(documents: list[dict[str, Any]]) -> None:
    shared = next(d for d in documents if d["metadata"]["name"] == "chat-settings")["data"]
    known = {document["metadata"]["name"] for document in of_kind(documents, "KafkaUser")}
    (cluster,) = of_kind(documents, "Kafka")
    (door,) = cluster["spec"]["kafka"]["listeners"]
    name = cluster["metadata"]["name"]
    assert shared["CHAT_BOOTSTRAP"] == f"{name}-kafka-bootstrap:{door['port']}"
    assert (door["tls"], door["authentication"]) == (True, {"type": "scram-sha-512"})
    for worker, pod, labels in pods(documents):
        assert labels["chat-routing/kafka"] == "client"
        own = {variable["name"]: variable.get("value") for variable in pod["containers"][0]["env"]}
        user = own["CHAT_KAFKA_USER"]
        assert user == f"chat-{worker}"
        assert user in known
        files, whole = {}, set()
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "secrets"]
        for source in volume["projected"]["sources"]:
            whole |= set() if "items" in source["secret"] else {source["secret"]["name"]}
            for item in source["secret"].get("items", ()):
                files[f"{SECRETS_FOLDER}/{item['path']}"] = (source["secret"]["name"], item["key"])
        assert files[shared["CHAT_KAFKA_PASSWORD_FILE"]] == (user, "password")
        assert files[shared["CHAT_KAFKA_CA_FILE"]] == (f"{name}-cluster-ca-cert", "ca.crt")
        assert whole == {"metrics"} | ({worker} if worker != "router" else set())
        assert not whole & known, "Strimzi's operator would write over it"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_strimzi_makes_the_topics_of_the_contract(overlay: str) -> None:
    partitions, replicas = SCALED_TO[overlay]
    found = {each["metadata"]["name"]: each["spec"] for each in of_kind(built(overlay), "KafkaTopic")}
    assert found.keys() == {topic.name for topic in TOPICS}
    safe = {"min.insync.replicas": "2"} if replicas == 3 else {}
    faster = {"segment.bytes": "134217728", "min.cleanable.dirty.ratio": "0.2"} if replicas == 3 else {}
    for topic in TOPICS:
        spec = found[topic.name]
        assert (spec["partitions"], spec["replicas"]) == (partitions, replicas)
        states = topic.name in (ROUTER_STATE, TRANSCRIPT_STATE)
        assert spec["config"] == {**topic.config, **safe, **(faster if states else {})}


def test_strimzi_gives_each_user_what_the_command_line_would(documents: list[dict[str, Any]]) -> None:
    given = []
    for user in of_kind(documents, "KafkaUser"):
        for line in user["spec"]["authorization"]["acls"]:
            assert line.keys() == {"operations", "resource"}
            (operation,), resource = line["operations"], line["resource"]
            kind = resource["type"].replace("Id", "-id")
            given.append(
                f"--add --allow-principal User:{user['metadata']['name']} --operation {operation.lower()} "
                f"--{kind} {resource['name']}"
                + (" --resource-pattern-type prefixed" if resource["patternType"] == "prefix" else "")
            )
    assert sorted(given) == sorted(commands())


def test_the_generated_files_are_what_is_generated() -> None:
    for path, text in manifests().items():
        assert path.read_text("utf-8") == text


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
    assert policies["nothing"].keys() == {"podSelector", "policyTypes"}
    assert policies["nothing"]["policyTypes"] == ["Ingress", "Egress"]
    for closed in ("nothing", "metrics"):
        assert all(selected(policies[closed]["podSelector"], labels) for _n, _p, labels in pods(documents))
        # Others live here, too: a broker that may reach no other is none.
        assert not selected(policies[closed]["podSelector"], {"strimzi.io/kind": "Kafka"})
    for name, policy in policies.items():
        for rule in (*policy.get("ingress", ()), *policy.get("egress", ())):
            assert rule.get("ports"), f"{name} opens all ports"


def test_the_large_one_scales_what_runs_by_the_lag_of_its_own_groups() -> None:
    documents = built("large")
    partitions, _replicas = SCALED_TO["large"]
    running = {document["metadata"]["name"]: document for document in of_kind(documents, *RUNNING)}
    authorized = {
        each["metadata"]["name"]: each["spec"] for each in of_kind(documents, "TriggerAuthentication")
    }
    scaled = of_kind(documents, "ScaledObject")
    assert {each["metadata"]["name"] for each in scaled} == WORKERS.keys()
    for each in scaled:
        spec = each["spec"]
        target = running[spec["scaleTargetRef"]["name"]]
        assert target["kind"] == spec["scaleTargetRef"]["kind"]
        assert "replicas" not in target["spec"]
        assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] <= partitions
        name = target["metadata"]["name"]
        group = WORKERS[name][1].model_fields["group"].default
        assert {trigger["metadata"]["topic"] for trigger in spec["triggers"]} == GROUPS[name]
        for trigger in spec["triggers"]:
            assert trigger["type"] == "kafka"
            assert trigger["metadata"]["consumerGroup"] == group
            assert trigger["metadata"]["excludePersistentLag"] == "true"
            secret, _authority = authorized[trigger["authenticationRef"]["name"]]["secretTargetRef"]
            assert secret == {"parameter": "password", "name": f"chat-{name}", "key": "password"}


def test_the_large_one_loses_one_pod_of_a_kind_at_a_time() -> None:
    budgets = {
        each["metadata"]["name"]: each["spec"] for each in of_kind(built("large"), "PodDisruptionBudget")
    }
    assert budgets.keys() == WORKERS.keys()
    for name, budget in budgets.items():
        assert budget["maxUnavailable"] == 1
        assert budget["selector"] == {"matchLabels": {"app.kubernetes.io/name": name}}


def test_what_scales_is_what_keda_takes(tmp_path: Path) -> None:
    folder = fetched(KEDA, tmp_path) / "config" / "crd" / "bases"
    documents = built("large")
    for kind, plural in KEDA_KINDS.items():
        defined = (folder / f"keda.sh_{plural}.yaml").read_text(encoding="utf-8")
        assert_fit(of_kind(documents, kind), defined)


def fetched(module: str, folder: Path) -> Path:
    """Where a Go module is, which is asked for in an empty folder."""
    command = [program("go"), "mod", "download", "-json", module]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S, cwd=folder)
    return Path(json.loads(ran.stdout)["Dir"])


def assert_fit(documents: list[dict[str, Any]], defined: str) -> None:
    """Hold custom resources of one kind to their definition."""
    definition = yaml.safe_load(defined)
    (version,) = definition["spec"]["versions"]
    assert documents, definition["spec"]["names"]["kind"]
    for each in documents:
        assert each["apiVersion"] == f"{definition['spec']['group']}/{version['name']}"
        jsonschema.validate(each, _closed(version["schema"]["openAPIV3Schema"]))


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
    if "pattern" in closed:
        before, flag, after = closed["pattern"].partition("(?i)")  # Go takes it anywhere, Python first
        closed["pattern"] = flag + before + after
    return closed
