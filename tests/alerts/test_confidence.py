"""Few events prove little: the bounds, and what violates a rule with them."""

from __future__ import annotations

from math import comb, sqrt
from statistics import NormalDist

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.alerts.confidence import Finding, violation, wilson_lower, wilson_upper
from app.alerts.reading import Sample, Unanswered, burn_rate, error_rate, success_rate
from app.alerts.rule import COMPARISONS, DEFAULT_RULES, Comparison, Rule

RATES = [rule for rule in DEFAULT_RULES if rule.signal == "success_rate"]


def counted(good: int, total: int) -> Sample:
    found = success_rate({"pool": "p"}, good, total)
    assert isinstance(found, Sample)
    return found


def failed(good: int, total: int) -> Sample:
    found = error_rate({"pool": "p"}, good, total)
    assert isinstance(found, Sample)
    return found


def below(threshold: float, min_events: int = 0, confidence: float | None = 0.95) -> Rule:
    return Rule("r", "success_rate", "<", threshold, min_events=min_events, confidence=confidence)


@pytest.mark.parametrize(
    ("good", "total", "lower", "upper"),
    # R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998),
    # table I, method 3 (score without correction), 95 % two-sided.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_bounds(good: int, total: int, lower: float, upper: float) -> None:
    assert wilson_lower(good, total, 0.975) == pytest.approx(lower, abs=5e-5)
    assert wilson_upper(good, total, 0.975) == pytest.approx(upper, abs=5e-5)


counts = st.integers(1, 2000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))
confidences = st.floats(0.51, 0.9999)


@given(counts, confidences)
def test_a_bound_is_the_share_that_the_score_test_just_does_not_reject(
    count: tuple[int, int], confidence: float
) -> None:
    """Wilson's definition: there the observed share is z standard errors away, the errors being those of the bound."""
    good, total = count
    z = NormalDist().inv_cdf(confidence)
    for bound, side in ((wilson_lower(good, total, confidence), 1), (wilson_upper(good, total, confidence), -1)):
        if 0 < bound < 1:
            assert (good / total - bound) * side == pytest.approx(z * sqrt(bound * (1 - bound) / total), abs=1e-9)


@given(counts, confidences)
def test_bounds_hold_the_share_and_mirror_each_other(count: tuple[int, int], confidence: float) -> None:
    good, total = count
    lower, upper = wilson_lower(good, total, confidence), wilson_upper(good, total, confidence)
    assert 0 <= lower <= good / total <= upper <= 1
    assert lower == pytest.approx(1 - wilson_upper(total - good, total, confidence), abs=1e-12)
    assert wilson_upper(good * 4, total * 4, confidence) <= upper + 1e-12
    assert wilson_lower(good * 4, total * 4, confidence) >= lower - 1e-12


@pytest.mark.parametrize("rule", RATES, ids=lambda rule: rule.name)
def test_one_failure_in_three_pages_nobody(rule: Rule) -> None:
    assert violation(rule, counted(2, 3)) == "too_few_events"
    assert violation(below(rule.threshold), counted(2, 3)) == "not_confident"
    assert violation(below(rule.threshold, confidence=None), counted(2, 3)) == "violated"


@given(st.floats(0, 1), st.integers(0, 3), st.sampled_from(COMPARISONS), st.none() | confidences)
def test_nothing_of_three_requests_violates_any_rule_with_the_default_minimum(
    threshold: float, good: int, comparison: Comparison, confidence: float | None
) -> None:
    for sample in (counted(good, 3), failed(good, 3)):
        assert violation(Rule("r", "s", comparison, threshold, confidence=confidence), sample) != "violated"


