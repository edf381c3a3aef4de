"""What usage cost: overrides, the package's lists, and names that nobody knows."""

from __future__ import annotations

import asyncio
import random
import warnings
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import genai_prices
import pytest
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from app.core.clock import Clock
from app.core.db import Database
from app.costs import catalogue
from app.costs.price_service import PriceNotFound, Prices, UnpricedModel
from app.costs.prices import UNPRICED, Override, PriceBook, Priced
from app.costs.rates import Rates

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
M = Decimal(1_000_000)


def own(number: int, since: datetime, model: str = "mine", **unit_prices: str) -> Override:
    prices = {name: Decimal(text) for name, text in unit_prices.items()} or None
    return Override(UUID(int=number), model, since, prices, "", "me", since)


def book(*rows: Override) -> PriceBook:
    made = PriceBook(None)  # type: ignore[arg-type]
    made.follow(sorted(rows, key=lambda row: (row.model, row.effective_from, row.id)))
    return made


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("gpt-4o", "openai/gpt-4o"), ("openai/gpt-4o", "openai/gpt-4o"), ("GPT-4O", "openai/gpt-4o"),
        ("gpt-4o-2024-08-06", "openai/gpt-4o"), ("gpt-5", "openai/gpt-5"), ("azure/gpt-4o", "azure/gpt-4o"),
        ("claude-opus-4.1", "anthropic/claude-opus-4-1"), ("anthropic:claude-opus-4-1", "anthropic/claude-opus-4-1"),
        ("claude-opus-4-1-20250805", "anthropic/claude-opus-4-1"), ("claude-sonnet-3.5", "anthropic/claude-3-5-sonnet"),
        ("claude-3-5-sonnet-20241022", "anthropic/claude-3-5-sonnet"), ("gemini-2.0-flash", "google/gemini-2.0-flash"),
        ("gemini-2.0-flash-001", "google/gemini-2.0-flash"), ("models/gemini-2.0-flash", "google/gemini-2.0-flash"),
        ("openrouter/openai/gpt-4o", "openrouter/openai/gpt-4o"), ("xai/grok-4", "x-ai/grok-4-0709"),
        ("text-embedding-3-small", "openai/text-embedding-3-small"),
    ],
)  # fmt: skip
def test_a_name_is_found(name: str, listed: str) -> None:
    found = catalogue.find(name)
    assert found is not None and f"{found.provider}/{found.model}" == listed


@pytest.mark.parametrize(
    "name",
    ["gtp-4o", "gpt-4oo", "gpt-4o-minni", "gpt-5-banana", "claude-opus-4-1-oops", "claude-opus-4-15", "claude",
     "claude-3-opus-fake", "gemini-9000", "gemini-1.5-flash-8b", "deepseek-chat-foo", "my-gemini-2.0-flash",
     "notopenai/gpt-4o", "ft:gpt-4o:acme", "foo", "foo/bar", "/", ":", "openai/", "", "house-model", "llama"],
)  # fmt: skip
def test_a_typo_or_a_stranger_is_unpriced_and_never_free(name: str) -> None:
    assert catalogue.find(name) is None
    assert book().price(name, 1000, 1000, {}, AT) == UNPRICED == Priced(None, None)


def test_parts_are_not_paid_for_twice() -> None:
    """gpt-4o: 2.50 USD a million in, 1.25 cached, 10 out."""
    price = book().price
    assert price("gpt-4o", 1000, 200, {}, AT) == Priced(Decimal("0.0045"), "genai-prices/0.2.3")
    # 600 × 2.5 + 400 × 1.25 + 200 × 10 millionths; the reasoning is in the 200.
    cached = price("gpt-4o", 1000, 200, {"cached_input_tokens": 400, "reasoning_tokens": 150, "seconds": 1.5}, AT)
    assert cached.cost_usd == Decimal("0.0040")
    # More cached than input: counted beside it, as Anthropic's API does. 100 × 2.5 + 400 × 1.25.
    assert price("gpt-4o", 100, 0, {"cached_input_tokens": 400}, AT).cost_usd == Decimal("0.00075")
    assert price("gpt-4o", 0, 0, {}, AT).cost_usd == 0


