"""Which partition a workspace's records go to. One rule: the same as Kafka's default partitioner, in any language."""

from functools import cache

from aiokafka.partitioner import murmur2

_NOT_NEGATIVE = 0x7FFFFFFF


@cache
def partition_of(workspace_id: str, *, partitions: int) -> int:
    """Return the partition of a workspace's records (key = its id) in a topic of so many partitions."""
    return int((murmur2(workspace_id.encode()) & _NOT_NEGATIVE) % partitions)


def former_partitions(workspace_id: str, *, partitions: int) -> tuple[int, ...]:
    """Return where a workspace's records may have gone while there were fewer partitions: so many fit into the present number."""
    counts = (count for count in range(1, partitions) if partitions % count == 0)
    homes = dict.fromkeys(partition_of(workspace_id, partitions=count) for count in counts)
    homes.pop(partition_of(workspace_id, partitions=partitions), None)
    return tuple(homes)
