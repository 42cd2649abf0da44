"""Every alert provoked for real: a Prometheus with the deployed rules, a minute of which is two seconds, watches workers that are broken.

The one rule: each test breaks one thing, awaits the alerts that must follow, mends it, and awaits their end. A window of hours is
over after minutes: the ends for which nobody waits here are promtool's business (`alert_cases.py`).
"""

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from rich.console import Console
from rich.table import Table

from schemas import events as e
from schemas.topics import EVENTS, NOTICES
from services.local.partitions import partition_of
from tests.end_to_end.test_bad_day import jam, unjam
from tests.faults.effect_workers import encoded
from tests.faults.test_mail import notices
from tests.notifier.sink import Sink
from tests.ops.test_alerts import ALERTS
from tests.ops.test_dashboards import queries
from tests.ops.watched import PARKED_MAX, PARTITIONS, WORKERS, Watched, repeated

pytestmark = [pytest.mark.ops, pytest.mark.kafka, pytest.mark.timeout(600)]

WORKSPACES = list(
    {partition_of(name, partitions=PARTITIONS): name for name in map("w-{}".format, range(60))}.values()
)
"""One for each partition."""
NOT_PROVOKED = {"DeadlinesLate"}
"""It needs a router that decides for 10 s without its ticks: only promtool has seen it fire."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with Watched(tmp_path_factory.mktemp("watched")) as watched:
        yield watched


@pytest.fixture
def watched(service: Watched) -> Watched:
    service.tend()
    return service


def requests(count: int, *, workspace_id: str | None = None) -> list[tuple[str, bytes]]:
    """Records of new chats, for one workspace or for one of each partition in turn."""
    return [
        (name := workspace_id or WORKSPACES[number % PARTITIONS], encoded(asked(), name, uuid4().hex))
        for number in range(count)
    ]


def asked() -> e.ChatRequested:
    return e.ChatRequested(chat_id=uuid4().hex, channel="web", question="?", visitor=e.Visitor("v"))


def poison(count: int) -> list[tuple[str, bytes]]:
    """Records nobody can read."""
    return [(WORKSPACES[number % PARTITIONS], b'{"nobody reads this') for number in range(count)]


async def expire(bootstrap: str, topic: str) -> None:
    """Delete all records of a topic, as its retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        everything = RecordsToDelete(before_offset=-1)
        await admin.delete_records(
            {TopicPartition(topic, number): everything for number in range(PARTITIONS)}
        )
    finally:
        await admin.close()


async def join_for_a_moment(bootstrap: str, group: str) -> None:
    """Be a member of a group that one does not belong to, and leave."""
    stranger = AIOKafkaConsumer(
        EVENTS,
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        partition_assignment_strategy=(RangePartitionAssignor,),
    )
    await stranger.start()
    await stranger.stop()


def test_nothing_fires_while_all_is_well(watched: Watched) -> None:
    watched.seen("chat:decisions_late:ratio_rate3d")
    watched.quiet()


def test_a_workspace_whose_agents_are_not_there(watched: Watched) -> None:
    """Every request waits for nobody, and is missed after a while."""
    name = WORKSPACES[0]
    routing = e.Routing(wait_timeout_s=25.0)
    setting = e.DepartmentConfigured(department_id=name, name="Desk", agent_ids=("ann",), routing=routing)
    watched.publish(EVENTS, [(name, encoded(setting, name, uuid4().hex))])
    with (
        repeated(lambda: watched.publish(EVENTS, requests(2, workspace_id=name)), every_s=1.0),
        watched.alerted(
            "visitors come, and no agent is there",
            "NobodyAvailable",
            "LongestWait",
            "MissedShare",
            "ServiceLevelLow",
        ),
    ):
        pass
    watched.resolved("NobodyAvailable", "LongestWait")


def test_a_router_that_is_away_and_comes_back(watched: Watched) -> None:
    bootstrap = watched.installation.bootstrap
    with watched.alerted("kill -9 of the router", "WorkerDown"):
        watched.kill("router")
    watched.publish(EVENTS, requests(100))
    watched.seen('max_over_time(up{worker="router"}[15s]) == 0')
    watched.seen(f'sum(chat_archive_lag_records{{topic="{EVENTS}"}}) == 0')
    asyncio.run(expire(bootstrap, EVENTS))
    watched.publish(EVENTS, requests(400))
    with watched.alerted(
        "the router starts after 20 s; meanwhile retention has deleted what was first",
        "RecordsExpired",
        "DecisionsLate",
        "DecisionsOftenLate",
    ):
        watched.start("router")
    watched.resolved("WorkerDown", "DecisionsLate")


def test_a_worker_nobody_asks_for(watched: Watched) -> None:
    with watched.alerted("crm_sync is not among Prometheus' targets", "WorkerMissing"):
        watched.watch("router", "notifier", "transcript")
    watched.watch(*WORKERS)
    watched.resolved("WorkerMissing")


def test_a_broker_that_stands_still(watched: Watched) -> None:
    with (
        watched.alerted(
            "the broker stands still (SIGSTOP)", "TicksFail", "PartitionsNotRunning", "WorkFails"
        ),
        watched.kafka_standing_still(),
    ):
        watched.seen('ALERTS{alertname="PartitionsNotRunning", alertstate="firing"}')
        watched.seen('ALERTS{alertname="TicksFail", alertstate="firing"}')
    watched.resolved("TicksFail", "PartitionsNotRunning", "WorkFails")


