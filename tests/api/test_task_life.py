"""What becomes of a task: cancel, retry, deadlines, order, pins, contracts, and a queue that is full."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from aiohttp import web

from app.settings import TaskSettings
from app.wiring import Yard
from tests.api.verbs import (
    Failing,
    Gate,
    put_pool,
    read,
    refused,
    register,
    rows,
    run,
    submit,
    until,
    until_status,
)
from tests.conftest import running_app, settings_for
from tests.support.service import Backing

App = tuple[httpx.AsyncClient, Yard]


async def cancel(client: httpx.AsyncClient, task_id: str, **body: Any) -> httpx.Response:
    return await client.post(f"/v1/tasks/{task_id}/cancel", json=body)


async def test_a_queued_task_is_cancelled_once_and_for_all(client: httpx.AsyncClient, agents: Any) -> None:
    await put_pool(client)
    task_id = await submit(client)
    task = (await cancel(client, task_id, reason="changed my mind")).json()
    assert (task["status"], task["error"]) == ("cancelled", {"code": "cancelled", "message": "changed my mind"})
    again = await client.post(f"/v1/tasks/{task_id}/cancel")  # without a body
    assert (again.status_code, again.json()) == (200, task)
    agent = await agents()
    await register(client, agent.url)
    assert (await run(client, "next"))["status"] == "succeeded"
    assert [call["payload"] for call in agent.calls] == ["next"]


async def test_a_running_task_is_cancelled_and_its_agent_is_told(client: httpx.AsyncClient, agents: Any) -> None:
    gate = Gate()
    agent = await agents(handler=gate)
    await put_pool(client)
    await register(client, agent.url, slots=1)
    task_id = await submit(client, "held")
    await until_status(client, task_id, "running")
    task = (await cancel(client, task_id)).json()
    assert (task["status"], task["attempt"]) == ("cancelled", 1)

    async def told() -> bool:
        return bool(agent.cancels == [task_id])

    await until(told)
    gate.open.set()  # the late answer changes nothing, and its slot is free
    assert (await run(client, "next"))["status"] == "succeeded"
    assert await read(client, task_id) == task


async def test_a_final_task_cannot_be_cancelled(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    await register(client, agent.url)
    task = await run(client, 1)
    problem = refused(await cancel(client, task["id"]), 409, "task_final")
    assert problem["task_status"] == "succeeded"
    refused(await client.post(f"/v1/tasks/{task['id']}/retry"), 409, "task_not_failed")
    assert await read(client, task["id"]) == task


async def test_a_dead_letter_is_replayed(client: httpx.AsyncClient, agents: Any) -> None:
    handler = Failing(times=3)
    agent = await agents(handler=handler)
    await put_pool(client, max_attempts=3)
    await register(client, agent.url)
    task = await run(client, {"n": 1})
    assert (task["status"], task["attempt"], handler.tried) == ("failed", 3, 3)
    assert task["error"] == {"code": "boom", "message": "it broke"}
    assert task["result"] is None
    again = await client.post(f"/v1/tasks/{task['id']}/retry")
    assert (again.status_code, again.json()["status"], again.json()["error"]) == (200, "queued", None)
    done = await until_status(client, task["id"], "succeeded", "failed")
    assert (done["status"], done["result"], done["attempt"], done["error"]) == ("succeeded", {"n": 1}, 1, None)
    assert [call["attempt"] for call in agent.calls] == [1, 2, 3, 1]


async def test_a_retry_waits_its_backoff(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents(handler=Failing(times=1))
    retry = {"initial_s": 3600, "max_s": 3600, "factor": 1, "jitter": 0}
    await put_pool(client, retry=retry)
    await register(client, agent.url)
    task_id = await submit(client)

    async def retrying() -> Any:
        task = await read(client, task_id)
        return task if task["next_attempt_at"] else None

    task = await until(retrying)
    assert (task["status"], task["attempt"], task["error"]["code"]) == ("queued", 1, "boom")
    wait = datetime.fromisoformat(task["next_attempt_at"]) - datetime.now(UTC)
    assert timedelta(seconds=3500) < wait <= timedelta(seconds=3600)


async def test_a_permanent_error_is_not_retried(client: httpx.AsyncClient, agents: Any) -> None:
    handler = Failing(times=9, status=422)
    agent = await agents(handler=handler)
    await put_pool(client, max_attempts=5)
    await register(client, agent.url)
    task = await run(client)
    assert (task["status"], task["attempt"], task["error"]["code"], handler.tried) == ("failed", 1, "boom", 1)


async def test_a_refusal_costs_no_attempt(client: httpx.AsyncClient, agents: Any) -> None:
    handler = Failing(times=2, status=429)
    agent = await agents(handler=lambda request, body: with_retry_after(handler, request, body))
    await put_pool(client, max_attempts=1)
    await register(client, agent.url)
    task = await run(client, 5)
    assert (task["status"], task["attempt"], handler.tried) == ("succeeded", 1, 3)


async def with_retry_after(handler: Failing, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    response = await handler(request, body)
    response.headers["Retry-After"] = "0"
    return response


async def test_run_at_and_the_deadline_are_kept(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    await register(client, agent.url)
    soon = datetime.now(UTC) + timedelta(seconds=0.6)
    body = {"pool": "echo", "payload": "later", "run_at": soon.isoformat(), "deadline_s": 30}
    task = (await client.post("/v1/tasks", json=body, headers={"Prefer": "wait=20"})).json()
    assert task["status"] == "succeeded"
    assert datetime.fromisoformat(task["started_at"]) >= soon
    assert datetime.fromisoformat(task["run_at"]) == soon
    assert datetime.fromisoformat(task["start_deadline_at"]) == soon + timedelta(seconds=30)
    far = await submit(client, run_at="2199-01-01T00:00:00+14:00")
    waiting = await read(client, far)
    assert (waiting["status"], waiting["next_attempt_at"]) == ("queued", "2198-12-31T10:00:00Z")
    assert (await cancel(client, far)).json()["status"] == "cancelled"
    assert [call["payload"] for call in agent.calls] == ["later"]


async def test_a_task_that_does_not_start_in_time_expires(client: httpx.AsyncClient, agents: Any) -> None:
    await put_pool(client)
    task = await run(client, deadline_s=0.2)
    assert (task["status"], task["error"]["code"], task["started_at"]) == ("expired", "start_deadline", None)
    refused(await cancel(client, task["id"]), 409, "task_final")
    agent = await agents()
    await register(client, agent.url)
    assert (await run(client, "in time", deadline_s=60))["status"] == "succeeded"
    assert [call["payload"] for call in agent.calls] == ["in time"]


async def test_higher_priority_goes_first_then_the_older(client: httpx.AsyncClient, agents: Any) -> None:
    gate = Gate()
    gate.open.set()
    agent = await agents(handler=gate)
    await put_pool(client)
    ids = [await submit(client, [p, n], priority=p) for n in range(2) for p in (-1000, 0, 5, 1000)]
    await register(client, agent.url, slots=1)
    for task_id in ids:
        await until_status(client, task_id, "succeeded")
    assert gate.order == [[p, n] for p in (1000, 5, 0, -1000) for n in range(2)]


async def test_a_pinned_task_runs_on_its_agent_only(client: httpx.AsyncClient, agents: Any) -> None:
    await put_pool(client)
    await put_pool(client, "other")
    wanted, spare = await agents(), await agents()
    elsewhere = await register(client, (await agents()).url, "other")
    wanted_id = (await register(client, wanted.url, slots=4))["id"]
    task = await run(client, "at once", agent_id=wanted_id)  # right after the registration
    assert task["agent_id"] == wanted_id
    await register(client, spare.url, slots=4)
    for n in range(8):
        assert (await run(client, n, agent_id=wanted_id))["agent_id"] == wanted_id
    assert not spare.calls
    body = {"pool": "echo", "agent_id": elsewhere["id"]}
    refused(await client.post("/v1/tasks", json=body), 422, "agent_not_in_pool")


async def test_a_payload_outside_the_contract_is_refused_by_path(app: App) -> None:
    client, yard = app
    schema = {
        "type": "object",
        "required": ["lines"],
        "properties": {"lines": {"type": "array", "items": {"type": "string"}}, "a/b": {"type": "integer"}},
        "additionalProperties": False,
    }
    await put_pool(client, input_schema=schema)
    before = await rows(yard)
    for payload, path in (
        ({}, "payload"),
        (None, "payload"),
        ({"lines": ["x", 1]}, "payload/lines/1"),
        ({"lines": [], "a/b": "x"}, "payload/a~1b"),
        ({"lines": [], "more": 1}, "payload"),
    ):
        problem = refused(
            await client.post("/v1/tasks", json={"pool": "echo", "payload": payload}), 422, "contract_violation"
        )
        assert problem["errors"][0]["path"] == path
        assert problem["pool"] == "echo"
    batch = {"tasks": [{"pool": "echo", "payload": {"lines": []}}, {"pool": "echo", "payload": {"lines": [2]}}]}
    problem = refused(await client.post("/v1/tasks/batch", json=batch), 422, "contract_violation")
    assert problem["errors"][0]["path"] == "tasks.1.payload/lines/0"
    assert await rows(yard) == before
    assert await submit(client, {"lines": ["ok"]})


async def test_a_result_outside_the_contract_fails_the_attempt(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    await put_pool(client, output_schema=schema, max_attempts=2)
    await register(client, agent.url)
    task = await run(client, {"n": "one"})
    assert (task["status"], task["attempt"], task["error"]["code"]) == ("failed", 2, "output_contract")
    assert "result/n" in task["error"]["message"]
    assert (await run(client, {"n": 1}))["status"] == "succeeded"


async def test_a_full_queue_is_said_before_anything_is_written(backing: Backing) -> None:
    settings = settings_for(backing, tasks=TaskSettings(max_queued=5))
    async with running_app(settings, backing.admin_key) as (client, yard):
        await put_pool(client)
        await put_pool(client, "other")
        for n in range(5):
            await submit(client, n)
        before = await rows(yard)
        body = {"pool": "echo"}
        keyed = {"Idempotency-Key": "k"}
        for answer in (
            await client.post("/v1/tasks", json=body, headers=keyed),
            await client.post("/v1/tasks/batch", json={"tasks": [body] * 2}),
        ):
            refused(answer, 503, "queue_full")
            assert int(answer.headers["retry-after"]) >= 1
        refused(await client.post("/v1/tasks/batch", json={"tasks": [{"pool": "other"}] * 6}), 503, "queue_full")
        assert await rows(yard) == before
        await submit(client, pool="other")  # a full pool does not stop another one
        task_id = (await client.get("/v1/tasks", params={"pool": "echo"})).json()["items"][0]["id"]
        await cancel(client, task_id)

        async def room() -> bool:
            return (await client.post("/v1/tasks", json=body, headers=keyed)).status_code == 202

        await until(room)


async def test_many_waiting_callers_are_all_answered(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    await register(client, agent.url, slots=8)
    tasks = await asyncio.gather(*(run(client, n) for n in range(60)))
    assert [task["result"] for task in tasks] == list(range(60))
    assert len({call["task_id"] for call in agent.calls}) == len(agent.calls) == 60
