"""What an account was asked is kept for a while, and its failures are not."""

import pytest

from services.crm_sync.connectors.vendor.remembered import KEPT_S, Remembered
from services.runtime.effects import Refused


async def test_an_answer_is_kept_for_so_long_and_a_failure_is_not() -> None:
    now_s, asked = [0.0], 0
    remembered = Remembered[str, int](now_s=lambda: now_s[0])

    async def ask() -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise Refused("access_denied")
        return asked

    with pytest.raises(Refused):
        await remembered.of("acme", ask)
    assert [await remembered.of("acme", ask) for _ in range(2)] == [2, 2]
    assert await remembered.of("other", ask) == 3, "each has its own"
    now_s[0] = KEPT_S - 1
    assert await remembered.of("acme", ask) == 2
    now_s[0] = KEPT_S
    assert await remembered.of("acme", ask) == 4
