"""The judge: a plain run of the processor over the input logs, compared with every commit at the moment it stands.

One rule: a commit must hold exactly what the plain run makes of the records between the offsets committed before and those it
commits, changelog included, in order for each key; whatever else it holds, or lacks, is a violation.
"""

from collections.abc import Iterable

from services.runtime.broker import Row
from services.runtime.ports import InputRecord, Processor
from tests.runtime.memory import At, Broker, Transaction
from tests.runtime.plain_run import plain_run
from tests.simulation.group import GROUP
from tests.simulation.workers import Job
from tests.simulation.world import Violation

TICK = b"router.tick.v1"


class _Reference:
    """The plain run of one partition."""

    def __init__(self, job: Job, partition: int) -> None:
        self.offsets = dict.fromkeys(job.inputs, 0)
        self.processor: Processor = job.factory(partition)
        self.processor.restored()
        self.state: dict[bytes, bytes | None] = {}
        self.written: dict[str, list[Row]] = {}
        self._changelog = job.changelog

    def advance(self, records: Iterable[InputRecord]) -> dict[str, list[Row]]:
        """What follows from these records, by topic."""
        rows = plain_run(self.processor, records)
        for topic, of_topic in rows.items():
            self.written.setdefault(topic, []).extend(of_topic)
        if changes := list(self.processor.changes()):
            self.state.update(changes)
            rows[self._changelog] = [Row(key, value) for key, value in changes]
        return rows


class Judge:
    """Watches the broker's commits."""

    def __init__(self, broker: Broker, job: Job) -> None:
        self.commits = 0
        self._broker = broker
        self._job = job
        self._references = {number: _Reference(job, number) for number in range(job.partitions)}
        broker.on_commit = self.committed

    def committed(self, transaction: Transaction) -> None:
        """Raises Violation unless this commit is the next piece of the plain run."""
        if not transaction.owner.startswith(GROUP):
            return
        self.commits += 1
        by_partition: dict[int, dict[str, list[Row]]] = {}
        for (topic, number), row in transaction.rows:
            by_partition.setdefault(number, {}).setdefault(topic, []).append(row)
        for _, number in transaction.offsets:
            by_partition.setdefault(number, {})
        for number, found in by_partition.items():
            reference = self._references[number]
            expected = reference.advance(self._records(transaction, number, reference))
            if _by_key(found) != _by_key(expected):
                raise Violation(
                    f"partition {number}: a commit of {transaction.owner} with offsets {transaction.offsets} holds\n"
                    f"  {_by_key(found)}\nexpected\n  {_by_key(expected)}"
                )

    def _records(self, transaction: Transaction, number: int, reference: _Reference) -> Iterable[InputRecord]:
        for topic in self._job.inputs:
            before = reference.offsets[topic]
            after = transaction.offsets.get((topic, number), before)
            if after < before:
                raise Violation(
                    f"{transaction.owner}: the offset of {topic}/{number} went from {before} to {after}"
                )
            reference.offsets[topic] = after
            entries, _ = self._broker.read((topic, number), before, records_max=after - before)
            for each in entries:
                if each.offset < after and each.row is not None:
                    row = each.row
                    yield InputRecord(topic, number, each.offset, each.at_ms, row.key, row.value, row.headers)

    # ------------------------------------------------------------ the end

    def ends(self) -> dict[At, int]:
        """Where the input logs end now."""
        ats = [(topic, number) for topic in self._job.inputs for number in self._references]
        return {at: self._broker.end(at) for at in ats}

    def behind(self, ends: dict[At, int]) -> list[At]:
        """Which partitions are not consumed and committed up to these ends."""
        return [at for at, end in ends.items() if self._broker.offsets.get(at, 0) < end]

    def close(self) -> None:
        """The whole of what readers find, at the end. Raises Violation."""
        for at in list(self._broker.logs):
            if self._broker.stable_end(at) != self._broker.end(at):
                raise Violation(f"{at}: readers are held back by an open transaction")
        for at in self.ends():
            left, _ = self._broker.read(at, self._broker.offsets.get(at, 0), records_max=self._broker.end(at))
            if any(each.row is not None and TICK not in (each.row.value or b"") for each in left):
                raise Violation(f"{at}: records other than a last tick were left unread")
        for number, reference in self._references.items():
            for topic, rows in reference.written.items():
                if _by_key({topic: list(self._broker.rows((topic, number)))}) != _by_key({topic: rows}):
                    raise Violation(f"{topic}/{number}: readers find something else than the plain run")
            restored = {row.key: row.value for row in self._broker.rows((self._job.changelog, number))}
            if restored != reference.state:
                raise Violation(f"partition {number}: the changelog is not the state")


def _by_key(rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The rows in order for each key: between keys the order of two input topics is nobody's promise."""
    return {
        topic: sorted(of_topic, key=lambda row: row.key or b"")
        for topic, of_topic in rows.items()
        if of_topic
    }
