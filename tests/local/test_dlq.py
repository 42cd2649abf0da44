"""Dead letters on a real Kafka: filtered, shown without what people wrote, and put back once, whatever happens meanwhile."""

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner, Result

from schemas.codec import Poison
from schemas.topics import dead_letters
from services.local.cli import app
from services.local.dlq import (
    GROUP,
    TRANSACTION_RECORDS_MAX,
    DeadLetterLog,
    Filed,
    Filter,
    kafka_writers,
    redrive,
)
from services.local.errors import LocalError
from services.local.letter_views import detail, printable, summary
from services.local.topics import ensure_topics
from services.runtime.deadletter import ORIGIN, Letter, dead_letter
from services.runtime.kafka import KafkaWriter
from services.runtime.ports import InputRecord
from services.runtime.settings import RuntimeSettings
from tests.local.programs import LIMIT_S
from tests.runtime.brokerage import Program, Scene, publish, read_all, scene
from tests.runtime.counting import POISON

KAFKA = pytest.mark.kafka
OWN = (("traceparent", b"00-1"),)


# ---------------------------------------------------------------- filters and views


def letter(**changed: Any) -> Letter:
    """A letter refused at 5,000 ms, workspace acme, in.dlq/3/17 about in/3/42."""
    raw = changed.pop("raw", b"{}")
    record = InputRecord("in.dlq", 3, changed.pop("offset", 17), 5_000, changed.pop("key", b"acme"), raw)
    about = {
        "exception": "Poison",
        "reason": "data.name: missing",
        "topic": "in",
        "offset": 42,
        "headers": OWN,
    }
    return Letter(record, **{**about, **changed})


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Filter(), True),
        (Filter(offset=17), True),
        (Filter(offset=42), False),
        (Filter(exception="Poison"), True),
        (Filter(exception="poison"), False),
        (Filter(reason="NAME: miss"), True),
        (Filter(reason="name: number"), False),
        (Filter(workspace_id="acme"), True),
        (Filter(workspace_id="acm"), False),
        (Filter(since_ms=5_000, until_ms=5_001), True),
        (Filter(since_ms=5_001), False),
        (Filter(until_ms=5_000), False),
        (Filter(workspace_id="acme", exception="Other"), False),
    ],
)
def test_a_filter_takes_what_fits_all_of_it(wanted: Filter, *, taken: bool) -> None:
    assert wanted.takes(letter()) is taken


def test_a_filter_of_a_workspace_takes_no_letter_without_a_key() -> None:
    assert not Filter(workspace_id="acme").takes(letter(key=None))


PERSONAL = {
    "name": "花子",
    "email": "hanako@example.com",
    "phone": 81312345678,
    "of age": True,
    "notes": ["x"] * 9,
}


def test_what_people_wrote_is_shown_only_when_it_is_asked_for() -> None:
    envelope = {"type": "agent.configured.v1", "id": "hanako@example.com", "source": "/web", "data": PERSONAL}
    filed = Filed(letter(raw=json.dumps(envelope, ensure_ascii=False).encode()), redriven=False)
    hidden = detail(filed, raw=False)
    for told in (
        "in.dlq/3/17",
        "in/3/42",
        "data.name: missing",
        "agent.configured.v1",
        '"phone": "number',
        "6 more",
    ):
        assert told in hidden
    for personal in ("花子", "hanako@example.com", "81312345678", "of age", "00-1"):
        assert personal not in hidden
    asked = detail(filed, raw=True)
    assert "花子" in asked
    assert "traceparent = 00-1" in asked


def test_what_is_no_json_is_not_shown_either() -> None:
    filed = Filed(letter(raw=b"call me: 555-0100"), redriven=False)
    assert "no JSON, 17 bytes" in detail(filed, raw=False)
    assert "555" not in detail(filed, raw=False)
    assert Filed(letter(raw=None), redriven=False).letter.record.value is None
    assert "(none)" in detail(Filed(letter(raw=None), redriven=False), raw=True)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", "plain"),
        ("日本".encode(), "日本"),
        (b"\x1b[2Jgone\r\n", "\\x1b[2Jgone\\r\\n"),
        ("\u202egnp".encode(), "\\u202egnp"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"x" * 12, "xxxxxxxxxx … and 2 bytes more"),
    ],
)
def test_raw_bytes_are_printed_safely_and_within_bounds(raw: bytes, shown: str) -> None:
    assert printable(raw, bytes_max=10) == shown


