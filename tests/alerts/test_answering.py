"""When answers are over, and when they are tried again."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.answering import MAX_RETRY_S, MAX_TRIES, Answer, over, retry_s
from tests.alerts.answers import FIRED

LATER = FIRED + timedelta(minutes=30)


def answer(status: str = "running", *, until_resolved: bool = True) -> Answer:
    return Answer(UUID(int=1), "r", "f", FIRED, "scale_up", {}, status, until_resolved, LATER)


@pytest.mark.parametrize(
    ("status", "until_resolved", "firing", "rule_action", "after_s", "why"),
    [
        ("running", True, True, "scale_up", 0, None),
        ("running", True, True, "scale_up", 1799, None),
        ("running", True, True, "scale_up", 1800, "expired"),
        ("running", False, True, "scale_up", 1800, "expired"),
        ("running", True, False, "scale_up", 10, "resolved"),
        ("running", False, False, "scale_up", 10, None),
        ("running", False, False, None, 10, "rule_changed"),
        ("running", True, True, "pause_pool", 10, "rule_changed"),
        ("running", True, False, None, 1800, "expired"),
        ("retrying", False, False, "scale_up", 10, "resolved"),
        ("retrying", True, True, "scale_up", 10, None),
    ],
)
def test_over(
    status: str, until_resolved: bool, firing: bool, rule_action: str | None, after_s: int, why: str | None
) -> None:
    found = answer(status, until_resolved=until_resolved)
    now = FIRED + timedelta(seconds=after_s)
    assert over(found, firing=firing, cleared=not firing, rule_action=rule_action, now=now) == why


def test_without_evidence_that_all_is_well_an_answer_stands_until_its_bound() -> None:
    known = {"firing": False, "cleared": False, "rule_action": "scale_up"}
    assert over(answer(), **known, now=FIRED + timedelta(seconds=1799)) is None  # type: ignore[arg-type]
    assert over(answer(), **known, now=LATER) == "expired"  # type: ignore[arg-type]
    assert over(answer("retrying"), **known, now=FIRED) == "resolved"  # type: ignore[arg-type]


@given(st.booleans(), st.booleans(), st.sampled_from(["scale_up", "webhook", None]), st.floats(0, 10_000))
def test_nothing_outlives_its_bound(until_resolved: bool, firing: bool, rule_action: str | None, late_s: float) -> None:
    found = answer(until_resolved=until_resolved)
    now = LATER + timedelta(seconds=late_s)
    assert over(found, firing=firing, cleared=not firing, rule_action=rule_action, now=now) == "expired"


def test_tries_are_bounded_and_further_and_further_apart() -> None:
    pauses = [retry_s(tries) for tries in range(1, MAX_TRIES)]
    assert pauses == sorted(pauses, key=lambda pause: pause or 0)
    assert all(pause is not None and 0 < pause <= MAX_RETRY_S for pause in pauses)
    assert retry_s(MAX_TRIES) is None
