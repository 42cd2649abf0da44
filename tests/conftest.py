"""Fixtures every test may use. One rule: what needs a real Kafka takes `kafka` and carries the marker of that name."""

from collections.abc import Iterator

import hypothesis  # noqa: F401 - early: from deep inside an import chain CPython 3.11's parser has failed on it
import pytest
from aiokafka import conn

from tests import plain

plain.choose()  # before anything below imports the core

from services.local.kafka import EmbeddedKafka  # noqa: E402
from services.runtime.kafka_client import mend_connections  # noqa: E402
from tests.databases import KINDS, NewDatabase  # noqa: E402


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Return the bootstrap address of a real Kafka broker shared by the run (by each pytest-xdist worker).

    Topics and groups of earlier tests are still there: every test names its own.
    """
    with EmbeddedKafka() as broker:
        yield broker.bootstrap


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[str]:
    """Return the bootstrap address of a broker of the test file's own: for workers, whose topics have fixed names."""
    with EmbeddedKafka() as broker:
        yield broker.bootstrap


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Correct aiokafka's connections as every worker does, for one test."""
    monkeypatch.setattr(conn, "AIOKafkaConnection", conn.AIOKafkaConnection)
    mend_connections()


@pytest.fixture(scope="session", params=KINDS)
def new_database(request: pytest.FixtureRequest) -> Iterator[NewDatabase]:
    """Return what makes an empty database; each test runs once on SQLite and once on PostgreSQL."""
    with KINDS[request.param]() as new:
        yield new


@pytest.fixture
def database_url(new_database: NewDatabase) -> str:
    """Return the URL of an empty database."""
    return new_database()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what needs no broker first: the quickest tests fail first."""
    items.sort(key=lambda item: item.get_closest_marker("kafka") is not None)
