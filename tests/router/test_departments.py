"""Which department takes a chat: default, private, disabled, deleted, overflow chains, opening hours."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from schemas import decisions as d
from schemas import events as e
from services.router.core.hours import is_open
from tests.router.scenes import Scene, office

NEVER = e.Hours()


def noted(scene: Scene) -> tuple[str, ...]:
    return scene.last(d.ChatOffered).why.notes


def two_departments(**sales: object) -> Scene:
    """The default department with dan, and sales with ann."""
    scene = Scene()
    scene.department("dan", id="acme")
    scene.department("ann", id="sales", **sales)  # type: ignore[arg-type]
    scene.agents("ann", "dan")
    return scene


def test_a_workspace_begins_with_one_department_named_after_it() -> None:
    scene = Scene()
    assert scene.ask("c1", None) == ["queued c1 in acme at 1"]
    scene.leave("c1")
    assert scene.last(d.ChatClosed).department == d.DepartmentRef("acme", "acme")
    scene.workspace(name="Acme Ltd")
    assert scene.office("acme").settings.name == "Acme Ltd"


def test_a_configured_default_department_keeps_its_name() -> None:
    scene = Scene()
    scene.department("ann", id="acme")
    scene.workspace(name="Acme Ltd")
    assert scene.office("acme").settings.name == "Acme"
    assert scene.office("acme").settings.agent_ids == ("ann",)


def test_without_a_wish_the_default_department_takes_it() -> None:
    scene = two_departments()
    assert scene.ask("c1", None) == ["offered c1 to dan"]
    assert noted(scene) == ()


@pytest.mark.parametrize(
    ("spoil", "wanted", "note"),
    [
        (None, "nowhere", "default: the department asked for is unknown"),
        (e.DepartmentConfigured("sales", "Sales", agent_ids=("ann",), enabled=False), "sales", "disabled"),
        (e.DepartmentConfigured("sales", "Sales", "", "private", agent_ids=("ann",)), "sales", "private"),
        (e.DepartmentDeleted("sales"), "sales", "deleted"),
    ],
)
def test_a_department_that_cannot_be_asked_for_means_the_default(
    spoil: e.Event | None, wanted: str, note: str
) -> None:
    scene = two_departments()
    if spoil is not None:
        assert scene.say(spoil) == []
    assert scene.ask("c1", wanted) == ["offered c1 to dan"]
    assert note in noted(scene)[0]


def test_with_the_default_disabled_it_is_missed() -> None:
    scene = two_departments()
    scene.department("dan", id="acme", enabled=False)
    assert scene.ask("c1", None) == ["missed c1: no_reply/department_unavailable", "closed c1: missed"]
    assert scene.ask("c2", "nowhere") == ["missed c2: no_reply/department_unavailable", "closed c2: missed"]
    assert scene.ask("c3", "sales") == ["offered c3 to ann"]


@pytest.mark.parametrize("how", ["disabled", "deleted"])
def test_closing_a_department_moves_what_waits_and_leaves_owned_chats(how: str) -> None:
    scene = two_departments()
    scene.served("ann", "c1", department_id="sales")
    scene.ask("c2", "sales")
    closing: e.Event = e.DepartmentDeleted("sales")
    if how == "disabled":
        closing = e.DepartmentConfigured("sales", "Sales", agent_ids=("ann",), enabled=False)
    assert scene.say(closing) == ["withdrawn c2 from ann: department_changed", "offered c2 to dan"]
    assert scene.chat("c1").owner_id == "ann"
    assert scene.chat("c2").department_id == "acme"


def test_disabling_the_default_misses_what_waits_there() -> None:
    scene = two_departments()
    scene.ask("c1", None)
    assert scene.department("dan", id="acme", enabled=False) == [
        "withdrawn c1 from dan: department_changed",
        "missed c1: no_reply/department_unavailable",
        "closed c1: missed",
    ]


def test_a_bots_chat_of_a_closed_department_belongs_to_the_default() -> None:
    scene = two_departments()
    scene.ask("c1", "sales", bot="bot")
    scene.say(e.DepartmentDeleted("sales"))
    assert scene.transfer("c1") == ["offered c1 to dan"]


def test_a_deleted_department_may_name_an_agent_twice_and_come_back() -> None:
    scene = office()
    scene.department("ann", "ann", id="sales")
    scene.agents("ann")
    assert scene.say(e.DepartmentDeleted("sales")) == []
    assert scene.say(e.DepartmentDeleted("sales")) == []
    scene.department("ann", "ann", id="sales")
    assert scene.ask("c1", "sales") == ["offered c1 to ann"]


def test_a_chat_whose_department_went_away_goes_on_in_the_default() -> None:
    scene = two_departments(offline_grace_s=5.0)
    scene.served("ann", "c1", department_id="sales")
    scene.say(e.DepartmentDeleted("sales"))
    scene.presence("ann", "offline")
    assert scene.wait(5) == ["unassigned c1 from ann: agent_offline", "offered c1 to dan"]


def test_an_unanswered_chat_that_no_department_can_take_back_is_missed() -> None:
    scene = two_departments(first_reply_timeout_s=30.0)
    scene.ask("c1", "sales")
    scene.accept("ann", "c1")
    scene.department("dan", id="acme", enabled=False)
    scene.say(e.DepartmentDeleted("sales"))
    assert scene.wait(30) == [
        "unassigned c1 from ann: no_first_reply",
        "missed c1: no_agent_message",
        "closed c1: missed",
    ]


def test_what_waits_in_a_closed_department_moves_whatever_the_queue_and_hours_of_the_default() -> None:
    scene = Scene()
    scene.department("dan", id="acme", max_queue=1, hours=NEVER, overflow_department_id="other")
    scene.department("eve", id="other")
    scene.department(id="sales")
    scene.agents("dan", "eve")
    scene.ask("c1", "sales")
    scene.ask("c2", "sales")
    assert scene.say(e.DepartmentDeleted("sales")) == ["offered c1 to dan", "offered c2 to dan"]
    assert noted(scene) == ("default: sales is deleted",)


def test_a_chat_its_bot_kept_after_it_was_missed_stays_with_its_department() -> None:
    scene = two_departments()
    scene.ask("c1", "sales", bot="bot")
    scene.write("bot", "c1", "bot")
    scene.presence("ann", "offline")
    assert scene.transfer("c1") == [
        "transfer of c1 failed: no_agent_available",
        "missed c1: transfer_not_attended",
    ]
    scene.say(e.DepartmentDeleted("sales"))
    scene.leave("c1")
    assert scene.last(d.ChatClosed).department.id == "sales"


def test_a_deleted_department_is_forgotten_once_no_chat_is_in_it() -> None:
    scene = two_departments()
    scene.department(id="old")
    scene.department(id="older")
    scene.ask("c1", "old")
    scene.say(e.DepartmentDeleted("older"))
    scene.say(e.DepartmentDeleted("old"))
    assert [*scene.ws.departments] == [*scene.ws.rotas] == ["acme", "sales", "old"]
    scene.department(id="old")
    assert scene.ws.departments["old"].open
    scene.served("ann", "c2", department_id="sales")
    for department_id in ("sales", "old"):
        scene.say(e.DepartmentDeleted(department_id))
    assert [*scene.ws.departments] == [*scene.ws.indexes] == ["acme", "sales", "old"], "Ann has c2 still"
    scene.leave("c2")
    scene.wait(24 * 3600)
    scene.department(id="new")
    scene.say(e.DepartmentDeleted("new"))
    assert [*scene.ws.departments] == [*scene.ws.mail_plans] == ["acme", "new"]


# ---------------------------------------------------------------- overflow


def chain(*names: str, **last: object) -> Scene:
    """Departments without anybody, each overflowing into the next; the last one has ann."""
    scene = Scene()
    for name, following in pairwise(names):
        scene.department(id=name, overflow_department_id=following)
    scene.department("ann", id=names[-1], **last)  # type: ignore[arg-type]
    scene.agents("ann")
    return scene


def test_with_nobody_online_it_overflows() -> None:
    scene = chain("a", "b")
    assert scene.ask("c1", "a") == ["offered c1 to ann"]
    assert noted(scene) == ("overflow from a: nobody_online",)


def test_a_full_queue_or_closed_hours_overflow_too() -> None:
    scene = chain("a", "b")
    scene.agents("bob", max_chats=0)
    scene.department("bob", id="a", overflow_department_id="b", max_queue=1)
    assert scene.ask("c1", "a") == ["queued c1 in a at 1"]
    assert scene.ask("c2", "a") == ["offered c2 to ann"]
    assert noted(scene) == ("overflow from a: queue_full",)
    scene.department("bob", id="a", overflow_department_id="b", hours=NEVER)
    assert scene.ask("c3", "a") == ["offered c3 to ann"]
    assert noted(scene) == ("overflow from a: after_hours",)


def test_chains_have_at_most_three_links() -> None:
    assert chain("a", "b", "c", "d").ask("c1", "a") == ["offered c1 to ann"]
    assert chain("a", "b", "c", "d", "e").ask("c1", "a") == ["queued c1 in a at 1"]


def test_loops_lead_nowhere() -> None:
    scene = chain("a", "b")
    scene.presence("ann", "offline")
    scene.department("ann", id="b", overflow_department_id="a")
    assert scene.ask("c1", "a") == ["queued c1 in a at 1"]
    scene.department(id="a", overflow_department_id="a")
    assert scene.ask("c2", "a") == ["queued c2 in a at 2"]


def test_a_disabled_target_is_no_way_out() -> None:
    scene = chain("a", "b", enabled=False)
    assert scene.ask("c1", "a") == ["queued c1 in a at 1"]


def test_after_hours_may_queue() -> None:
    scene = office("ann", after_hours="queue")
    scene.department("ann", after_hours="queue", hours=NEVER)
    assert scene.ask("c1") == ["offered c1 to ann"]


def test_max_queue_counts_rung_chats_and_zero_is_no_limit() -> None:
    scene = office("ann", max_queue=2)
    scene.ask("c1")
    scene.ask("c2")
    assert scene.ask("c3") == ["missed c3: no_reply/queue_full", "closed c3: missed"]
    scene.accept("ann", "c1")
    assert scene.ask("c4") == ["offered c4 to ann"]


@pytest.mark.parametrize(
    ("start_private", "heard"), [(False, "queued c1 in a at 1"), (True, "offered c1 to ann")]
)
def test_no_chain_leads_into_a_private_department_but_from_another(start_private: bool, heard: str) -> None:
    scene = chain("a", "b", private=True)
    scene.department(id="a", private=start_private, overflow_department_id="b")
    scene.ask("c1", None, bot="bot")
    assert scene.transfer("c1", "a") == [heard]


# ---------------------------------------------------------------- hours

NIGHT = e.Hours((e.Span("mon", "22:00", "02:00"),), ("2026-11-30",))
BERLIN_NIGHT = e.Hours((e.Span("sun", "01:30", "03:30"),))
ROUND_THE_CLOCK = e.Hours((e.Span("mon", "09:00", "09:00"),))
OFFICE_DAY = e.Hours((e.Span("mon", "09:00", "12:00"), e.Span("mon", "13:00", "18:00")))


@pytest.mark.parametrize(
    ("hours", "zone", "moment", "expected"),
    [
        (None, "UTC", "2026-11-23T03:00", True),
        (NEVER, "UTC", "2026-11-23T12:00", False),
        (OFFICE_DAY, "UTC", "2026-11-23T08:59", False),
        (OFFICE_DAY, "UTC", "2026-11-23T09:00", True),
        (OFFICE_DAY, "UTC", "2026-11-23T12:00", False),
        (OFFICE_DAY, "UTC", "2026-11-23T13:00", True),
        (OFFICE_DAY, "UTC", "2026-11-24T10:00", False),
        (OFFICE_DAY, "Asia/Tokyo", "2026-11-23T00:00", True),
        (OFFICE_DAY, "Asia/Tokyo", "2026-11-23T10:00", False),
        (NIGHT, "UTC", "2026-11-23T21:59", False),
        (NIGHT, "UTC", "2026-11-23T23:59", True),
        (NIGHT, "UTC", "2026-11-24T01:59", True),
        (NIGHT, "UTC", "2026-11-24T02:00", False),
        (NIGHT, "UTC", "2026-11-23T01:00", False),
        (NIGHT, "UTC", "2026-11-30T23:00", False),
        (NIGHT, "UTC", "2026-12-01T01:00", False),
        (ROUND_THE_CLOCK, "UTC", "2026-11-24T08:59", True),
        (ROUND_THE_CLOCK, "UTC", "2026-11-24T09:00", False),
        # Clocks go forward in Berlin on 2026-03-29: 02:00 becomes 03:00 at 01:00 UTC.
        (BERLIN_NIGHT, "Europe/Berlin", "2026-03-29T00:29", False),
        (BERLIN_NIGHT, "Europe/Berlin", "2026-03-29T00:30", True),
        (BERLIN_NIGHT, "Europe/Berlin", "2026-03-29T01:29", True),
        (BERLIN_NIGHT, "Europe/Berlin", "2026-03-29T01:30", False),
        # And back on 2026-10-25: 03:00 becomes 02:00 at 01:00 UTC, the hour from two comes twice.
        (BERLIN_NIGHT, "Europe/Berlin", "2026-10-24T23:30", True),
        (BERLIN_NIGHT, "Europe/Berlin", "2026-10-25T00:30", True),
        (BERLIN_NIGHT, "Europe/Berlin", "2026-10-25T01:30", True),
        (BERLIN_NIGHT, "Europe/Berlin", "2026-10-25T02:30", False),
    ],
)
def test_hours(hours: e.Hours | None, zone: str, moment: str, expected: bool) -> None:
    at_ms = round(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)
    assert is_open(hours, timezone=zone, at_ms=at_ms) is expected


def test_a_departments_hours_go_before_the_workspaces() -> None:
    scene = Scene()
    scene.workspace(hours=NEVER)
    scene.department("ann")
    scene.agents("ann")
    assert scene.ask("c1") == ["missed c1: no_reply/after_hours", "closed c1: missed"]
    scene.department("ann", hours=OFFICE_DAY)
    assert scene.ask("c2") == ["offered c2 to ann"]
    scene.leave("c2")
    scene.at(3 * 3600)
    assert scene.ask("c3") == ["missed c3: no_reply/after_hours", "closed c3: missed"]
    scene.workspace(timezone="Etc/GMT-4", hours=NEVER)
    assert scene.ask("c4") == ["offered c4 to ann"], "16:00 in the workspace's zone"
