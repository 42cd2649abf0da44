"""What people read for codes: every code that crm_sync can produce has a sentence in both languages, and no sentence stands there in vain."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from schemas.types import Language
from services.crm_sync.connectors.embedded.connector import DECLARED as EMBEDDED
from services.crm_sync.connectors.records import Limits
from services.crm_sync.connectors.vendor.site import refused_field
from services.crm_sync.connectors.zendesk_sell.connector import DECLARED as SELL
from services.crm_sync.reasons import FEED_LIMITS, SENTENCES, feed_limit, sentence
from tests.crm_sync.desk import Desk
from tests.crm_sync.material import LIMITS
from tests.transcript.company import bearer, of

PACKAGE = Path("services/crm_sync")
RAISED = frozenset(
    {"Refused", "Refusal", "NoMatch", "Unavailable", "Transient", "OutcomeUnknown", "lost", "kind"}
)
"""What is given a code first; the last two are one of the others."""
SAYING = frozenset({"no_crm", "_why_empty", "_why_not"})
"""Functions whose texts are codes."""
MADE_LATER = {
    "unknown_chat": "the router's, on a card",
    "timeout": "of services.runtime.effects",
    "lead_refused": "made of a result",
    "lead_failed": "made of a result",
    "newest_of_many": "said of what was done",
    "duplicates_detected": "Salesforce's",
    "field_custom_validation_exception": "Salesforce's",
}
OTHERWISE = {"archive_unreachable", "archive_"}
"""What the archive's failures are called in logs: nobody sees them as a reason."""


def trees() -> Iterator[ast.Module]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ast.parse(path.read_text("utf-8"))


def constants() -> dict[str, str]:
    """The package's constants that are texts."""
    return {
        target.id: node.value.value
        for tree in trees()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def texts(node: ast.expr, known: dict[str, str]) -> Iterator[str]:
    """The codes an expression can stand for; what is made at run time, as a beginning that ends in an underscore."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in known:
            yield known[name]
        case ast.IfExp(body=one, orelse=other):
            yield from texts(one, known)
            yield from texts(other, known)
        case ast.JoinedStr(values=[ast.Constant(value=str(beginning)), *_]):
            yield beginning


def names(func: ast.expr) -> set[str]:
    return {one.id for one in ast.walk(func) if isinstance(one, ast.Name)} | {
        one.attr for one in ast.walk(func) if isinstance(one, ast.Attribute)
    }


def produced() -> set[str]:
    """Every code in the package's sources."""
    known = constants()
    found: set[str] = set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and names(node.func) & RAISED and node.args:
                found.update(texts(node.args[0], known))
            if isinstance(node, ast.Call) and not names(node.func) & {"warning", "info"}:
                for given in node.keywords:
                    found.update(texts(given.value, known) if given.arg == "code" else ())
            if isinstance(node, ast.FunctionDef) and node.name in SAYING:
                for said in ast.walk(node):
                    found.update(
                        texts(said.value, known) if isinstance(said, ast.Return) and said.value else ()
                    )
    return found - OTHERWISE


def test_every_code_has_a_sentence_and_every_sentence_a_code() -> None:
    found = produced()
    assert {"record_gone", "login_refused", "not_permitted", "server_failed", "owner_unknown"} <= found
    made = {one for one in found if one.endswith("_")}
    assert made == {"refused_"}, "what is made at run time is told as it is, or stands in MADE_LATER"
    assert sorted(found - made - set(SENTENCES)) == []
    assert sorted(set(SENTENCES) - found - set(MADE_LATER)) == []


@pytest.mark.parametrize("code", sorted(SENTENCES))
def test_a_sentence_is_one_in_both_languages(code: str) -> None:
    english, japanese = sentence(code, "en"), sentence(code, "ja")
    assert english.endswith(".")
    assert english.isascii()
    assert japanese.endswith("。")
    assert re.search(r"[ぁ-ん]", japanese)
    assert code not in english + japanese


@pytest.mark.parametrize(
    ("field", "problem", "english", "japanese"),
    [
        ("/last_name", "missing", "the name: it is missing", "名前を受け付けませんでした。入力が必要です"),
        ("Email", "INVALID_EMAIL_ADDRESS", "the e-mail address: it is not valid", "メールアドレスを受け付けませんでした"),
        ("phone", "", "the phone number: it is not valid", "電話番号を"),
        ("MobilePhone", "STRING_TOO_LONG", "the phone number: it is too long", "長すぎます"),
        ("hubspot_owner_id", "INVALID_OWNER_ID", "the owner: it is not valid", "所有者を"),
        ("Company", "REQUIRED_FIELD_MISSING", "the company: it is missing", "会社を"),
        ("hs_note_body", "too_long", "the text: it is too long", "文章を"),
        ("Budget__c", "DUPLICATE_VALUE", "the field: somebody else has it", "項目を受け付けませんでした。すでに使われています"),
    ],
)  # fmt: skip
def test_a_field_is_told_with_what_is_wrong(field: str, problem: str, english: str, japanese: str) -> None:
    code = refused_field(field, problem).code
    assert english in sentence(code, "en")
    assert japanese in sentence(code, "ja")
    assert code in sentence(code, "en"), "whoever looks after the CRM knows its names"


@pytest.mark.parametrize("language", get_args(Language))
def test_what_nobody_wrote_a_sentence_for_is_told_as_it_is(language: Language) -> None:
    assert "refused_418" in sentence("refused_418", language)


def test_a_feed_that_shows_only_so_many_says_why() -> None:
    assert feed_limit(SELL.limits, "en") == (
        "Of a record's feed the latest 100 entries can be seen at once: "
        "the CRM hands out a record's notes a page at a time, the newest first."
    )
    assert "最新の100件" in feed_limit(SELL.limits, "ja")
    assert {EMBEDDED.limits.feed_limit_reason, SELL.limits.feed_limit_reason} == set(FEED_LIMITS)
    own = Limits(LIMITS.body_max, "characters", 80, 10, feed_items_max=7, feed_limit_reason="it is small")
    assert feed_limit(own, "en").endswith("the latest 7 entries can be seen at once: it is small.")


async def test_a_console_asks_for_the_sentence_of_a_report(desk: Desk) -> None:
    async def told(code: str, language: str, who: dict[str, str]) -> tuple[int, object]:
        answer = await desk.http.get(
            "/v1/acme/crm/reason", params={"code": code}, headers=who | {"accept-language": language}
        )
        return answer.status_code, answer.json()

    assert await told("phone_invalid", "ja", of("bob")) == (
        200,
        {"code": "phone_invalid", "told": "電話番号が正しくありません。", "known": True},
    )
    _status, said = await told("field_phone_invalid", "en-GB", of("ann"))
    assert said == {
        "code": "field_phone_invalid",
        "told": "The CRM does not take the phone number: it is not valid there (field_phone_invalid).",
        "known": False,
    }
    assert (await told("No code!", "en", of("ann")))[0] == 400
    assert (await told("phone_invalid", "en", bearer("visitor")))[0] == 403
    assert (await told("phone_invalid", "en", {}))[0] == 401
    assert not desk.crm.calls
