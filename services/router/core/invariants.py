"""The invariants of the router, checked over what was read and what was decided (the contract, Invariants).

The one rule: it never decides. It follows the recorded decisions with naive books of its own (1, 3), and looks at the state
that `evolve` makes of them by plain scans, without the indexes the router chooses by (2, 4, 5).
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas import decisions as d
from schemas import notices as n
from schemas.events import ChatRequested
from services.router.core.eligibility import obstacle
from services.router.core.evolve import evolve
from services.router.core.fold import Fold
from services.router.core.ids import mint
from services.router.core.membership import RING_ALL_MAX
from services.router.core.partition import Entry, Step
from services.router.core.state import Agent, Chat, Workspace

VIOLATIONS_MAX = 1_000
"""Checking stops there: one mistake of ours may show in every record after it."""
QUEUE_KINDS = ("new", "bot_transfer")
"""The kinds of the one offer that a chat's queue makes."""
_NUMBERS_AHEAD_MAX = 64
"""How many lost decisions in a row are recognised as lost, rather than as invented ones."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken invariant, by its number in the contract."""

    invariant: int
    subject: str
    what: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision or notice as it stands in its topic; `data.cause` says what it follows from."""

    data: d.Decision | n.Notice
    id: str
    at_ms: int
    workspace_id: str


@dataclass(slots=True)
class _Book:
    """What the decisions alone say about one chat."""

    revision: int = 1
    owner_id: str | None = None
    successor_id: str | None = None
    """Who has taken the chat over, and owns it next."""
    offers: dict[str, str] = field(default_factory=dict)
    asked: dict[str, set[str]] = field(default_factory=dict)
    missed: bool = False
    closed: bool = False
    joined: dict[str, str] = field(default_factory=dict)

    def asked_by(self, kind: str) -> set[str]:
        """Whom the open offer of a kind still asks."""
        return self.asked.get(self.offers.get(kind, ""), set())

    def close(self, kind: str) -> set[str]:
        """Closes the offer of a kind, which is accepted; whom it asked."""
        return self.asked.pop(self.offers.pop(kind, ""), set())


class Checker:
    """Checks one partition. Give it every record in order, then `finish`."""

    def __init__(
        self, number: int, *, decisions: Iterable[Recorded], notices: Iterable[Recorded], exact: bool = False
    ) -> None:
        """`decisions` and `notices`: the partition's records of either topic, in order."""
        self.fold = Fold(number, exact=exact)
        self.violations: list[Violation] = []
        self._queues = (deque(decisions), deque(notices))
        self._books: dict[tuple[str, str], _Book] = {}
        self._live: dict[str, dict[str, None]] = {}
        self._broken: set[str] = set()

    def enter(self, entry: Entry) -> None:
        """Checks what followed from one record."""
        if len(self.violations) < VIOLATIONS_MAX:
            for step in self.fold.enter(entry):
                self._step(step)

    def finish(self, until_ms: int | None = None) -> list[Violation]:
        """Checks that nothing is left over, and returns all violations. `until_ms`: the end of a log without ticks."""
        if until_ms is not None:
            for step in self.fold.fire(until_ms):
                self._step(step)
        for queue in self._queues:
            for stray in queue:
                self._stray(stray)
        return self.violations[:VIOLATIONS_MAX]

    def _violated(self, invariant: int, subject: str, what: str) -> None:
        self.violations.append(Violation(invariant, subject, what))

    # ------------------------------------------------------------ 6: every decision has its cause, and stands once

    def _step(self, step: Step) -> None:
        recorded = self._numbered(step, [item for queue in self._queues for item in self._taken(queue, step)])
        ws = step.ws
        if isinstance(step.event, ChatRequested):
            self._request(step, step.event, recorded)
        for item in recorded:
            ws.counts.decided += 1
            self._follow(ws, item)
            if ws.id not in self._broken:
                self._apply(ws, item)
        if ws.id not in self._broken:
            self._nobody_idles(ws)

    def _taken(self, queue: deque[Recorded], step: Step) -> list[Recorded]:
        """The step's records from the head of a topic; what should have come before it belongs to no cause."""
        taken = []
        while queue:
            head, cause = queue[0], queue[0].data.cause
            if cause == step.cause and head.workspace_id == step.ws.id:
                taken.append(queue.popleft())
            elif head.at_ms < step.ws.now_ms or _passed(cause, step):
                self._stray(queue.popleft())
            else:
                break
        return taken

    def _stray(self, stray: Recorded) -> None:
        self._violated(
            6, stray.id, f"{stray.data.TYPE} does not follow from a record or deadline at its place"
        )

    def _numbered(self, step: Step, recorded: list[Recorded]) -> list[Recorded]:
        """The step's records in the order in which they were decided, which their ids tell."""
        numbers = _numbers(step, {item.id for item in recorded})
        known: dict[int, Recorded] = {}
        for item in recorded:
            number = numbers.get(item.id)
            if number is None:
                self._violated(6, item.id, f"{item.data.TYPE} has an id that its cause does not give")
            elif number in known:
                self._violated(6, item.id, f"{item.data.TYPE} stands twice")
            else:
                known[number] = item
        for expected, number in enumerate(sorted(known), start=step.number + 1):
            if number != expected:
                self._violated(6, known[number].id, "a decision before this one is lost")
                break
        return [known[number] for number in sorted(known)]

    # ------------------------------------------------------------ 1 and 3: books by the decisions alone

    def _request(self, step: Step, request: ChatRequested, recorded: list[Recorded]) -> None:
        refused = any(isinstance(item.data, d.RequestRefused) for item in recorded)
        if not refused:
            if (step.ws.id, request.chat_id) in self._books:
                self._violated(3, request.chat_id, "was requested and accepted a second time")
            self._books[(step.ws.id, request.chat_id)] = _Book()
            self._live.setdefault(step.ws.id, {})[request.chat_id] = None

    def _follow(self, ws: Workspace, item: Recorded) -> None:
        """Enters one decision about a chat into its book."""
        data = item.data
        chat_id = getattr(data, "chat_id", None)
        if chat_id is None or isinstance(data, n.Notice):
            return
        book = self._books.get((ws.id, chat_id))
        if book is None:
            self._violated(3, chat_id, f"{data.TYPE} about a chat that nobody requested")
            return
        match data:
            case d.ChatOffered():
                kind = "queue" if data.kind in QUEUE_KINDS else data.kind
                open_id = book.offers.setdefault(kind, data.offer_id)
                if open_id != data.offer_id:
                    self._violated(1, chat_id, f"a second open offer of kind {data.kind}")
                book.asked.setdefault(data.offer_id, set()).update(data.agent_ids)
            case d.OfferWithdrawn():
                self._withdraw(book, data)
            case d.ChatAssigned():
                if book.owner_id is not None:
                    self._violated(1, chat_id, f"assigned to {data.agent_id} while {book.owner_id} owns it")
                asked = book.close("queue")
                if (data.by == "accept" and data.agent_id not in asked) or (
                    data.by == "transfer" and data.agent_id != book.successor_id
                ):
                    self._violated(1, chat_id, f"assigned to {data.agent_id}, who did not accept it")
                book.owner_id = data.agent_id
            case d.ChatTransferred() | d.TransferFailed() | d.ParticipantJoined() | d.ParticipantLeft():
                self._take_part(book, data)
            case d.ChatUnassigned():
                if book.owner_id != data.agent_id:
                    self._violated(1, chat_id, f"taken from {data.agent_id}, who does not own it")
                book.owner_id = None
            case d.ChatMissed():
                if book.missed:
                    self._violated(3, chat_id, f"missed twice in revision {data.revision}")
                book.missed, book.owner_id = True, None
            case d.ChatReopened():
                if not book.closed or data.revision != book.revision + 1:
                    self._violated(3, chat_id, f"reopened as revision {data.revision} out of turn")
                self._books[(ws.id, chat_id)] = _Book(revision=data.revision)
                self._live[ws.id][chat_id] = None
            case d.ChatClosed():
                self._close(ws, book, data)
            case _:
                pass

    def _take_part(
        self,
        book: _Book,
        data: d.ChatTransferred | d.TransferFailed | d.ParticipantJoined | d.ParticipantLeft,
    ) -> None:
        match data:
            case d.ChatTransferred():
                book.successor_id = data.to_agent_id
                if data.to_agent_id not in book.close("transfer") or data.from_agent_id != book.owner_id:
                    self._violated(1, data.chat_id, f"transferred to {data.to_agent_id}, who was not asked")
            case d.TransferFailed():
                if "transfer" in book.offers or data.from_agent_id != book.owner_id:
                    self._violated(1, data.chat_id, "a transfer failed that is still open, or was of another")
            case d.ParticipantJoined():
                if data.agent_id in book.asked_by("invite"):
                    book.close("invite")
                if book.joined.get(data.agent_id) == data.role:
                    self._violated(1, data.chat_id, f"{data.agent_id} joined twice")
                book.joined[data.agent_id] = data.role
            case d.ParticipantLeft():
                if book.joined.pop(data.agent_id, None) != data.role:
                    self._violated(1, data.chat_id, f"{data.agent_id} left, and had not joined")

    def _withdraw(self, book: _Book, data: d.OfferWithdrawn) -> None:
        asked = book.asked.get(data.offer_id)
        if asked is None or not asked.issuperset(data.agent_ids):
            self._violated(1, data.chat_id, "an offer withdrawn from agents who were not asked")
            return
        asked.difference_update(data.agent_ids)
        if not asked:
            del book.asked[data.offer_id]
            book.offers = {kind: open_id for kind, open_id in book.offers.items() if open_id != data.offer_id}

    def _close(self, ws: Workspace, book: _Book, data: d.ChatClosed) -> None:
        if book.closed:
            self._violated(3, data.chat_id, f"a second outcome of revision {data.revision}")
        if data.revision != book.revision:
            self._violated(
                3, data.chat_id, f"an outcome of revision {data.revision} in revision {book.revision}"
            )
        if (data.outcome == "missed") != book.missed:
            self._violated(3, data.chat_id, f"closed as {data.outcome}, missed={book.missed}")
        if book.offers:
            self._violated(1, data.chat_id, f"closed with an open offer of kind {next(iter(book.offers))}")
        book.closed, book.owner_id = True, None
        self._live[ws.id].pop(data.chat_id, None)

    # ------------------------------------------------------------ 2, 5, 7: before and after each decision

    def _apply(self, ws: Workspace, item: Recorded) -> None:
        """Applies a decision and checks what it does to load and order."""
        data = item.data
        given: tuple[str, ...] = ()
        if isinstance(data, d.ChatOffered):
            given = data.agent_ids
        elif isinstance(data, d.ChatAssigned) and data.by != "manual":
            given = (data.agent_id,)
        known = [agent for agent_id in given if (agent := ws.agent(agent_id)) is not None]
        if (isinstance(data, d.ChatOffered) and data.kind in QUEUE_KINDS) or (
            isinstance(data, d.ChatAssigned) and data.by == "auto"
        ):
            self._first_come(ws, data, known)
        before = [_load(ws, agent) for agent in known]
        try:
            evolve(ws, data)
        except (AssertionError, LookupError, ValueError) as error:
            self._broken.add(ws.id)
            self._violated(7, item.id, f"{data.TYPE} can't be applied ({type(error).__name__})")
            return
        for agent, load_before in zip(known, before, strict=True):
            load = _load(ws, agent)
            if load != agent.load:
                self._violated(7, agent.id, f"carries {load}, the state says {agent.load}")
            if load > agent.settings.max_chats and load > load_before:
                self._violated(2, agent.id, f"carries {load} of at most {agent.settings.max_chats}")

    def _first_come(self, ws: Workspace, data: d.ChatOffered | d.ChatAssigned, agents: list[Agent]) -> None:
        """Nobody who came earlier waits for one of these agents (5)."""
        chat = ws.chats.get(data.chat_id)
        if chat is None or chat.offer is not None:
            return
        for waiting in self._waiting(ws):
            if waiting.offer is not None or (waiting.age_ms, waiting.sequence) >= (
                chat.age_ms,
                chat.sequence,
            ):
                continue
            passed = [agent.id for agent in agents if _could_take(ws, waiting, agent)]
            if passed:
                self._violated(5, chat.id, f"goes to {passed[0]} before {waiting.id}, which is older")
                return

    # ------------------------------------------------------------ 4: nobody idles

    def _nobody_idles(self, ws: Workspace) -> None:
        for chat in self._waiting(ws):
            if chat.offer is not None and (
                not chat.offer.ring_all or len(chat.offer.agent_ids) >= RING_ALL_MAX
            ):
                continue
            declined = [agent_id for agent_id, answer in chat.asked.items() if answer == "declined"]
            ringing = () if chat.offer is None else (*chat.offer.agent_ids, *declined)
            for agent_id in ws.departments[chat.department_id].settings.agent_ids:
                agent = ws.agent(agent_id)
                if agent is not None and agent_id not in ringing and _could_take(ws, chat, agent):
                    self._violated(4, chat.id, f"waits while {agent_id} has room")
                    return

    def _waiting(self, ws: Workspace) -> list[Chat]:
        return [
            chat
            for chat_id in self._live.get(ws.id, ())
            if (chat := ws.chats.get(chat_id)) is not None and chat.phase == "waiting"
        ]