def test_a_router_that_hardly_gets_the_processor(watched: Watched) -> None:
    with (
        watched.slowed("router", runs_s=0.3, stands_s=0.9),
        watched.alerted("the router stands still three quarters of the time", "EventLoopLate"),
    ):
        pass
    watched.resolved("EventLoopLate")


def test_a_stranger_in_the_group(watched: Watched) -> None:
    bootstrap = watched.installation.bootstrap
    with (
        repeated(lambda: asyncio.run(join_for_a_moment(bootstrap, "chat-router")), every_s=0.5),
        watched.alerted("a stranger joins the router's group again and again", "RebalancesOften"),
    ):
        pass
    watched.resolved("RebalancesOften")


def test_a_mail_server_that_is_away(watched: Watched) -> None:
    count = iter(range(1_000))

    def send() -> None:
        watched.publish(NOTICES, notices(WORKSPACES, 10, stem=f"away-{next(count)}-"))

    with (
        watched.alerted(
            f"the mail server is stopped; {PARKED_MAX} records may wait for it",
            "CircuitOpen",
            "EffectsOverdue",
            "LagGrows",
            "PartitionStalled",
        ),
        repeated(send, every_s=1.0),
    ):
        watched.stop_mail()
        watched.seen('ALERTS{alertname="LagGrows", alertstate="firing"}')
    watched.start_mail()
    watched.resolved("CircuitOpen", "EffectsOverdue", "LagGrows", "PartitionStalled")


def test_a_mail_server_that_hangs_up_before_it_answers(watched: Watched) -> None:
    """So nobody knows whether it has taken the mail: it is sent again, and given up after some times."""
    count = iter(range(1_000))

    def send() -> None:
        watched.publish(NOTICES, notices(WORKSPACES, 20, stem=f"doubled-{next(count)}-"))

    watched.stop_mail()
    with (
        watched.sink(Sink(drop_after_data=100_000)),
        watched.alerted(
            "the mail server takes mails and hangs up without an answer",
            "EffectsLostOrDoubled",
            "EffectsOftenLostOrDoubled",
        ),
        repeated(send, every_s=1.0),
    ):
        watched.seen('ALERTS{alertname="EffectsLostOrDoubled", alertstate="firing"}')
    watched.start_mail()
    watched.resolved("EffectsLostOrDoubled")


def test_records_nobody_can_read(watched: Watched) -> None:
    name = WORKSPACES[0]
    newer = encoded(asked(), name, "newer").replace(b"chat.requested.v1", b"chat.imagined.v1")
    with watched.alerted(
        "a flood of poison, and a record of a type to come",
        "DeadLetters",
        "UnknownTypes",
        "ArchiveUnreadable",
    ):
        watched.publish(EVENTS, [*poison(100), (name, newer)])
    watched.resolved("DeadLetters", "UnknownTypes", "ArchiveUnreadable")


def test_an_archive_that_takes_nothing(watched: Watched) -> None:
    database = watched.database("archive.db")
    with watched.alerted("each write to the archive's database fails", "ArchiveFails", "ArchiveBehind"):
        jam(database)
        watched.publish(EVENTS, requests(1_500, workspace_id=WORKSPACES[3]))
    unjam(database)
    watched.resolved("ArchiveFails", "ArchiveBehind")


def test_a_router_that_keeps_its_books_badly(watched: Watched) -> None:
    name = WORKSPACES[1]
    routing = e.Routing(wait_timeout_s=2.0)
    setting = e.DepartmentConfigured(department_id=name, name="Desk", agent_ids=("ann",), routing=routing)
    watched.publish(EVENTS, [(name, encoded(setting, name, uuid4().hex))])
    watched.kill("router")
    with (
        repeated(lambda: watched.publish(EVENTS, requests(1, workspace_id=name)), every_s=1.0),
        watched.alerted(
            "a router with a bug: it counts no arrivals and no waits", "ChatsUnaccounted", "LittlesLawOff"
        ),
    ):
        watched.start("router", module="tests.ops.wrong_router")
    watched.kill("router")
    watched.start("router")
    watched.resolved("ChatsUnaccounted", "LittlesLawOff")


def test_every_panel_shows_data(watched: Watched) -> None:
    """After all that, and a day on which all happens that can: each query of each panel, over that time."""
    watched.play(chats=300, seed=3, seconds=20)
    asked = {(board, panel, target["expr"]) for board, panel, target in queries()}
    empty = {(board, panel) for board, panel, query in asked if not watched.shows(query)}
    assert empty == set()


def test_each_alert_was_provoked(watched: Watched) -> None:
    table = Table(
        "alert", "how", "fires after", "over after", title="alerts provoked; a minute of the rules took 2 s"
    )
    for name, each in watched.provoked.items():
        over = "not awaited" if each.resolved_s is None else f"{each.resolved_s:.0f} s"
        table.add_row(name, each.how, f"{each.firing_s:.0f} s", over)
    Console(width=140).print(table)
    assert watched.provoked.keys() | NOT_PROVOKED == ALERTS.keys()
