"""Emergency mode over the API, and what it does to tasks on real agents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from aiohttp import web

from app.wiring import Yard
from tests.alerts.answers import accounts, execute, fire, quiet_app, resolve, rule, sole, tick, time_is_over
from tests.api.verbs import Gate, bearer, new_key, put_pool, read, refused, register, submit, until, until_status
from tests.support.service import Backing
from tests.support.stub_agent import StubAgent

type App = tuple[httpx.AsyncClient, Yard]
type Agents = Callable[..., Awaitable[StubAgent]]


@pytest.fixture
async def app(backing: Backing) -> AsyncIterator[App]:
    async with quiet_app(backing) as running:
        yield running


async def switch_on(client: httpx.AsyncClient, status: int = 201, **fields: Any) -> dict[str, Any]:
    body = {"reason": "The provider is down.", "min_priority": None, "require_approval": False, **fields}
    answer = await client.put("/v1/emergency-mode", json=body)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


async def lift(client: httpx.AsyncClient, **params: str) -> dict[str, Any]:
    answer = await client.delete("/v1/emergency-mode", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def blockers(client: httpx.AsyncClient, task_id: str) -> list[dict[str, Any]]:
    return list((await client.get(f"/v1/tasks/{task_id}/explain")).json()["blockers"])


async def running(yard: Yard) -> int:
    async with yard.db.read() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM tasks WHERE status = 'running'"))


async def test_it_is_read_switched_on_replaced_and_lifted(app: App) -> None:
    client, _ = app
    await put_pool(client)
    assert (await client.get("/v1/emergency-mode")).json() == {"on": False, "items": [], "lifted": []}
    first = await switch_on(client, min_priority=5)
    assert first["on"] and first["items"][0]["source"] == "person" and first["items"][0]["pool"] is None
    await switch_on(client, pool="echo", max_share=0.5)
    again = await switch_on(client, 200, min_priority=7)
    assert [(item["pool"], item["min_priority"]) for item in again["items"]] == [("echo", None), (None, 7)]
    one = await lift(client, pool="echo")
    assert [item["pool"] for item in one["items"]] == [None] and [item["pool"] for item in one["lifted"]] == ["echo"]
    rest = await lift(client)
    assert not rest["on"] and rest["lifted"][0]["ended_by"]
    assert await lift(client) == {"on": False, "items": [], "lifted": []}


async def test_callers_read_it_and_only_admins_change_it(app: App) -> None:
    client, _ = app
    reader = bearer(await new_key(client, "tasks:read"))
    assert (await client.get("/v1/emergency-mode", headers=reader)).status_code == 200
    refused(await client.put("/v1/emergency-mode", json={"reason": "x"}, headers=reader), 403, "forbidden")
    refused(await client.delete("/v1/emergency-mode", headers=reader), 403, "forbidden")
    refused(await client.get("/v1/alert-actions", headers=reader), 403, "forbidden")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "validation_error"),
        ({"reason": ""}, 422, "validation_error"),
        ({"reason": "x", "duration_s": 9}, 422, "validation_error"),
        ({"reason": "x", "duration_s": 90_000}, 422, "validation_error"),
        ({"reason": "x", "max_share": 0}, 422, "validation_error"),
        ({"reason": "x", "max_running": 0}, 422, "validation_error"),
        ({"reason": "x", "min_priority": None, "require_approval": False}, 422, "validation_error"),
        ({"reason": "x", "tenant": "a"}, 422, "validation_error"),
        ({"reason": "x", "pool": "nowhere"}, 404, "pool_not_found"),
    ],
)
async def test_what_is_no_emergency_mode(app: App, body: dict[str, Any], status: int, code: str) -> None:
    client, _ = app
    refused(await client.put("/v1/emergency-mode", json=body), status, code)
    assert not (await client.get("/v1/emergency-mode")).json()["on"]


async def test_low_priorities_are_refused_and_queued_ones_wait(app: App, agents: Agents) -> None:
    client, _ = app
    await put_pool(client)
    waiting = await submit(client, "low", priority=-1)
    await switch_on(client, min_priority=0, duration_s=600)
    answer = await client.post("/v1/tasks", json={"pool": "echo", "priority": -1})
    problem = refused(answer, 503, "emergency_mode")
    assert 1 <= int(answer.headers["retry-after"]) <= 300
    assert problem["min_priority"] == 0 and "The provider is down." in problem["detail"]
    batch = {"tasks": [{"pool": "echo"}, {"pool": "echo", "priority": -5}]}
    refused(await client.post("/v1/tasks/batch", json=batch), 503, "emergency_mode")
    agent = await agents()
    await register(client, agent.url)
    high = await submit(client, "high", priority=0)
    await until_status(client, high, "succeeded")
    assert (await read(client, waiting))["status"] == "queued"
    assert [call["payload"] for call in agent.calls] == ["high"]
    (found,) = await blockers(client, waiting)
    assert found["code"] == "emergency_mode" and found["until"] and "below priority 0" in found["message"]
    await lift(client)
    await until_status(client, waiting, "succeeded")


async def test_a_replayed_submission_is_answered_in_an_emergency_too(app: App) -> None:
    client, _ = app
    await put_pool(client)
    body, key = {"pool": "echo", "priority": -1}, {"Idempotency-Key": "once"}
    first = await client.post("/v1/tasks", json=body, headers=key)
    await switch_on(client, min_priority=0)
    again = await client.post("/v1/tasks", json=body, headers=key)
    assert again.status_code == 202 and again.json()["id"] == first.json()["id"]


async def test_of_tasks_pinned_to_an_agent_low_ones_wait_too(app: App, agents: Agents) -> None:
    client, _ = app
    await put_pool(client)
    await switch_on(client, min_priority=3)
    agent = await register(client, (await agents()).url)
    high = await submit(client, "high", priority=3, agent_id=agent["id"])
    await until_status(client, high, "succeeded")
    await lift(client)
    low = await submit(client, "low", priority=2, agent_id=agent["id"])
    await until_status(client, low, "succeeded")


async def test_no_more_run_at_once_than_the_cap_says(app: App, agents: Agents) -> None:
    client, yard = app
    gate = Gate()
    await put_pool(client, slots=4)
    for _ in range(2):
        await register(client, (await agents(handler=gate)).url)
    await switch_on(client, pool="echo", max_running=3)
    ids = [await submit(client, number) for number in range(8)]
    await until(lambda: _equals(running(yard), 3))
    for _ in range(3):  # passes that could start more
        yard.dispatch.everywhere()
        await yard.dispatch.tick()
    assert await running(yard) == 3
    queued = [task for task in ids if (await read(client, task))["status"] == "queued"]
    assert "emergency_cap" in {item["code"] for item in await blockers(client, queued[0])}
    await switch_on(client, 200, pool="echo", max_share=0.75)
    await until(lambda: _equals(running(yard), 6))
    yard.dispatch.everywhere()
    await yard.dispatch.tick()
    assert await running(yard) == 6
    await lift(client)
    await until(lambda: _equals(running(yard), 8))
    gate.open.set()
    for task in ids:
        await until_status(client, task, "succeeded")


async def test_what_runs_goes_on_under_a_cap(app: App, agents: Agents) -> None:
    client, yard = app
    gate = Gate()
    await put_pool(client, slots=4)
    await register(client, (await agents(handler=gate)).url)
    ids = [await submit(client, number) for number in range(4)]
    await until(lambda: _equals(running(yard), 4))
    await switch_on(client, max_running=1)
    assert await running(yard) == 4
    gate.open.set()
    for task in ids:
        assert (await until_status(client, task, "succeeded"))["attempt"] == 1


async def test_the_cap_follows_agents_that_come_and_go(app: App, agents: Agents) -> None:
    client, yard = app
    gate = Gate()
    await put_pool(client, slots=2)
    first = await register(client, (await agents(handler=gate)).url)
    await switch_on(client, pool="echo", max_running=2)
    await register(client, (await agents(handler=gate)).url)
    await client.post(f"/v1/agents/{first['id']}/drain")
    for number in range(4):
        await submit(client, number)
    await until(lambda: _equals(running(yard), 2))
    gate.open.set()


async def test_actions_that_policies_let_pass_wait_for_people(app: App, agents: Agents) -> None:
    client, _ = app
    approvals = {"actions": {"*": {"required": False}}}
    await put_pool(client, approvals=approvals)
    await register(client, (await agents(handler=_asks)).url)
    before = await submit(client, "a")
    await until_status(client, before, "succeeded")
    await switch_on(client, pool="echo", require_approval=True)
    asking = await submit(client, "b")
    await until_status(client, asking, "waiting")
    (pending,) = (await client.get("/v1/approvals", params={"status": "pending"})).json()["items"]
    assert pending["task_id"] == asking
    await lift(client)
    assert (await read(client, asking))["status"] == "waiting"  # what was asked stays asked
    after = await submit(client, "c")
    await until_status(client, after, "succeeded")


async def test_starts_that_a_policy_lets_pass_are_held(app: App, agents: Agents) -> None:
    client, _ = app
    await put_pool(client, approvals={"start": {"required": False}})
    await put_pool(client, "plain")
    await register(client, (await agents()).url)
    await register(client, (await agents()).url, "plain")
    await switch_on(client, require_approval=True)
    held = await submit(client, {"a": 1})
    assert (await read(client, held))["status"] == "held"
    await until_status(client, await submit(client, {}, "plain"), "succeeded")
    (pending,) = (await client.get("/v1/approvals", params={"status": "pending"})).json()["items"]
    assert (pending["task_id"], pending["action"]) == (held, "start")


async def test_an_alert_switches_it_on_and_its_end_off(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "immediate_intervention", min_priority=1)
    await fire(yard)
    await tick(yard)
    state = (await client.get("/v1/emergency-mode")).json()
    (item,) = state["items"]
    assert (item["pool"], item["source"], item["created_by"]) == ("echo", "alert", "alert:r")
    assert item["id"] == (await sole(client))["id"]
    refused(await client.post("/v1/tasks", json={"pool": "echo"}), 503, "emergency_mode")
    await resolve(yard)
    await tick(yard)
    assert not (await client.get("/v1/emergency-mode")).json()["on"]
    await submit(client)


async def test_it_is_over_when_its_time_is(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "immediate_intervention", min_priority=1)
    await fire(yard)
    await tick(yard)
    await time_is_over(yard)
    for _ in range(2):
        await tick(yard)
    account = await sole(client)
    assert (account["status"], account["ended_by"]) == ("ended", "expired")
    await submit(client)


async def test_it_expires_without_anybody_to_end_it(app: App) -> None:
    """The view forgets it on time, though no loop reads again."""
    client, yard = app
    await put_pool(client)
    await switch_on(client, min_priority=1)
    view = yard.responding.restraints
    await execute(yard, "UPDATE restraints SET expires_at = clock_timestamp() + interval '0.3 s'")
    await view.refresh()
    assert view.least("echo") == 1
    await until(lambda: _is(view.of("echo") is None))
    await submit(client)


async def test_what_a_person_lifts_the_same_alert_does_not_switch_on_again(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "immediate_intervention")
    await fire(yard)
    await tick(yard)
    lifted = await lift(client)
    assert len(lifted["lifted"]) == 1
    account = await sole(client)
    assert account["status"] == "ended" and account["ended_by"] == lifted["lifted"][0]["ended_by"]
    for _ in range(2):
        await tick(yard)
    assert not (await client.get("/v1/emergency-mode")).json()["on"]
    await fire(yard, again=1)
    await tick(yard)
    assert (await client.get("/v1/emergency-mode")).json()["on"]
    assert len(await accounts(client)) == 2


async def test_a_paused_pool_starts_nothing_and_says_why(app: App, agents: Agents) -> None:
    client, yard = app
    await put_pool(client)
    await put_pool(client, "other")
    await register(client, (await agents()).url)
    await register(client, (await agents()).url, "other")
    await rule(yard, "pause_pool")
    await fire(yard)
    await tick(yard)
    task = await submit(client, priority=1000)
    await until_status(client, await submit(client, pool="other"), "succeeded")
    assert (await read(client, task))["status"] == "queued"
    assert (await blockers(client, task))[0]["code"] == "pool_paused"
    await resolve(yard)
    await tick(yard)
    assert (await sole(client))["status"] == "running"  # a pause holds for its time
    ended = await client.post(f"/v1/alert-actions/{(await sole(client))['id']}/end")
    assert ended.status_code == 200 and ended.json()["status"] == "ended"
    await until_status(client, task, "succeeded")


async def _asks(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Asks for an approval once."""
    if body["resume"] is not None:
        return web.json_response({"result": "done"})
    suspend = '{"step":"s","reason":"approval","action":"delete","args":{}}'
    response = web.Response(text=f"event: suspend\ndata: {suspend}\n\n", content_type="text/event-stream")
    await asyncio.sleep(0)
    return response


async def _equals(found: Awaitable[int], wanted: int) -> bool:
    return await found == wanted


async def _is(found: bool) -> bool:
    return found
