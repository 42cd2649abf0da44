"""Why not agent X, in words. The one rule: every reason that `verdicts` gives has its phrase; a test holds it to that."""

from collections.abc import Iterator
from typing import Any

from schemas import decisions as d
from services.local.display import visible
from services.local.story.teller import Line
from services.local.story.verdicts import Verdict
from services.local.story.why_not import Choice, Moment
from services.local.story.whys import rank_words
from services.local.story.words import Words


def moment_lines(words: Words, moments: list[Moment], agent_id: str) -> Iterator[Line]:
    """What was found, a line for each moment."""
    if not moments:
        yield Line(words.say("no_choice"))
    for moment in moments:
        verdict = verdict_words(words, moment.verdict, agent_id=agent_id, at_ms=moment.at_ms)
        yield Line(words.say("moment", when=_when(words, moment.data), verdict=verdict), moment.at_ms)


def _when(words: Words, data: Choice) -> str:
    match data:
        case d.ChatOffered():
            key = "moment.transfer" if data.kind == "transfer" else "moment.offered"
            return words.say(key, agents=words.agents(data.agent_ids))
        case d.ChatAssigned():
            return words.say("moment.assigned", agent=words.agent(data.agent_id))
        case d.ChatQueued():
            return words.say("moment.queued", department=words.department(data.department_id))
        case d.ChatMissed():
            return words.say("moment.missed")


def verdict_words(words: Words, verdict: Verdict, *, agent_id: str, at_ms: int) -> str:
    """One verdict as a sentence without its stop."""
    given: dict[str, Any] = verdict.values
    said: dict[str, object] = {"agent": words.agent(agent_id)}
    for name, value in given.items():
        match name:
            case "agent_ids":
                said["others"] = words.agents(value)
            case "skills":
                said["skills"] = words.listed(map(visible, value))
            case "department_id":
                said["department"] = words.department(value)
            case "detail" | "answer":
                said[name] = words.term(name, value)
            case "mine" | "first":
                said[name] = rank_words(words, given["strategy"], value, at_ms=at_ms)
            case _ if name.endswith("_ms"):
                said[name.removesuffix("_ms")] = words.span(value or 0)
            case _:
                said[name] = value
    key = f"not.{verdict.reason}"
    if verdict.reason == "lacks_skill" and given["left_ms"] is None:
        key = f"{key}.ever"
    return words.say(key, **said)
