"""What the tests of faults share: the seed, printed by every run, and the console, which shows faults while they happen."""

import os
import secrets

import pytest
from rich.console import Console

from services.local.topics import ensure_topics
from tests.faults.effect_workers import PARTITIONS

WIDTH = 140
LONG = os.environ.get("FAULTS") == "long"


@pytest.fixture(scope="session")
def console() -> Console:
    """Return where faults are told of; `make test-faults` does not hold it back until the end."""
    return Console(highlight=False, width=WIDTH)


@pytest.fixture(scope="session")
def seed(console: Console) -> int:
    """Return the seed of this run: everything that is drawn follows from it."""
    drawn = int(os.environ.get("FAULTS_SEED") or secrets.randbelow(1_000_000))
    console.print(f"\nfaults: repeat this run with FAULTS_SEED={drawn}{' FAULTS=long' if LONG else ''}")
    return drawn


@pytest.fixture
async def contract(own_kafka: str) -> str:
    """Return the address of a broker that has the contract's topics, for the workers with side effects."""
    await ensure_topics(own_kafka, partitions=PARTITIONS, replicas=1)
    return own_kafka
