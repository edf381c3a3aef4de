"""Prices and models over the API, as an admin and as a tenant's key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from app.wiring import Yard
from tests.api.verbs import bearer, new_key, refused, until
from tests.costs.test_recost import costs, use

App = tuple[httpx.AsyncClient, Yard]
HOUSE = "/v1/prices/house%2Fllama-70b"


async def put(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await client.put(path, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_price_is_set_read_listed_and_ended(app: App) -> None:
    client, yard = app
    refused(await client.get(HOUSE), 404, "unpriced_model")
    refused(await client.delete(HOUSE), 404, "price_not_found")
    made = await put(client, HOUSE, per_million={"input_tokens": 2.5, "output_tokens": "10"}, note="contract")
    assert (made["model"], made["unit_prices"], made["note"]) == (
        "house/llama-70b", {"input_tokens": "0.0000025", "output_tokens": "0.00001"}, "contract",
    )  # fmt: skip
    found = (await client.get("/v1/prices/house/llama-70b")).json()
    assert (found["source"], found["version"]) == ("override", f"override/{made['id']}")
    assert (found["unit_prices"], found["effective_from"]) == (made["unit_prices"], made["effective_from"])
    priced = yard.money.prices.price("house/llama-70b", 10, 10, {}, datetime.now(UTC) + timedelta(minutes=1))
    assert priced.cost_usd == Decimal("0.000125")
    early = {"at": "2020-01-01T00:00:00Z"}
    refused(await client.get(HOUSE, params=early), 404, "unpriced_model")
    ended = (await client.delete(HOUSE)).json()
    assert ended["unit_prices"] is None
    refused(await client.get(HOUSE), 404, "unpriced_model")
    first = (await client.get("/v1/prices", params={"page_size": 1})).json()
    rest = (await client.get("/v1/prices", params={"page_token": first["next_page_token"]})).json()
    assert first["items"] + rest["items"] == [made, ended]
    assert (await client.get("/v1/prices", params={"model": "other"})).json()["items"] == []
    refused(await client.get("/v1/prices", params={"page_token": "WyJrZXlzIiwiYSJd"}), 400, "bad_page_token")
    refused(await client.get("/v1/prices", params={"page_token": "WyJwcmljZXMiLCJhIl0"}), 400, "bad_page_token")


async def test_built_in_prices_tell_where_they_are_from(client: httpx.AsyncClient) -> None:
    reader = bearer(await new_key(client, "tasks:read"))
    found = (await client.get("/v1/prices/openai/gpt-4o", headers=reader)).json()
    assert (found["source"], found["listed_as"]) == ("genai-prices", "openai/gpt-4o")
    assert found["version"].startswith("genai-prices/")
    assert found["unit_prices"]["input_tokens"] == "0.0000025"
    tiers = (await client.get("/v1/prices/gemini-2.5-pro", headers=reader)).json()["tiers"]
    assert [(tier["above_input_tokens"], tier["unit_prices"]["input_tokens"]) for tier in tiers] == [
        (200_000, "0.0000025")
    ]
    refused(await client.get("/v1/prices/gtp-4o", headers=reader), 404, "unpriced_model")
    for answer in (
        await client.put(HOUSE, json={"unit_prices": {"requests": 1}}, headers=reader),
        await client.delete(HOUSE, headers=reader),
        await client.get("/v1/prices", headers=reader),
        await client.put("/v1/models/gpt-5", json={"quality": 1, "speed": 1}, headers=reader),
        await client.post("/v1/models/gpt-5/feedback", json={"good": True}, headers=reader),
    ):
        refused(answer, 403, "forbidden")


async def test_what_is_no_price(client: httpx.AsyncClient) -> None:
    per_unit: list[Any] = [
        {}, {"input_tokens": "-1"}, {"input_tokens": "NaN"}, {"input_tokens": "Infinity"}, {"input_tokens": "1000001"},
        {"input_tokens": "1e-400"}, {"input_tokens": None}, {"input_tokens": [1]}, {"in put": "1"}, {"": "1"},
        {f"n{i}": "1" for i in range(33)}, {"cache_read_tokens": "1", "cached_input_tokens": "1"}, [], "1", None,
    ]  # fmt: skip
    bodies: list[dict[str, Any]] = [{"unit_prices": prices} for prices in per_unit]
    good = {"requests": "1"}
    bodies += [
        {}, {"unit_prices": good, "per_million": good}, {"unit_prices": good, "extra": 1},
        {"per_million": {"requests": "1e13"}},
        *({"unit_prices": good, "effective_from": at} for at in (
            "2026-01-01T00:00:00", "soon", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59-14:00", "1970-01-01T00:00Z",
        )),
    ]  # fmt: skip
    for body in bodies:
        refused(await client.put("/v1/prices/m", json=body), 422, "validation_error")
    for path in ("/v1/prices/", "/v1/prices/%20", f"/v1/prices/{'x' * 201}", "/v1/prices/a%07b"):
        refused(await client.put(path, json={"unit_prices": good}), 422, "validation_error")
    assert (await client.get("/v1/prices")).json()["items"] == []


async def test_a_price_in_the_past_prices_what_was_used_again(app: App) -> None:
    client, yard = app
    at = datetime.now(UTC) - timedelta(days=3)
    task = await use(yard.db, "house/llama-70b", 1000, at, None)
    await put(client, HOUSE, unit_prices={"input_tokens": "0.001"}, effective_from="2020-01-01T00:00:00Z")
    yard.money.recosts._lag_s = 0.0

    async def priced() -> bool:
        await yard.money.recosts.tick()  # or the manager's own pass, which may be at it
        return await costs(yard.db) == {task: Decimal(1)}

    await until(priced)


async def test_a_model_is_recommended(client: httpx.AsyncClient) -> None:
    body = {"input_type": "code_generation", "complexity": 0.5, "quality_priority": 0.5, "speed_priority": 0.3}
    advice = (await client.post("/v1/models/recommend", json=body)).json()
    assert advice["recommended"] == "gpt-4o" == advice["alternatives"][0]["model"]
    assert {item["model"] for item in advice["alternatives"] + advice["dropped"]} == {
        "gpt-5", "gpt-4o", "claude-opus-4.1", "claude-sonnet-3.5", "gemini-2.0-flash",
    }  # fmt: skip
    best = advice["alternatives"][0]
    # As in tests/costs/test_recommend.py: gpt-4o at 2.50 and 10 USD a million.
    assert (best["input_tokens"], best["output_tokens"], best["cost_usd"]) == (625, 2500, "0.0265625")
    assert best["score"] == pytest.approx(0.914825)
    poor = {**body, "budget_limit_usd": "0.01"}
    advice = (await client.post("/v1/models/recommend", json=poor)).json()
    assert [item["model"] for item in advice["alternatives"]] == ["gemini-2.0-flash"]
    assert {item["reason"] for item in advice["dropped"]} == {"over_budget"}
    none = await client.post("/v1/models/recommend", json={**poor, "candidates": ["gpt-5", "house", "house"]})
    problem = refused(none, 422, "no_model_fits")
    assert [(item["path"], item["reason"]) for item in problem["errors"]] == [  # type: ignore[attr-defined]
        ("gpt-5", "over_budget"), ("house", "unrated"),
    ]  # fmt: skip
    await put(client, "/v1/models/house", quality=0.5, speed=0.5)
    none = await client.post("/v1/models/recommend", json={"candidates": ["house"]})
    assert refused(none, 422, "no_model_fits")["errors"][0]["reason"] == "unpriced"  # type: ignore[index]
    for wrong in (
        {"complexity": 1.1}, {"complexity": -0.1}, {"quality_priority": 0.7, "speed_priority": 0.4},
        {"budget_limit_usd": "-1"}, {"budget_limit_usd": "NaN"}, {"candidates": []}, {"candidates": ["\u0007"]},
        {"candidates": ["m"] * 101}, {"input_type": ""}, {"complexity": None},
    ):  # fmt: skip
        refused(await client.post("/v1/models/recommend", json=wrong), 422, "validation_error")


OUTCOMES = """
INSERT INTO usage (task_id, fence, ordinal, tenant, pool, model, input_tokens, output_tokens, quantities, type, outcome)
SELECT $1, n, 0, 'acme', 'p', $2, 1, 1, '{}', 'coding', CASE WHEN n <= $3 THEN 'succeeded' ELSE 'failed' END
FROM generate_series(1, $4) n
"""
TIMES = """
INSERT INTO attempts (task_id, fence, attempt, pool, started_at, finished_at, outcome, counted)
SELECT $1, n, n, 'p', now() - $2 * interval '1 second', now(), 'x', true FROM generate_series(1, $3) n
"""


async def test_scores_move_with_feedback_outcomes_and_latency(app: App) -> None:
    client, yard = app
    await put(client, "/v1/models/house/a", quality=0.6, speed=0.5, efficiency=0.9)
    for good in (True, True, False):
        rated = (await client.post("/v1/models/house/a/feedback", json={"good": good})).json()
    assert rated["feedback"] == {"good": 2, "bad": 1}
    assert rated["quality"] == pytest.approx((50 * 0.6 + 2) / 53, abs=1e-6)
    refused(await client.post("/v1/models/unknown/feedback", json={"good": True}), 404, "model_not_found")
    refused(await client.post("/v1/models/gpt-5/feedback", json={"good": "yes"}), 422, "validation_error")
    seconds = [("house/a", 10, 10, 4.0), ("openai/gpt-4o", 30, 50, 2.0)]
    for model, succeeded, tried, took in seconds:
        task = await use(yard.db, "other", 1, datetime.now(UTC), None)
        async with yard.db.hot() as connection:
            await connection.execute("DELETE FROM usage WHERE task_id = $1", task)
            await connection.execute(OUTCOMES, task, model, succeeded, tried)
            await connection.execute(TIMES, task, took, tried)
    yard.money.models._fresh_until = -1.0
    page = (await client.get("/v1/models", params={"page_size": 3})).json()
    rest = (await client.get("/v1/models", params={"page_token": page["next_page_token"]})).json()
    models = {item["model"]: item for item in page["items"] + rest["items"]}
    assert list(models) == sorted(models) and len(models) == 6
    house, gpt = models["house/a"], models["gpt-4o"]
    assert house["observations"] == {"quality": 13, "speed": 10}
    assert house["quality"] == pytest.approx((50 * 0.6 + 12) / 63, abs=1e-6)
    # Twice as slow as gpt-4o, which is said to be 0.9 fast: 0.9².
    assert house["speed"] == pytest.approx((50 * 0.5 + 10 * 0.81) / 60, abs=1e-6)
    # Measured under the name that its agents use.
    assert gpt["observations"] == {"quality": 50, "speed": 30}
    assert gpt["quality"] == pytest.approx((50 * 0.9 + 30) / 100, abs=1e-6)
    assert models["gpt-5"]["observations"] == {"quality": 0, "speed": 0}
