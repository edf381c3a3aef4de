"""`Idempotency-Key`: a request that is sent again changes nothing and gets the first one's answer."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from app.wiring import Yard
from tests.api.verbs import bearer, new_key, put_pool, refused, rows

App = tuple[httpx.AsyncClient, Yard]
BODY = {"pool": "echo", "payload": {"b": 1, "a": [1, 2]}}


async def post(client: httpx.AsyncClient, body: Any, key: str, path: str = "/v1/tasks", **headers: str) -> Any:
    return await client.post(path, json=body, headers={"Idempotency-Key": key, **headers})


async def test_the_same_body_replays_the_first_answer(app: App) -> None:
    client, yard = app
    await put_pool(client)
    first = await post(client, BODY, "k")
    assert "idempotency-replayed" not in first.headers
    before = await rows(yard)
    reordered = {"payload": {"a": [1, 2], "b": 1}, "pool": "echo"}
    for body in (BODY, reordered):
        again = await post(client, body, "k")
        assert again.status_code == 202
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["location"] == first.headers["location"]
        assert again.json()["id"] == first.json()["id"]
    assert await rows(yard) == before


async def test_a_replay_shows_the_state_of_now(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    first = (await post(client, BODY, "k")).json()
    await client.post(f"/v1/tasks/{first['id']}/cancel")
    assert (await post(client, BODY, "k")).json()["status"] == "cancelled"


async def test_another_body_is_refused_and_writes_nothing(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await put_pool(client, "other")
    await post(client, BODY, "k")
    before = await rows(yard)
    for change in (
        {"payload": 2},
        {"priority": 1},
        {"pool": "other"},
        {"run_at": "2030-01-01T00:00:00Z"},
        {"labels": {"team": "search"}},
    ):
        refused(await post(client, {**BODY, **change}, "k"), 422, "idempotency_key_reused")
    assert await rows(yard) == before


async def test_many_at_once_with_one_key_make_one_task(app: App) -> None:
    client, yard = app
    await put_pool(client)
    answers = await asyncio.gather(*(post(client, BODY, "k") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert (await rows(yard))["tasks"] == 1


async def test_different_bodies_at_once_with_one_key_make_one_task(app: App) -> None:
    client, yard = app
    await put_pool(client)
    answers = await asyncio.gather(*(post(client, {"pool": "echo", "payload": n}, "k") for n in range(10)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [202] + [422] * 9
    assert (await rows(yard))["tasks"] == 1


async def test_a_batch_has_keys_of_its_own(app: App) -> None:
    client, yard = app
    await put_pool(client)
    batch = {"tasks": [{"pool": "echo", "payload": n} for n in range(3)]}
    first = await post(client, batch, "k", "/v1/tasks/batch")
    again = await post(client, batch, "k", "/v1/tasks/batch")
    assert again.headers["idempotency-replayed"] == "true"
    assert [task["id"] for task in again.json()["tasks"]] == [task["id"] for task in first.json()["tasks"]]
    for tasks in (batch["tasks"][:2], [*batch["tasks"], {"pool": "echo"}], batch["tasks"][::-1]):
        refused(await post(client, {"tasks": tasks}, "k", "/v1/tasks/batch"), 422, "idempotency_key_reused")
    assert (await rows(yard))["tasks"] == 3
    assert (await post(client, BODY, "k")).status_code == 202  # a single submission's key is another one
    assert (await rows(yard))["tasks"] == 4


async def test_batches_of_other_sizes_at_once_with_one_key_leave_one_batch(app: App) -> None:
    client, yard = app
    await put_pool(client)
    for turn in range(10):
        before = (await rows(yard))["tasks"]
        batches = [{"tasks": [{"pool": "echo", "payload": turn}] * size} for size in (2, 5, 3)]
        answers = await asyncio.gather(*(post(client, body, f"k{turn}", "/v1/tasks/batch") for body in batches))
        accepted = [len(answer.json()["tasks"]) for answer in answers if answer.status_code == 202]
        assert sorted(answer.status_code for answer in answers) == [202, 422, 422]
        assert (await rows(yard))["tasks"] - before == accepted[0]


async def test_each_tenant_has_its_own_keys(app: App) -> None:
    client, _ = app
    await put_pool(client)
    other = await new_key(client, "tasks:write", tenant="other")
    first = await post(client, BODY, "k")
    second = await post(client, {"pool": "echo", "payload": 2}, "k", **bearer(other))
    assert second.status_code == 202
    assert second.json()["id"] != first.json()["id"]


async def test_a_refused_request_does_not_use_its_key_up(client: httpx.AsyncClient) -> None:
    refused(await post(client, BODY, "k"), 404, "pool_not_found")
    await put_pool(client)
    assert (await post(client, BODY, "k")).status_code == 202
