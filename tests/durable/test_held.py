"""Tasks that are held until a person lets them start, and waits that people end."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.verbs import bearer, put_pool, refused, register, submit
from tests.durable.scripted import approval, events_of, final, play, step, types_of, until, waiting

START = {"start": {}}


@pytest.fixture
async def agent(client: httpx.AsyncClient, agents: Any) -> Any:
    """A scripted agent in the pool "echo" (no policy) and in "guarded" (each start is approved)."""
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    await put_pool(client)
    await put_pool(client, "guarded", approvals=START, input_schema=schema)
    stub, other = await agents(handler=play), await agents(handler=play)
    await register(client, stub.url, slots=4)
    await register(client, other.url, pool="guarded", slots=4)
    return other


@pytest.fixture
async def boss(client: httpx.AsyncClient) -> dict[str, str]:
    """The header of somebody who may decide and has submitted nothing."""
    body = {"name": "boss", "scopes": ["approvals:decide", "tasks:read"]}
    answer = await client.post("/v1/keys", json=body)
    assert answer.status_code == 201, answer.text
    return bearer(answer.json()["key"])


async def pending(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    (found,) = (await client.get(f"/v1/approvals?status=pending&task_id={task_id}")).json()["items"]
    return dict((await client.get(f"/v1/approvals/{found['id']}")).json())


async def decide(
    client: httpx.AsyncClient, boss: dict[str, str], task_id: str, verdict: str = "approve", **fields: Any
) -> httpx.Response:
    asked = await pending(client, task_id)
    body = {"payload_hash": asked["payload_hash"], **fields}
    return await client.post(f"/v1/approvals/{asked['id']}/{verdict}", json=body, headers=boss)


async def test_a_held_task_starts_when_it_is_approved(client: httpx.AsyncClient, agent: Any, boss: Any) -> None:
    task_id = await submit(client, {"n": 1}, pool="guarded", deadline_s=1000)
    task = (await client.get(f"/v1/tasks/{task_id}")).json()
    assert task["status"] == "held" and task["waiting"]["reason"] == "approval"
    assert agent.calls == []
    refused(await decide(client, {}, task_id), 403, "self_approval")
    assert (await decide(client, boss, task_id)).status_code == 200
    task = await final(client, task_id)
    assert task["status"] == "succeeded" and agent.calls[0]["payload"] == {"n": 1}
    assert await types_of(client, task_id) == [
        "task.held", "approval.requested", "approval.decided", "task.released", "task.running", "task.succeeded",
    ]  # fmt: skip


async def test_an_edited_start_runs_exactly_what_was_edited(client: httpx.AsyncClient, agent: Any, boss: Any) -> None:
    task_id = await submit(client, {"n": 1}, pool="guarded")
    refused(await decide(client, boss, task_id, args={"n": "no number"}), 422, "contract_violation")
    assert (await client.get(f"/v1/tasks/{task_id}")).json()["status"] == "held", "a refused edit decides nothing"
    assert (await decide(client, boss, task_id, args={"n": 7})).json()["status"] == "edited"
    await final(client, task_id)
    assert agent.calls[0]["payload"] == {"n": 7}


async def test_a_rejected_start_is_cancelled_and_an_expired_one_expires(
    client: httpx.AsyncClient, agent: Any, boss: Any
) -> None:
    task_id = await submit(client, {"n": 1}, pool="guarded")
    assert (await decide(client, boss, task_id, "reject", reason="not today")).status_code == 200
    task = await final(client, task_id)
    assert (task["status"], task["error"]["code"]) == ("cancelled", "approval_rejected")
    assert "not today" in task["error"]["message"]
    await put_pool(client, "guarded", approvals={"start": {"expires_s": 0.05}})
    task_id = await submit(client, {"n": 1}, pool="guarded")
    task = await final(client, task_id)
    assert (task["status"], task["error"]["code"]) == ("expired", "approval_expired")
    assert agent.calls == []


async def test_cancelling_a_held_task_supersedes_the_question(client: httpx.AsyncClient, agent: Any, boss: Any) -> None:
    task_id = await submit(client, {"n": 1}, pool="guarded")
    asked = await pending(client, task_id)
    assert (await client.post(f"/v1/tasks/{task_id}/cancel")).status_code == 200
    body = {"payload_hash": asked["payload_hash"]}
    answer = await client.post(f"/v1/approvals/{asked['id']}/approve", json=body, headers=boss)
    assert refused(answer, 409, "approval_decided")["approval_status"] == "superseded"


async def test_a_batch_and_sub_tasks_are_held_too(client: httpx.AsyncClient, agent: Any, boss: Any) -> None:
    tasks = [{"pool": "guarded", "payload": {"n": n}} for n in range(3)]
    answer = await client.post("/v1/tasks/batch", json={"tasks": tasks}, headers={"Idempotency-Key": "one"})
    assert [item["status"] for item in answer.json()["tasks"]] == ["held"] * 3
    again = await client.post("/v1/tasks/batch", json={"tasks": tasks}, headers={"Idempotency-Key": "one"})
    assert again.headers["Idempotency-Replayed"] == "true" and len(await _all_pending(client)) == 3
    called = {"step": "call", "reason": "call", "calls": [{"pool": "guarded", "payload": {"n": 5}}]}
    parent = await submit(client, {"script": [["suspend", called]]})
    await waiting(client, parent)
    (child,) = (await client.get(f"/v1/tasks?parent_id={parent}")).json()["items"]
    assert child["status"] == "held"
    assert (await decide(client, boss, child["id"])).status_code == 200
    assert (await final(client, parent))["result"]["steps"]["call"][0]["status"] == "succeeded"


async def _all_pending(client: httpx.AsyncClient) -> list[Any]:
    return list((await client.get("/v1/approvals?status=pending")).json()["items"])


async def test_an_approval_resumes_its_task_with_exactly_the_approved_args(
    client: httpx.AsyncClient, agent: Any, boss: Any
) -> None:
    task_id = await submit(client, {"script": [step("before", 1), approval(), step("after", 2)]})
    task = await waiting(client, task_id)
    assert task["waiting"]["approval_id"] is not None
    edited = {"command": ["ls", "-l"]}
    assert (await decide(client, boss, task_id, args=edited, reason="shorter")).json()["status"] == "edited"
    task = await final(client, task_id)
    outcome = task["result"]["steps"]["approve:shell"]
    assert (outcome["status"], outcome["args"], outcome["reason"]) == ("edited", edited, "shorter")
    types = await types_of(client, task_id)
    assert types.count("approval.requested") == 1 and types.count("approval.decided") == 1
    decided = next(item for item in await events_of(client, task_id) if item["type"] == "approval.decided")
    assert decided["data"]["payload_hash"] == outcome["payload_hash"] and decided["data"]["decided_by"]


async def test_expired_and_rejected_are_told_apart(client: httpx.AsyncClient, agent: Any, boss: Any) -> None:
    late = await submit(client, {"script": [approval(expires_s=0.05)]})
    assert (await final(client, late))["result"]["steps"]["approve:shell"]["status"] == "expired"
    refused_id = await submit(client, {"script": [approval()]})
    await waiting(client, refused_id)
    assert (await decide(client, boss, refused_id, "reject", reason="no")).status_code == 200
    assert (await final(client, refused_id))["result"]["steps"]["approve:shell"]["status"] == "rejected"


async def test_waiting_counts_against_no_deadline(client: httpx.AsyncClient, agent: Any, boss: Any) -> None:
    task_id = await submit(client, {"script": [approval()]}, deadline_s=2.0)
    await waiting(client, task_id)
    held_id = await submit(client, {"n": 1}, pool="guarded", deadline_s=2.0)
    deadline = (await client.get(f"/v1/tasks/{held_id}")).json()["start_deadline_at"]
    await until(client, held_id, lambda _: _past(deadline))
    for waits in (task_id, held_id):
        assert (await decide(client, boss, waits)).status_code == 200
        assert (await final(client, waits))["status"] == "succeeded"


def _past(moment: str) -> bool:
    from datetime import UTC, datetime

    return datetime.now(UTC) > datetime.fromisoformat(moment)
