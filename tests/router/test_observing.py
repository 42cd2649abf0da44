"""What the worker's processor and observer bring to the metrics, over records as they stand in Kafka."""

from functools import partial

from services.router.core.figures import Figures
from services.router.core.names import Names
from services.router.observing import Observer
from services.router.processor import RouterProcessor
from services.runtime.metrics import Metrics
from tests.router.scenes import Scene
from tests.router.test_changelog import records_of


def told(scene: Scene) -> Metrics:
    metrics, observe = Metrics(), Observer()
    names = Names(workspaces_max=1, departments_max=2)
    processor = RouterProcessor(0, figures=partial(Figures, names=names, within_ms=30_000))
    processor.restored()
    for record in records_of(scene):
        list(processor.process(record))
    list(processor.changes())
    observe(0, processor, metrics)
    return metrics


def test_a_bots_chat_arrives_though_nothing_is_decided_about_it() -> None:
    scene = Scene(ticks=True)
    scene.workspace()
    scene.department("ann")
    assert scene.ask("c1", bot="bot") == []
    metrics = told(scene)
    labels = {"workspace": "acme", "department": "office"}
    assert metrics.value("chats_arrived_total", **labels) == 1
    assert metrics.value("chats_live", **labels, phase="bot") == 1
    assert metrics.value("chats_unaccounted") == 0


def test_an_answered_chat_is_in_every_figure() -> None:
    scene = Scene(ticks=True)
    scene.workspace()
    scene.department("ann", "bob", offer_timeout_s=0.0)
    scene.agents("ann", max_chats=4)
    scene.ask("c1")
    scene.beat(12)
    scene.accept("ann", "c1")
    scene.beat(1)
    metrics = told(scene)
    labels = {"workspace": "acme", "department": "office"}
    assert metrics.value("answer_seconds_sum", **labels) == 12
    assert metrics.value("agent_waits_total", **labels, result="answered", within="yes") == 1
    assert metrics.value("offers_total", **labels, result="accepted") == 1
    assert metrics.value("waiting_chats", **labels) == 0
    assert metrics.value("agents_available", **labels) == 1
    assert metrics.value("agent_load", workspace="acme") == 1
    assert metrics.value("agent_capacity", workspace="acme") == 4
    assert metrics.value("queue_wait_seconds_total") == metrics.value("queue_chat_seconds_total") == 12
    assert metrics.value("service_level_seconds") == 30
    assert metrics.value("deadline_lag_seconds", partition="0") is not None
    assert b'"ann"' not in metrics.render(), "no person is named"
