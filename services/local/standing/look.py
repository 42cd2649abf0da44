"""What the workers' pages say, read: samples by name and labels, and what counters grew by between two looks.

One rule: pure. A page that is none counts as no answer.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from schemas.topics import ACTIVITIES, EVENTS, NOTICES, ROUTING, TRANSCRIPTS
from services.local.standing.answers import Answer
from services.runtime.metrics import PREFIX, MetricName

ROUTER, NOTIFIER, TRANSCRIPT, CRM_SYNC = "chat-router", "chat-notifier", "chat-transcript", "chat-crm-sync"
READ: dict[str, tuple[str, ...]] = {
    ROUTER: (EVENTS,),
    TRANSCRIPT: (EVENTS, ROUTING),
    NOTIFIER: (NOTICES, TRANSCRIPTS, ACTIVITIES),
    CRM_SYNC: (NOTICES, TRANSCRIPTS),
}
"""Consumer groups and what they read."""
EXACTLY_ONCE = (ROUTER, TRANSCRIPT)
"""Whose partitions say how they stand."""


class Page:
    """The samples of one `/metrics` page. Raises ValueError where it is none."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples[sample.name].append((sample.labels, sample.value))

    def of(self, name: MetricName, **labels: str) -> list[tuple[dict[str, str], float]]:
        """Return the samples of a counter or a gauge that have these labels."""
        found = self._samples.get(f"{PREFIX}{name}_total") or self._samples.get(f"{PREFIX}{name}") or []
        return [(has, value) for has, value in found if labels.items() <= has.items()]

    def total(self, name: MetricName, **labels: str) -> float:
        """Return their sum."""
        return sum(value for _, value in self.of(name, **labels))


def service_of(worker: str) -> str | None:
    """Return the service a worker's name begins with: `chat-router-0` is a `chat-router`."""
    return next((each for each in READ if worker == each or worker.startswith(f"{each}-")), None)


@dataclass(frozen=True, slots=True)
class Look:
    """The answers of all workers at one moment, read."""

    answers: Mapping[str, Answer]
    pages: dict[str, Page]

    @classmethod
    def at(cls, answers: Mapping[str, Answer]) -> "Look":
        """Read the answers; a page that is none counts as no answer."""
        pages: dict[str, Page] = {}
        kept: dict[str, Answer] = {}
        for name, answer in answers.items():
            kept[name] = answer
            if answer.metrics is None:
                continue
            try:
                pages[name] = Page(answer.metrics)
            except ValueError:
                kept[name] = Answer(answer.address, answer.at_s, "answers, but not as a worker does", None)
        return cls(kept, pages)


class Rates:
    """What counters grew by a second between two looks, of workers that answered both times and did not start anew in between."""

    def __init__(self, now: Look, before: Look | None) -> None:
        self._now = now
        self._before = before

    def of(self, name: MetricName, *, service: str, **labels: str) -> float | None:
        """Return the sum over a service's workers, or None where there is none."""
        found = [
            rate
            for worker in self._now.pages
            if service_of(worker) == service and (rate := self.of_worker(name, worker, **labels)) is not None
        ]
        return sum(found) if found else None

    def less(self, name: MetricName, other: MetricName, *, service: str, **labels: str) -> float | None:
        """Return the first less the second: events are what is read without our own ticks."""
        first, second = self.of(name, service=service, **labels), self.of(other, service=service)
        return None if first is None or second is None else max(0.0, first - second)

    def of_worker(self, name: MetricName, worker: str, **labels: str) -> float | None:
        """Return one worker's."""
        if self._before is None or worker not in self._before.pages or worker not in self._now.pages:
            return None
        grown = self._now.pages[worker].total(name, **labels) - self._before.pages[worker].total(
            name, **labels
        )
        seconds = self._now.answers[worker].at_s - self._before.answers[worker].at_s
        return grown / seconds if grown >= 0 and seconds > 0 else None
