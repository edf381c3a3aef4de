"""An objective as a whole: one set of counts, and all that follows from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.slo.budget import Counts, Exhaustion
from app.slo.burn_alerts import DAY_S, HOUR_S, standard
from app.slo.objective import Objective, WindowSpec
from app.slo.standing import spans_of, stand
from app.slo.windows import Span, last
from tests.slo.objectives import objective, objectives

NOW = datetime(2026, 11, 11, tzinfo=UTC)
"""A third of November is over."""


def counted(asked: Objective, good: int, bad: int, recent: Counts) -> dict[Span, Counts]:
    """The window's counts, and the same recent ones in every shorter span."""
    first, *others = spans_of(asked, standard(asked.target, asked.window.period_s), NOW)
    return {**dict.fromkeys(others, recent), first: Counts(good, bad)}


def test_a_rolling_window() -> None:
    asked = objective(target="0.99")
    rules = standard(asked.target, asked.window.period_s)
    found = stand(asked, rules, NOW, counted(asked, 995, 5, Counts(9, 1)))
    assert found.window == last(30 * DAY_S, NOW)
    assert (found.budget.state, found.budget.remaining, found.burn) == ("healthy", Fraction(1, 2), 10)
    assert found.exhaustion == Exhaustion(Fraction(30 * DAY_S, 20), "at this rate")
    assert {name: burning.state for name, burning in found.alerts.items()} == {
        "quick_page": "quiet",
        "slow_page": "burning",
        "quick_ticket": "burning",
        "slow_ticket": "burning",
    }
    few = stand(asked, rules, NOW, counted(asked, 995, 5, Counts(9, 1)), min_events=11)
    assert {burning.state for burning in few.alerts.values()} == {"insufficient_evidence"}


def test_a_calendar_window_has_a_budget_for_what_is_to_come() -> None:
    asked = objective(target="0.99", window=WindowSpec("month", None, "UTC"))
    rules = standard(asked.target, asked.window.period_s)
    found = stand(asked, rules, NOW, counted(asked, 985, 15, Counts(99, 1)))
    assert found.window == Span(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
    # 1.5 times the rate for a third of the month.
    assert (found.budget.state, found.budget.spent, found.burn) == ("healthy", Fraction(1, 2), 1)
    assert found.exhaustion == Exhaustion(Fraction(15 * DAY_S), "at this rate")
    gone = stand(asked, rules, NOW, counted(asked, 970, 30, Counts(99, 1)))
    assert (gone.budget.state, gone.exhaustion) == ("exhausted", Exhaustion(Fraction(0), "spent"))


def test_no_traffic_is_no_data_everywhere() -> None:
    asked = objective()
    found = stand(asked, standard(asked.target, asked.window.period_s), NOW, counted(asked, 0, 0, Counts(excluded=3)))
    assert (found.budget.state, found.burn, found.exhaustion) == ("no_data", None, Exhaustion(None, "no_data"))
    assert {burning.state for burning in found.alerts.values()} == {"no_data"}


def test_too_few_verdicts_are_no_judgement() -> None:
    asked = objective("accuracy", coverage_floor=objective().target)
    rules = standard(asked.target, asked.window.period_s)
    some = Counts(good=1, bad=1, unscored=1)
    found = stand(asked, rules, NOW, dict.fromkeys(spans_of(asked, rules, NOW), some))
    assert found.budget.state == found.exhaustion.why == "insufficient_evidence"
    assert {burning.state for burning in found.alerts.values()} == {"insufficient_evidence"}


@given(objectives(), st.integers(0, 400 * DAY_S))
def test_the_spans_are_what_is_needed_and_end_now(asked: Objective, later_s: int) -> None:
    now = NOW + timedelta(seconds=later_s)
    rules = standard(objective().target, asked.window.period_s)
    spans = spans_of(asked, rules, now)
    assert len(set(spans)) == len(spans)
    assert all(span.end == now and span.start <= now for span in spans)
    assert {HOUR_S, *(rule.long_s for rule in rules)} <= {span.seconds for span in spans}
    stand(asked, rules, now, dict.fromkeys(spans, Counts(1, 1)))
    with pytest.raises(KeyError):
        stand(asked, rules, now, dict.fromkeys(spans[1:], Counts(1, 1)) if len(spans) > 1 else {})
