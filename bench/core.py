"""Decoding and deciding, in one process and without Kafka.

One rule: ticks are left out of the average of decoding, since their small records would flatter it.
"""

import gc

from bench.day import Record, as_input
from bench.rows import Row, best_us
from schemas import codec
from services.router.core.partition import Partition
from services.router.processor import RouterProcessor
from services.runtime.process import COLLECT_AFTER

DECODE_BOUND_US = 8.0
CORE_BOUND = 60_000.0
DECODE_ROUNDS, DECIDE_ROUNDS = 5, 4
BATCH_RECORDS = 500


def measure(day: list[Record]) -> list[Row]:
    """Return what decoding an event, deciding it, and the whole of a router's work without Kafka cost."""
    gc.set_threshold(COLLECT_AFTER)  # as in a worker's process
    values = [record.value for record in day if not record.is_tick]
    loop_us = best_us(lambda: _loop(day), rounds=DECIDE_ROUNDS)
    decide_us = best_us(lambda: _decide(day), rounds=DECIDE_ROUNDS)
    return [
        Row("decode an event", best_us(lambda: _decode(values), rounds=DECODE_ROUNDS), "µs", DECODE_BOUND_US),
        Row("core alone, ticks included", 1e6 / decide_us, "records/s", CORE_BOUND, at_least=True),
        Row("router without Kafka: decode, decide, write, changelog", loop_us, "µs"),
        Row("router without Kafka", 1e6 / loop_us, "records/s"),
    ]


def _decode(values: list[bytes]) -> int:
    decode = codec.events.decode
    for value in values:
        decode(value)
    return len(values)


def _decide(day: list[Record]) -> int:
    partitions: dict[int, Partition] = {}
    for record in day:
        number = record.entry.partition
        if number not in partitions:
            partitions[number] = Partition(number)
        partitions[number].apply(record.entry)
    return len(day)


def _loop(day: list[Record]) -> int:
    processors: dict[int, RouterProcessor] = {}
    for position, record in enumerate(day, start=1):
        number = record.entry.partition
        if number not in processors:
            processors[number] = RouterProcessor(number)
            processors[number].restored()
        for output in processors[number].process(as_input(record)):
            assert output.value
        if position % BATCH_RECORDS == 0:
            for processor in processors.values():
                list(processor.changes())
    return len(day)
