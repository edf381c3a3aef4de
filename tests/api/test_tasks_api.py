"""Submit, read, list, wait: the ordinary ways of `/v1/tasks`."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx

from app.core.http import encode_page_token
from app.wiring import Yard
from tests.api.verbs import Gate, put_pool, read, refused, register, rows, run, submit, until, until_status

App = tuple[httpx.AsyncClient, Yard]


async def test_a_task_is_accepted_found_and_finished(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client, skills={"say": 1.0})
    await register(client, agent.url)
    answer = await client.post("/v1/tasks", json={"pool": "echo", "payload": {"n": 1}, "priority": 7})
    assert answer.status_code == 202
    accepted = answer.json()
    assert set(accepted) == {"id", "status", "pool", "notice"}
    assert (accepted["status"], accepted["pool"]) == ("queued", "echo")
    assert answer.headers["location"] == f"/v1/tasks/{accepted['id']}"
    task = await until_status(client, accepted["id"], "succeeded")
    assert (task["result"], task["payload"], task["priority"], task["attempt"]) == ({"n": 1}, {"n": 1}, 7, 1)
    assert task["type"] == "say"  # the pool's best skill
    assert task["created_at"] <= task["started_at"] <= task["finished_at"]
    assert (task["error"], task["usage"], task["cost_usd"]) == (None, [], None)
    call = agent.calls[0]
    assert (call["task_id"], call["attempt"], call["payload"], call["type"]) == (accepted["id"], 1, {"n": 1}, "say")


async def test_every_json_value_survives_the_way_there_and_back(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    await register(client, agent.url)
    values: list[Any] = [
        None, True, 0, -1, 2**63 - 1, -(2**63), 1.5, 1e300, -0.0, "", "é\U0001f600\t\n\"\\", [], {}, [[]],
        {"": {"a/b~c": [1, None]}}, "x" * 100_000,
    ]  # fmt: skip
    for value in values:
        task = await run(client, value)
        assert task["status"] == "succeeded"
        assert (task["result"], task["payload"]) == (value, value)
    levels = 253  # one less than may be, with the object around it
    nested = "[" * levels + "]" * levels
    body = f'{{"pool": "echo", "payload": {nested}}}'
    headers = {"Content-Type": "application/json", "Prefer": "wait=20", "Idempotency-Key": "deep"}
    answer = await client.post("/v1/tasks", content=body, headers=headers)
    assert answer.status_code == 200, answer.text[:300]
    assert nested in answer.text


async def test_prefer_wait_gives_the_result_or_says_it_is_not_there_yet(client: httpx.AsyncClient, agents: Any) -> None:
    gate = Gate()
    agent = await agents(handler=gate)
    await put_pool(client)
    await register(client, agent.url)
    body = {"pool": "echo", "payload": 1}
    late = await client.post("/v1/tasks", json=body, headers={"Prefer": "wait=1"})
    assert late.status_code == 202
    assert late.headers["preference-applied"] == "wait=1"
    assert late.json()["status"] == "running"
    waiting = asyncio.create_task(
        client.post("/v1/tasks", json=body, headers={"Prefer": "respond-async, wait=20", "Idempotency-Key": "w"})
    )
    gate.open.set()
    answer = await waiting
    assert answer.status_code == 200
    assert answer.json()["result"] == 1
    assert answer.headers["location"] == f"/v1/tasks/{answer.json()['id']}"
    again = await client.post("/v1/tasks", json=body, headers={"Prefer": "wait=5", "Idempotency-Key": "w"})
    assert (again.status_code, again.json()["id"]) == (200, answer.json()["id"])
    assert again.headers["idempotency-replayed"] == "true"


async def test_a_preference_that_is_not_understood_is_no_preference(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    for prefer in ("wait=0", "wait=-1", "wait=x", "await=5", "return=minimal", "wait=99999999"):
        began = time.monotonic()
        answer = await client.post("/v1/tasks", json={"pool": "echo"}, headers={"Prefer": prefer})
        assert answer.status_code == 202
        assert time.monotonic() - began < 5
        assert "preference-applied" not in answer.headers


async def test_a_task_without_an_agent_waits_and_says_so(client: httpx.AsyncClient, agents: Any) -> None:
    await put_pool(client)
    answer = await client.post("/v1/tasks", json={"pool": "echo", "payload": 1})
    assert answer.json()["notice"]["code"] == "no_agent"
    task_id = answer.json()["id"]
    assert (await read(client, task_id))["notice"]["code"] == "no_agent"
    agent = await agents(health=500)
    registered = await register(client, agent.url)

    async def unfit() -> bool:
        return bool((await read(client, task_id))["notice"]["code"] == "no_working_agent")

    await until(unfit)
    await client.post(f"/v1/agents/{registered['id']}/heartbeat", json={"running": 0})
    task = await until_status(client, task_id, "succeeded")
    assert task["notice"] is None


async def test_a_type_without_a_pool_goes_to_the_most_skilled_one(client: httpx.AsyncClient) -> None:
    await put_pool(client, "middling", skills={"sum": 0.5})
    await put_pool(client, "skilled", skills={"sum": 0.9, "other": 1.0})
    await put_pool(client, "useless", skills={"sum": 0.0})
    answer = await client.post("/v1/tasks", json={"type": "sum"})
    assert (answer.status_code, answer.json()["pool"]) == (202, "skilled")
    assert (await read(client, answer.json()["id"]))["type"] == "sum"
    named = await client.post("/v1/tasks", json={"type": "sum", "pool": "middling"})
    assert named.json()["pool"] == "middling"
    refused(await client.post("/v1/tasks", json={"type": "unheard"}), 422, "no_pool_for_type")
    refused(await client.post("/v1/tasks", json={"payload": 1}), 422, "validation_error")


async def test_a_batch_is_accepted_in_order_all_or_none(app: App) -> None:
    client, yard = app
    await put_pool(client)
    body = {"tasks": [{"pool": "echo", "payload": n} for n in range(1000)]}
    answer = await client.post("/v1/tasks/batch", json=body)
    assert answer.status_code == 202
    made = answer.json()["tasks"]
    assert len({task["id"] for task in made}) == 1000
    assert [(await read(client, made[n]["id"]))["payload"] for n in (0, 1, 500, 999)] == [0, 1, 500, 999]
    before = await rows(yard)
    mixed = {"tasks": [{"pool": "echo"}, {"pool": "nowhere"}]}
    problem = refused(await client.post("/v1/tasks/batch", json=mixed), 404, "pool_not_found")
    assert problem["errors"][0]["path"] == "tasks.1.pool"
    for tasks in ([], [{"pool": "echo"}] * 1001):
        refused(await client.post("/v1/tasks/batch", json={"tasks": tasks}), 422, "validation_error")
    assert await rows(yard) == before


async def test_pages_are_stable_while_tasks_are_added(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    await put_pool(client, "other")
    ids = [await submit(client, n) for n in range(7)]
    await submit(client, pool="other")
    seen: list[str] = []
    token: str | None = None
    while True:
        params = {"pool": "echo", "page_size": "3"} | ({"page_token": token} if token else {})
        page = (await client.get("/v1/tasks", params=params)).json()
        seen += [task["id"] for task in page["items"]]
        assert len(page["items"]) <= 3
        assert not {"payload", "result"} & set(page["items"][0])
        token = page["next_page_token"]
        if token is None:
            break
        await submit(client, "added while paging")
    assert seen == ids[::-1]


async def test_a_list_is_filtered_by_status_and_pool(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    queued, cancelled = await submit(client), await submit(client)
    await client.post(f"/v1/tasks/{cancelled}/cancel")
    for status, found in (("queued", [queued]), ("cancelled", [cancelled]), ("running", [])):
        page = (await client.get("/v1/tasks", params={"status": status, "pool": "echo"})).json()
        assert [task["id"] for task in page["items"]] == found
        assert page["next_page_token"] is None
    assert (await client.get("/v1/tasks", params={"pool": "nowhere"})).json()["items"] == []


async def test_page_tokens_are_checked_on_every_list(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    for _ in range(3):
        task_id = await submit(client)
    good = (await client.get("/v1/tasks", params={"page_size": 1})).json()["next_page_token"]
    lists = ["/v1/tasks", "/v1/pools", "/v1/agents", "/v1/keys", f"/v1/tasks/{task_id}/events"]
    bad = ["x", "%%%", "é", good[:-3], good + "AAAA", encode_page_token("a", "b"), "bnVsbA", "W10", "WzFd"]
    for path in lists:
        for token in [*bad, encode_page_token("a\x00b"), encode_page_token("pools", "\x00")]:
            answer = await client.get(path, params={"page_token": token}, headers={"Accept": "application/json"})
            refused(answer, 400, "bad_page_token")
    for path in lists[1:]:
        foreign = await client.get(path, params={"page_token": good}, headers={"Accept": "application/json"})
        refused(foreign, 400, "bad_page_token")


async def test_labels_are_kept_shown_and_checked_alone_and_in_a_batch(app: App) -> None:
    client, yard = app
    await put_pool(client)
    team = {"team": "search", "cost/center": "é 1"}
    one = (await client.post("/v1/tasks", json={"pool": "echo", "labels": team})).json()["id"]
    batch = {"tasks": [{"pool": "echo", "labels": {"n": "1"}}, {"pool": "echo", "labels": {}}, {"pool": "echo"}]}
    made = [item["id"] for item in (await client.post("/v1/tasks/batch", json=batch)).json()["tasks"]]
    assert (await client.get(f"/v1/tasks/{one}")).json()["labels"] == team
    listed = {item["id"]: item["labels"] for item in (await client.get("/v1/tasks")).json()["items"]}
    assert [listed[task_id] for task_id in (one, *made)] == [team, {"n": "1"}, {}, {}]
    async with yard.db.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM tasks WHERE labels IS NULL") == 2
    for labels, path in (({"Team": "x"}, "labels"), ({"team": "a\nb"}, "labels"), ({"team": 1}, "labels.team")):
        body = {"pool": "echo", "labels": labels}
        problem = refused(await client.post("/v1/tasks", json=body), 422, "validation_error")
        assert problem["errors"][0]["path"] == path
        problem = refused(await client.post("/v1/tasks/batch", json={"tasks": [body]}), 422, "validation_error")
        assert problem["errors"][0]["path"] == f"tasks.0.{path}"
    assert (await rows(yard))["tasks"] == 4
