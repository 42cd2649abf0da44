"""Which record gives which mail, to whom."""

from dataclasses import replace
from typing import Any

import pytest

from schemas.notices import Letter, NoticeCrmConfigured, NoticeCrmRequested
from schemas.outcomes import CrmOwner
from services.notifier.core import RECIPIENTS_MAX, Mail, compose, digest, header_id, recipient_hash
from services.notifier.wording import PHRASES
from tests.notifier.samples import (
    RULES,
    WORKSPACE,
    agent,
    crm_settled,
    envelope,
    feedback,
    ip_blocked,
    letter,
    reply,
    transcript,
    unattended,
    visitor,
)


def mail_of(data: Any, *, event_id: str = "e1") -> Mail:
    mail = compose(envelope(data, event_id=event_id), RULES)
    assert mail is not None
    return mail


@pytest.mark.parametrize(
    ("data", "kind", "effect_id", "addresses", "link"),
    [
        (
            unattended(),
            "unattended",
            "jbswy3dpehpk3pxp",
            ["sales@example.com"],
            "https://chat.example.com/t/acme-c1-1-1797843605000",
        ),
        (ip_blocked(), "ip_blocked", "ipblocked1", ["sales@example.com"], None),
        (feedback(), "feedback", "feedback1", ["sales@example.com"], None),
        (reply(), "reply", "reply1", ["ann@example.org", "archive@example.com"], None),
        (
            transcript(),
            "transcript",
            digest("transcript", "acme", "c1", "1"),
            ["sales@example.com"],
            "https://chat.example.com/t/acme-c1-1",
        ),
        (
            crm_settled(),
            "crm_note",
            digest("crm_note", "acme", "e1"),
            ["carol@example.com"],
            "https://crm.example.com/leads/77",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_record_gives_its_mail(
    data: Any, kind: str, effect_id: str, addresses: list[str], link: str | None
) -> None:
    mail = mail_of(data)
    assert (mail.kind, mail.effect_id, mail.link) == (kind, effect_id, link)
    assert [recipient.address for recipient in mail.recipients] == addresses
    assert mail == mail_of(data)


@pytest.mark.parametrize(
    "data",
    [
        transcript(outcome="missed"),
        transcript(part=2, parts=3),
        transcript(email=replace(transcript().email, transcript=())),
        unattended(letter=Letter((), "en", "UTC")),
        unattended(letter=Letter((" , ",), "en", "UTC")),
        crm_settled(tell_owner_by_mail=False),
        crm_settled(owner=None),
        crm_settled(owner=CrmOwner("u1", "Carol")),
        NoticeCrmRequested("n", "r", "lead", "c1", agent(), visitor()),
        NoticeCrmConfigured("n", "embedded", "never", "leads_first", "newest", layouts=None),  # type: ignore[arg-type]
    ],
)
def test_what_nobody_is_to_be_told_gives_no_mail(data: Any) -> None:
    assert compose(envelope(data), RULES) is None


def test_a_record_of_another_topic_is_our_own_error() -> None:
    with pytest.raises(AssertionError):
        compose(envelope(visitor_like()), RULES)


def visitor_like() -> Any:
    class Unrelated:
        TYPE = "x"

    return Unrelated()


def test_the_first_part_of_a_long_conversation_is_mailed() -> None:
    assert mail_of(transcript(part=1, parts=3)).kind == "transcript"
    assert mail_of(transcript(outcome="handled_by_bot")).kind == "transcript"


def test_bad_addresses_are_kept_as_refused_and_doubles_are_dropped() -> None:
    to = (
        "a@example.com, nonsense",
        "A@example.com",
        "x@@y",
        "b@example.com,",
        "a b@example.com",
        "ん@例え.jp",
        "ops@mail.local",
    )
    mail = mail_of(unattended(letter=letter("en", *to)))
    assert [(each.address, each.refused) for each in mail.to] == [
        ("a@example.com", None),
        ("nonsense", "bad_address"),
        ("x@@y", "bad_address"),
        ("b@example.com", None),
        ("a b@example.com", "bad_address"),
        ("ん@例え.jp", None),
        ("ops@mail.local", None),
    ]


def test_a_newline_makes_an_address_bad() -> None:
    mail = mail_of(unattended(letter=letter("en", "a@example.com\r\nBcc: evil@example.net")))
    assert [each.refused for each in mail.to] == ["bad_address"]


def test_recipients_beyond_the_limit_are_refused_not_forgotten() -> None:
    to = tuple(f"a{number}@example.com" for number in range(RECIPIENTS_MAX + 2))
    refused = [each.refused for each in mail_of(unattended(letter=letter("en", *to))).to]
    assert refused == [None] * RECIPIENTS_MAX + ["too_many_recipients"] * 2


def test_the_hash_tells_workspaces_apart_and_holds_no_address() -> None:
    def hashed(address: str, workspace_id: str = WORKSPACE, salt: bytes = b"s") -> str:
        return recipient_hash(address, workspace_id=workspace_id, salt=salt)

    assert hashed("Ann@example.org") == hashed(" ann@example.org")
    assert (
        len(
            {
                hashed("ann@example.org"),
                hashed("ann@example.org", "other"),
                hashed("ann@example.org", salt=b"t"),
            }
        )
        == 3
    )
    assert "ann" not in hashed("ann@example.org")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("jbswy3dp", True),
        ("a.b-c_d", True),
        ("a..b", False),
        ("a.", False),
        ("a b", False),
        ("a>\r\nX: y", False),
        ("日本", False),
    ],
)
def test_only_plain_ids_stand_in_headers_as_they_are(text: str, *, kept: bool) -> None:
    assert (header_id(text) == text) is kept
    assert header_id(text).isascii()
    assert header_id(text).isprintable()


def test_both_languages_have_the_same_phrases() -> None:
    assert PHRASES["en"].keys() == PHRASES["ja"].keys()
    for key, phrase in PHRASES["en"].items():
        assert sorted(fields(phrase)) == sorted(fields(PHRASES["ja"][key])), key


def fields(phrase: str) -> list[str]:
    from string import Formatter

    return [name for _text, name, _spec, _conversion in Formatter().parse(phrase) if name]