def test_a_deep_or_long_value_is_cut() -> None:
    deep = b"[" * 500 + b"]" * 500
    wide = json.dumps({f"field_{n}": n for n in range(5_000)}).encode()
    for raw in (deep, wide):
        assert len(detail(Filed(letter(raw=raw), redriven=False), raw=False)) < 6_000


def test_the_summary_is_safe_for_a_terminal_and_for_programs() -> None:
    told = summary(Filed(letter(key=b"\x1b[2J", headers=((ORIGIN, b"in.dlq/3/16"),)), redriven=True))
    assert (told["workspace"], told["origin"], told["redriven"]) == ("\\x1b[2J", "in.dlq/3/16", True)
    assert told["refused_at"] == "1970-01-01T00:00:05.000Z"
    json.dumps(told)


# ---------------------------------------------------------------- on Kafka


@pytest.fixture
async def of(kafka: str) -> Scene:
    return await scene(kafka)


async def refuse(
    of: Scene, values: list[bytes], *, partition: int = 1, twice: bool = False, key: bytes = b"acme"
) -> None:
    """Write letters as a worker does, about records that stood at offsets 100, 101 and so on."""
    async with AIOKafkaProducer(bootstrap_servers=of.bootstrap) as producer:
        for number, value in enumerate(values):
            record = InputRecord(of.inputs[0], partition, 100 + number, 0, key, value, OWN)
            topic, row = dead_letter(record, Poison(f"reason {number % 2}"))
            for _ in range(2 if twice else 1):
                await producer.send_and_wait(topic, row.value, row.key, partition, headers=list(row.headers))


async def put_back(of: Scene, *, writers: Callable[[int], KafkaWriter] | None = None, **wanted: Any) -> int:
    """Redrive what the filter takes, and return how many letters it was."""
    asked = Filter(topic=dead_letters(of.inputs[0]), **wanted)
    async with DeadLetterLog(of.bootstrap, asked) as log:
        made = writers or kafka_writers(of.bootstrap)
        return sum([len(letters) async for letters in redrive(log, writers=made, limit=1_000)])


async def back(of: Scene) -> list[bytes]:
    """The values that stand in the original topic."""
    found = await read_all(of, of.inputs[0])
    return [record.value for partition in sorted(found) for record in found[partition]]


def values(count: int) -> list[bytes]:
    return [b"v%03d" % number for number in range(count)]


class Hooked(KafkaWriter):
    """Does something of the test's just before it commits; everything has been delivered then."""

    def __init__(self, bootstrap: str, number: int, before_commit: Callable[[], Awaitable[None]]) -> None:
        super().__init__(RuntimeSettings(bootstrap=bootstrap, group=GROUP), number)
        self._before_commit = before_commit

    async def commit(self) -> None:
        await self._before_commit()
        await super().commit()


def hooked(of: Scene, before_commit: Callable[[], Awaitable[None]]) -> Callable[[int], KafkaWriter]:
    return lambda number: Hooked(of.bootstrap, number, before_commit)


@KAFKA
async def test_a_letter_goes_back_as_it_was_and_once(of: Scene) -> None:
    await refuse(of, values(3))
    await refuse(of, values(2), partition=2)
    assert await put_back(of, offset=1) == 2
    assert await put_back(of, reason="reason 0") == 3
    assert await put_back(of) == 0
    found = await read_all(of, of.inputs[0])
    assert {n: [record.value for record in found[n]] for n in found} == {
        0: [],
        1: [b"v001", b"v000", b"v002"],
        2: [b"v001", b"v000"],
    }
    assert found[1][1].key == b"acme"
    assert found[1][1].headers == (*OWN, (ORIGIN, f"{dead_letters(of.inputs[0])}/1/0".encode()))


@KAFKA
async def test_a_letter_goes_where_its_workspace_is_since_partitions_were_added(of: Scene) -> None:
    """From the one partition there was, before what was refused where it goes now; the mark stays with the letter."""
    await refuse(of, values(2), partition=0, key=b"northwind")
    await refuse(of, [b"later"], partition=1, key=b"northwind")
    assert await put_back(of, partition=0, offset=1) == 1
    assert await put_back(of) == 2
    assert await put_back(of) == 0
    found = await read_all(of, of.inputs[0])
    assert {n: [record.value for record in found[n]] for n in found} == {
        0: [],
        1: [b"v001", b"v000", b"later"],
        2: [],
    }
    assert found[1][1].headers == (*OWN, (ORIGIN, f"{dead_letters(of.inputs[0])}/0/0".encode()))


