"""What may have to be mailed: unattended, feedback and block notices by the department's switches, CRM settings."""

import pytest

from schemas import decisions as d
from schemas import events as e
from schemas import notices as n
from services.router.core.blocking import NETWORKS_MAX
from tests.router.scenes import Scene

DESK = e.MailSwitch(True, " desk@acme.test, boss@acme.test ,, desk@acme.test")
BOTH = ("desk@acme.test", "boss@acme.test")
OFF = (
    e.MailSwitch(),
    e.MailSwitch(False, "desk@acme.test"),
    e.MailSwitch(True, ""),
    e.MailSwitch(True, " , "),
)


def desk(**email: object) -> Scene:
    scene = Scene()
    scene.workspace(language="ja", timezone="Asia/Tokyo", sender="chat@acme.test")
    scene.department("ann", email=e.EmailSettings(**email))  # type: ignore[arg-type]
    scene.agents("ann", email="ann@acme.test", status="offline")
    return scene


def test_the_unattended_notice_follows_the_missed_chat_and_holds_the_whole_mail() -> None:
    scene = desk(unattended=DESK, digest_s=300.0)
    scene.ask("c1", channel="line", email="v@example.test")
    assert scene.at(30).leave("c1") == [
        "missed c1: visitor_left",
        "notice.unattended c1",
        "closed c1: missed",
    ]
    notice = scene.last(n.NoticeUnattended)
    assert notice.letter == n.Letter(BOTH, "ja", "Asia/Tokyo", "chat@acme.test")
    assert (notice.channel, notice.question, notice.visitor.email) == ("line", "How?", "v@example.test")
    assert (notice.reason, notice.tag, notice.revision) == ("visitor_left", "unattended", 1)
    assert notice.requested_at == "2026-11-23T09:00:00.000Z"
    assert notice.missed_at == "2026-11-23T09:00:30.000Z"
    assert (notice.reply_by_email, notice.digest_s) == (True, 300.0)
    assert len(notice.notice_id) == 26


def test_a_departments_language_and_sender_go_before_the_workspaces() -> None:
    scene = desk(unattended=DESK, language="en", from_address="sales@acme.test")
    scene.ask("c1")
    scene.leave("c1")
    letter = scene.last(n.NoticeUnattended).letter
    assert (letter.language, letter.from_address) == ("en", "sales@acme.test")


@pytest.mark.parametrize("switch", OFF)
def test_what_is_off_or_has_no_address_sends_nothing(switch: e.MailSwitch) -> None:
    scene = desk(unattended=switch, feedback=switch, ip_blocked=switch)
    scene.ask("c1")
    scene.leave("c1")
    scene.say(e.ChatFeedback("c1", 5))
    scene.say(e.VisitorIpBlocked("10.0.0.1/32", "ann", "office"))
    assert not [item for item in scene.emitted if isinstance(item.data, n.Notice)]


def test_feedback_is_about_the_last_owner_unless_it_names_another() -> None:
    scene = desk(feedback=DESK)
    scene.presence("ann", "online")
    scene.agent("bob")
    scene.served("ann", "c1")
    scene.leave("c1")
    assert scene.say(e.ChatFeedback("c1", 4, "Nice.")) == ["notice.feedback c1"]
    notice = scene.last(n.NoticeFeedback)
    assert notice.agent == d.AgentCard("ann", "Ann", "ann@acme.test")
    assert (notice.rating, notice.comment, notice.letter.to) == (4, "Nice.", BOTH)
    scene.say(e.ChatFeedback("c1", 1, agent_id="bob"))
    assert scene.last(n.NoticeFeedback).agent == d.AgentCard("bob", "Bob")
    assert scene.say(e.ChatFeedback("c9", 1)) == ["refused: unknown_chat"]


def test_feedback_on_a_chat_nobody_owned_names_nobody() -> None:
    scene = desk(feedback=DESK)
    scene.ask("c1")
    scene.say(e.ChatFeedback("c1", 1))
    assert scene.last(n.NoticeFeedback).agent is None


