"""Any day, however odd: nothing raises, the invariants hold, folding gives the state, and a run is repeatable."""

import pytest
from hypothesis import HealthCheck, given, settings

from schemas.events import Event
from schemas.notices import Notice
from services.router.changelog import Changelog
from services.router.core.fold import differences
from services.router.core.invariants import Checker, Recorded
from services.router.core.partition import Partition
from tests.router.happenings import Happening, days, play, with_cause
from tests.router.scenes import Scene, decided, run_again

thorough = settings(
    max_examples=400, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)


def checker_of(scene: Scene) -> Checker:
    recorded = [Recorded(with_cause(item), item.id, item.at_ms, item.workspace_id) for item in scene.emitted]
    checker = Checker(
        0,
        decisions=[item for item in recorded if not isinstance(item.data, Notice)],
        notices=[item for item in recorded if isinstance(item.data, Notice)],
        exact=not scene.ticks,
    )
    for entry in scene.entries:
        checker.enter(entry)
    return checker


def state_of(partition: Partition) -> dict[bytes, bytes]:
    return dict(Changelog(partition).everything())


def changed_by(scene: Scene, said: Event) -> tuple[list[str], set[bytes]]:
    """What followed from an event, and the keys of the stored records it changed; that it was seen does not count."""
    before = state_of(scene.partition)
    heard = scene.say(said)
    after = state_of(scene.partition)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    return heard, {key for key in changed if not key.startswith(b"seen/")}


REFUSALS_ONLY = {b"counts/acme/"}
"""What a refusal changes: the number of decisions."""


@pytest.mark.parametrize("ticks", [False, True], ids=["exact", "ticks"])
@thorough
@given(day=days)
def test_any_day_keeps_the_invariants(ticks: bool, day: list[Happening]) -> None:
    scene = play(Scene(ticks=ticks), day)
    checker = checker_of(scene)

    assert checker.finish(None if ticks else scene.now_ms) == []
    assert differences(checker.fold.partition, scene.partition) == []
    assert state_of(checker.fold.partition) == state_of(scene.partition)
    assert decided(scene) == run_again(scene)
