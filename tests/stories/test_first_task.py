"""The main job: a pool, an agent, a task, its result."""

from __future__ import annotations

from typing import Any

import httpx

from app.wiring import Yard


async def test_a_task_goes_to_an_agent_and_its_result_is_durable(
    app: tuple[httpx.AsyncClient, Yard], agents: Any
) -> None:
    client, _ = app
    agent = await agents()
    assert (await client.put("/v1/pools/echo", json={"slots": 2})).status_code == 200
    registered = await client.post("/v1/agents", json={"pool": "echo", "url": agent.url})
    assert registered.status_code == 201
    answer = await client.post("/v1/tasks", json={"pool": "echo", "payload": {"n": 1}}, headers={"Prefer": "wait=10"})
    assert answer.status_code == 200, answer.text
    task = answer.json()
    assert (task["status"], task["result"], task["attempt"]) == ("succeeded", {"n": 1}, 1)
    assert task["agent_id"] == registered.json()["id"]
    assert (await client.get(answer.headers["location"])).json()["result"] == {"n": 1}