@KAFKA
async def test_what_is_refused_again_meanwhile_waits_for_another_run(of: Scene) -> None:
    async def refuse_again() -> None:
        await refuse(of, [b"again"], partition=1, key=b"northwind")

    await refuse(of, [b"first"], partition=0, key=b"northwind")
    assert await put_back(of, writers=hooked(of, refuse_again)) == 1
    assert await back(of) == [b"first"]
    assert await put_back(of) == 1


@KAFKA
async def test_more_than_a_transaction_goes_back_in_order(of: Scene) -> None:
    wanted = values(2 * TRANSACTION_RECORDS_MAX + 1)
    await refuse(of, wanted)
    async with DeadLetterLog(of.bootstrap, Filter(topic=dead_letters(of.inputs[0]))) as log:
        batches = [
            len(b) async for b in redrive(log, writers=kafka_writers(of.bootstrap), limit=len(wanted) - 1)
        ]
    assert batches == [TRANSACTION_RECORDS_MAX] * 2
    assert await back(of) == wanted[:-1]
    assert await put_back(of) == 1
    assert await back(of) == wanted


@KAFKA
async def test_a_record_two_workers_refused_goes_back_once(of: Scene) -> None:
    await refuse(of, values(3), twice=True)
    assert await put_back(of) == 3
    assert await put_back(of) == 0
    assert await back(of) == values(3)


DIE = """
import asyncio, os, signal, sys
from tests.local.test_dlq import Hooked, put_back
from tests.runtime.brokerage import Scene

of, left = Scene(sys.argv[1], sys.argv[2], 3), int(sys.argv[3])

async def die():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(put_back(of, writers=lambda number: Hooked(of.bootstrap, number, die)))
"""


@KAFKA
@pytest.mark.parametrize("commit", [1, 2])
async def test_killed_before_a_commit_it_can_be_run_again(of: Scene, commit: int) -> None:
    wanted = values(TRANSACTION_RECORDS_MAX + 20)
    await refuse(of, wanted)
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DIE, of.bootstrap, of.name, str(commit)
    )
    assert await asyncio.wait_for(program.wait(), LIMIT_S) == -signal.SIGKILL
    done = TRANSACTION_RECORDS_MAX * (commit - 1)
    assert await put_back(of) == len(wanted) - done
    assert await back(of) == wanted


@KAFKA
async def test_of_two_at_once_the_later_one_does_it(of: Scene) -> None:
    await refuse(of, values(10))
    ready, overtaken = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        ready.set()
        await overtaken.wait()

    first = asyncio.create_task(put_back(of, writers=hooked(of, wait)))
    await asyncio.wait_for(ready.wait(), LIMIT_S)
    assert await put_back(of) == 10
    overtaken.set()
    with pytest.raises(LocalError, match="Another redrive has taken over partition 1"):
        await asyncio.wait_for(first, LIMIT_S)
    assert await back(of) == values(10)


