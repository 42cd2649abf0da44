"""A request as the endpoints see it: who reads, on which connection, as of when, and how what they say is read.

The one rule: every query names the reader's workspace, which is the token's.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.envelope import from_ms
from services.runtime.problems import Refused
from services.transcript.api.access import Caller, Noun, Token, lesser
from services.transcript.archive import standing

_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_YES_NO = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks, and the connection that answers. `as_of`: the time of the newest archived record of their workspace, if any."""

    connection: AsyncConnection
    caller: Caller
    as_of: str | None

    @property
    def workspace_id(self) -> str:
        """The only workspace they read of."""
        return self.caller.workspace_id


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        if not _WHOLE.fullmatch(value):
            raise ValueError("a whole number was expected")
        return int(value)
    return value


def _yes_no(value: Any) -> Any:
    if isinstance(value, str):
        if value not in _YES_NO:
            raise ValueError("true or false was expected")
        return _YES_NO[value]
    return value


def _moment(value: Any) -> Any:
    if isinstance(value, str) and not _MOMENT.fullmatch(value):
        raise ValueError(
            "a time with its zone was expected, such as 2026-11-21T09:00:00Z (a + is written %2B)"
        )
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
Ordinal = Annotated[int, Field(ge=1, le=2**31 - 1), BeforeValidator(_whole)]
YesNo = Annotated[bool, BeforeValidator(_yes_no)]
When = Annotated[AwareDatetime, BeforeValidator(_moment)]
"""What stands in an address is text; these take what JSON calls an integer, a boolean and a date-time, and nothing that only looks like it."""


def moment(at_ms: int | None) -> str | None:
    """A time as it is told, if there is one."""
    return None if at_ms is None else from_ms(at_ms)


async def open_reader(connection: AsyncConnection, token: Token, *, noun: Noun) -> Reader:
    """The reader a token stands for, as the archive knows them now. Raises Refused unless they may read the noun."""
    as_of_ms = await connection.scalar(
        select(standing.freshness.c.as_of_ms).filter_by(workspace_id=token.workspace)
    )
    caller = await _caller(connection, token)
    extent = caller.extent(noun)
    if extent == "none":
        raise Refused(403, f"the role {caller.role} may not read this")
    if extent == "own" and caller.agent_id is None:
        raise Refused(403, "the token names nobody whose this could be")
    return Reader(connection, caller, moment(as_of_ms))


async def _caller(connection: AsyncConnection, token: Token) -> Caller:
    if token.agent is None:
        return Caller(token.workspace, token.role, crm="none" if token.role == "visitor" else "admin")
    named = {"workspace_id": token.workspace, "agent_id": token.agent}
    g, m = standing.agents.c, standing.members.c
    found = await connection.execute(select(g.role, g.crm).filter_by(**named))
    agent = found.one_or_none()
    if agent is None:
        raise Refused(403, "the agent is not known, or no more")
    departments = await connection.scalars(
        select(m.department_id).filter_by(**named).order_by(m.department_id)
    )
    return Caller(token.workspace, lesser(token.role, agent.role), token.agent, tuple(departments), agent.crm)
