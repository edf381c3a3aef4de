"""Cost controls over the API: one call makes the budgets that keep it."""

from __future__ import annotations

from typing import Any

import httpx

from app.wiring import Yard
from tests.api.verbs import put_pool, refused

App = tuple[httpx.AsyncClient, Yard]
ALERTS = [50, 80, 90]
BAD: list[dict[str, Any]] = [
    {},
    {"alerts": [50]},
    {"requests_per_hour": 0},
    {"requests_per_hour": 1.5},
    {"requests_per_hour": "5"},
    {"tokens_per_hour": -1},
    {"usd_per_hour": "0"},
    {"usd_per_hour": "NaN"},
    {"usd_per_hour": 1, "alerts": [50, 50]},
    {"usd_per_hour": 1, "alerts": [0]},
    {"usd_per_hour": 1, "alerts": list(range(1, 10))},
    {"usd_per_hour": 1, "downgrade": {"percent": 80}},
    {"usd_per_hour": 1, "downgrade": {"percent": 80, "models": {}}},
    {"usd_per_hour": 1, "downgrade": {"percent": 80, "models": {"a": "a"}}},
    {"usd_per_hour": 1, "per_day": 2},
]


async def test_a_control_is_set_changed_listed_and_deleted(app: App) -> None:
    client, yard = app
    path, name = "/v1/cost-controls/tenant/" + "a" * 63, "control-tenant-" + "a" * 63
    body = {"requests_per_hour": 10, "usd_per_hour": "2.50", "downgrade": {"percent": 70, "models": {"a": "b"}}}
    made = (await client.put(path, json=body)).json()
    assert {key: made[key] for key in made if key not in ("created_by", "effective_since")} == {
        "kind": "tenant", "name": "a" * 63, "requests_per_hour": 10, "tokens_per_hour": None, "usd_per_hour": "2.50",
        "downgrade": {"percent": 70, "models": {"a": "b"}}, "alerts": ALERTS,
        "budgets": [f"{name}-requests", f"{name}-usd"],
    }  # fmt: skip
    assert (await client.get(path)).json() == made
    assert (await client.put(path, json=body)).json() == made
    budget = (await client.get(f"/v1/budgets/{name}-usd")).json()
    assert (budget["control"], budget["window"]["kind"], budget["limit"]) == ("tenant/" + "a" * 63, "hour", "2.50")
    assert [(item["percent"], item["action"]) for item in budget["thresholds"]] == [
        (50, "notify"), (70, "downgrade"), (80, "notify"), (90, "notify"), (100, "pause"),
    ]  # fmt: skip
    refused(
        await client.put(f"/v1/budgets/{name}-usd", json={"window": {"kind": "day"}, "limit": 1}),
        422,
        "validation_error",
    )
    refused(
        await client.put("/v1/budgets/control-tenant-x-usd", json={"window": {"kind": "day"}, "limit": 1}),
        409,
        "budget_of_control",
    )
    refused(await client.delete(f"/v1/budgets/{name}-usd"), 409, "budget_of_control")
    # What is left out is not limited any more; what stays keeps its account.
    changed = (await client.put(path, json={"tokens_per_hour": 5, "usd_per_hour": "3", "alerts": []})).json()
    assert changed["budgets"] == [f"{name}-tokens", f"{name}-usd"]
    assert (changed["requests_per_hour"], changed["alerts"], changed["downgrade"]) == (None, [], None)
    assert (await client.get(f"/v1/budgets/{name}-usd")).json()["id"] == budget["id"]
    assert {item.name for item in yard.money.budgets.budgets} == set(changed["budgets"])

    await put_pool(client)
    await client.put("/v1/cost-controls/pool/echo", json={"requests_per_hour": 1})
    first = (await client.get("/v1/cost-controls", params={"page_size": 1})).json()
    rest = (await client.get("/v1/cost-controls", params={"page_token": first["next_page_token"]})).json()
    assert [(item["kind"], item["requests_per_hour"]) for item in first["items"] + rest["items"]] == [
        ("pool", 1), ("tenant", None),
    ]  # fmt: skip
    assert (await client.delete(path)).json() == changed
    refused(await client.delete(path), 404, "cost_control_not_found")
    refused(await client.get(path), 404, "cost_control_not_found")
    assert [item["name"] for item in (await client.get("/v1/budgets")).json()["items"]] == [
        "control-pool-echo-requests"
    ]


async def test_what_is_no_control(client: httpx.AsyncClient) -> None:
    for body in BAD:
        answer = await client.put("/v1/cost-controls/tenant/a", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_error"), (body, answer.text)
    refused(await client.put("/v1/cost-controls/pool/no", json={"usd_per_hour": 1}), 422, "unknown_pool")
    refused(await client.put("/v1/cost-controls/key/a", json={"usd_per_hour": 1}), 422, "validation_error")
    assert (await client.get("/v1/cost-controls")).json()["items"] == []
