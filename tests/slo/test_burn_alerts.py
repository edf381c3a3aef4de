"""Burn alerts: the factors of the workbook, rules that could never fire, and both windows."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.slo.budget import Counts, burn_rate
from app.slo.burn_alerts import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    STANDARD,
    WINDOWS_S,
    BurnRule,
    BurnRuleNeverFires,
    BurnRuleRefused,
    factor_of,
    judge,
    plan,
    plan_rule,
    standard,
)

MONTH_S = 30 * DAY_S
targets = st.decimals("0.0001", "0.9999", places=4)
shares = st.fractions(Fraction(1, 1000), 1, max_denominator=1000)
some = st.integers(0, 10_000)
counts = st.builds(Counts, some, some)


def rule(share: str = "0.02", long_s: int = HOUR_S, short_s: int = 5 * MINUTE_S) -> BurnRule:
    return BurnRule("r", Fraction(share), long_s, short_s, "critical")


def test_thirty_days_have_the_factors_of_the_workbook() -> None:
    found = standard(Decimal("0.999"), MONTH_S)
    assert [(r.name, float(r.factor), r.long_s, r.short_s, r.severity, r.replanned) for r in found] == [
        ("quick_page", 14.4, 3_600, 300, "critical", ""),
        ("slow_page", 6.0, 21_600, 1_800, "critical", ""),
        ("quick_ticket", 3.0, 86_400, 7_200, "warning", ""),
        ("slow_ticket", 1.0, 259_200, 21_600, "warning", ""),
    ]
    # At 99.9 % the quick page is 1.44 % errors, and a total outage is told after 51.84 s.
    assert (found[0].error_rate(Decimal("0.999")), found[0].outage_s(Decimal("0.999"))) == (
        Fraction("0.0144"),
        Fraction("51.84"),
    )
    assert [rule.long_s == 12 * rule.short_s for rule in found] == [True] * 4


@pytest.mark.parametrize(("days", "factor"), [(28, "13.44"), (30, "14.4"), (90, "43.2"), (7, "3.36")])
def test_factors_go_with_the_period(days: int, factor: str) -> None:
    assert factor_of(Fraction("0.02"), days * DAY_S, HOUR_S) == Fraction(factor)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("0.9306", (14.4, HOUR_S, 300, "")),
        # 14.4 x 0.0695 is more than 1: even if everything failed it would not fire.
        ("0.9305", (7.2, 2 * HOUR_S, 600, "longer_window")),
        ("0.9", (7.2, 2 * HOUR_S, 600, "longer_window")),
        ("0.8", (2.4, 6 * HOUR_S, 1_800, "longer_window")),
        ("0.5", (1.2, 12 * HOUR_S, 3_600, "longer_window")),
        ("0.05", (1.0, DAY_S, 7_200, "longer_window_and_larger_share")),
    ],
)
def test_a_rule_that_could_never_fire_gets_a_longer_window(target: str, expected: tuple[float, int, int, str]) -> None:
    found = plan_rule(Decimal(target), MONTH_S, STANDARD[0])
    assert (float(found.factor), found.long_s, found.short_s, found.replanned) == expected
    # What it promises stays: to be told when 2 % of the budget are spent, or more where that is no alarm.
    assert found.share == Fraction("0.02") or found.factor == 1


def test_rules_that_have_become_the_same_are_one() -> None:
    found = standard(Decimal("0.5"), MONTH_S)
    assert [(r.name, r.long_s, float(r.factor)) for r in found] == [
        ("quick_page", 12 * HOUR_S, 1.2),
        ("slow_page", DAY_S, 1.5),
        ("quick_ticket", 2 * DAY_S, 1.5),
        ("slow_ticket", 3 * DAY_S, 1.0),
    ]
    found = standard(Decimal("0.05"), MONTH_S)
    assert [r.name for r in found] == ["quick_page", "slow_page", "quick_ticket"]


def test_a_short_period_has_larger_shares_and_fewer_rules() -> None:
    week = standard(Decimal("0.99"), 7 * DAY_S)
    assert [(float(r.factor), r.replanned) for r in week] == [
        (3.36, ""),
        (1.4, ""),
        (1.0, "larger_share"),
        (1.0, "larger_share"),
    ]
    assert [r.long_s for r in standard(Decimal("0.99"), 6 * HOUR_S)] == [HOUR_S, 6 * HOUR_S]


@given(
    target=targets, period_s=st.integers(1, 366 * 24).map(lambda hours: hours * HOUR_S), share=shares, data=st.data()
)
def test_a_planned_rule_fires_in_an_outage_and_never_below_the_budgets_rate(
    target: Decimal, period_s: int, share: Fraction, data: st.DataObject
) -> None:
    long_s = data.draw(st.integers(2, min(period_s, WINDOWS_S[-1]) // MINUTE_S)) * MINUTE_S
    asked = BurnRule("r", share, long_s, data.draw(st.integers(1, long_s // MINUTE_S - 1)) * MINUTE_S, "critical")
    allowed = 1 - Fraction(target)
    try:
        found = plan_rule(target, period_s, asked)
    except BurnRuleNeverFires as refused:
        assert refused.code == "burn_rule_never_fires"
        # Rightly so: no window that it could be given is longer than a total outage takes to spend the share.
        possible = [long_s, *(window for window in WINDOWS_S if long_s < window <= period_s)]
        assert share * period_s * allowed >= max(possible)
        return
    assert found.factor * allowed < 1 <= found.factor
    assert found.factor == factor_of(found.share, period_s, found.long_s)
    assert asked.share <= found.share <= 1
    assert MINUTE_S <= found.short_s < found.long_s <= period_s
    assert (found.long_s > asked.long_s) == found.replanned.startswith("longer_window")
    assert (found.share > asked.share) == found.replanned.endswith("larger_share")
    outage = Counts(bad=100)
    assert judge(found, outage, outage, target).state == "burning"
    # Exactly as fast as the budget allows: no rule is for that.
    even = Counts(good=int(target * 10_000), bad=10_000 - int(target * 10_000))
    assert burn_rate(even, target) == 1
    assert judge(found, even, even, target).state == "quiet"


def test_a_rule_without_a_window_in_which_it_could_fire_is_refused() -> None:
    with pytest.raises(BurnRuleNeverFires, match="longer window") as caught:
        plan(Decimal("0.5"), 90 * DAY_S, [rule("0.1", DAY_S, 2 * HOUR_S)])
    assert (caught.value.status, caught.value.code, caught.value.extra) == (422, "burn_rule_never_fires", {"rule": "r"})


@pytest.mark.parametrize(
    ("wrong", "period_s"),
    [
        (rule("0"), MONTH_S),
        (rule("1.01"), MONTH_S),
        (rule(short_s=HOUR_S), MONTH_S),
        (rule(short_s=59), MONTH_S),
        (rule(long_s=4 * DAY_S), MONTH_S),
        (rule(long_s=2 * HOUR_S), HOUR_S),
    ],
)
def test_rules_without_sense_are_refused(wrong: BurnRule, period_s: int) -> None:
    with pytest.raises(BurnRuleRefused) as caught:
        plan_rule(Decimal("0.99"), period_s, wrong)
    assert caught.value.code == "burn_rule_invalid"


QUICK = plan_rule(Decimal("0.999"), MONTH_S, STANDARD[0])


@pytest.mark.parametrize(
    ("long", "short", "options", "state"),
    [
        (Counts(98, 2), Counts(98, 2), {}, "burning"),
        (Counts(98, 2), Counts(99, 1), {}, "quiet"),
        (Counts(99, 1), Counts(98, 2), {}, "quiet"),
        # 1.44 % exactly: not faster than the factor.
        (Counts(9_856, 144), Counts(0, 1), {}, "quiet"),
        (Counts(9_855, 145), Counts(0, 1), {}, "burning"),
        (Counts(), Counts(), {}, "no_data"),
        (Counts(0, 5), Counts(), {}, "no_data"),
        (Counts(0, 5), Counts(excluded=9), {}, "no_data"),
        (Counts(0, 5), Counts(pending=9), {}, "insufficient_evidence"),
        (Counts(2, 1), Counts(2, 1), {"min_events": 4}, "insufficient_evidence"),
        (Counts(3, 1), Counts(0, 1), {"min_events": 4}, "burning"),
        (Counts(5, 5, unscored=10), Counts(5, 5), {"floor": Decimal("0.5")}, "burning"),
        (Counts(5, 5, unscored=11), Counts(5, 5), {"floor": Decimal("0.5")}, "insufficient_evidence"),
        (Counts(5, 5), Counts(5, 5, unscored=11), {"floor": Decimal("0.5")}, "insufficient_evidence"),
        # The first verdicts about young tasks are not those of all of them.
        (Counts(5, 5, pending=11), Counts(5, 5), {"floor": Decimal("0.5")}, "insufficient_evidence"),
        (Counts(5, 5, pending=10), Counts(5, 5), {"floor": Decimal("0.5")}, "burning"),
    ],
)
def test_both_windows_must_burn(long: Counts, short: Counts, options: dict[str, Any], state: str) -> None:
    found = judge(QUICK, long, short, Decimal("0.999"), **options)
    assert found.state == state
    assert (found.long, found.short) == (burn_rate(long, Decimal("0.999")), burn_rate(short, Decimal("0.999")))


@given(long=counts, short=counts, target=targets)
def test_the_state_is_that_of_plain_percentages(long: Counts, short: Counts, target: Decimal) -> None:
    found = plan_rule(target, MONTH_S, STANDARD[1])
    state = judge(found, long, short, target).state
    if not long.valid or not short.valid:
        assert state == "no_data"
        return
    limit = found.factor * (10_000 - int(target * 10_000))
    above = [each.bad * 10_000 > limit * each.valid for each in (long, short)]
    assert (state == "burning") == all(above)


def test_a_rule_that_would_need_more_than_everything_to_fail_is_planned_anew() -> None:
    # A burn rate of 10 at 90 %: an error rate of 1 is not above it.
    found = plan_rule(Decimal("0.9"), MONTH_S, BurnRule("r", Fraction(1, 72), HOUR_S, 300, "critical"))
    assert (found.factor, found.long_s) == (5, 2 * HOUR_S)
