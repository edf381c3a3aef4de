"""Limits over the API: what is set is kept to, by every manager."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.wiring import Yard
from tests.api.verbs import bearer, new_key, put_pool, refused, rows, submit, until
from tests.conftest import running_app, settings_for
from tests.support.service import Backing

App = tuple[httpx.AsyncClient, Yard]
SLOW = 0.001


async def put(client: httpx.AsyncClient, kind: str, name: str, **fields: Any) -> dict[str, Any]:
    answer = await client.put(f"/v1/limits/{kind}/{name}", json=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_limit_is_set_read_listed_and_lifted(client: httpx.AsyncClient) -> None:
    made = await put(client, "tenant", "acme", rate_per_s=50, burst=200, weight=2.5)
    assert {name: made[name] for name in made if name != "updated_at"} == {
        "kind": "tenant", "name": "acme", "rate_per_s": 50.0, "burst": 200, "concurrency": None, "policy": "queue",
        "weight": 2.5,
    }  # fmt: skip
    assert (await client.get("/v1/limits/tenant/acme")).json() == made
    await put(client, "pool", "echo", concurrency=1, policy="cancel_older")
    first = (await client.get("/v1/limits", params={"page_size": 1})).json()
    rest = (await client.get("/v1/limits", params={"page_token": first["next_page_token"]})).json()
    assert [item["kind"] for item in first["items"] + rest["items"]] == ["pool", "tenant"]
    assert (await client.get("/v1/limits", params={"kind": "tenant"})).json()["items"] == [made]
    assert (await client.delete("/v1/limits/tenant/acme")).json() == made
    refused(await client.delete("/v1/limits/tenant/acme"), 404, "limit_not_found")
    refused(await client.get("/v1/limits/tenant/acme"), 404, "limit_not_found")


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("tenant/a", {}, "validation_error"),
        ("tenant/a", {"burst": 3}, "validation_error"),
        ("tenant/a", {"rate_per_s": 1, "policy": "reject"}, "validation_error"),
        ("tenant/a", {"rate_per_s": 0}, "validation_error"),
        ("tenant/a", {"rate_per_s": 1, "burst": 0}, "validation_error"),
        ("tenant/a", {"rate_per_s": 1, "extra": 0}, "validation_error"),
        ("tenant/a", {"concurrency": 1, "policy": "drop"}, "validation_error"),
        ("agent/a", {"rate_per_s": 1}, "validation_error"),
        ("tenant/%20", {"rate_per_s": 1}, "validation_error"),
        ("pool/a", {"weight": 2}, "limit_misplaced"),
        ("key/a", {"concurrency": 2}, "limit_misplaced"),
    ],
)
async def test_what_is_no_limit(client: httpx.AsyncClient, path: str, body: dict[str, Any], code: str) -> None:
    refused(await client.put(f"/v1/limits/{path}", json=body), 422, code)
    assert (await client.get("/v1/limits")).json()["items"] == []


async def test_a_page_token_of_another_list_is_refused(client: httpx.AsyncClient) -> None:
    refused(await client.get("/v1/limits", params={"page_token": "WyJrZXlzIiwiYSJd"}), 400, "bad_page_token")


async def test_past_the_rate_submitting_is_refused_before_anything_is_written(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await put(client, "tenant", "default", rate_per_s=SLOW, burst=5)
    await put(client, "pool", "echo", rate_per_s=SLOW, burst=100)
    for _ in range(2):
        await submit(client)
    three = {"tasks": [{"pool": "echo"}] * 3}
    assert (await client.post("/v1/tasks/batch", json=three)).status_code == 202
    before = await rows(yard)
    answer = await client.post("/v1/tasks", json={"pool": "echo"})
    problem = refused(answer, 429, "rate_limited")
    assert problem["limit"] == {"kind": "tenant", "name": "default", "rate_per_s": SLOW, "burst": 5}
    assert int(answer.headers["retry-after"]) > 900
    refused(await client.post("/v1/tasks/batch", json=three), 429, "rate_limited")
    refused(await client.post("/v1/tasks/batch", json={"tasks": [{"pool": "echo"}] * 6}), 422, "burst_exceeded")
    assert await rows(yard) == before
    await client.delete("/v1/limits/tenant/default")
    await submit(client)


async def test_the_answer_to_a_repeated_key_costs_no_rate(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    await put(client, "tenant", "default", rate_per_s=SLOW, burst=1)
    body, key = {"pool": "echo"}, {"Idempotency-Key": "once"}
    made = await client.post("/v1/tasks", json=body, headers=key)
    again = await client.post("/v1/tasks", json=body, headers=key)
    assert (again.status_code, again.json()["id"]) == (202, made.json()["id"])


async def test_one_key_is_limited_and_the_others_are_not(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    limited, free = await new_key(client, "tasks:write"), await new_key(client, "tasks:write")
    await put(client, "key", limited.split("_")[1], rate_per_s=SLOW, burst=1)
    for _ in range(3):
        assert (await client.post("/v1/tasks", json={"pool": "echo"}, headers=bearer(free))).status_code == 202
    assert (await client.post("/v1/tasks", json={"pool": "echo"}, headers=bearer(limited))).status_code == 202
    answer = await client.post("/v1/tasks", json={"pool": "echo"}, headers=bearer(limited))
    assert refused(answer, 429, "rate_limited")["limit"]["kind"] == "key"


async def test_another_manager_keeps_to_it_too(app: App, backing: Backing) -> None:
    client, _ = app
    await put_pool(client)
    async with running_app(settings_for(backing), backing.admin_key) as (other, yard):
        await put(client, "tenant", "default", rate_per_s=SLOW, burst=2)

        async def known() -> bool:
            return bool(yard.durable.limits_view.rates)

        await until(known)
        await submit(client)
        await submit(other)
        for each in (client, other):
            refused(await each.post("/v1/tasks", json={"pool": "echo"}), 429, "rate_limited")
