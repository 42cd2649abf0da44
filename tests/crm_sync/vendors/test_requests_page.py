"""What the page about requests says of vendors is what their local servers are asked."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from services.crm_sync.connectors.hubspot.connector import CONNECTOR as HUBSPOT
from services.crm_sync.connectors.salesforce.connector import CONNECTOR as SALESFORCE
from services.crm_sync.connectors.zendesk_sell.connector import NAME as SELL
from tests.crm_sync.connector_world import World
from tests.crm_sync.requests_cases import requests_by_case, told
from tests.crm_sync.vendors.hubspot_world import hubspot
from tests.crm_sync.vendors.salesforce_world import salesforce
from tests.crm_sync.vendors.sell_world import sell


@asynccontextmanager
async def of_sell(folder: Path) -> AsyncIterator[World]:
    async with sell(folder) as scene, scene.connected() as crm:
        yield scene.world(crm)


@asynccontextmanager
async def of_hubspot(_folder: Path) -> AsyncIterator[World]:
    async with hubspot() as there:
        yield there.world()


@asynccontextmanager
async def of_salesforce(folder: Path) -> AsyncIterator[World]:
    async with salesforce(folder) as there:
        yield there.world()


@pytest.mark.parametrize(
    ("connector", "opened"), [(SELL, of_sell), (HUBSPOT, of_hubspot), (SALESFORCE, of_salesforce)]
)
async def test_the_page_says_what_a_vendor_is_asked(
    connector: str, opened: Callable[[Path], AbstractAsyncContextManager[World]], tmp_path: Path
) -> None:
    async with opened(tmp_path) as world:
        assert await requests_by_case(world, tmp_path) == told(connector)
