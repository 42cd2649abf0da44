"""What pages and the exported one have in common: their style, and how times are written.

The one rule: what is shown of a time is in its workspace's zone and its department's language.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime, format_time
from babel.units import format_unit

from schemas.types import Language
from services.runtime.html import page_style

PACKAGE = "services.transcript.pages"
STYLE = page_style(PACKAGE, "page.css")


@dataclass(frozen=True, slots=True)
class Written:
    """How times are written in a language and a time zone."""

    language: Language
    zone: ZoneInfo

    def moment(self, at_ms: int) -> str:
        """A day and a time."""
        return format_datetime(_at(at_ms), "medium", tzinfo=self.zone, locale=self.language)

    def clock(self, at_ms: int) -> str:
        """The time of a day."""
        return format_time(_at(at_ms), "medium", tzinfo=self.zone, locale=self.language)

    def day(self, at_ms: int) -> str:
        """A day with its weekday."""
        return format_date(_at(at_ms).astimezone(self.zone), "full", locale=self.language)

    def span(self, seconds: float) -> str:
        """How long something takes, in hours, minutes and seconds."""
        minutes, rest = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        parts = (("hour", hours), ("minute", minutes), ("second", rest))
        return " ".join(
            format_unit(value, f"duration-{unit}", "short", locale=self.language)
            for unit, value in parts
            if value
        )


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def iso(at_ms: int) -> str:
    """A time for programs."""
    return _at(at_ms).isoformat(timespec="milliseconds")