def test_a_block_is_told_once_and_keeps_its_visitors_out() -> None:
    scene = desk(ip_blocked=DESK)
    scene.ask("c1", ip="10.1.2.3")
    assert scene.say(e.VisitorIpBlocked("10.0.0.0/8", "ann", chat_id="c1")) == [
        "notice.ip_blocked 10.0.0.0/8"
    ]
    notice = scene.last(n.NoticeIpBlocked)
    assert (notice.department.id, notice.agent.id, notice.chat_id) == ("office", "ann", "c1")
    assert notice.visitor is not None
    assert notice.visitor.ip == "10.1.2.3"
    assert scene.say(e.VisitorIpBlocked("10.0.0.0/8", "ann", chat_id="c1")) == []
    assert scene.chat("c1").live, "a chat that goes on is not ended by a block"
    for ip in ("10.255.0.1", " 10.0.0.1 "):
        assert scene.ask("c2", ip=ip) == ["refused: visitor_blocked"]
    for number, free in enumerate(("11.0.0.1", "::1", "fe80::1%eth0", "no address", None), start=3):
        assert scene.ask(f"c{number}", ip=free)[0].startswith("queued")
    assert scene.say(e.VisitorIpUnblocked("10.0.0.0/8", "ann")) == []
    assert scene.ask("c9", ip="10.0.0.1")[0].startswith("queued")


def test_the_department_of_a_block_picks_its_mail_settings() -> None:
    scene = desk(ip_blocked=DESK)
    assert scene.say(e.VisitorIpBlocked("10.0.0.1/32", "ann", "office")) == ["notice.ip_blocked 10.0.0.1/32"]
    assert scene.say(e.VisitorIpBlocked("10.0.0.2/32", "ann")) == [], "the default one wants no mail"
    assert scene.say(e.VisitorIpBlocked("10.0.0.3/32", "ann", "nowhere")) == []
    assert scene.ask("c1", ip="10.0.0.2") == ["refused: visitor_blocked"]


def test_single_ipv6_addresses_are_blocked_too() -> None:
    scene = desk()
    scene.say(e.VisitorIpBlocked("2001:db8::/32", "ann"))
    scene.say(e.VisitorIpBlocked("10.0.0.1/32", "ann"))
    assert scene.ask("c1", ip="2001:db8::7") == ["refused: visitor_blocked"]
    assert scene.ask("c2", ip="2001:db9::7")[0].startswith("queued")


def test_an_ipv4_address_written_as_ipv6_is_the_same_address() -> None:
    scene = desk()
    scene.say(e.VisitorIpBlocked("10.0.0.0/8", "ann"))
    assert scene.ask("c1", ip="::ffff:10.0.0.1") == ["refused: visitor_blocked"]
    assert scene.ask("c2", ip="::ffff:11.0.0.1")[0].startswith("queued")


def test_only_agents_block_and_unblock() -> None:
    scene = desk()
    assert scene.say(e.VisitorIpBlocked("10.0.0.1/32", "nobody")) == ["refused: unknown_agent"]
    assert scene.ask("c1", ip="10.0.0.1")[0].startswith("queued")
    scene.say(e.VisitorIpBlocked("10.0.0.1/32", "ann"))
    assert scene.say(e.VisitorIpUnblocked("10.0.0.1/32", "nobody")) == ["refused: unknown_agent"]
    assert scene.ask("c2", ip="10.0.0.1") == ["refused: visitor_blocked"]


def test_the_number_of_blocks_is_limited() -> None:
    scene = desk()
    for number in range(NETWORKS_MAX):
        assert scene.say(e.VisitorIpBlocked(f"10.0.{number >> 8}.{number & 255}/32", "ann")) == []
    assert scene.say(e.VisitorIpBlocked("11.0.0.1/32", "ann")) == ["refused: limit_exceeded"]
    assert scene.say(e.VisitorIpBlocked("10.0.0.0/32", "ann")) == []
    scene.say(e.VisitorIpUnblocked("10.0.0.0/32", "ann"))
    assert scene.say(e.VisitorIpBlocked("11.0.0.1/32", "ann")) == []


def test_crm_settings_are_passed_on_whole() -> None:
    scene = desk()
    settings = e.CrmConfigured("embedded", "always", pool=("ann",), layouts=e.Layouts(lead=("name",)))
    assert scene.say(settings) == ["notice.crm_configured"]
    notice = scene.last(n.NoticeCrmConfigured)
    assert (notice.connector, notice.lead_policy, notice.pool) == ("embedded", "always", ("ann",))
    assert notice.layouts.lead == ("name",)