def test_a_tier_is_paid_for_all_tokens() -> None:
    """gemini-2.5-pro: 1.25 and 10 up to 200,000 input tokens, then 2.50 and 15."""
    price = book().price
    assert price("gemini-2.5-pro", 200_000, 10, {}, AT).cost_usd == (Decimal("1.25") * 200_000 + 10 * 10) / M
    assert price("gemini-2.5-pro", 200_001, 10, {}, AT).cost_usd == (Decimal("2.5") * 200_001 + 15 * 10) / M


KEYS = ["cache_read_tokens", "cache_write_tokens", "input_audio_tokens", "output_audio_tokens", "audio_seconds"]
known = [(provider, model) for provider in providers[:40] for model in provider.models]


@given(st.data())
def test_it_is_what_the_package_itself_says(data: st.DataObject) -> None:
    provider, model = data.draw(st.sampled_from(known))
    usage = {key: data.draw(st.integers(0, 1000)) for key in data.draw(st.sets(st.sampled_from(KEYS)))}
    usage |= {"input_tokens": data.draw(st.sampled_from([3000, 200_000, 200_001, 10**6])), "output_tokens": 1500}
    if usage.get("cache_read_tokens") and usage.get("input_audio_tokens"):
        del usage["cache_read_tokens"]  # which of the cached were audio would have to be told
    moment = AT - timedelta(hours=data.draw(st.integers(0, 20_000)))
    prices = model.get_prices(moment)
    expected = prices.calc_price(genai_prices.Usage(**usage))["total_price"]
    mine = {catalogue.normal_quantity(key): count for key, count in usage.items()}
    counts = [mine.pop("input_tokens"), mine.pop("output_tokens")]
    rates = catalogue.compiled(prices)
    cost = rates.cost(counts[0], counts[1], mine)
    if "input_tokens" in rates.unit_prices and "output_tokens" in rates.unit_prices:
        assert cost is not None and abs(cost - expected) <= Decimal("1e-20"), (provider.id, model.id)
    else:
        assert cost is None


def test_history_counts_by_the_time_of_the_usage() -> None:
    plain = [
        (model, model.prices) for provider in providers if provider.id == "openai" for model in provider.models
        if isinstance(model.prices, list) and all(isinstance(c.prices.input_mtok, Decimal) for c in model.prices)
    ]  # fmt: skip
    model, prices = next((m, p) for m, p in plain if p[0].prices.input_mtok != p[-1].prices.input_mtok)
    listed = catalogue.find(f"openai/{model.id}")
    assert listed is not None
    old, new = listed.at(datetime(2020, 1, 1, tzinfo=UTC)), listed.at(datetime(2100, 1, 1, tzinfo=UTC))
    assert old.unit_prices["input_tokens"] * M == prices[0].prices.input_mtok
    assert new.unit_prices["input_tokens"] * M == prices[-1].prices.input_mtok


def test_overrides_come_first_and_end() -> None:
    day = timedelta(days=1)
    prices = book(
        own(1, AT, "gpt-4o", input_tokens="0.5", output_tokens="1"),
        own(2, AT + day, "gpt-4o"),
        own(3, AT + 2 * day, "gpt-4o", input_tokens="3", output_tokens="3"),
        own(4, AT + 2 * day, "gpt-4o", input_tokens="4", output_tokens="4"),
    )

    def cost(at: datetime) -> Decimal | None:
        return prices.price("gpt-4o", 2, 1, {}, at).cost_usd

    assert cost(AT - day) == Decimal("0.000015") == cost(AT + day)
    assert (cost(AT), cost(AT + day / 2), cost(AT + 3 * day)) == (2, 2, 12)
    assert prices.price("gpt-4o", 2, 1, {}, AT).version == f"override/{UUID(int=1)}"
    assert prices.price("openai/gpt-4o", 2, 1, {}, AT).cost_usd == Decimal("0.000015")


