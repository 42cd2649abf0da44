"""A chat's whole story in words, a line for each thing that happened and for each reason.

The one rule: a story may be passed on, so nothing that people wrote is told, only who spoke and when; nor who watches the chat, which
is for the monitor's owner alone. What the router decided is told from its decisions, what people asked for where no decision says it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from typing import Any

from schemas import decisions as d
from schemas import events as e
from schemas.envelope import to_ms
from services.local.display import visible
from services.local.story.chat_log import ChatLog, Fact
from services.local.story.effects import effect_words
from services.local.story.requests import refusal_words, request_words
from services.local.story.whys import counts_words, note_words, why_lines
from services.local.story.words import Words

_TOLD_BY_DECISIONS = (e.OfferAccepted, e.OfferDeclined, e.ChatJoinRequested, e.ParticipantLeaveRequested)


@dataclass(frozen=True, slots=True)
class Line:
    """One line; without a time it belongs to the line before."""

    text: str
    at_ms: int | None = None


@dataclass(slots=True)
class _Talk:
    """Messages that nothing else came between: how many of whom, and the last one's time."""

    begun_ms: int
    last_ms: int
    counts: dict[str, int]


def tell(log: ChatLog, words: Words) -> Iterator[Line]:
    """The story, in the order in which things happened."""
    teller = _Teller(log, words)
    heard: Iterator[tuple[int, Fact | str]] = ((fact.at_ms, fact) for fact in log.facts())
    for at_ms, happened in merge(heard, effect_words(words, log.effects), key=lambda timed: timed[0]):
        yield from teller.hear(at_ms, happened)
    yield from teller.end()


