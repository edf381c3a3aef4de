"""The formula of the brief, by hand, and what must hold for any numbers."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.costs.prices import UNPRICED, Priced
from app.costs.recommend import TOKENS, Wanted, estimate, recommend, score_of
from app.costs.scores import SPEED_K0, TABLE, Measured, Rating, Said, rate, shrunk, speeds

MILLION = Decimal(1_000_000)
# USD a million tokens in and out.
PRICES = {
    "gpt-5": ("1.25", "10"), "gpt-4o": ("2.5", "10"), "claude-opus-4.1": ("15", "75"),
    "claude-sonnet-3.5": ("3", "15"), "gemini-2.0-flash": ("0.1", "0.4"), "dear": ("1000", "2000"), "free": ("0", "0"),
}  # fmt: skip
RATINGS = {
    **rate(TABLE, []),
    **rate({"dear": Said(0.99, 0.5), "free": Said(0.4, 0.3), "chatty": Said(0.9, 0.9, efficiency=2.0)}, []),
}
PRICES["chatty"] = PRICES["gpt-4o"]


def price(model: str, input_tokens: int, output_tokens: int) -> Priced:
    if model not in PRICES:
        return UNPRICED
    per_input, per_output = map(Decimal, PRICES[model])
    return Priced((per_input * input_tokens + per_output * output_tokens) / MILLION, "test")


@pytest.mark.parametrize(
    ("model", "input_type", "complexity", "quality", "speed", "tokens", "cost", "score"),
    [
        # factor 0.5 + 1.5 × 0.5 = 1.25: 625 in, 2500 out; 625 × 1.25 + 2500 × 10 = 25,781.25 millionths;
        # 0.95 × 0.5 × 1 + 0.8 × 0.3 + 1/1.02578125 × 0.2 = 0.475 + 0.24 + 0.19497334
        ("gpt-5", "code_generation", 0.5, 0.5, 0.3, (625, 2500), "0.02578125", 0.90997334),
        # 0.9 × 0.5 × 1 + 0.9 × 0.3 + 1/1.0265625 × 0.2 = 0.45 + 0.27 + 0.19482496
        ("gpt-4o", "code_generation", 0.5, 0.5, 0.3, (625, 2500), "0.0265625", 0.91482496),
        # factor 2: 2000 in, 3000 out; 30,000 + 225,000 millionths; 0.92 × 1 × 1.5 + 0 + 0
        ("claude-opus-4.1", "security_analysis", 1.0, 1.0, 0.0, (2000, 3000), "0.255", 1.38),
        # factor 0.5: 500 in, 750 out; 1,500 + 11,250 millionths; 0.88 × 0.6 × 0.5 + 0.85 × 0.1 + 0.3/1.01275
        ("claude-sonnet-3.5", "security_analysis", 0.0, 0.6, 0.1, (500, 750), "0.01275", 0.64522315),
        # factor 0.95: 760 in, 1140 out; 76 + 456 millionths; 0.85 × 0 + 0.95 × 1 + 0
        ("gemini-2.0-flash", "performance_testing", 0.3, 0.0, 1.0, (760, 1140), "0.000532", 0.95),
        # factor 1.7: 510 in, 1360 out; cost only: 1/(1 + 0.000595)
        ("gemini-2.0-flash", "general", 0.8, 0.0, 0.0, (510, 1360), "0.000595", 0.99940535),
        # factor 1.25: 375 in, 1000 out; 0.375 + 2 USD: the cost's part is 1/3.375
        ("dear", "general", 0.5, 0.2, 0.2, (375, 1000), "2.375", 0.198 + 0.1 + 0.6 / 3.375),
        # nothing to pay: the cost's part is whole
        ("free", "general", 0.5, 0.2, 0.2, (375, 1000), "0", 0.08 + 0.06 + 0.6),
        # twice the tokens: factor 2.5, 1250 in, 5000 out; 3,125 + 50,000 millionths; 0.45 + 0.27 + 0.2/1.053125
        ("chatty", "code_generation", 0.5, 0.5, 0.3, (1250, 5000), "0.053125", 0.90991098),
    ],
)
def test_by_hand(
    model: str, input_type: str, complexity: float, quality: float, speed: float, tokens: tuple[int, int], cost: str,
    score: float,
) -> None:  # fmt: skip
    wanted = Wanted(input_type, complexity, quality, speed)
    option = recommend(wanted, {model: RATINGS[model]}, price).options[0]
    assert (option.input_tokens, option.output_tokens) == tokens
    assert option.cost_usd == Decimal(cost)
    assert option.score == pytest.approx(score, abs=1e-8)


def test_the_answer_names_the_best_the_others_and_why_some_are_out() -> None:
    candidates: dict[str, Rating | None] = {**RATINGS, "nobody": None, "unpriced": RATINGS["gpt-5"]}
    wanted = Wanted("code_generation", 0.5, 0.5, 0.3, Decimal("0.03"))
    advice = recommend(wanted, candidates, price)
    assert [option.model for option in advice.options] == ["gpt-4o", "gpt-5", "gemini-2.0-flash", "free"]
    assert [(item.model, item.reason) for item in advice.dropped] == [
        ("chatty", "over_budget"), ("claude-opus-4.1", "over_budget"), ("claude-sonnet-3.5", "over_budget"),
        ("dear", "over_budget"), ("nobody", "unrated"), ("unpriced", "unpriced"),
    ]  # fmt: skip
    text = " ".join(advice.reasoning)
    assert "gpt-4o scores 0.9148" in text
    assert "The cheapest that fits is free, at 0 USD." in text
    assert "dear is out: it would cost 5.625 USD, above 0.03 USD." in text


def test_an_unknown_type_counts_as_general_and_says_so() -> None:
    advice = recommend(Wanted("poetry", 0.5), RATINGS, price)
    assert advice.input_type == "general"
    assert advice.options == recommend(Wanted("general", 0.5), RATINGS, price).options
    assert "'poetry' has no estimate of its own" in advice.reasoning[0]


shares = st.floats(0, 1)
ratings = st.builds(lambda q, s, e: rate({"m": Said(q, s, e)}, [])["m"], shares, shares, st.floats(0.1, 5))
wanteds = st.builds(
    lambda kind, complexity, quality, speed: Wanted(kind, complexity, quality, (1 - quality) * speed),
    st.sampled_from([*TOKENS, "other"]), shares, shares, shares,
)  # fmt: skip
options = st.dictionaries(st.sampled_from([*sorted(PRICES), "x", "y"]), st.none() | ratings, max_size=9)


@given(wanteds, options, st.decimals(0, 2, places=6), st.decimals(0, 2, places=6))
def test_the_recommended_is_the_best_and_a_smaller_budget_only_takes_away(
    wanted: Wanted, candidates: dict[str, Any], one: Decimal, other: Decimal
) -> None:
    low, high = sorted([one, other])
    poor = recommend(replace(wanted, budget_usd=low), candidates, price)
    rich = recommend(replace(wanted, budget_usd=high), candidates, price)
    boundless = recommend(wanted, candidates, price)
    for advice in (poor, rich, boundless):
        scores = [option.score for option in advice.options]
        assert scores == sorted(scores, reverse=True)
        assert {item.model for item in (*advice.options, *advice.dropped)} == set(candidates)
    names = [[option.model for option in advice.options] for advice in (poor, rich, boundless)]
    assert set(names[0]) <= set(names[1]) <= set(names[2])
    assert [name for name in names[2] if name in names[0]] == names[0], "the order of those that stay is the same"
    assert all(option.cost_usd <= low for option in poor.options)


@given(wanteds, shares, shares, st.decimals(0, 100, places=4), st.decimals(0, 100, places=4))
def test_a_score_grows_with_quality_and_speed_and_falls_with_cost(
    wanted: Wanted, quality: float, speed: float, one: Decimal, other: Decimal
) -> None:
    cheap, dear = sorted([one, other])
    score = score_of(quality, speed, dear, wanted)
    assert score <= score_of(quality, speed, cheap, wanted) + 1e-12
    assert score <= score_of(1, 1, dear, wanted) + 1e-12
    assert 0 <= score <= 1.5 + 1e-9


@given(st.sampled_from(sorted(TOKENS)), shares, shares)
def test_more_complex_tasks_need_more(kind: str, one: float, other: float) -> None:
    low, high = sorted([one, other])
    assert estimate(kind, low, 1.0) <= estimate(kind, high, 1.0)


def measured(model: str, succeeded: int, failed: int, log_s: float = 0.0, kind: str = "t", timed: int = 0) -> Measured:
    return Measured(model, kind, succeeded, failed, timed, log_s)


def test_scores_move_with_what_is_measured() -> None:
    said = {"a": Said(0.9, 0.8), "b": Said(0.9, 0.8, good=10, bad=40)}
    rated = rate(said, [measured("a", 30, 20)])
    # (50 × 0.9 + 30) / (50 + 50), and (50 × 0.9 + 10) / (50 + 50)
    assert (rated["a"].quality, rated["b"].quality) == (pytest.approx(0.75), pytest.approx(0.55))
    assert (rated["a"].quality_observations, rated["b"].quality_observations) == (50, 50)
    assert rated["a"].speed == 0.8 and rated["a"].speed_observations == 0


def test_speed_moves_with_the_other_models_of_the_type() -> None:
    said = {"a": Said(0.9, 0.8), "b": Said(0.9, 0.8)}
    two = 0.6931471805599453  # ln 2: twice as long
    rows = [measured("a", 0, 0, 0.0, timed=10), measured("b", 0, 0, two, timed=10), measured("a", 0, 0, 9, "alone", 5)]
    shown = speeds(said, rows)
    # a is twice as fast as b: 0.8^(1/2) = 0.894427; b half as fast as a: 0.8² = 0.64. Alone, nothing is shown.
    assert shown == {"a": (pytest.approx(8.94427), 10), "b": (pytest.approx(6.4), 10)}
    rated = rate(said, rows)
    assert rated["b"].speed == pytest.approx((SPEED_K0 * 0.8 + 6.4) / (SPEED_K0 + 10))
    assert rate(said, [measured("a", 0, 0, 3.0, timed=7), measured("x", 0, 0, 3.0, timed=2)])["a"].speed == (
        pytest.approx(0.8)
    )


@given(shares, st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_score_stays_between_what_is_said_and_what_is_seen(said: float, good: int, bad: int) -> None:
    score = shrunk(said, good, good + bad, 50.0)
    seen = good / (good + bad) if good + bad else said
    assert min(said, seen) - 1e-9 <= score <= max(said, seen) + 1e-9


times = st.builds(
    Measured, st.sampled_from("abcx"), st.sampled_from("st"), st.integers(0, 9), st.integers(0, 9), st.integers(0, 99),
    st.floats(-100, 100),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from("abc"), st.builds(Said, shares, shares)), st.lists(times, max_size=12))
def test_scores_stay_between_0_and_1(said: dict[str, Said], rows: list[Measured]) -> None:
    for rating in rate(said, rows).values():
        assert 0 <= rating.quality <= 1 and -1e-9 <= rating.speed <= 1 + 1e-9
