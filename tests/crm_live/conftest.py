"""A real Tryton for the tests, and when they run: `make test-crm` does, `make test` does not.

The one rule: where Tryton is not installed the tests are skipped by name, and fail where nobody watches (`CI`).
"""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.local.errors import LocalError
from services.local.ports import free_ports
from services.local.tryton.server import Tryton
from tests.crm_live.tryton_world import COMPANY, Installed, TrytonWorld
from tests.crm_sync.connector_world import ACME, OTHER, World

HOME = Path(__file__).parents[2] / ".venv-tryton"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these need a real CRM."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.crm)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def tryton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Return a Tryton that serves two databases."""
    try:
        program = Tryton(HOME)
    except LocalError as missing:
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"no CRM to test against: {missing}")
    folder = tmp_path_factory.mktemp("tryton")
    program.make_database(folder, ACME, COMPANY)
    shutil.copyfile(folder / f"{ACME}.sqlite", folder / f"{OTHER}.sqlite")
    (port,) = free_ports(1)
    with program.serving(folder, (ACME, OTHER), port=port) as served:
        yield Installed(served.url, {name: folder / f"{name}.sqlite" for name in (ACME, OTHER)})


@pytest.fixture
async def live(tryton: Installed) -> AsyncIterator[TrytonWorld]:
    """Return the connector and the people at the CRM, their databases as they were made."""
    async with TrytonWorld.opened(tryton) as world:
        yield world


@pytest.fixture
def world(live: TrytonWorld) -> World:
    """Return what the contract works on."""
    return live.world
