"""Serves cards beside the worker's other pages.

    /v1/{workspace}/crm/card     what the CRM knows of a chat's visitor: to every agent
    /v1/{workspace}/crm/reason   what the code of a report means, in words: to every agent
    /v1/{workspace}/crm/fields   what can be laid out: to who lays it out

The one rule: default deny. Nothing of a CRM is asked for before the archive, asked with the caller's own token, has said yes.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import orjson
from aiokafka.errors import KafkaError
from pydantic import Field
from starlette.requests import Request
from starlette.routing import BaseRoute

from schemas.types import Id, Language
from services.crm_sync.cards.archive import Archive
from services.crm_sync.cards.card import Cards, CrmCard, CrmFields
from services.crm_sync.reasons import SENTENCES, sentence
from services.runtime.api import api_routes, asked_of
from services.runtime.effects import Away, Transient
from services.runtime.failures import WorkerFailed
from services.runtime.health import CONNECTIONS_MAX
from services.runtime.languages import preferred_language
from services.runtime.openapi import Asked, Endpoint, document
from services.runtime.problems import NotNow, Refused

ANSWER_S_MAX = 10.0
"""An agent waits for it beside a chat. What the CRM says later is there for whoever asks again."""
REQUESTS_MAX = CONNECTIONS_MAX // 2
"""Requests waiting for an answer: the worker's other pages need connections, too."""
RETRY_AFTER_S = 5.0
AUTHORIZATION_CHARS_MAX = 4_096
"""Twice the longest token of the archive."""

Noun: TypeAlias = Literal["card", "reason", "fields"]
_STAFF = "agent, supervisor, admin"
READERS: Mapping[Noun, str] = MappingProxyType(
    {"card": _STAFF, "reason": _STAFF, "fields": "agents whose right `crm` is admin"}
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the header with their token, and the language they read."""

    authorization: str
    language: Language


class CardAsked(Asked):
    """Which card."""

    chat: Id = Field(description="the chat it is shown beside")


class ReasonAsked(Asked):
    """Which code."""

    code: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$", description="of a report in `crm.activities.v1`")


@dataclass(frozen=True, slots=True)
class CrmReason:
    """Why something was not done, as people read it. `known`: there is a sentence for just this code."""

    code: str
    told: str
    known: bool


class CardApi:
    """The API of the cards."""

    def __init__(self, cards: Cards, archive: Archive) -> None:
        self._cards = cards
        self._archive = archive
        self._requests = 0

    def routes(self) -> list[BaseRoute]:
        """The routes to serve."""
        return api_routes(self.endpoints, self._reply, document=lambda: self._document)

    async def card(self, caller: Caller, asked: CardAsked) -> CrmCard:
        """What the CRM knows of the visitor of a chat that lives or has ended, at most a minute old, and what may be asked of it."""
        visitor = await self._archive.visitor(
            asked.chat, workspace_id=asked.workspace, authorization=caller.authorization
        )
        return await self._cards.card(
            asked.chat, visitor, workspace_id=asked.workspace, language=caller.language
        )

    async def reason(self, caller: Caller, asked: ReasonAsked) -> CrmReason:
        """The code of what became of a request, as a sentence in the language that Accept-Language asks for."""
        await self._archive.who_asks(workspace_id=asked.workspace, authorization=caller.authorization)
        return CrmReason(asked.code, sentence(asked.code, caller.language), asked.code in SENTENCES)

    async def fields(self, caller: Caller, asked: Asked) -> CrmFields:
        """The fields a card can show, standard and custom ones, and what the present layouts name that is no field."""
        who = await self._archive.who_asks(workspace_id=asked.workspace, authorization=caller.authorization)
        if who.caller.crm != "admin":
            raise Refused(403, "only who may lay out the CRM's cards may read this")
        return await self._cards.fields(workspace_id=asked.workspace, language=caller.language)

    @cached_property
    def endpoints(self) -> tuple[Endpoint[Noun], ...]:
        """All that is served, the OpenAPI document besides."""
        return (
            Endpoint("/{workspace}/crm/card", "card", self.card),
            Endpoint("/{workspace}/crm/reason", "reason", self.reason),
            Endpoint("/{workspace}/crm/fields", "fields", self.fields),
        )

    async def _reply(self, endpoint: Endpoint[Noun], request: Request) -> Any:
        authorization = request.headers.get("authorization", "")
        # What no archive would take is not sent to it: whoever sends it could keep the archive from others.
        if not 0 < len(authorization) <= AUTHORIZATION_CHARS_MAX or not _is_plain(authorization):
            raise Refused(401, "a bearer token was expected in the header Authorization")
        asked = asked_of(endpoint, request)
        caller = Caller(authorization, preferred_language(request.headers.get("accept-language", "")))
        if self._requests >= REQUESTS_MAX:
            raise NotNow("too many are asking", retry_after_s=RETRY_AFTER_S)
        self._requests += 1
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await endpoint.answer(caller, asked)
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
