"""Explanations over the API: the facts of real tables and agents."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiohttp import web

from app.wiring import Yard
from tests.api.verbs import (
    Failing,
    Gate,
    bearer,
    new_key,
    put_pool,
    refused,
    register,
    run,
    submit,
    until,
    until_status,
)
from tests.support.stub_agent import stream

App = tuple[httpx.AsyncClient, Yard]


async def explained(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/tasks/{task_id}/explain")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def codes(client: httpx.AsyncClient, task_id: str) -> list[str]:
    return [blocker["code"] for blocker in (await explained(client, task_id))["blockers"]]


async def test_a_task_without_agents(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    first, second = await submit(client), await submit(client)
    found = await explained(client, second)
    assert (found["status"], found["position"]) == ("queued", {"ahead": 1, "more": False})
    assert [blocker["code"] for blocker in found["blockers"]] == ["no_agent", "behind_others"]
    assert found["estimate"]["starts_in_s"] is None
    assert [moment["type"] for moment in found["timeline"]] == ["task.queued"]
    assert (await explained(client, first))["position"] == {"ahead": 0, "more": False}


async def test_a_task_behind_others_on_a_full_agent_gets_an_estimate(client: httpx.AsyncClient, agents: Any) -> None:
    gate = Gate()
    gate.open.set()
    agent = await agents(handler=gate)
    await put_pool(client)
    await register(client, agent.url, slots=1)
    for number in range(3):
        await run(client, number)
    gate.open.clear()
    running = await submit(client)
    await until_status(client, running, "running")
    ahead, last = await submit(client), await submit(client)
    found = await explained(client, last)
    assert [blocker["code"] for blocker in found["blockers"]] == ["agents_full", "behind_others"]
    assert found["estimate"]["starts_in_s"] == 2 * 300 / 3
    assert "1 task ahead; this pool finished 3 attempts in the last 5 minutes" in found["estimate"]["basis"]
    assert "Agent " in (await explained(client, running))["summary"]
    gate.open.set()
    for task_id in (running, ahead, last):
        await until_status(client, task_id, "succeeded")
    done = await explained(client, last)
    assert (done["blockers"], done["position"], done["estimate"]) == ([], None, None)
    assert [moment["type"] for moment in done["timeline"]] == ["task.queued", "task.running", "task.succeeded"]


async def test_times_that_must_come_first(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents(handler=Failing(99))
    await put_pool(client, retry={"initial_s": 3600, "max_s": 3600, "factor": 2, "jitter": 0})
    later = await submit(client, run_at="2100-01-01T00:00:00Z")
    found = (await explained(client, later))["blockers"]
    assert [(item["code"], item["until"]) for item in found] == [("run_at", "2100-01-01T00:00:00Z")]
    await register(client, agent.url)
    failing = await submit(client)

    async def failed_once() -> bool:
        return await codes(client, failing) == ["retry_backoff"]

    await until(failed_once)
    told = (await explained(client, failing))["timeline"][-1]["text"]
    assert told.startswith("try 1 failed: ")
    assert told.endswith("tried again after 3.6e+03 s")


async def test_stops_of_tasks_and_of_agents(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    agent_id = (await register(client, agent.url))["id"]
    await run(client)
    made = (await client.post("/v1/stops", json={"agent_id": agent_id, "reason": "it smells"})).json()
    task_id = await submit(client)

    async def held() -> bool:
        return await codes(client, task_id) == ["agents_stopped"]

    await until(held)
    (blocker,) = (await explained(client, task_id))["blockers"]
    assert (blocker["ids"], blocker["by"]) == ([made["id"]], made["created_by"])
    assert blocker["message"].endswith(f"(agent {agent_id}): it smells")
    other = (await client.post("/v1/stops", json={"tenant": "default", "reason": "enough"})).json()
    blocker = (await explained(client, task_id))["blockers"][0]
    assert (blocker["code"], blocker["ids"], blocker["by"]) == ("stopped", [other["id"]], other["created_by"])
    assert "enough" in blocker["message"]
    for stop in (made, other):
        await client.post(f"/v1/stops/{stop['id']}/lift")
    await until_status(client, task_id, "succeeded")


async def test_a_full_concurrency_key_names_who_holds_it(client: httpx.AsyncClient, agents: Any) -> None:
    gate = Gate()
    agent = await agents(handler=gate)
    await put_pool(client)
    assert (await client.put("/v1/limits/pool/echo", json={"concurrency": 1})).status_code == 200
    await register(client, agent.url, slots=5)
    first = await submit(client, concurrency_key="k")
    await until_status(client, first, "running")
    second = await submit(client, concurrency_key="k")
    (blocker,) = (await explained(client, second))["blockers"]
    assert (blocker["code"], blocker["ids"]) == ("concurrency_key", [first])
    assert "the limit of the pool is 1" in blocker["message"]
    gate.open.set()
    await until_status(client, second, "succeeded")


ASKS: list[tuple[dict[str, Any], str, str]] = [
    ({"step": "nap", "reason": "timer", "seconds": 3600}, "waiting_timer", "Step 'nap' sleeps until "),
    (
        {"step": "paid", "reason": "event", "name": "order.paid", "match": {"order": 7}, "timeout_s": 60},
        "waiting_event",
        "Step 'paid' waits for 'order.paid' with {\"order\": 7}, until ",
    ),
    (
        {"step": "ask", "reason": "approval", "action": "run_shell", "args": {"cmd": "ls"}, "expires_s": 600},
        "waiting_approval",
        "Step 'ask' goes on when 'run_shell' is approved by callers with approvals:decide (until ",
    ),
    (
        {"step": "more", "reason": "call", "calls": [{"pool": "echo2", "payload": 1}, {"pool": "echo2", "payload": 2}]},
        "waiting_call",
        "Step 'more' waits for 2 sub-tasks (2 queued).",
    ),
]


@pytest.mark.parametrize(("ask", "code", "words"), ASKS)
async def test_what_a_waiting_task_waits_for(
    client: httpx.AsyncClient, agents: Any, ask: dict[str, Any], code: str, words: str
) -> None:
    async def suspend(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
        return await stream(request, ("suspend", ask))

    agent = await agents(handler=suspend)
    await put_pool(client)
    await put_pool(client, "echo2")
    await register(client, agent.url)
    task_id = await submit(client)
    await until_status(client, task_id, "waiting")
    found = await explained(client, task_id)
    (blocker,) = found["blockers"]
    assert (blocker["code"], blocker["message"].startswith(words)) == (code, True), blocker
    assert (found["position"], found["estimate"]) == (None, None)
    assert "task.waiting" in [moment["type"] for moment in found["timeline"]]
    assert (len(blocker["ids"]), blocker["until"] is None) == {
        "waiting_timer": (0, False), "waiting_event": (0, False), "waiting_approval": (1, False),
        "waiting_call": (2, True),
    }[code]  # fmt: skip


async def test_a_held_task_waits_for_its_start_to_be_approved(client: httpx.AsyncClient) -> None:
    await put_pool(client, approvals={"start": {"expires_s": None, "groups": ["ops"]}})
    task_id = await submit(client)
    found = await explained(client, task_id)
    (blocker,) = found["blockers"]
    assert (found["status"], blocker["code"]) == ("held", "held_for_approval")
    assert "in ops" in blocker["message"]


async def test_another_tenants_task_is_not_there(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    task_id = await submit(client)
    other = bearer(await new_key(client, "admin", tenant="other"))
    for path in (task_id, str(uuid4())):
        refused(await client.get(f"/v1/tasks/{path}/explain", headers=other), 404, "task_not_found")