@KAFKA
async def test_many_at_once_do_it_once(of: Scene) -> None:
    await refuse(of, values(30))
    ends = await asyncio.gather(*(put_back(of) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(end, int | LocalError) for end in ends), ends
    await put_back(of)
    assert await back(of) == values(30)


@KAFKA
async def test_a_mark_behind_an_open_transaction_is_waited_for(of: Scene) -> None:
    """A worker that is just writing a letter of its own holds the last stable offset below marks which are committed."""
    await refuse(of, values(2))
    worker = KafkaWriter(RuntimeSettings(bootstrap=of.bootstrap, group=of.name), 1)
    topic, row = dead_letter(InputRecord(of.inputs[0], 1, 200, 0, b"acme", b"late"), Poison("not JSON"))

    async def begin() -> None:
        await worker.start()
        await worker.begin()
        for delivery in await worker.send(topic, [row]):
            await delivery

    try:
        assert await put_back(of, writers=hooked(of, begin), offset=0) == 1
        again = asyncio.create_task(put_back(of, offset=0))
        await asyncio.wait({again}, timeout=1.0)
        await worker.commit()
        assert await asyncio.wait_for(again, LIMIT_S) == 0
    finally:
        await worker.close()
    assert await back(of) == values(1)


@KAFKA
async def test_what_is_still_poison_becomes_a_letter_that_names_the_one_before(
    of: Scene, tmp_path: Path
) -> None:
    program = Program(of.environment(), tmp_path / "log")
    try:
        await publish(of, [(1, b"acme", POISON), (1, b"acme", b"sound")])
        topic = dead_letters(of.inputs[0])
        await read_all(of, topic, count=1)
        assert await put_back(of) == 1
        await read_all(of, of.output, count=1)
        found = (await read_all(of, topic, count=3))[1]
        assert dict(found[2].headers)[ORIGIN] == f"{topic}/1/{found[0].offset}".encode()
        assert await put_back(of) == 1, "the new letter is one of its own"
    finally:
        program.kill()


def run(bootstrap: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["dlq", *arguments, "--bootstrap", bootstrap])


@pytest.fixture
def letters(kafka: str) -> Scene:
    """Topics with two letters, beside those of the service."""
    asyncio.run(ensure_topics(kafka, partitions=3, replicas=1))
    made = asyncio.run(scene(kafka))
    asyncio.run(refuse(made, [b'{"type": "x.v1", "data": {"name": "[red]Hanako"}}', b"\x1b[2J"]))
    return made


@KAFKA
def test_the_command_line_lists_and_shows(letters: Scene, kafka: str) -> None:
    topic = ("--topic", letters.inputs[0])
    listed = [json.loads(line) for line in run(kafka, "list", *topic, "--json").stdout.splitlines()]
    assert [each["reason"] for each in listed] == ["reason 0", "reason 1"]
    table = run(kafka, "list", *topic, "--limit", "1", "--until", "2999-01-01T00:00:00Z").stdout
    assert "Poison: reason 1" in table
    assert "Poison: reason 0" not in table
    assert "Dead letters: 2, of which the newest 1 are shown." in table

    shown = run(kafka, "show", listed[0]["letter"]).stdout
    assert '"type": "x.v1"' in shown
    assert "Hanako" not in shown
    assert "[red]Hanako" in run(kafka, "show", listed[0]["letter"], "--raw").stdout


@KAFKA
def test_the_command_line_redrives(letters: Scene, kafka: str) -> None:
    topic, place = ("--topic", letters.inputs[0]), f"{letters.inputs[0]}/1/1"
    dry = run(kafka, "redrive", place, "--dry-run").stdout
    assert "Poison: reason 1" in dry
    assert "Would be put back: 1." in dry
    for expected in (1, 0):
        assert run(kafka, "redrive", place).stdout == f"Put back: {expected}.\n"
    assert asyncio.run(back(letters)) == [b"\x1b[2J"]
    everything = run(kafka, "list", *topic, "--json", "--all").stdout.splitlines()
    assert [json.loads(line)["redriven"] for line in everything] == [False, True]
    assert len(run(kafka, "list", *topic, "--json").stdout.splitlines()) == 1


@KAFKA
def test_the_command_line_says_what_is_wrong(letters: Scene, kafka: str) -> None:
    topic, place = letters.inputs[0], f"{letters.inputs[0]}/1/7"
    for arguments, said in (
        (("show", place), f"There is no dead letter {place}"),
        (("list", "--topic", "absent"), "has no topic absent.dlq"),
        (("list", "--topic", topic, "--partition", "9"), "There is no partition 9"),
    ):
        with pytest.raises(LocalError, match=said):
            CliRunner().invoke(
                app, ["dlq", *arguments, "--bootstrap", kafka], catch_exceptions=False, standalone_mode=False
            )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "nowhere"), "TOPIC/PARTITION/OFFSET"),
        (("redrive", "in/1/7", "--workspace", "acme"), "not both"),
        (("list", "--since", "noon"), "2026-11-21T09:00:00Z"),
    ],
)
def test_what_makes_no_sense_is_refused_before_kafka_is_asked(arguments: tuple[str, ...], said: str) -> None:
    answer = run("127.0.0.1:1", *arguments)
    assert answer.exit_code == 2
    assert said in answer.output
