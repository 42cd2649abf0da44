"""Which partition a workspace's records go to. One rule: the same as Kafka's default partitioner, in any language."""

from functools import cache

from aiokafka.partitioner import murmur2

_NOT_NEGATIVE = 0x7FFFFFFF


@cache
def partition_of(workspace_id: str, *, partitions: int) -> int:
    """Return the partition of a workspace's records (key = its id) in a topic of so many partitions."""
    return int((murmur2(workspace_id.encode()) & _NOT_NEGATIVE) % partitions)


def present_partition(key: bytes | None, former: int, *, partitions: int) -> int:
    """Return where a record belongs that stood in `former`: there, unless its workspace has moved since, as partitions were added."""
    if key is None:
        return former
    workspace_id = key.decode(errors="replace")  # what is no text is no workspace's
    moved = former in former_partitions(workspace_id, partitions=partitions)
    return partition_of(workspace_id, partitions=partitions) if moved else former


def former_partitions(workspace_id: str, *, partitions: int) -> tuple[int, ...]:
    """Return where a workspace's records may have gone while there were fewer partitions: so many fit into the present number."""
    counts = (count for count in range(1, partitions) if partitions % count == 0)
    homes = dict.fromkeys(partition_of(workspace_id, partitions=count) for count in counts)
    homes.pop(partition_of(workspace_id, partitions=partitions), None)
    return tuple(homes)
