"""How a chat's story is worded: phrases, names, times and spans, in Japanese and English. Reasons that mails name too are the notifier's.

The one rule: both languages have the same keys, and every value of the contract has its phrase; a test holds them to it. What came
from outside is made visible here, so no terminal command of a publisher's gets through.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from babel.dates import format_date

from schemas.types import Language
from services.local.display import visible
from services.local.story import english, japanese
from services.notifier import wording
from services.router.core.state import Workspace

NAMES_SHOWN_MAX = 10
PHRASES: Final[dict[Language, dict[str, str]]] = {"ja": japanese.PHRASES, "en": english.PHRASES}


class Words:
    """Phrases for one workspace, in one language and its time zone."""

    def __init__(self, ws: Workspace, language: Language) -> None:
        self.language = language
        self.zone = ws.profile.settings.timezone
        self._ws = ws
        self._phrases = {**wording.PHRASES[language], **PHRASES[language]}

    def say(self, key: str, **values: object) -> str:
        """A phrase, filled in."""
        return self._phrases[key].format(**values)

    def term(self, group: str, value: str) -> str:
        """The phrase for a value of the contract; a newer router's value as it stands."""
        return self._phrases.get(f"{group}.{value}") or visible(value)

    def knows(self, key: str) -> bool:
        """Whether there is such a phrase."""
        return key in self._phrases

    def counted(self, group: str, value: str, *, count: int) -> str:
        """How many of a value of the contract; a newer router's value as it stands."""
        key = f"{group}.{value}"
        return self.say(key, count=count) if self.knows(key) else f"{visible(value)} {count}"

    def listed(self, names: Iterable[str]) -> str:
        """The names one after the other; of many the first ten and how many more."""
        all_names = list(names)
        shown = all_names[:NAMES_SHOWN_MAX]
        if len(all_names) > len(shown):
            shown.append(self.say("more", count=len(all_names) - len(shown)))
        return self.say("comma").join(shown)

    def parts(self, parts: Sequence[str]) -> str:
        """Parts of a sentence in a row."""
        return self.say("comma").join(parts)

    def agent(self, agent_id: str | None) -> str:
        """An agent's name; their id where the name is not known."""
        found = self._ws.agents.get(agent_id or "")
        return visible(found.settings.name if found is not None else agent_id or self.say("unknown_agent"))

    def agents(self, agent_ids: Iterable[str]) -> str:
        """The names of agents."""
        return self.listed(self.agent(agent_id) for agent_id in agent_ids)

    def department(self, department_id: str) -> str:
        """A department's name; its id where the name is not known."""
        found = self._ws.departments.get(department_id)
        return visible(department_id if found is None else found.settings.name)

    def sender(self, kind: str, sender_id: str | None) -> str:
        """Who spoke: an agent by name, a bot by its id, nobody else by more than what they are."""
        if kind == "agent":
            return self.agent(sender_id)
        return visible(sender_id) if kind == "bot" and sender_id else self.term("sender", kind)

    # ------------------------------------------------------------ times

    def _local(self, at_ms: int) -> datetime:
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(self.zone))

    def date(self, at_ms: int) -> str:
        """The day, as people write it."""
        return format_date(self._local(at_ms), "full", locale=self.language)

    def clock(self, at_ms: int, *, like_ms: int | None = None) -> str:
        """The time of day; with its date where it is not the day of `like_ms`."""
        local = self._local(at_ms)
        other = like_ms is not None and self._local(like_ms).date() != local.date()
        return f"{local:%Y-%m-%d %H:%M:%S}" if other else f"{local:%H:%M:%S}"

    def span(self, span_ms: float) -> str:
        """A span of time, to the tenth of a second below a minute."""
        tenths = round(span_ms / 100)
        if tenths < 600:
            return self.say("seconds", count=f"{tenths / 10:g}")
        minutes, seconds = divmod(round(span_ms / 1000), 60)
        hours, minutes = divmod(minutes, 60)
        larger, smaller = (
            (("hours", hours), ("minutes", minutes))
            if hours
            else (("minutes", minutes), ("seconds", seconds))
        )
        parts = [self.say(unit, count=count) for unit, count in (larger, smaller) if count]
        return self.say("space").join(parts)
