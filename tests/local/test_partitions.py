"""The partitioner: the values of Kafka's own test (UtilsTest.testMurmur2), so that every client agrees."""

import pytest

from services.local.partitions import former_partitions, partition_of, present_partition

HASHES = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize("partitions", [1, 6, 12, 997])
@pytest.mark.parametrize("key", HASHES)
def test_as_kafka_does_it(key: str, partitions: int) -> None:
    assert partition_of(key, partitions=partitions) == (HASHES[key] & 0x7FFFFFFF) % partitions


def test_the_sample_workspaces_have_a_partition_each() -> None:
    for partitions in (6, 12):
        assert (
            len({partition_of(name, partitions=partitions) for name in ("sakura", "northwind", "fuji")}) == 3
        )


@pytest.mark.parametrize(
    ("workspace_id", "partitions", "former"),
    [("northwind", 12, (0, 1, 3)), ("sakura", 12, (0, 1, 2)), ("northwind", 7, (0,)), ("northwind", 1, ())],
)
def test_a_workspace_may_have_been_elsewhere_while_there_were_fewer(
    workspace_id: str, partitions: int, former: tuple[int, ...]
) -> None:
    assert former_partitions(workspace_id, partitions=partitions) == former


@pytest.mark.parametrize(
    ("key", "former", "present"),
    [
        (b"northwind", 1, 7),  # of 6
        (b"northwind", 3, 7),  # of 4
        (b"northwind", 7, 7),
        (b"sakura", 5, 5),
        (b"sakura", 4, 4),  # never its own: whoever put it there will look for it there
        (None, 0, 0),
        (b"\xff", 11, 11),
    ],
)
def test_what_was_put_before_partitions_were_added_goes_where_its_workspace_is(
    key: bytes | None, former: int, present: int
) -> None:
    assert present_partition(key, former, partitions=12) == present
