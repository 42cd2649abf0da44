"""Steps a `TranscriptProcessor` through two logs in any interleaving, and through crashes."""

from collections.abc import Iterable, Sequence
from typing import Any

from schemas import codec
from schemas.transcripts import TranscriptCompleted
from services.runtime.ports import InputRecord, OutputRecord
from services.transcript.processor import TranscriptProcessor
from tests.transcript.world import World, link


class Driver:
    """A processor with its changelog; `crash` builds it anew from that."""

    def __init__(self) -> None:
        self.changelog: dict[bytes, bytes] = {}
        self.outputs: list[OutputRecord] = []
        self.processor = TranscriptProcessor(0, link=link)
        self.processor.restored()

    def feed(self, records: Iterable[InputRecord]) -> None:
        """One batch: outputs and changelog are committed together."""
        for record in records:
            self.outputs += self.processor.process(record)
        for key, value in self.processor.changes():
            if value is None:
                self.changelog.pop(key, None)
            else:
                self.changelog[key] = value

    def crash(self) -> None:
        self.processor = TranscriptProcessor(0, link=link)
        for key, value in self.changelog.items():
            self.processor.restore(key, value)
        self.processor.restored()

    @property
    def transcripts(self) -> list[TranscriptCompleted]:
        return [decode(output) for output in self.outputs]


def decode(output: OutputRecord) -> TranscriptCompleted:
    envelope: Any = codec.transcripts.decode(output.value)
    assert output.key == envelope.workspaceid.encode()
    assert isinstance(envelope.data, TranscriptCompleted)
    return envelope.data


def interleave(world: World, from_events: Sequence[bool]) -> list[InputRecord]:
    """Both logs as one: True takes the next event, False the next decision; what is left comes last, events first."""
    events, routing = iter(world.events), iter(world.routing)
    taken = [next(events if flag else routing, None) for flag in from_events]
    return [record for record in taken if record is not None] + [*events, *routing]


def run(world: World) -> list[TranscriptCompleted]:
    """The transcripts when all decisions are read before all events, the hardest order."""
    driver = Driver()
    driver.feed([*world.routing, *world.events])
    return driver.transcripts


def texts(transcript: TranscriptCompleted) -> list[str]:
    return [message.text for message in transcript.messages]
