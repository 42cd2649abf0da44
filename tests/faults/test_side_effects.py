"""The judge of side effects: what it must not let pass."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from schemas.outcomes import CrmRecord, CrmSettled
from tests.faults.crm_server import CrmServer
from tests.faults.side_effects import SideEffects

FILED = CrmSettled(kind="activity", result="done", record=CrmRecord("activity", "a1"))
RIGHT = SideEffects(
    recipients={"n1.unattended": 2},
    arrived=Counter({"n1.unattended": 1}),
    delivered=Counter({"n1.unattended": 2}),
    owed=frozenset({"c1"}),
    outcomes={"c1": FILED},
)


def wrong(effects: SideEffects, *activities: str, leads: tuple[tuple[str, str], ...] = ()) -> list[str]:
    crm = CrmServer()
    crm.activities["sakura"] += activities
    crm.leads["sakura"] += leads
    return list(effects.wrong(crm))


def test_what_is_done_once_is_right() -> None:
    assert wrong(RIGHT, "a1", leads=(("l1", "v@example.com"),)) == []
    assert RIGHT.missing == set()


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"arrived": Counter()}, {"n1.unattended"}),
        ({"delivered": Counter({"n1.unattended": 1})}, {"n1.unattended"}),
        ({"outcomes": {}}, {"c1"}),
    ],
    ids=["a mail", "the outcome for one of its recipients", "the outcome of an entry"],
)
def test_what_is_missing_is_told(changes: dict[str, Any], missing: set[str]) -> None:
    effects = replace(RIGHT, **changes)
    assert effects.missing == missing
    assert any("missing" in sentence for sentence in wrong(effects, "a1"))


@pytest.mark.parametrize(
    ("changes", "activities", "leads", "said"),
    [
        ({"arrived": Counter({"n1.unattended": 2})}, ("a1",), (), "mail more than once"),
        ({}, ("a1", "a1"), (), "activity more than once"),
        ({}, ("a1",), (("l1", "v"), ("l1", "w")), "lead more than once"),
        ({}, ("a1",), (("l1", "v"), ("l2", "v")), "address more than once"),
        ({"arrived": Counter(["n1.unattended", "n2.reply"])}, ("a1",), (), "nobody has asked for"),
        ({"delivered": Counter({"n1.unattended": 2, "n2": 1})}, ("a1",), (), "nobody has asked for"),
        ({}, (), (), "activities and their outcomes differ"),
        ({"outcomes": {"c1": replace(FILED, result="failed")}}, ("a1",), (), "have ended as"),
    ],
)
def test_what_came_twice_or_went_wrong_is_told(
    changes: dict[str, Any], activities: tuple[str, ...], leads: tuple[tuple[str, str], ...], said: str
) -> None:
    (sentence,) = wrong(replace(RIGHT, **changes), *activities, leads=leads)
    assert said in sentence
