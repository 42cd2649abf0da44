"""Asks the workers for `/metrics` and `/readyz`, all at once.

One rule: a worker that does not answer in time, or answers nonsense, is an answer too; nothing raises here.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import httpx

ANSWER_LIMIT_S = 2.0
"""Less than two rounds of the live view: who takes longer is as good as gone."""
BYTES_MAX = 16 * 1024 * 1024
"""A worker with a thousand partitions says less than 1 MB."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker said at a moment. `metrics`: None where it did not answer; `unready`: why it is not ready, or nothing."""

    address: str
    at_s: float
    unready: str
    metrics: str | None


async def ask(addresses: Mapping[str, str]) -> dict[str, Answer]:
    """Return the answers of workers by their names. `addresses`: the base addresses of their pages."""
    async with httpx.AsyncClient(timeout=ANSWER_LIMIT_S, trust_env=False) as client:
        answers = await asyncio.gather(*(_answer(client, address) for address in addresses.values()))
    return dict(zip(addresses, answers, strict=True))


async def _answer(client: httpx.AsyncClient, address: str) -> Answer:
    base = address.rstrip("/")
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            _, metrics = await _page(client, f"{base}/metrics")
            status, told = await _page(client, f"{base}/readyz")
    except (TimeoutError, OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
        return Answer(address, time.monotonic(), f"does not answer ({type(error).__name__})", None)
    unready = "" if status == HTTPStatus.OK else told
    return Answer(address, time.monotonic(), unready, metrics)


async def _page(client: httpx.AsyncClient, url: str) -> tuple[int, str]:
    body = bytearray()
    async with client.stream("GET", url) as response:
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > BYTES_MAX:
                raise ValueError(f"{url}: more than {BYTES_MAX} bytes")
    return response.status_code, body.decode()
