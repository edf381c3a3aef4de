"""Error budgets: exact, and the same as counting events by hand."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.slo.budget import Budget, Counts, Exhaustion, budget_of, burn_rate, evidence, exhaustion

numbers = st.integers(0, 10**12)
counts = st.builds(Counts, numbers, numbers, numbers, numbers, numbers)
targets = st.decimals("0.000001", "0.999999", places=6)
shares = st.fractions(0, 1, max_denominator=10_000)
DAY = 86_400


@given(st.lists(st.sampled_from(["good", "bad", "unscored", "pending", "excluded"])), targets)
def test_it_is_what_the_list_of_events_says(events: list[str], target: Decimal) -> None:
    total = Counts()
    for event in events:
        total += Counts(**{event: 1})
    judged = [event for event in events if event in ("good", "bad")]
    found = budget_of(target, total)
    if not judged:
        waits = "unscored" in events or "pending" in events
        assert (found.state, found.attained) == ("insufficient_evidence" if waits else "no_data", None)
        assert (found.spent, found.remaining, found.allowed, burn_rate(total, target)) == (0, 1, 0, None)
        return
    # In whole millionths: so many events may be bad, and one more breaks the promise.
    may = len(judged) * (10**6 - int(target * 10**6))
    bad = judged.count("bad") * 10**6
    assert found.state == ("exhausted" if bad >= may else "healthy")
    assert found.attained == Fraction(judged.count("good"), len(judged))
    assert (found.attained < Fraction(target)) == (bad > may)
    assert found.spent == Fraction(bad, may) == burn_rate(total, target)


@given(counts, targets, shares)
def test_what_remains_is_from_0_to_1_and_what_is_beyond_has_its_own_name(
    total: Counts, target: Decimal, elapsed: Fraction
) -> None:
    found = budget_of(target, total, elapsed=elapsed)
    assert 0 <= found.remaining <= 1
    assert found.overspent >= 0
    assert found.remaining == 0 or found.overspent == 0
    assert 1 - found.spent == found.remaining - found.overspent
    if total.valid:
        burn = burn_rate(total, target)
        assert burn is not None
        assert found.spent == burn * elapsed
        assert (found.state == "exhausted") == (found.spent >= 1)


@given(st.lists(counts, min_size=1, max_size=20), targets)
def test_burn_rates_of_parts_weighted_by_their_events_are_that_of_the_whole(
    parts: list[Counts], target: Decimal
) -> None:
    whole = sum(parts, Counts())
    rates = [(part.valid, burn_rate(part, target)) for part in parts]
    burn = burn_rate(whole, target)
    if burn is None:
        assert all(rate is None for _, rate in rates)
    else:
        assert sum(valid * rate for valid, rate in rates if rate is not None) == burn * whole.valid
    assert budget_of(target, whole).spent == (burn or 0)


@given(counts, counts, targets)
def test_a_failure_more_spends_and_a_success_more_gives_back(total: Counts, _: Counts, target: Decimal) -> None:
    spent = budget_of(target, total).spent
    assert budget_of(target, total + Counts(good=1)).spent <= spent
    if total.valid:
        assert budget_of(target, total + Counts(bad=1)).spent >= spent
    assert budget_of(target, total + Counts(excluded=7)).spent == spent


@given(counts, shares)
def test_evidence_is_enough_from_the_floor_on(total: Counts, floor: Fraction) -> None:
    found = evidence(total, floor)
    if total.valid == 0:
        assert found == ("no_data" if total.unscored == total.pending == 0 else "insufficient_evidence")
    else:
        enough = total.valid >= floor * (total.valid + total.unscored)
        assert found == ("ok" if enough else "insufficient_evidence")
    state = budget_of(Decimal("0.9"), total, floor=floor).state
    assert state == found or found == "ok"
    assert (state in ("healthy", "exhausted")) == (found == "ok")


@pytest.mark.parametrize(
    ("total", "state", "remaining", "overspent"),
    [
        (Counts(), "no_data", 1, 0),
        (Counts(excluded=5), "no_data", 1, 0),
        (Counts(pending=1), "insufficient_evidence", 1, 0),
        (Counts(good=1000), "healthy", 1, 0),
        (Counts(good=9995, bad=5), "healthy", Fraction(1, 2), 0),
        (Counts(good=999, bad=1), "exhausted", 0, 0),  # spent to the last event: the promise is kept, just so
        (Counts(good=998, bad=2), "exhausted", 0, 1),
        (Counts(bad=1), "exhausted", 0, 999),
    ],
)
def test_states(total: Counts, state: str, remaining: Fraction, overspent: Fraction) -> None:
    found = budget_of(Decimal("0.999"), total)
    assert (found.state, found.remaining, found.overspent) == (state, remaining, overspent)


def test_numbers_are_exact_where_floats_are_not() -> None:
    # 1 - 0.9 is not 0.1 in floats, and 10**16 + 1 is not representable.
    assert budget_of(Decimal("0.9"), Counts(good=9, bad=1)).spent == 1
    big = Counts(good=9 * (10**16 + 1), bad=10**16 + 1)
    assert budget_of(Decimal("0.9"), big).state == "exhausted"
    assert budget_of(Decimal("0.9"), big + Counts(good=1)).state == "healthy"


def test_a_failure_on_the_first_of_the_month_is_not_the_budget_of_the_month() -> None:
    day = Counts(good=99, bad=1)
    assert budget_of(Decimal("0.999"), day).state == "exhausted"
    found = budget_of(Decimal("0.999"), day, elapsed=Fraction(1, 30))
    assert (found.state, found.spent, found.allowed) == ("healthy", Fraction(1, 3), 3)
    assert budget_of(Decimal("0.999"), day, elapsed=Fraction(0)).spent == 0


HALF = budget_of(Decimal("0.99"), Counts(good=995, bad=5))


@pytest.mark.parametrize(
    ("budget", "burn", "left_s", "expected"),
    [
        # Half the budget at twice the rate: a quarter of the window.
        (HALF, Fraction(2), None, Exhaustion(Fraction(30 * DAY, 4), "at this rate")),
        # A total outage at 99.9 %: 43.2 minutes of 30 days.
        (budget_of(Decimal("0.999"), Counts(good=1)), Fraction(1000), None, Exhaustion(Fraction(2592), "at this rate")),
        (HALF, Fraction(1), None, Exhaustion(None, "a rolling window gives back what leaves it")),
        (HALF, Fraction(1), Fraction(16 * DAY), Exhaustion(Fraction(15 * DAY), "at this rate")),
        (HALF, Fraction(1), Fraction(15 * DAY), Exhaustion(None, "not before the window ends")),
        (HALF, Fraction(0), None, Exhaustion(None, "nothing is spent")),
        (HALF, None, None, Exhaustion(None, "no_data")),
        (budget_of(Decimal("0.99"), Counts(bad=1)), Fraction(0), None, Exhaustion(Fraction(0), "spent")),
        (budget_of(Decimal("0.99"), Counts()), Fraction(9), None, Exhaustion(None, "no_data")),
        (budget_of(Decimal("0.99"), Counts(unscored=1)), Fraction(9), None, Exhaustion(None, "insufficient_evidence")),
    ],
)
def test_time_to_exhaustion(
    budget: Budget, burn: Fraction | None, left_s: Fraction | None, expected: Exhaustion
) -> None:
    assert exhaustion(budget, burn, 30 * DAY, left_s) == expected


@given(targets, st.integers(1, 999), st.fractions(0, 1, max_denominator=100), st.fractions(0, 5, max_denominator=100))
def test_at_the_given_rate_the_budget_of_a_calendar_window_is_gone_just_then(
    target: Decimal, good: int, elapsed: Fraction, extra: Fraction
) -> None:
    """Traffic goes on as it did, and fails at the burn rate: after so many seconds all of it is spent."""
    period_s = 30 * DAY
    total = Counts(good=good)
    burn = min(1 + extra, 1 / (1 - Fraction(target)))
    budget = budget_of(target, total, elapsed=elapsed)
    found = exhaustion(budget, burn, period_s, left_s=(1 - elapsed) * period_s)
    if elapsed == 0 or found.seconds is None:
        return
    pace = total.valid / (elapsed * period_s)
    bad = pace * found.seconds * burn * (1 - Fraction(target))
    assert bad == (1 - Fraction(target)) * pace * period_s


def test_coverage_at_the_floor_is_enough() -> None:
    assert evidence(Counts(good=1, unscored=3), Decimal("0.25")) == "ok"
    assert evidence(Counts(good=1, unscored=4), Decimal("0.25")) == "insufficient_evidence"
    # What may still be judged is asked later.
    assert evidence(Counts(good=1, unscored=3, pending=9), Decimal("0.25")) == "ok"
