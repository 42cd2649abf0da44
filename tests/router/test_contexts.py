"""Whose trace a decision belongs to: its record's; and what a deadline decides about a chat, that of the record that opened the chat."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from services.router.changelog import Changelog
from services.router.core.partition import Partition
from services.router.processor import RouterProcessor
from tests.router.scenes import Scene, office
from tests.router.test_changelog import Interrupted, records_of

Step = Callable[[Scene], Any]
WAITS_S = 3
NOBODY = "-"


def traced(number: int) -> tuple[tuple[str, bytes], ...]:
    return (("traceparent", f"00-{number:032x}-{number:016x}-01".encode()),)


def told(steps: list[tuple[Step, int]]) -> tuple[list[str], Interrupted]:
    """Each decision about a chat with the number of its trace, and the router; each step's events are of one trace (0: of none)."""
    scene, numbers = office("ann", ticks=True, wait_timeout_s=WAITS_S, offer_timeout_s=1), list[int]()
    numbers += [0] * len(scene.entries)
    for step, number in steps:
        step(scene)
        numbers += [number] * (len(scene.entries) - len(numbers))
    router = Interrupted()
    decided: list[str] = []
    for record, number in zip(records_of(scene), numbers, strict=True):
        headers = traced(number) if number else ()
        of_trace = replace(record, headers=headers)
        for output in router.process(of_trace):
            data = orjson.loads(output.value or b"")
            carried = headers if output.headers is None else output.headers
            name = str(int(carried[0][1][3:35], 16)) if carried else NOBODY
            if "chat_id" in data["data"]:
                decided.append(f"{data['type'].removesuffix('.v1')} {data['data']['chat_id']}: {name}")
            elif data["type"] != "request.refused.v1":
                decided.append(f"{data['type'].removesuffix('.v1')}: {name}")
        router.commit()
        router.restart()
    return decided, router


def beats(scene: Scene) -> None:
    scene.beat(WAITS_S + 2)


MISSED = ["chat.missed", "chat.closed"]


@pytest.mark.parametrize(
    ("steps", "last", "expected"),
    [
        ([(lambda scene: scene.ask("c1"), 7), (beats, 0)], 2, ["chat.missed c1: 7", "chat.closed c1: 7"]),
        ([(lambda scene: scene.ask("c1"), 0), (beats, 0)], 2, ["chat.missed c1: -", "chat.closed c1: -"]),
        (
            # Refused: there is such a chat.
            [(lambda scene: scene.ask("c1"), 7), (lambda scene: scene.ask("c1"), 8), (beats, 0)],
            2,
            ["chat.missed c1: 7", "chat.closed c1: 7"],
        ),
        (
            # The record decides, though the chat is of another trace.
            [(lambda scene: scene.ask("c1"), 7), (lambda scene: scene.leave("c1"), 8)],
            2,
            ["chat.missed c1: 8", "chat.closed c1: 8"],
        ),
        (
            [(lambda scene: scene.ask("c1"), 7), (lambda scene: scene.leave("c1"), 0)],
            2,
            ["chat.missed c1: -", "chat.closed c1: -"],
        ),
        (
            # It comes back by a message, which then is what has opened it.
            [
                (lambda scene: scene.ask("c1"), 7),
                (beats, 0),
                (lambda scene: scene.write("visitor", "c1"), 9),
                (beats, 0),
            ],
            2,
            ["chat.missed c1: 9", "chat.closed c1: 9"],
        ),
        (
            [
                (lambda scene: scene.ask("c1"), 7),
                (beats, 0),
                (lambda scene: scene.write("visitor", "c1"), 0),
                (beats, 0),
            ],
            2,
            ["chat.missed c1: -", "chat.closed c1: -"],
        ),
        (
            # Two chats whose deadlines one tick reaches.
            [(lambda scene: scene.ask("c1"), 7), (lambda scene: scene.ask("c2"), 8), (beats, 0)],
            4,
            ["chat.missed c1: 7", "chat.closed c1: 7", "chat.missed c2: 8", "chat.closed c2: 8"],
        ),
    ],
)
def test_whose_trace_a_decision_is_of(steps: list[tuple[Step, int]], last: int, expected: list[str]) -> None:
    decided, router = told(steps)
    assert [each for each in decided if each.split()[0] in MISSED][-last:] == expected
    assert [key for key in router.topic if key.startswith(b"context/")] == [], "no chat is live any more"


def test_a_live_chats_context_is_kept_and_other_readers_of_the_state_pass_it_over() -> None:
    _, router = told([(lambda scene: scene.ask("c/1"), 7)])
    contexts: Mapping[bytes, bytes] = {k: v for k, v in router.topic.items() if k.startswith(b"context/")}
    assert contexts == {b"context/acme/c%2F1": orjson.dumps([["traceparent", traced(7)[0][1].decode()]])}
    changelog = Changelog(Partition(0))
    with capture_logs() as logs:
        for key, value in router.topic.items():
            changelog.restore(key, value)
        changelog.restored()
    assert logs == []


def test_a_request_that_is_refused_leaves_nothing() -> None:
    scene, processor = office("ann"), RouterProcessor(0)
    scene.workspace(channels=("web",))
    scene.ask("c1", channel="line")
    for record in records_of(scene):
        outputs = list(processor.process(replace(record, headers=traced(7))))
    assert [orjson.loads(output.value or b"")["type"] for output in outputs] == ["request.refused.v1"]
    assert [key for key, _ in processor.changes() if key.startswith(b"context/")] == []
