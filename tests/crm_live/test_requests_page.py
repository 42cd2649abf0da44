"""What the page about requests says of Tryton is what a real one is asked."""

from pathlib import Path

from services.crm_sync.connectors.tryton.connector import NAME
from tests.crm_sync.connector_world import World
from tests.crm_sync.requests_cases import requests_by_case, told


async def test_the_page_says_what_tryton_is_asked(world: World, tmp_path: Path) -> None:
    assert await requests_by_case(world, tmp_path) == told(NAME)
