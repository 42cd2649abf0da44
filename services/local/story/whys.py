"""A decision's `why` in words: the rule, ranks, the next candidates, counts of the others, and notes.

The one rule: nothing is computed here; what the router wrote is said, and what a newer router writes is shown as it stands.
"""

import re
from collections.abc import Iterator

from schemas.decisions import Ranked, Why
from services.local.display import visible
from services.local.story.words import Words

_DEFAULTED = re.compile(r"default: (?P<department>.+) is (?P<state>private|disabled|deleted)", re.DOTALL)
_OVERFLOWN = re.compile(r"overflow from (?P<department>.+): (?P<obstacle>\w+)", re.DOTALL)
_ASSIGNED = re.compile(r"assigned by (?P<agent>.+)", re.DOTALL)
_PLAIN = {
    "default: the department asked for is unknown": "unknown",
    "everybody able was asked before": "asked_before",
}


def why_lines(words: Words, names: str, why: Why, *, at_ms: int) -> Iterator[str]:
    """Why these agents, who would have been next, and why not the others."""
    strategy = why.rule.partition("/")[2]
    ranked = rank_words(words, strategy, why.rank, at_ms=at_ms)
    if ranked:
        yield words.say("why", agents=names, rule=rule_words(words, why.rule), rank=ranked)
    else:
        yield words.say("why.no_rank", agents=names, rule=rule_words(words, why.rule))
    if why.next:
        following = (_following(words, strategy, one, at_ms=at_ms) for one in why.next)
        yield words.say("why.next", agents=words.listed(following))
    if why.others:
        yield words.say("why.others", counts=counts_words(words, why.others))


def _following(words: Words, strategy: str, one: Ranked, *, at_ms: int) -> str:
    name, rank = words.agent(one.agent_id), rank_words(words, strategy, one.rank, at_ms=at_ms)
    return words.say("ranked", agent=name, rank=rank) if rank else name


def rule_words(words: Words, rule: str) -> str:
    """A rule such as `offer/least_loaded`."""
    mode, _, strategy = rule.partition("/")
    if strategy in ("", "newcomer"):
        return words.term("rule", strategy or mode)
    return words.parts([words.term("mode", mode), words.term("strategy", strategy)])


def rank_words(words: Words, strategy: str, rank: tuple[float | str, ...], *, at_ms: int) -> str:
    """What an agent was ranked by; nothing where there is nothing to say."""
    match strategy, rank:
        case (("round_robin" | "sticky" | "newcomer"), _):
            parts = []
        case "least_loaded", (float() | int() as load, float() | int() as last_ms, _):
            parts = [words.say("rank.load", load=f"{load:g}"), _last_assigned(words, last_ms, at_ms)]
        case "tiers", (float() | int() as tier, float() | int() as load, float() | int() as last_ms, _):
            parts = [
                words.say("rank.tier", tier=f"{tier + 1:g}"),
                words.say("rank.load", load=f"{load:g}"),
                _last_assigned(words, last_ms, at_ms),
            ]
        case "longest_idle", (float() | int() as since_ms, _):
            since = words.clock(round(since_ms), like_ms=at_ms)
            parts = [words.say("rank.idle_since", time=since) if since_ms else words.say("rank.never_idle")]
        case _:
            parts = [visible(f"{value:g}" if isinstance(value, float) else str(value)) for value in rank[:-1]]
    return words.parts(parts)


def _last_assigned(words: Words, last_ms: float, at_ms: int) -> str:
    if not last_ms:
        return words.say("rank.never_assigned")
    return words.say("rank.last_assigned", time=words.clock(round(last_ms), like_ms=at_ms))


def counts_words(words: Words, counts: dict[str, int]) -> str:
    """How many were not asked for which reason."""
    return words.parts(
        [words.counted("others", reason, count=count) for reason, count in counts.items() if count]
    )


def note_words(words: Words, note: str) -> str:
    """What the router noted about the way a chat took."""
    if note in _PLAIN:
        return words.say(f"note.{_PLAIN[note]}")
    if found := _DEFAULTED.fullmatch(note):
        return words.say(f"note.{found['state']}", department=words.department(found["department"]))
    if found := _ASSIGNED.fullmatch(note):
        return words.say("note.assigned_by", agent=words.agent(found["agent"]))
    found = _OVERFLOWN.fullmatch(note)
    if found and words.knows(f"note.{found['obstacle']}"):
        return words.say(f"note.{found['obstacle']}", department=words.department(found["department"]))
    return visible(note)
