"""Concurrency keys through the API: queue, reject, cancel the older."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.verbs import put_pool, refused, register, submit
from tests.durable.scripted import event, final, play, until, waiting


@pytest.fixture
async def agent(client: httpx.AsyncClient, agents: Any) -> Any:
    await put_pool(client)
    stub = await agents(handler=play)
    await register(client, stub.url, slots=8)
    return stub


async def limit(client: httpx.AsyncClient, **fields: Any) -> None:
    answer = await client.put("/v1/limits/pool/echo", json=fields)
    assert answer.status_code == 200, answer.text


async def test_one_after_the_other_under_a_key(client: httpx.AsyncClient, agent: Any) -> None:
    await limit(client, concurrency=1, policy="queue")
    ids = [await submit(client, {"script": [], "n": n}, concurrency_key="k") for n in range(6)]
    free = await submit(client, {"script": []}, concurrency_key="other")
    for task_id in [*ids, free]:
        assert (await final(client, task_id))["status"] == "succeeded"
    assert [call["payload"]["n"] for call in agent.calls if "n" in call["payload"]] == list(range(6))


async def test_a_waiting_task_leaves_its_place_to_the_next(client: httpx.AsyncClient, agent: Any) -> None:
    await limit(client, concurrency=1)
    first = await submit(client, {"script": [event()]}, concurrency_key="k")
    await waiting(client, first)
    second = await submit(client, {"script": []}, concurrency_key="k")
    assert (await final(client, second))["status"] == "succeeded"
    await client.post("/v1/events", json={"name": "paid"})
    assert (await final(client, first))["status"] == "succeeded"


async def test_reject(client: httpx.AsyncClient, agent: Any) -> None:
    await limit(client, concurrency=1, policy="reject")
    first = await submit(client, {"script": [event()]}, concurrency_key="k")
    body = {"pool": "echo", "concurrency_key": "k"}
    problem = refused(await client.post("/v1/tasks", json=body), 409, "concurrency_limit")
    assert problem["task_ids"] == [first]
    await waiting(client, first)
    refused(await client.post("/v1/tasks/batch", json={"tasks": [{"pool": "echo"}, body]}), 409, "concurrency_limit")
    await client.post("/v1/events", json={"name": "paid"})
    await final(client, first)
    assert (await client.post("/v1/tasks", json=body)).status_code == 202


async def test_cancel_the_older(client: httpx.AsyncClient, agent: Any) -> None:
    await limit(client, concurrency=1, policy="cancel_older")
    first = await submit(client, {"script": [event()]}, concurrency_key="k")
    await waiting(client, first)
    second = await submit(client, {"script": [event()]}, concurrency_key="k")
    task = await final(client, first)
    assert (task["status"], task["error"]["code"]) == ("cancelled", "superseded")
    await until(client, second, lambda found: found["status"] == "waiting")


@pytest.mark.parametrize("policy", ["reject", "cancel_older"])
async def test_no_more_may_come_at_once_than_may_run(client: httpx.AsyncClient, agent: Any, policy: str) -> None:
    await limit(client, concurrency=2, policy=policy)
    tasks = [{"pool": "echo", "concurrency_key": "k"}] * 3
    refused(await client.post("/v1/tasks/batch", json={"tasks": tasks}), 409, "concurrency_limit")
    assert (await client.post("/v1/tasks/batch", json={"tasks": tasks[:2]})).status_code == 202