def _numbers(step: Step, ids: set[str]) -> dict[str, int]:
    """The running numbers of those ids which the step gives; a number that is missing among them was lost."""
    numbers: dict[str, int] = {}
    for number in range(step.number + 1, step.number + 1 + len(ids) + _NUMBERS_AHEAD_MAX):
        if len(numbers) == len(ids):
            break
        minted = mint(step.ws.id, step.ws.cause, number)
        if minted in ids:
            numbers[minted] = number
    return numbers


def _passed(cause: d.Cause | None, step: Step) -> bool:
    """Whether a record's cause lies before the step."""
    if cause is None:
        return True
    return cause.offset is not None and step.cause.offset is not None and cause.offset < step.cause.offset


def _could_take(ws: Workspace, chat: Chat, agent: Agent) -> bool:
    department = ws.departments[chat.department_id]
    return (
        agent.status == "online"
        and agent.id in department.settings.agent_ids
        and chat.turned_away is None
        and obstacle(department, chat, agent) is None
    )


def _load(ws: Workspace, agent: Agent) -> int:
    """What an agent carries, counted anew: owned chats, wrap-ups, one-by-one offers."""
    owned = sum(ws.chats[chat_id].cost for chat_id in ws.owned.get(agent.id, ()))
    offered = 0
    for chat_id in ws.ringing.get(agent.id, ()):
        chat = ws.chats[chat_id]
        asking = [each for each in chat.offers if agent.id in each.agent_ids and each.takes_room]
        offered += chat.cost * len(asking)
    return owned + offered + sum(agent.wrap_ups.values())
