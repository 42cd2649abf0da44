"""What can go wrong with a partition, named by what has to follow.

    anything a port raises ─┬─▶ TaskMigrated    somebody else owns the partition: stand back, then look again
                            ├─▶ TaskCorrupted   outcome unknown or failed: drop producer and state, restore
                            └─▶ WorkerFailed    no restart of the task helps: the process ends with this sentence

The one rule: ports raise nothing else, and messages hold no value of any record.
"""


class TaskMigrated(Exception):
    """Another producer with the same transactional id has started: we are a zombie, as far as this partition goes."""


class TaskCorrupted(Exception):
    """A transaction failed or its outcome is unknown: producer and state must be thrown away."""


class WorkerFailed(Exception):
    """The process can't go on. The message is one sentence for an operator."""