def test_what_an_override_does_not_name() -> None:
    prices = book(
        own(1, AT, "in", input_tokens="1"),
        own(2, AT, "calls", requests="0.25", seconds="0.1", pages="2"),
        own(3, AT, "parts", input_tokens="1", output_tokens="2", cached_input_tokens="0.1", reasoning_tokens="5"),
    )

    def cost(model: str, *counts: int, **quantities: Any) -> Decimal | None:
        return prices.price(model, *counts, quantities, AT).cost_usd

    assert (cost("in", 3, 0), cost("in", 3, 1), cost("in", 3, 0, pages=9)) == (3, None, 3)
    assert (cost("calls", 0, 0), cost("calls", 0, 0, requests=3), cost("calls", 1, 0)) == (
        Decimal("0.25"), Decimal("0.75"), None,
    )  # fmt: skip
    assert cost("calls", 0, 0, requests=0, seconds=1.5, pages=Decimal("0.5")) == Decimal("1.15")
    assert cost("parts", 10, 10, cached_input_tokens=4, reasoning_tokens=3) == Decimal("6.4") + 14 + 15
    assert cost("parts", 10, 0, cache_write_tokens=4) == 10


amounts = st.decimals(0, 1000, places=6)


@given(
    st.fixed_dictionaries(
        {"input_tokens": amounts, "output_tokens": amounts}, optional={"cached_input_tokens": amounts}
    ),
    st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9),
)  # fmt: skip
def test_a_cost_is_exact_and_grows_with_use(
    prices: dict[str, Decimal], given_input: int, output: int, cached: int
) -> None:
    rates = Rates.of(prices)
    cached = min(cached, given_input)
    cost = rates.cost(given_input, output, {"cached_input_tokens": cached})
    cheaper = prices.get("cached_input_tokens", prices["input_tokens"])
    assert cost == prices["input_tokens"] * (given_input - cached) + cheaper * cached + prices["output_tokens"] * output
    more = rates.cost(given_input + 5, output + 5, {"cached_input_tokens": cached})
    assert more is not None and more >= cost >= 0


def test_unknown_names_do_not_pile_up() -> None:
    with warnings.catch_warnings():
        for _ in range(catalogue.CACHED_NAMES + 500):
            catalogue.find(f"nobody-{random.random()}")
    assert catalogue.find.cache_info().currsize <= catalogue.CACHED_NAMES


async def test_a_price_is_used_here_at_once_and_elsewhere_after_a_refresh(db: Database) -> None:
    here, there = PriceBook(db), PriceBook(db)
    await there.refresh()
    prices = Prices(db, here, Clock(), settle_s=10.0)
    made = await prices.put("house", {"input_tokens": Decimal("0.0000025")}, None, "contract", "me")
    assert here.price("house", 2, 0, {}, made.effective_from) == Priced(Decimal("0.000005"), made.version)
    assert there.price("house", 2, 0, {}, made.effective_from) == UNPRICED
    await there.tick()
    assert there.in_force("house", made.effective_from) == here.in_force("house", made.effective_from)
    with pytest.raises(PriceNotFound):
        await prices.end("house", made.effective_from - timedelta(days=1), "me")
    await asyncio.gather(*(prices.put(f"m{n}", {"requests": Decimal(1)}, AT, "", "me") for n in range(4)))
    ended = await prices.end("house", None, "me")
    assert ended.unit_prices is None
    assert here.price("house", 2, 0, {}, ended.effective_from) == UNPRICED
    with pytest.raises(UnpricedModel):
        await prices.in_force("house", ended.effective_from)
    with pytest.raises(PriceNotFound):
        await prices.end("house", None, "me")
    page = await prices.page(None, None, 3)
    rest = await prices.page(None, str(page[-1].id), 10)
    assert [row.model for row in page + rest] == ["house", "house", "m0", "m1", "m2", "m3"]
    assert len(await prices.page("house", None, 10)) == 2
