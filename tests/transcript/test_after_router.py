"""The assembler behind the real router: whatever a day brings, each outcome gets its one transcript, however the topics interleave."""

from itertools import islice
from random import Random

import pytest

from schemas.decisions import ChatClosed
from schemas.envelope import PartitionEnvelope
from schemas.notices import Notice
from schemas.topics import EVENTS, ROUTING
from services.router.core.partition import Entry
from services.router.records import encode_emitted
from services.runtime.ports import InputRecord
from tests.router.happenings import play, stream
from tests.router.scenes import Scene, value_of
from tests.transcript.driving import Driver

DAY_LENGTH = 160


def record_of(entry: Entry) -> InputRecord:
    envelope = entry.envelope
    key = "0" if isinstance(envelope, PartitionEnvelope) else envelope.workspaceid
    return InputRecord(EVENTS, 0, entry.offset, entry.at_ms, key.encode(), value_of(entry))


def shuffled(one: list[InputRecord], other: list[InputRecord], random: Random) -> list[InputRecord]:
    """Both in their order, interleaved by chance."""
    turns = [True] * len(one) + [False] * len(other)
    random.shuffle(turns)
    first, second = iter(one), iter(other)
    return [next(first if turn else second) for turn in turns]


@pytest.mark.parametrize("seed", range(40))
def test_each_outcome_gets_its_transcript(seed: int) -> None:
    scene = play(Scene(ticks=True), list(islice(stream(seed), DAY_LENGTH)))
    decided = [item for item in scene.emitted if not isinstance(item.data, Notice)]
    events = [record_of(entry) for entry in scene.entries]
    routing = [
        InputRecord(ROUTING, 0, offset, item.at_ms, item.workspace_id.encode(), encode_emitted(item).value)
        for offset, item in enumerate(decided)
    ]
    outcomes = [
        (item.data.chat_id, item.data.revision, item.data.outcome)
        for item in decided
        if isinstance(item.data, ChatClosed)
    ]
    random = Random(seed)
    orders = [[*routing, *events], [*events, *routing], shuffled(events, routing, random)]
    told = []
    for records in orders:
        driver = Driver()
        driver.feed(records)
        found = driver.transcripts
        assert [(one.chat_id, one.revision, one.outcome) for one in found] == outcomes
        told.append(found)
    assert told[0] == told[1] == told[2]
