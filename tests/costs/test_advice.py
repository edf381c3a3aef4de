"""Advice: with numbers, or not at all."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.costs.advice import (
    ModelOption,
    ModelUse,
    Retries,
    hopeless_retries,
    idle,
    ordered,
    rising,
    strained,
    substitutes,
    undated,
)
from app.costs.analysis import Day, trend


def option(model: str, usd: str, quality: float, output: str = "0") -> ModelOption:
    return ModelOption(model, Decimal(usd), Decimal(output), quality, 12)


BIG, SMALL = ModelUse("big", Decimal(60), 1000, 0), ModelUse("small", Decimal(40), 1000, 0)
OPTIONS = [option("big", "0.1", 0.9), option("twin", "0.04", 0.9), option("cheap", "0.01", 0.8)]


def test_the_cheapest_model_of_no_lower_quality_is_named_with_what_it_saves() -> None:
    (found,) = substitutes([BIG, SMALL], OPTIONS)
    assert (found.subject, found.savings_usd) == ("big", Decimal(36))
    assert found.basis["alternative"] == "twin"
    assert found.basis["alternative_cost_usd"] == "24"
    assert found.message == "big carries 60 % of the cost; twin is no worse (quality 0.9 to 0.9) and costs 60 % less."


@pytest.mark.parametrize(
    ("uses", "options"),
    [
        ([BIG, SMALL], []),
        ([BIG, SMALL], OPTIONS[1:]),  # its own price or quality is not known
        ([BIG, SMALL], [OPTIONS[0], OPTIONS[2]]),  # only a worse one
        ([BIG, SMALL], [OPTIONS[0], option("dear", "0.2", 1.0)]),
        ([ModelUse("big", Decimal(40), 1000, 0), ModelUse("x", Decimal(60), 1, 0)], OPTIONS),  # 40 % is not more
        ([ModelUse("big", Decimal(60), 1000, 0, 100), SMALL], OPTIONS),  # a tenth of it has no price
        ([ModelUse("big", Decimal(60), 0, 0), SMALL], OPTIONS),
        ([ModelUse("big", Decimal(0), 1000, 0)], OPTIONS),
        ([], OPTIONS),
    ],
)
def test_no_numbers_no_substitute(uses: list[ModelUse], options: list[ModelOption]) -> None:
    assert substitutes(uses, options) == []


def test_the_mix_of_tokens_decides() -> None:
    options = [option("big", "1", 0.9, "1"), option("in", "0.1", 0.9, "5"), option("out", "2", 0.9, "0.1")]
    for tokens, expected in (((1000, 0), "in"), ((0, 1000), "out")):
        (found,) = substitutes([ModelUse("big", Decimal(9), *tokens)], options)
        assert found.basis["alternative"] == expected


@given(
    st.lists(st.tuples(st.decimals(0, 100, places=3), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=4),
    st.lists(
        st.tuples(st.decimals(0, 1, places=6), st.decimals(0, 1, places=6), st.floats(0, 1)), min_size=4, max_size=4
    ),
)
def test_nothing_saves_more_than_it_costs(
    used: list[tuple[Decimal, int, int]], known: list[tuple[Decimal, Decimal, float]]
) -> None:
    uses = [ModelUse(str(place), *each) for place, each in enumerate(used)]
    options = [ModelOption(str(place), *each) for place, each in enumerate(known)]
    for found in substitutes(uses, options):
        use, own, other = (
            next(one for one in several if one.model == name)
            for several, name in (
                (uses, found.subject),
                (options, found.subject),
                (options, found.basis["alternative"]),
            )
        )
        assert found.savings_usd is not None
        assert 0 < found.savings_usd <= use.usd  # type: ignore[union-attr]
        assert other.quality >= own.quality  # type: ignore[union-attr]


def test_retries_without_hope() -> None:
    seen = [
        Retries("p", "t", 100, 4, Decimal("3.5")),
        Retries("p", "u", 100, 5, Decimal(9)),
        Retries("q", "", 19, 0, Decimal(9)),
        Retries("r", "", 20, 0, Decimal(0)),
    ]
    found = hopeless_retries(seen)
    assert [(one.subject, one.savings_usd) for one in found] == [("p/t", Decimal("3.5")), ("r", None)]
    assert found[0].basis == {"retries": 100, "succeeded": 4, "cost_usd": "3.5"}


def week(*usd: int) -> list[Day]:
    return [Day(date(2026, 11, number), Decimal(value)) for number, value in enumerate(usd, 1)]


def test_a_trend_that_rises_costs_more_than_the_week_before() -> None:
    days = week(*[10] * 7, *[10, 10, 11, 11, 12, 12, 13])
    (found,) = rising(trend(days), days)
    assert found.message == "The last 7 full days cost 13 % more than the 7 before: look at what grew."
    assert found.basis == {"last_week_usd": "79", "week_before_usd": "70", "slope_usd_per_day": "0.5"}
    weekly = week(*[1, 9, 9, 9, 9, 9, 9] * 2)
    assert trend(weekly).slope > 0  # type: ignore[union-attr]
    for quiet in (weekly, days[-13:], week(*[20] * 7, *range(1, 8)), week(*[0] * 7, *range(7)), days[::-1]):
        assert rising(trend(quiet), quiet) == []
    assert rising(None, days) == []


def test_budgets_and_agents() -> None:
    (found,) = strained("b", "usd", Decimal(100), Decimal(81), "2026-11-29T00:00:00Z")
    assert found.message == "Budget b is 81 % spent; at this rate it is gone at 2026-11-29T00:00:00Z."
    assert strained("b", "usd", Decimal(100), Decimal(80), None) == strained("b", "usd", Decimal(0), Decimal(1), None)
    counted, priced = idle({"p": 1, "q": 2}, {"q": Decimal("0.5")})
    assert (counted.message, counted.savings_usd) == ("1 agent has been idle in pool p for 24 hours.", None)
    assert (priced.savings_usd, priced.basis["agents"]) == (Decimal(24), 2)
    assert ordered([counted, found, priced])[0] is priced


@pytest.mark.parametrize(
    ("reported", "rated"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("openai/gpt-4o", "gpt-4o"),
        ("claude-sonnet-4@20250514", "claude-sonnet-4"),
        ("llama-3-70b", "llama-3-70b"),
    ],
)
def test_a_model_is_known_by_its_plain_name(reported: str, rated: str) -> None:
    assert undated(reported) == rated
