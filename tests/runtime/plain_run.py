"""The plain run, which every comparison stands on: a processor over its input, without a broker, a transaction or a restart.

One rule: it knows of nothing that can go wrong, and so it stays a loop.
"""

from collections import defaultdict
from collections.abc import Iterable

from schemas.codec import Poison, UnknownType
from services.runtime.broker import Row
from services.runtime.deadletter import dead_letter
from services.runtime.ports import InputRecord, Processor
from services.runtime.tracing import carried


def plain_run(processor: Processor, inputs: Iterable[InputRecord]) -> dict[str, list[Row]]:
    """Return what follows from the inputs, by topic; a record that can't be read becomes its dead letter."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for record in inputs:
        try:
            for output in processor.process(record):
                headers = carried(record.headers) if output.headers is None else output.headers
                rows[output.topic].append(Row(output.key, output.value, headers))
        except Poison as error:
            topic, row = dead_letter(record, error)
            rows[topic].append(row)
        except UnknownType:
            continue
    return rows