class _Teller:
    """What has to be remembered while a story is told."""

    def __init__(self, log: ChatLog, words: Words) -> None:
        self._log = log
        self._words = words
        refusals = [fact.data for fact in log.decisions if isinstance(fact.data, d.RequestRefused)]
        self._refused = {refused.request_id: None for refused in refusals}
        self._decided = {
            fact.cause.offset: None for fact in log.decisions if fact.cause and fact.cause.offset is not None
        }
        self._requests = {fact.id: fact.data for fact in log.inputs}
        self._offered_ms: dict[tuple[str, str], int] = {}
        self._targets: dict[str, str] = {}
        self._owner: str | None = None
        self._owned_ms = 0
        self._replied: dict[str | None, None] = {}
        self._noted: dict[str, None] = {}
        self._bot_id: str | None = None
        self._phase: str | None = None
        self._talk: _Talk | None = None
        self._heard = 0

    def hear(self, at_ms: int, fact: Fact | str) -> Iterator[Line]:
        """Tells one fact, or a sentence that is ready; messages are kept back until something else happens."""
        if isinstance(fact, str):
            yield from self._flush()
            yield Line(fact, at_ms)
            return
        data = fact.data
        if isinstance(data, e.ChatMessage):
            yield from self._message(data, fact)
            return
        if fact.offset is None:
            self._heard += 1
            lines = self._decision(data, fact)
        else:
            lines = self._input(data, fact)
        for number, text in enumerate(lines):
            if number == 0:
                yield from self._flush()
            yield Line(text, None if number else at_ms)

    def end(self) -> Iterator[Line]:
        """What was kept back, and how a chat that is open stands."""
        yield from self._flush()
        if self._phase is not None:
            yield Line(self._words.say(f"still.{self._phase}", agent=self._words.agent(self._owner)))

    # ------------------------------------------------------------ messages

    def _message(self, data: e.ChatMessage, fact: Fact) -> Iterator[Line]:
        if fact.id in self._refused:
            return
        sender, words = data.sender, self._words
        first = None
        if not data.internal and sender.kind in ("agent", "bot") and sender.id not in self._replied:
            name = words.sender(sender.kind, sender.id)
            if sender.kind == "bot":
                first = words.say("bot_replied", bot=name)
            elif sender.id == self._owner:
                span = words.span(fact.at_ms - self._owned_ms)
                first = words.say("first_reply", agent=name, span=span)
            else:
                first = words.say("joined_reply", agent=name)
            self._replied[sender.id] = None
        if first is not None:
            yield from self._flush()
            yield Line(first, fact.at_ms)
            return
        name = words.sender(sender.kind, sender.id)
        if data.internal:
            name = words.say("internally", sender=name)
        if self._talk is None:
            self._talk = _Talk(fact.at_ms, fact.at_ms, {})
        self._talk.last_ms = fact.at_ms
        self._talk.counts[name] = self._talk.counts.get(name, 0) + 1

    def _flush(self) -> Iterator[Line]:
        """The messages that were kept back, in one line."""
        talk, words = self._talk, self._words
        if talk is None:
            return
        self._talk = None
        if sum(talk.counts.values()) == 1:
            yield Line(words.say("wrote", sender=next(iter(talk.counts))), talk.begun_ms)
            return
        counts = [words.say("wrote.count", sender=name, count=count) for name, count in talk.counts.items()]
        said = words.say("wrote.all", counts=words.parts(counts))
        until = words.clock(talk.last_ms, like_ms=talk.begun_ms)
        if until != words.clock(talk.begun_ms):
            said = words.say("wrote.until", said=said, until=until)
        yield Line(said, talk.begun_ms)

    # ------------------------------------------------------------ inputs

    def _input(self, data: Any, fact: Fact) -> Iterator[str]:
        """What somebody did or asked for, unless what was decided on it tells."""
        if fact.id in self._refused or (
            isinstance(data, _TOLD_BY_DECISIONS) and fact.offset in self._decided
        ):
            return
        yield from request_words(self._words, data)
        match data:
            case e.ChatRequested(bot_id=None):
                self._phase = "waiting"
                yield from self._destination(data.department_id, otherwise="default")
            case e.ChatRequested():
                self._phase = "bot"
            case e.BotTransferRequested():
                yield from self._destination(data.department_id)

    def _destination(self, asked_id: str | None, *, otherwise: str | None = None) -> Iterator[str]:
        """Where the chat went and why, if that is not what was asked for: the decisions that follow tell."""
        following = [fact.data for fact in self._log.decisions[self._heard :]]
        department_id = next((found for data in following if (found := _department_of(data))), None)
        if department_id is None or department_id == asked_id:
            return
        notes = self._notes(next((data.why for data in following if hasattr(data, "why")), d.Why("")))
        if asked_id is None and not notes and otherwise is not None:
            notes = [self._words.say(otherwise)]
        name = self._words.department(department_id)
        if notes:
            yield self._words.say("goes_to_because", department=name, why=self._words.parts(notes))
        else:
            yield self._words.say("goes_to", department=name)

    def _notes(self, why: d.Why) -> list[str]:
        """What the router noted and was not told yet."""
        new = [note for note in why.notes if note not in self._noted]
        self._noted.update(dict.fromkeys(new))
        return [note_words(self._words, note) for note in new]

    # ------------------------------------------------------------ decisions

    def _decision(self, data: Any, fact: Fact) -> Iterator[str]:
        words = self._words
        match data:
            case d.ChatQueued():
                self._phase = "waiting"
                known = data.estimated_wait_s is not None
                span = words.span((data.estimated_wait_s or 0) * 1000)
                name = words.department(data.department_id)
                key = "queued_estimate" if known else "queued"
                yield words.say(key, department=name, position=data.position, span=span)
            case d.ChatOffered():
                yield from self._offered(data, fact)
            case d.OfferWithdrawn():
                yield from self._withdrawn(data, fact)
            case d.ChatAssigned():
                self._phase, self._owner, self._owned_ms = "owned", data.agent_id, fact.at_ms
                self._replied.pop(data.agent_id, None)
                name = words.agent(data.agent_id)
                waited = words.span(data.waited_ms)
                yield words.say(f"assigned.{data.by}", agent=name, waited=waited)
                if data.by == "auto":
                    yield from why_lines(words, name, data.why, at_ms=fact.at_ms)
                yield from self._notes(data.why)
            case d.ChatUnassigned():
                self._phase = "waiting"
                span = words.span(fact.at_ms - self._owned_ms)
                yield words.say(f"unassigned.{data.reason}", agent=words.agent(data.agent_id), span=span)
            case d.ChatMissed():
                self._phase = "bot"
                yield from self._missed(data)
            case d.ChatReopened():
                self._phase = "waiting"
                self._noted.clear()
                yield words.say("reopened", revision=data.revision)
            case d.ChatClosed():
                self._phase = None
                yield self._closed(data)
            case d.BotTransferFailed():
                yield words.say("bot_failed", reason=words.term("bot_failed", data.reason))
            case d.RequestRefused():
                yield refusal_words(words, data, self._requests.get(data.request_id))
            case _:
                yield from self._among_agents(data)

    def _among_agents(self, data: Any) -> Iterator[str]:
        """Transfers, participants, the inbox."""
        words = self._words
        match data:
            case d.ChatTransferred():
                target = self._target(data)
                yield words.say("transferred", agent=words.agent(data.from_agent_id), target=target)
            case d.TransferFailed():
                reason = data.reason and words.say(
                    "transfer_failed.reason", reason=words.term("failed", data.reason)
                )
                name = words.agent(data.from_agent_id)
                yield words.say("transfer_failed", target=self._target(data), agent=name, reason=reason or "")
            case d.ParticipantJoined(role="participant"):
                yield words.say("joined", agent=words.agent(data.agent_id))
            case d.ParticipantLeft(role="participant"):
                yield words.say("left", agent=words.agent(data.agent_id))
            case d.MissedUpdated():
                yield words.say(f"inbox.{data.status}", agent=words.agent(data.agent_id))
            case d.ChatTagged():
                tags = words.listed(map(visible, data.tags))
                yield words.say("tagged", tags=tags) if tags else words.say("tagged.none")
            case d.AgentMarkedAway():
                yield words.say("marked_away", agent=words.agent(data.agent_id))
            case _:
                pass

    def _target(self, data: d.ChatTransferred | d.TransferFailed) -> str:
        if data.to_agent_id is not None:
            return self._words.agent(data.to_agent_id)
        if data.to_department_id is not None:
            return self._words.department(data.to_department_id)
        return self._words.say("nowhere")

    def _offered(self, data: d.ChatOffered, fact: Fact) -> Iterator[str]:
        words = self._words
        for agent_id in data.agent_ids:
            self._offered_ms[data.offer_id, agent_id] = fact.at_ms
        names = words.agents(data.agent_ids)
        newcomer = data.why.rule.endswith("/newcomer")
        offered = words.say("offer.newcomer" if newcomer else f"offer.{data.kind}", agents=names)
        if data.expires_in_ms is not None:
            offered = words.say("offer.rings", offered=offered, span=words.span(data.expires_in_ms))
        if data.silent_agent_ids:
            silent = words.agents(data.silent_agent_ids)
            offered = words.say("offer.silent", offered=offered, agents=silent)
        yield offered
        timer = (fact.cause.timer or "") if fact.cause else ""
        since = f"since.{timer.partition('/')[0]}"
        if f"/{data.chat_id}@" in timer and words.knows(since):
            yield words.say(since)
        if data.why.rank:
            yield from why_lines(words, names, data.why, at_ms=fact.at_ms)
        yield from self._notes(data.why)

    def _withdrawn(self, data: d.OfferWithdrawn, fact: Fact) -> Iterator[str]:
        since = (self._offered_ms.get((data.offer_id, agent_id), fact.at_ms) for agent_id in data.agent_ids)
        span = self._words.span(fact.at_ms - min(since, default=fact.at_ms))
        yield self._words.say(
            f"withdrawn.{data.reason}", agents=self._words.agents(data.agent_ids), span=span
        )

    def _missed(self, data: d.ChatMissed) -> Iterator[str]:
        words, rule = self._words, data.rule
        reason = words.term("reason", data.reason)
        if data.detail is not None:
            reason = words.say("with", reason=reason, detail=words.term("detail", data.detail))
        yield words.say("missed", reason=reason)
        limits = [
            self._limit("offer", rule.offer_timeout_s),
            self._limit("wait", rule.wait_timeout_s),
            self._limit("reply", rule.first_reply_timeout_s),
        ]
        if rule.skills:
            limits.append(words.say("missed.skills", skills=words.listed(map(visible, rule.skills))))
        yield words.say(
            "missed.rule",
            department=visible(rule.department),
            mode=words.term("mode", rule.mode),
            strategy=words.term("strategy", rule.strategy),
            limits=words.parts(limits),
        )
        yield from self._notes(data.why)
        for when, agents, count in (
            ("available_start", data.available_at_start, data.available_counts.get("at_start", 0)),
            ("available_missed", data.available_at_missed, data.available_counts.get("at_missed", 0)),
        ):
            yield words.say("missed.available", when=words.say(when), agents=self._available(agents, count))
        if data.why.others:
            yield words.say("why.others", counts=counts_words(words, data.why.others))
        reply = words.say("reply_by_email" if data.reply_by_email else "no_reply_by_email")
        yield words.say("missed.tag", tag=words.term("tag", data.tag), reply=reply)

    def _limit(self, name: str, seconds: float) -> str:
        if not seconds:
            return self._words.say(f"limit.{name}.never")
        return self._words.say(f"limit.{name}", span=self._words.span(seconds * 1000))

    def _available(self, agents: tuple[d.AvailableAgent, ...], count: int) -> str:
        words = self._words
        listed = [
            words.say("load", name=visible(one.name), load=one.load, capacity=one.capacity) for one in agents
        ]
        if count > len(listed):
            listed.append(words.say("more", count=count - len(listed)))
        return words.parts(listed) or words.say("nobody")

    def _closed(self, data: d.ChatClosed) -> str:
        words = self._words
        begun, ended = datetime.fromisoformat(data.started_at), datetime.fromisoformat(data.ended_at)
        agents = words.listed(visible(agent.name) for agent in data.agents)
        return words.say(
            "closed",
            outcome=words.term("outcome", data.outcome),
            who=words.term("ended_by", data.ended_by),
            span=words.span(to_ms(ended) - to_ms(begun)),
            served=words.say("served", agents=agents) if agents else words.say("served.nobody"),
        )


def _department_of(data: Any) -> str | None:
    """The department a decision says the chat is in."""
    match data:
        case d.ChatQueued() | d.ChatAssigned():
            return data.department_id
        case d.ChatMissed():
            return data.rule.department_id
        case d.ChatClosed():
            return data.department.id
        case _:
            return None
