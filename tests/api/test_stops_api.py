"""Stops over the API, with agents that answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiohttp import web

from app.wiring import Yard
from tests.api.verbs import (
    Gate,
    bearer,
    new_key,
    put_pool,
    read,
    refused,
    register,
    run,
    submit,
    until,
    until_status,
)

App = tuple[httpx.AsyncClient, Yard]


async def stop(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/stops", json={"reason": "it deletes files", **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def lift(client: httpx.AsyncClient, stop_id: str) -> dict[str, Any]:
    answer = await client.post(f"/v1/stops/{stop_id}/lift")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def reported(client: httpx.AsyncClient, stop_id: str) -> dict[str, Any]:
    """The stop once every agent has been asked."""

    async def answered() -> dict[str, Any] | None:
        found = (await client.get(f"/v1/stops/{stop_id}")).json()
        return found if found["report"]["asked"] == 0 else None

    return dict(await until(answered))


async def test_a_stop_takes_the_running_holds_the_new_and_lifting_brings_them_back(
    client: httpx.AsyncClient, agents: Any
) -> None:
    gate = Gate()
    agent = await agents(handler=gate)
    await put_pool(client)
    await register(client, agent.url, slots=5)
    running = await submit(client, "first")
    await until_status(client, running, "running")

    async def called() -> bool:
        return bool(gate.order)

    await until(called)
    made = await stop(client, pool="echo")
    assert (made["standing"], made["report"]["held"]) == (True, 1)
    report = (await reported(client, made["id"]))["report"]
    assert (report["stopped"], report["no_answer"], report["held_more"]) == (1, 0, False)
    assert report["attempts"][0] | {"state": "stopped", "task_id": running} == report["attempts"][0]
    assert agent.cancels == [running]
    held = await submit(client, "second")
    gate.open.set()
    assert {(await read(client, each))["status"] for each in (running, held)} == {"queued"}
    events = (await client.get(f"/v1/tasks/{running}/events", headers={"Accept": "application/json"})).json()["items"]
    assert [event["type"] for event in events] == ["task.queued", "task.running", "task.stopped"]
    lifted = await lift(client, made["id"])
    assert (lifted["standing"], lifted["report"]["held"]) == (False, 0)
    assert (await lift(client, made["id"]))["lifted_at"] == lifted["lifted_at"]
    for each in (running, held):
        task = await until_status(client, each, "succeeded")
        assert task["attempt"] == 1
    assert sorted(gate.order) == ["first", "first", "second"]


async def test_what_the_stopped_attempt_had_reported_is_counted(client: httpx.AsyncClient, agents: Any) -> None:
    reported_usage = asyncio.Event()

    async def spend(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        data = {"model": "m", "input_tokens": 700, "output_tokens": 30}
        await response.write(f"event: usage\ndata: {json.dumps(data)}\n\n".encode())
        await response.write(b'event: progress\ndata: {"message": "spent"}\n\n')
        reported_usage.set()
        await asyncio.sleep(60)
        return response

    agent = await agents(handler=spend)
    await put_pool(client)
    await register(client, agent.url)
    task_id = await submit(client)
    await reported_usage.wait()

    async def heard() -> bool:
        events = await client.get(f"/v1/tasks/{task_id}/events", headers={"Accept": "application/json"})
        return "task.progress" in events.text

    await until(heard)
    made = await stop(client, pool="echo")

    async def spent() -> bool:
        report = (await client.get(f"/v1/stops/{made['id']}")).json()["report"]
        return bool(report["spent"] == {"input_tokens": 700, "output_tokens": 30, "cost_usd": None})

    await until(spent)


async def test_an_agent_that_cannot_be_reached_did_not_answer(client: httpx.AsyncClient, agents: Any) -> None:
    gate = Gate()
    agent = await agents(handler=gate)

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=500)

    agent._cancel = refuse
    await agent.stop()
    await agent.start()
    await put_pool(client)
    await register(client, agent.url)
    task_id = await submit(client)
    await until_status(client, task_id, "running")
    made = await stop(client, tenant="default")
    report = (await reported(client, made["id"]))["report"]
    assert (report["stopped"], report["no_answer"]) == (0, 1)
    gate.open.set()
    assert (await read(client, task_id))["status"] == "queued"


async def test_a_stopped_agent_gets_nothing_and_the_others_go_on(app: App, agents: Any) -> None:
    client, _ = app
    bad, good = await agents(), await agents()
    await put_pool(client, balancer="round_robin")
    await register(client, bad.url, labels={"zone": "eu"})
    await register(client, good.url, labels={"zone": "us"})
    made = await stop(client, label={"key": "zone", "value": "eu"})
    calls = len(bad.calls)
    for number in range(6):
        assert (await run(client, number))["status"] == "succeeded"
    assert (len(bad.calls), len(good.calls)) == (calls, 6)
    late = await agents()
    await register(client, late.url, labels={"zone": "eu"})
    for number in range(4):
        await run(client, number)
    assert late.calls == []
    await lift(client, made["id"])

    async def used() -> bool:
        await run(client)
        return bool(bad.calls and late.calls)

    await until(used)


async def test_stops_are_listed_newest_first_and_filtered(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    first, second = await stop(client, pool="echo"), await stop(client, tenant="t")
    await lift(client, first["id"])
    page = (await client.get("/v1/stops", params={"page_size": 1})).json()
    assert [item["id"] for item in page["items"]] == [second["id"]]
    page = (await client.get("/v1/stops", params={"page_token": page["next_page_token"]})).json()
    assert [item["id"] for item in page["items"]] == [first["id"]]
    standing = (await client.get("/v1/stops", params={"standing": True})).json()["items"]
    assert [item["id"] for item in standing] == [second["id"]]


async def test_an_operator_stops_sees_and_lifts_its_own_tenant_only(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    operator = bearer(await new_key(client, "pools:admin", tenant="t"))
    imposed, foreign = await stop(client, tenant="t"), await stop(client, tenant="u")
    answer = await client.post("/v1/stops", json={"tenant": "t", "pool": "echo", "reason": "r"}, headers=operator)
    assert answer.status_code == 201
    own = answer.json()["id"]
    for body in ({"tenant": "u"}, {"pool": "echo"}, {"label": {"key": "a", "value": "b"}}):
        refused(await client.post("/v1/stops", json={**body, "reason": "r"}, headers=operator), 403, "forbidden")
    listed = (await client.get("/v1/stops", headers=operator)).json()["items"]
    assert [item["id"] for item in listed] == [own, imposed["id"]]
    refused(await client.get(f"/v1/stops/{foreign['id']}", headers=operator), 404, "stop_not_found")
    refused(await client.post(f"/v1/stops/{foreign['id']}/lift", headers=operator), 404, "stop_not_found")
    refused(await client.post(f"/v1/stops/{imposed['id']}/lift", headers=operator), 409, "stop_not_yours")
    assert (await client.post(f"/v1/stops/{own}/lift", headers=operator)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"reason": "r"}, 422, "validation_error"),
        ({"tenant": "t"}, 422, "validation_error"),
        ({"tenant": "t", "reason": ""}, 422, "validation_error"),
        ({"tenant": "t", "reason": "r", "colour": "red"}, 422, "validation_error"),
        ({"label": {"key": "k"}, "reason": "r"}, 422, "validation_error"),
        ({"agent_id": "x", "reason": "r"}, 422, "validation_error"),
        ({"tenant": "t", "label": {"key": "k", "value": "v"}, "reason": "r"}, 422, "stop_selector_invalid"),
        ({"pool": "nowhere", "reason": "r"}, 404, "pool_not_found"),
        ({"agent_id": str(uuid4()), "reason": "r"}, 404, "agent_not_found"),
    ],
)
async def test_what_is_no_stop(client: httpx.AsyncClient, body: dict[str, Any], status: int, code: str) -> None:
    refused(await client.post("/v1/stops", json=body), status, code)
    assert (await client.get("/v1/stops")).json()["items"] == []
