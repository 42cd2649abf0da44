"""What a newcomer gets from `chat-routing up --crm tryton`: an own Tryton, chats in its feed, and nothing left when it ends."""

import asyncio
import json
from pathlib import Path

import pytest

from services.local.errors import LocalError
from services.local.installation import Installation
from services.local.ports import is_free
from services.local.settings import LocalSettings
from services.local.tryton import trial
from services.local.tryton.feed import Entry, read_feed
from services.local.tryton.server import Tryton
from tests.crm_live.conftest import HOME
from tests.crm_live.tryton_world import Installed

LIMIT_S = 120.0
LOOK_INTERVAL_S = 0.5


@pytest.mark.kafka
async def test_a_newcomer_finds_the_chats_in_the_feed(tryton: Installed, tmp_path: Path) -> None:
    settings = LocalSettings(tryton_folder=HOME, worker_start_limit_s=LIMIT_S)
    installation = Installation(tmp_path, with_tryton=True, settings=settings)
    await asyncio.to_thread(installation.__enter__)
    try:
        assert installation.tryton is not None
        assert installation.tryton.served.url != tryton.url
        await trial.act(installation.bootstrap)
        entries = await _filed(tmp_path, 3)
        installation.check()
    finally:
        await asyncio.to_thread(installation.__exit__, None, None, None)
    assert sorted((one.what, one.name) for one in entries) == [
        ("Lead", "Noa Newcomer"),
        ("Lead", "山田 花子"),
        ("Opportunity", "Taro Suzuki"),
    ]
    (hanako,) = [one.text for one in entries if one.name == "山田 花子"]
    assert "佐藤 健: はい、翌日にお届けします。" in hanako
    (port,) = json.loads((tmp_path / "tryton" / "ports.json").read_text())
    assert is_free(port)
    for secret in ("accounts.json", "passwords.json"):
        assert (tmp_path / "tryton" / secret).stat().st_mode & 0o077 == 0
    with pytest.raises(LocalError, match="is `chat-routing up --crm tryton` running"):
        await read_feed(tmp_path / "tryton", latest=10)


async def _filed(data: Path, count: int) -> list[Entry]:
    async with asyncio.timeout(LIMIT_S):
        while len(entries := await read_feed(data / "tryton", latest=10)) < count:  # noqa: ASYNC110  it has no event
            await asyncio.sleep(LOOK_INTERVAL_S)
    return entries


async def test_where_there_is_no_tryton_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"There is no Tryton in .*: put it there with `make tryton`\."):
        Tryton(tmp_path)
    with pytest.raises(LocalError, match="start one with `chat-routing up --crm tryton`"):
        await read_feed(tmp_path, latest=10)