@pytest.mark.parametrize(
    ("rule", "sample", "finding"),
    [
        (below(0.9, 10), counted(0, 9), "too_few_events"),
        (below(0.9, 10), counted(0, 10), "violated"),
        (below(0.9, 10), counted(10, 10), "cleared"),
        (below(0.9, 10), counted(9, 9), "cleared"),
        (below(0.9), counted(8, 10), "not_confident"),
        (below(0.9), counted(80, 100), "violated"),
        (below(0.9), counted(890, 1000), "not_confident"),
        (below(0.9), counted(8900, 10_000), "violated"),
        (below(0.9, confidence=None), counted(899, 1000), "violated"),
        (below(0.9), counted(900, 1000), "cleared"),
        (Rule("r", "s", ">", 0.1), failed(8, 10), "not_confident"),
        (Rule("r", "s", ">", 0.1), failed(80, 100), "violated"),
        (Rule("r", "s", ">=", 1.0, min_events=5), failed(0, 5), "not_confident"),
        (Rule("r", "s", "<=", 0.0, min_events=5), counted(0, 5), "not_confident"),
        (Rule("r", "s", "==", 0.0, min_events=5), counted(0, 5), "violated"),
        (Rule("r", "s", "==", 0.0, min_events=6), counted(0, 5), "too_few_events"),
        (Rule("r", "s", "!=", 0.5), counted(6, 10), "not_confident"),
        (Rule("r", "s", "!=", 0.5), counted(90, 100), "violated"),
        (Rule("r", "s", "!=", 0.5), counted(10, 100), "violated"),
        (Rule("r", "p95", ">", 30), Sample({}, 31), "violated"),
        (Rule("r", "p95", ">", 30), Sample({}, 31, total=9), "too_few_events"),
        (Rule("r", "p95", ">", 30), Sample({}, 31, total=10), "violated"),
        (Rule("r", "p95", ">", 30), Sample({}, float("nan"), total=10), "cleared"),
        (Rule("r", "p95", "!=", 30), Sample({}, float("nan"), total=10), "violated"),
    ],
)
def test_table(rule: Rule, sample: Sample, finding: Finding) -> None:
    assert violation(rule, sample) == finding


def test_a_burn_rate_is_as_sure_as_its_share() -> None:
    quick = Rule("r", "slo_burn", ">", 14.4)
    for good, total in ((9, 10), (85, 100), (990, 1000), (98_560, 100_000), (98_000, 100_000)):
        burn = burn_rate({}, good, total, target=0.999)
        assert isinstance(burn, Sample)
        assert burn.value == pytest.approx((1 - good / total) / 0.001)
        share = Rule("r", "s", "<", 1 - 0.0144)
        assert violation(quick, burn) == violation(share, counted(good, total))


@given(counts, st.floats(0.01, 0.99))
def test_an_error_rate_is_judged_as_its_success_rate(count: tuple[int, int], threshold: float) -> None:
    good, total = count
    assume(abs(good / total - threshold) > 1e-9)
    for one, other in (("<", ">"), (">", "<"), ("!=", "!=")):
        success = Rule("r", "s", one, threshold, min_events=0)  # type: ignore[arg-type]
        error = Rule("r", "s", other, 1 - threshold, min_events=0)  # type: ignore[arg-type]
        bounds = (wilson_lower(good, total, 0.95), wilson_upper(good, total, 0.95))
        assume(all(abs(bound - threshold) > 1e-9 for bound in bounds))
        assert violation(success, counted(good, total)) == violation(error, failed(good, total))


@pytest.mark.parametrize("total", [10, 30, 100, 300])
def test_a_service_that_keeps_its_promise_is_rarely_said_to_break_it(total: int) -> None:
    """Exactly, by the binomial distribution: with a true rate at the threshold, about one in twenty at the most."""
    rate = 0.9
    rule = below(rate)
    wrong = sum(
        comb(total, good) * rate**good * (1 - rate) ** (total - good)
        for good in range(total + 1)
        if violation(rule, counted(good, total)) == "violated"
    )
    assert 0 < wrong < 0.08  # Wilson's interval is approximate: near the nominal 0.05, not below it for every total


def test_shares_of_nothing_are_no_data_and_impossible_ones_are_refused() -> None:
    assert success_rate({"pool": "p"}, 0, 0) == Unanswered({"pool": "p"}, "no_data", "no events")
    for good, total in ((1, 0), (-1, 3), (4, 3), (0, None)):
        with pytest.raises(ValueError, match="no share"):
            Sample({}, 0.0, total=total, good=good)
    with pytest.raises(ValueError, match="no error budget"):
        burn_rate({}, 1, 2, target=1)
