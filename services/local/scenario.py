"""A scenario: the settings and requests of a day, and people who act. What it means stands here, as data.

One rule: it holds no decision of the service. What people do is said as reactions ("accept after 2 s"), so the same
scenario can be played against any installation, at any speed. All times are ms after the day's midnight or after what
is reacted to.

A file is JSON lines: first the head, then agents, events, poison records and visits, told apart by `line`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from schemas import codec
from schemas.envelope import from_ms
from schemas.events import ChatRequested, Event
from services.local.errors import LocalError

Do = Literal["accept", "decline", "ring"]
InboxDo = Literal["assign", "reply", "close", "delete"]
CrmDo = Literal["lead", "note", "phone"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """The first line: what the scenario was made from. `starts_at_ms` is the midnight used where no clock runs."""

    seed: int
    chats: int
    day_ms: int
    starts_at_ms: int
    version: Literal[1] = 1
    line: Literal["scenario"] = "scenario"


@dataclass(frozen=True, slots=True)
class Reaction:
    """What an agent does when a chat is offered to them."""

    do: Do
    after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Agent:
    """A person who answers: the reactions are taken in turn, one for each offer."""

    workspace_id: str
    agent_id: str
    reactions: tuple[Reaction, ...]
    back_after_ms: int
    department_id: str | None = None
    """Where they sit: colleagues of the same department are whom they hand over to and invite."""
    line: Literal["agent"] = "agent"


@dataclass(frozen=True, slots=True)
class Scheduled:
    """An event that is published at its time, whatever happens."""

    at_ms: int
    workspace_id: str
    event_id: str
    source: str
    data: Event


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A record which no reader can take, published as it stands."""

    at_ms: int
    workspace_id: str
    value: str
    line: Literal["poison"] = "poison"


@dataclass(frozen=True, slots=True)
class Say:
    """One message of a conversation, `after_ms` after the one before it."""

    by: Literal["agent", "visitor", "bot"]
    text: str
    after_ms: int


@dataclass(frozen=True, slots=True)
class BotTransfer:
    """A bot asks for a person, `after_ms` after its last message."""

    after_ms: int
    department_id: str | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """The visitor's rating, `after_ms` after a handled chat was closed."""

    rating: int
    after_ms: int
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class EmailGiven:
    """The visitor tells their e-mail address, `after_ms` after the request."""

    email: str
    after_ms: int


@dataclass(frozen=True, slots=True)
class Handover:
    """Once so many lines are spoken the owner passes the chat on, and says no more until it is taken or refused."""

    after_lines: int
    after_ms: int
    message: str
    agents_do: Do
    to_department_id: str | None = None
    """None: to a colleague."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """The owner asks a colleague in, `after_ms` after taking the chat; who comes says something, and goes again."""

    after_ms: int
    message: str
    says: str
    says_after_ms: int
    stays_ms: int


@dataclass(frozen=True, slots=True)
class Watching:
    """What somebody whose monitor matches the chat does: joins it, whispers to its owner, and leaves."""

    joins_after_ms: int
    whispers: str
    whispers_after_ms: int
    stays_ms: int


@dataclass(frozen=True, slots=True)
class Farewell:
    """The agent's first end of the chat waits for so long; the visitor has one more thing to say before that."""

    waits_ms: int
    visitor_says: str
    says_after_ms: int


@dataclass(frozen=True, slots=True)
class Filing:
    """What is put on record `after_ms` after a handled chat was closed. `crm_agent_id`: who asks the CRM; the last owner by default."""

    after_ms: int
    tags: tuple[str, ...] = ()
    note: str | None = None
    crm: CrmDo | None = None
    crm_value: str = ""
    crm_agent_id: str | None = None


@dataclass(frozen=True, slots=True)
class Inbox:
    """What a supervisor does with the chat `after_ms` after it was missed and closed; `text` is what they mail."""

    do: InboxDo
    after_ms: int
    by_agent_id: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Conduct:
    """How one visitor, the bot and the agents behave in one chat."""

    dialogue: tuple[Say, ...] = ()
    """Spoken in order while the chat has an owner; an agent's part is spoken by whoever owns it."""
    ends: Literal["agent", "visitor", "bot", "leaves"] = "leaves"
    ends_after_ms: int = 0
    gone_after_ms: int = 0
    """So long after the request the visitor closes the window, whatever happens; keeps every scenario finite."""
    trigger: str | None = None
    agents_do: Do | None = None
    """What every agent does with an offer of this chat; by default, what each is wont to do."""
    agent_writes: bool = True
    leaves_after_ms: int | None = None
    """So long after the request the visitor leaves, unless an agent has taken the chat."""
    bot_says: tuple[Say, ...] = ()
    bot_transfer: BotTransfer | None = None
    feedback: Feedback | None = None
    email_given: EmailGiven | None = None
    handover: Handover | None = None
    invitation: Invitation | None = None
    watching: Watching | None = None
    farewell: Farewell | None = None
    filing: Filing | None = None
    inbox: Inbox | None = None
    blocks_ip: bool = False
    request_repeated_after_ms: int | None = None
    """The publisher sends the same record again, as after a lost acknowledgement."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A visitor comes with a question."""

    request: Scheduled
    conduct: Conduct

    @property
    def asked(self) -> ChatRequested:
        """Return what is asked."""
        assert isinstance(self.request.data, ChatRequested), "a visit is a request"
        return self.request.data


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole day."""

    head: Head
    agents: tuple[Agent, ...]
    events: tuple[Scheduled, ...]
    poisoned: tuple[Poisoned, ...]
    visits: tuple[Visit, ...]

    @property
    def workspace_ids(self) -> tuple[str, ...]:
        """Return the workspaces that occur, in alphabetical order."""
        return tuple(sorted({event.workspace_id for event in self.events}))


def faster(value: T, times: float) -> T:
    """Return a scenario or a part of one in which everything, departments' time-outs too, takes `times` less time."""
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changed = {
        field.name: _faster_field(field.name, getattr(value, field.name), times) for field in fields(value)
    }
    return cast(T, replace(value, **changed))


