"""A dead letter says all that is needed to put its record back, and nothing a publisher sends passes for one."""

import pytest

from schemas.codec import Poison
from services.runtime.broker import Row
from services.runtime.deadletter import (
    ORIGIN,
    REDRIVEN,
    DeadLetterLimit,
    Letter,
    dead_letter,
    marked_offset,
    put_back,
    read_letter,
)
from services.runtime.failures import WorkerFailed
from services.runtime.ports import InputRecord

OWN = (("traceparent", b"00-1"), ("traceparent", b"00-2"))


def stored(topic: str, row: Row, *, partition: int = 3, offset: int = 17) -> InputRecord:
    """The row as it stands in its topic."""
    return InputRecord(topic, partition, offset, 5_000, row.key, row.value, row.headers)


def letter_of(record: InputRecord) -> Letter:
    letter = read_letter(stored(*dead_letter(record, Poison("not JSON"))))
    assert letter is not None
    return letter


def test_a_letter_is_read_back() -> None:
    letter = letter_of(InputRecord("in", 3, 42, 1_000, b"acme", b"\xff", OWN))
    assert (letter.topic, letter.offset, letter.headers) == ("in", 42, OWN)
    assert (letter.exception, letter.reason) == ("Poison", "not JSON")
    assert (letter.place, letter.record.key, letter.record.value) == ("in.dlq/3/17", b"acme", b"\xff")


def test_a_record_goes_back_as_it_was_and_names_its_letter_and_the_mark_names_the_record() -> None:
    record, mark = put_back(letter_of(InputRecord("in", 3, 42, 1_000, None, b"\xff", OWN)))
    assert record == Row(None, b"\xff", (*OWN, (ORIGIN, b"in.dlq/3/17")))
    assert mark == Row(None, None, ((REDRIVEN, b"42"),))
    assert marked_offset(stored("in.dlq", mark)) == 42
    assert read_letter(stored("in.dlq", mark)) is None


def test_poison_again_is_a_new_letter_that_names_the_one_before() -> None:
    first, _ = put_back(letter_of(InputRecord("in", 3, 42, 1_000, b"acme", b"x", OWN)))
    again = InputRecord("in", 3, 99, 2_000, first.key, first.value, first.headers)
    letter = read_letter(stored(*dead_letter(again, Poison("not JSON")), offset=18))
    assert letter is not None
    assert letter.headers == (*OWN, (ORIGIN, b"in.dlq/3/17"))
    assert put_back(letter)[0].headers == (*OWN, (ORIGIN, b"in.dlq/3/18")), "its last letter, once"


@pytest.mark.parametrize(
    "forged",
    [
        ((REDRIVEN, b"41"),),
        ((ORIGIN, b"in.dlq/3/1"),),
        dead_letter(InputRecord("in", 3, 41, 0, None, None), Poison("forged"))[1].headers,
    ],
)
def test_what_a_publisher_forges_is_a_header_like_any_other(forged: tuple[tuple[str, bytes], ...]) -> None:
    record = InputRecord("in", 3, 42, 1_000, b"acme", b"x", forged)
    letter = letter_of(record)
    assert (letter.offset, letter.reason, letter.headers) == (42, "not JSON", forged)
    assert marked_offset(letter.record) is None


def test_what_no_worker_wrote_is_no_letter() -> None:
    topic, row = dead_letter(InputRecord("in", 3, 42, 0, None, None), Poison("not JSON"))
    assert read_letter(stored(topic, Row(b"k", b"v"))) is None
    assert read_letter(stored("another.dlq", row)) is None
    assert read_letter(stored(topic, row, partition=4)) is None


def test_the_limit_says_what_is_too_much_and_where_to_look() -> None:
    limit = DeadLetterLimit(5)
    with limit.room({"in": 5}, now_ms=0):
        pass
    with limit.room({}, now_ms=59_999):
        pass
    with pytest.raises(WorkerFailed) as stopped, limit.room({"in": 2, "also": 1}, now_ms=59_999):
        pass
    for part in ("8 records", "limit: 5", "1 of also, 2 of in", "chat-routing dlq list", "PER_MINUTE_MAX"):
        assert part in str(stopped.value)
    assert len(str(stopped.value)) <= 450, "the log cuts longer texts"
    with limit.room({"in": 5}, now_ms=60_000):
        pass


def test_the_limit_holds_for_all_who_write_at_the_same_time_and_not_for_what_failed() -> None:
    limit = DeadLetterLimit(5)
    with pytest.raises(ZeroDivisionError), limit.room({"in": 5}, now_ms=0):
        raise ZeroDivisionError
    with (
        limit.room({"in": 3}, now_ms=0),
        pytest.raises(WorkerFailed, match="6 records"),
        limit.room({"in": 3}, now_ms=0),
    ):
        pass
    with limit.room({"in": 2}, now_ms=0):
        pass
