"""Serves cards beside the worker's other pages: `/v1/{workspace}/crm/card` to every agent, `/v1/{workspace}/crm/fields` to who lays them out.

The one rule: default deny. Nothing of a CRM is asked for before the archive, asked with the caller's own token, has said yes.
"""

import asyncio
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import orjson
from aiokafka.errors import KafkaError
from pydantic import Field
from starlette.requests import Request
from starlette.routing import BaseRoute

from schemas.types import Id
from services.crm_sync.cards.archive import Archive
from services.crm_sync.cards.card import Cards, CrmCard, CrmFields
from services.runtime.api import api_routes, asked_of
from services.runtime.effects import Away, Transient
from services.runtime.failures import WorkerFailed
from services.runtime.health import CONNECTIONS_MAX
from services.runtime.openapi import Asked, Endpoint, document
from services.runtime.problems import NotNow, Refused

ANSWER_S_MAX = 10.0
"""An agent waits for it beside a chat. What the CRM says later is there for whoever asks again."""
REQUESTS_MAX = CONNECTIONS_MAX // 2
"""Requests waiting for an answer: the worker's other pages need connections, too."""
RETRY_AFTER_S = 5.0
AUTHORIZATION_CHARS_MAX = 4_096
"""Twice the longest token of the archive."""

Noun: TypeAlias = Literal["card", "fields"]
READERS: Mapping[Noun, str] = MappingProxyType(
    {"card": "agent, supervisor, admin", "fields": "agents whose right `crm` is admin"}
)


class CardAsked(Asked):
    """Which card."""

    chat: Id = Field(description="the chat it is shown beside")


class CardApi:
    """The API of the cards."""

    def __init__(self, cards: Cards, archive: Archive) -> None:
        self._cards = cards
        self._archive = archive
        self._requests = 0

    def routes(self) -> list[BaseRoute]:
        """The routes to serve."""
        return api_routes(self.endpoints, self._reply, document=lambda: self._document)

    async def card(self, authorization: str, asked: CardAsked) -> CrmCard:
        """What the CRM knows of the visitor of a chat that lives or has ended, at most a minute old, and what may be asked of it."""
        visitor = await self._archive.visitor(
            asked.chat, workspace_id=asked.workspace, authorization=authorization
        )
        return await self._cards.card(asked.chat, visitor, workspace_id=asked.workspace)

    async def fields(self, authorization: str, asked: Asked) -> CrmFields:
        """The fields a card can show, standard and custom ones, and what the present layouts name that is no field."""
        who = await self._archive.who_asks(workspace_id=asked.workspace, authorization=authorization)
        if who.caller.crm != "admin":
            raise Refused(403, "only who may lay out the CRM's cards may read this")
        return await self._cards.fields(workspace_id=asked.workspace)

    @cached_property
    def endpoints(self) -> tuple[Endpoint[Noun], ...]:
        """All that is served, the OpenAPI document besides."""
        return (
            Endpoint("/{workspace}/crm/card", "card", self.card),
            Endpoint("/{workspace}/crm/fields", "fields", self.fields),
        )

    async def _reply(self, endpoint: Endpoint[Noun], request: Request) -> Any:
        authorization = request.headers.get("authorization", "")
        # What no archive would take is not sent to it: whoever sends it could keep the archive from others.
        if not 0 < len(authorization) <= AUTHORIZATION_CHARS_MAX or not _is_plain(authorization):
            raise Refused(401, "a bearer token was expected in the header Authorization")
        asked = asked_of(endpoint, request)
        if self._requests >= REQUESTS_MAX:
            raise NotNow("too many are asking", retry_after_s=RETRY_AFTER_S)
        self._requests += 1
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await endpoint.answer(authorization, asked)
        except Away as away:
            raise NotNow("the CRM does not answer", retry_after_s=away.retry_s) from None
        except (Transient, TimeoutError):
            raise NotNow("the CRM does not answer", retry_after_s=RETRY_AFTER_S) from None
        except (WorkerFailed, KafkaError):
            raise NotNow("the workspace's CRM settings can't be read", retry_after_s=RETRY_AFTER_S) from None
        finally:
            self._requests -= 1

    @cached_property
    def _document(self) -> bytes:
        return orjson.dumps(
            document(
                self.endpoints,
                title="CRM cards",
                told="What the CRM knows of the visitor of a chat, for the agents of the workspace. Tokens are those of the archive's read API.",
                away="The archive or the CRM does not answer.",
                readers=READERS.__getitem__,
            )
        )


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()