def _faster_field(name: str, item: Any, times: float) -> Any:
    if name == "starts_at_ms" or item is None:
        return item
    if name.endswith("_ms"):
        return round(item / times)
    if name.endswith("_s"):
        return (
            {key: seconds / times for key, seconds in item.items()}
            if isinstance(item, dict)
            else item / times
        )
    if isinstance(item, tuple):
        return tuple(faster(part, times) for part in item)
    return faster(item, times)


# ---------------------------------------------------------------- the file


@dataclass(frozen=True, slots=True)
class _EventLine:
    at_ms: int
    envelope: dict[str, Any]
    line: Literal["event"] = "event"


@dataclass(frozen=True, slots=True)
class _VisitLine:
    at_ms: int
    envelope: dict[str, Any]
    conduct: Conduct
    line: Literal["visit"] = "visit"


_Line = Annotated[Head | Agent | _EventLine | Poisoned | _VisitLine, Field(discriminator="line")]
_LINES: TypeAdapter[Any] = TypeAdapter(_Line, config=ConfigDict(strict=True, extra="forbid"))


def write(scenario: Scenario) -> Iterator[bytes]:
    """Give the lines of the scenario's file, each with its line end."""
    starts_at_ms = scenario.head.starts_at_ms
    yield codec.dumps(scenario.head) + b"\n"
    for agent in scenario.agents:
        yield codec.dumps(agent) + b"\n"
    for event in scenario.events:
        yield codec.dumps(_EventLine(event.at_ms, _envelope(event, starts_at_ms))) + b"\n"
    for poison in scenario.poisoned:
        yield codec.dumps(poison) + b"\n"
    for visit in scenario.visits:
        envelope = _envelope(visit.request, starts_at_ms)
        yield codec.dumps(_VisitLine(visit.request.at_ms, envelope, visit.conduct)) + b"\n"


def read(path: Path) -> Scenario:
    """Return the scenario of a file. Raises LocalError naming the line that cannot be read."""
    lines = []
    try:
        with path.open("rb") as handle:
            for number, raw in enumerate(handle, start=1):
                lines.append(_read_line(raw, where=f"{path}:{number}"))
    except OSError as error:
        raise LocalError(
            f"{path} cannot be read ({error.strerror}): name a file made by `sample`."
        ) from error
    if not lines or not isinstance(lines[0], Head):
        raise LocalError(f"{path}:1: a scenario begins with its head: make one by `chat-routing sample`.")
    return Scenario(
        lines[0],
        tuple(line for line in lines if isinstance(line, Agent)),
        tuple(line for line in lines if isinstance(line, Scheduled)),
        tuple(line for line in lines if isinstance(line, Poisoned)),
        tuple(line for line in lines if isinstance(line, Visit)),
    )


def _read_line(raw: bytes, *, where: str) -> Head | Agent | Scheduled | Poisoned | Visit:
    try:
        line = _LINES.validate_json(raw)
        if isinstance(line, _EventLine):
            return _scheduled(line)
        if isinstance(line, _VisitLine):
            visit = Visit(_scheduled(line), line.conduct)
            if not isinstance(visit.request.data, ChatRequested):
                raise LocalError(f"{where}: a visit needs a chat.requested.v1.")
            return visit
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the line"
        raise LocalError(f"{where}: {place}: {first['msg']}.") from None
    except (codec.Poison, codec.UnknownType) as error:
        raise LocalError(f"{where}: envelope: {error}.") from None
    else:
        assert isinstance(line, (Head, Agent, Poisoned)), "the union is closed"
        return line


def _envelope(event: Scheduled, starts_at_ms: int) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event.event_id,
        "source": event.source,
        "type": event.data.TYPE,
        "time": from_ms(starts_at_ms + event.at_ms),
        "workspaceid": event.workspace_id,
        "data": event.data,
    }


def _scheduled(line: _EventLine | _VisitLine) -> Scheduled:
    envelope = codec.events.decode(orjson.dumps(line.envelope))
    return Scheduled(line.at_ms, envelope.workspaceid, envelope.id, envelope.source, envelope.data)
