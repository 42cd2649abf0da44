"""Routers with one thing wrong each, which the judge of days must find: if it does not, it would not find the like in the product.

One rule: each replaces one function of the core by one that does nearly the same.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from services.router.core import endings, entering, membership, monitoring, placement, transfers
from services.router.core.clock import Clock
from services.router.core.index import Place, Pool
from services.router.core.seen import Seen
from services.router.core.state import Agent, Rota, Workspace

Function = Callable[..., Any]


class Mutant(NamedTuple):
    """What is wrong, where, and what stands there instead, made of what should."""

    what: str
    where: object
    name: str
    wrong: Callable[[Function], Function]


def _place_agent(right: Function) -> Function:
    def place_agent(ws: Workspace, agent: Agent, *, roomier: bool = False) -> None:
        del roomier
        right(ws, agent)

    return place_agent


def _youngest(_right: Function) -> Function:
    def head(_ws: Workspace, waiting: Pool) -> Place | None:
        return waiting.queue[-1] if waiting.ranked else None

    return head


def _forgetful(right: Function) -> Function:
    def touch(ws: Workspace, entity: object) -> None:
        if not isinstance(entity, Rota) or entity.last_asked_id is None:
            right(ws, entity)

    return touch


def _backwards(right: Function) -> Function:
    def record(clock: Clock, timestamp_ms: int) -> int:
        right(clock, timestamp_ms)
        clock.last_ms = timestamp_ms
        return timestamp_ms

    return record


def _unlimited(_right: Function) -> Function:
    def deadline_ms(clock: Clock) -> int:
        if clock.exact or clock.tick_at_ms is None:
            return clock.last_ms
        assert clock.clock_ms is not None, "a record comes before any reading"
        return clock.clock_ms + clock.last_ms - clock.tick_at_ms

    return deadline_ms


def _again(right: Function) -> Function:
    def note(*args: Any, **kwargs: Any) -> bool:
        right(*args, **kwargs)
        return True

    return note


def _overfull(right: Function) -> Function:
    def standing(*args: Any) -> str:
        stands: str = right(*args)
        return "candidate" if stands == "full" else stands

    return standing


def _live_only(right: Function) -> Function:
    def look_again(ws: Workspace, chat_id: str) -> None:
        if ws.chats[chat_id].live:
            right(ws, chat_id)

    return look_again


def _first_only(right: Function) -> Function:
    return lambda *args: right(*args)[:1]


def _nothing(_right: Function) -> Function:
    return lambda *_args: ()


MUTANTS = (
    Mutant("a wrap-up gives its slot back never", entering, "end_wrap_up", _nothing),
    Mutant("the queue does not hear of new room", membership, "place_agent", _place_agent),
    Mutant("the youngest goes first", placement, "_head", _youngest),
    Mutant("who is full is asked", membership, "standing", _overfull),
    Mutant("only one offer of a chat that ends is withdrawn", endings, "withdraw_all", _first_only),
    Mutant("a transfer outlives its owner", transfers, "_withdraw", _nothing),
    Mutant("a chat that has ended is still watched", monitoring, "look_again", _live_only),
    Mutant("the timers of a chat that has ended run on", Workspace, "disarm_all", _nothing),
    Mutant("whose turn it is, is not stored", Workspace, "touch", _forgetful),
    Mutant("time goes back with its records", Clock, "record", _backwards),
    Mutant("deadlines run on while the router is out", Clock, "deadline_ms", _unlimited),
    Mutant("what comes twice is decided twice", Seen, "note", _again),
)
