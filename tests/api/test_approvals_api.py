"""`/v1/approvals`: who may decide what, exactly what was seen, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import httpx
import pytest
from aiohttp import web

from app.approvals.payload import payload_hash
from app.approvals.policy import Policy
from app.wiring import Yard
from tests.api.verbs import (
    bearer,
    new_key,
    put_pool,
    read,
    refused,
    register,
    submit,
    until,
    until_status,
)
from tests.approvals.rows import ask
from tests.conftest import running_app, settings_for
from tests.support.service import Backing
from tests.support.stub_agent import stream

App = tuple[httpx.AsyncClient, Yard]
ARGS = {"command": ["df", "-h"]}
HASH = payload_hash("shell", ARGS)
START = {"start": {"quorum": 1}}


async def waiting(yard: Yard, policy: Policy | None = None, **fields: Any) -> str:
    """An approval of a task that waits for it."""
    return str((await ask(yard.db, policy, tenant="default", **fields)).id)


async def shown(client: httpx.AsyncClient, approval_id: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/approvals/{approval_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def of_task(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    """The one approval of a task, whole."""
    (found,) = (await client.get("/v1/approvals", params={"task_id": task_id})).json()["items"]
    return await shown(client, found["id"])


async def approve(client: httpx.AsyncClient, approval_id: str, key: str = "", **body: Any) -> httpx.Response:
    headers = bearer(key) if key else None
    return await client.post(
        f"/v1/approvals/{approval_id}/approve", json={"payload_hash": HASH, **body}, headers=headers
    )


async def reject(client: httpx.AsyncClient, approval_id: str, key: str = "", **body: Any) -> httpx.Response:
    headers = bearer(key) if key else None
    return await client.post(f"/v1/approvals/{approval_id}/reject", json=body or None, headers=headers)


async def test_an_approval_shows_exactly_what_is_asked_and_who_may_decide(app: App) -> None:
    client, yard = app
    approval_id = await waiting(yard, Policy(60.0, groups=("sre",), quorum=2))
    found = await shown(client, approval_id)
    assert (found["action"], found["args"], found["payload_hash"]) == ("shell", ARGS, HASH)
    assert found["may_decide"] == {
        "scope": "approvals:decide", "tenant": "default", "groups": ["sre"], "but_not": "sam",
    }  # fmt: skip
    assert (found["status"], found["risk"], found["quorum"], found["votes"]) == ("pending", "high", 2, [])
    assert (found["edited"], found["edited_args"], found["decided_at"]) == (False, None, None)
    (listed,) = (await client.get("/v1/approvals")).json()["items"]
    assert listed == {name: value for name, value in found.items() if name not in ("args", "edited_args", "votes")}


async def test_approvals_are_filtered_and_paged_newest_first(app: App) -> None:
    client, yard = app
    ids = [await waiting(yard) for _ in range(5)]
    assert (await reject(client, ids[0])).status_code == 200
    seen: list[str] = []
    token = None
    while True:
        params = {"page_size": "2", "status": "pending", **({"page_token": token} if token else {})}
        page = (await client.get("/v1/approvals", params=params)).json()
        seen += [item["id"] for item in page["items"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert seen == ids[:0:-1]
    assert [item["id"] for item in (await client.get("/v1/approvals?status=rejected")).json()["items"]] == ids[:1]
    assert len((await client.get("/v1/approvals?pool=p")).json()["items"]) == 5
    assert (await client.get("/v1/approvals?pool=q")).json()["items"] == []
    refused(await client.get("/v1/approvals?status=maybe"), 422, "validation_error")
    refused(await client.get("/v1/approvals?page_token=x"), 400, "bad_page_token")


async def test_approved_over_http_the_task_goes_on(app: App) -> None:
    client, yard = app
    approval_id = await waiting(yard)
    done = await approve(client, approval_id, reason="checked")
    assert done.status_code == 200, done.text
    record = done.json()
    assert (record["status"], record["reason"], record["decided_from"]) == ("approved", "checked", "api:127.0.0.1")
    assert record["decided_by"] == record["votes"][0]["caller"]
    task = await read(client, record["task_id"])
    assert task["status"] in ("queued", "running")
    page = await client.get(f"/v1/tasks/{record['task_id']}/events", headers={"Accept": "application/json"})
    events = {event["type"]: event["data"] for event in page.json()["items"]}
    assert events["approval.decided"]["source"] == "api:127.0.0.1"
    assert "task.resumed" in events
    for late in (await approve(client, approval_id), await reject(client, approval_id)):
        body = refused(late, 409, "approval_decided")
        assert (body["approval_status"], body["decided_by"]) == ("approved", record["decided_by"])
        assert body["decided_at"] == record["decided_at"]


async def test_only_what_was_seen_is_approved(app: App) -> None:
    client, yard = app
    approval_id = await waiting(yard)
    path = f"/v1/approvals/{approval_id}/approve"
    for body in ({}, {"args": ARGS}, {"payload_hash": None}, {"payload_hash": "x" * 64}, {"payload_hash": HASH[1:]},
                 {"payload_hash": HASH, "colour": 1}, {"payload_hash": HASH, "reason": "x" * 2001}):  # fmt: skip
        refused(await client.post(path, json=body), 422, "validation_error")
    wrong = refused(await approve(client, approval_id, payload_hash="0" * 64), 409, "payload_changed")
    assert wrong["payload_hash"] == HASH
    refused(await reject(client, approval_id, payload_hash="0" * 64), 409, "payload_changed")
    refused(await approve(client, approval_id, args=2**53), 422, "approval_args_not_canonical")
    assert (await shown(client, approval_id))["status"] == "pending"


async def test_edited_over_http_and_a_null_is_a_value(app: App) -> None:
    client, yard = app
    edited = (await approve(client, await waiting(yard), args={"command": ["df"]})).json()
    assert (edited["status"], edited["edited_args"], edited["args"]) == ("edited", {"command": ["df"]}, ARGS)
    assert edited["payload_hash"] == payload_hash("shell", {"command": ["df"]})
    nothing = (await approve(client, await waiting(yard), args=None)).json()
    assert (nothing["status"], nothing["edited"], nothing["edited_args"]) == ("edited", True, None)


async def test_scope_group_and_tenant(app: App) -> None:
    client, yard = app
    approval_id = await waiting(yard, Policy(None, groups=("sre",), scope="pools:admin"))
    plain = await new_key(client, "approvals:decide", groups=["sre"])
    outside = await new_key(client, "pools:admin", groups=["dba"])
    inside = await new_key(client, "pools:admin", groups=["dba", "sre"])
    other = await new_key(client, "admin", tenant="other", groups=["sre"])
    assert refused(await approve(client, approval_id, plain), 403, "forbidden")["needs"] == "pools:admin"
    assert refused(await approve(client, approval_id, outside), 403, "forbidden")["needs_groups"] == ["sre"]
    refused(await approve(client, approval_id), 403, "forbidden")
    for answer in (await approve(client, approval_id, other), await reject(client, approval_id, other),
                   await client.get(f"/v1/approvals/{approval_id}", headers=bearer(other))):  # fmt: skip
        refused(answer, 404, "approval_not_found")
    assert (await client.get("/v1/approvals", headers=bearer(other))).json()["items"] == []
    assert (await approve(client, approval_id, inside)).status_code == 200


async def test_nobody_approves_their_own(app: App) -> None:
    client, yard = app
    key = await new_key(client, "admin")
    own = await waiting(yard, submitted_by=key.split("_")[1])
    refused(await approve(client, own, key), 403, "self_approval")
    refused(await reject(client, own, key), 403, "self_approval")
    assert (await approve(client, own)).status_code == 200
    allowed = await waiting(yard, Policy(None, self_approval=True), submitted_by=key.split("_")[1])
    assert (await approve(client, allowed, key)).status_code == 200


async def test_of_fifty_clicks_on_two_managers_one_wins(app: App, backing: Backing) -> None:
    client, yard = app
    async with running_app(settings_for(backing), backing.admin_key) as (second, _):
        keys = [await new_key(client, "approvals:decide") for _ in range(10)]
        approval_id = await waiting(yard)
        clicks = [
            (reject if n % 4 == 3 else approve)((client, second)[n % 2], approval_id, keys[n % 10]) for n in range(50)
        ]
        answers = await asyncio.gather(*clicks)
        assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 49}
        won = next(answer.json() for answer in answers if answer.status_code == 200)
        outcomes = [refused(answer, 409, "approval_decided") for answer in answers if answer.status_code == 409]
        said = {(body["approval_status"], body["decided_by"], body["decided_at"]) for body in outcomes}
        assert said == {(won["status"], won["decided_by"], won["decided_at"])}
        assert len((await shown(second, approval_id))["votes"]) == 1


async def test_a_pool_says_who_must_approve_what(client: httpx.AsyncClient) -> None:
    policy = {
        "required": True, "expires_s": 60.0, "on_expiry": "escalate", "escalate_to": ["leads"], "escalate_s": None,
        "groups": ["sre"], "scope": "approvals:decide", "quorum": 2, "self_approval": False,
    }  # fmt: skip
    approvals = {"start": None, "actions": {"shell": policy}}
    made = (await client.put("/v1/pools/one", json={"approvals": approvals})).json()
    assert made["approvals"] == approvals
    again = {name: made[name] for name in ("approvals", "slots", "balancer")}
    assert (await client.put("/v1/pools/one", json=again)).json()["approvals"] == approvals
    short = (await client.put("/v1/pools/one", json={"approvals": {"start": {}}})).json()["approvals"]
    assert (short["start"]["expires_s"], short["start"]["quorum"]) == ("default", 1)
    never = {"approvals": {"start": {"expires_s": None}}}
    assert (await client.put("/v1/pools/one", json=never)).json()["approvals"]["start"]["expires_s"] is None
    assert (await client.put("/v1/pools/one", json={})).json()["approvals"] == {"start": None, "actions": {}}
    for wrong in ({"quorum": 0}, {"on_expiry": "escalate"}, {"groups": ["a b"]}, {"expires_s": -1}, {"x": 1}):
        body = refused(await client.put("/v1/pools/one", json={"approvals": {"start": wrong}}), 422, "validation_error")
        assert body["errors"][0]["path"].startswith("approvals.start")


async def test_a_task_of_such_a_pool_is_held_until_it_is_approved(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client, approvals=START, input_schema={"type": "object"})
    await register(client, agent.url)
    submitter = bearer(await new_key(client, "tasks:write"))
    made = await client.post("/v1/tasks", json={"pool": "echo", "payload": {"n": 1}}, headers=submitter)
    assert made.json()["status"] == "held"
    asked = await of_task(client, made.json()["id"])
    assert (asked["kind"], asked["args"]) == ("start", {"n": 1})
    assert (await approve(client, asked["id"], payload_hash=asked["payload_hash"])).status_code == 200
    done = await until_status(client, made.json()["id"], "succeeded")
    assert done["result"] == {"n": 1}


async def test_a_held_task_runs_with_the_edited_payload_if_the_pool_takes_it(
    client: httpx.AsyncClient, agents: Any
) -> None:
    agent = await agents()
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    await put_pool(client, approvals={"start": {"self_approval": True}}, input_schema=schema)
    await register(client, agent.url)
    task_id = await submit(client, {"n": 1})
    asked = await of_task(client, task_id)
    wrong = await approve(client, asked["id"], payload_hash=asked["payload_hash"], args={"n": "one"})
    refused(wrong, 422, "contract_violation")
    assert (await shown(client, asked["id"]))["votes"] == []
    edited = await approve(client, asked["id"], payload_hash=asked["payload_hash"], args={"n": 2})
    assert edited.json()["status"] == "edited"
    assert (await until_status(client, task_id, "succeeded"))["result"] == {"n": 2}


async def test_a_held_task_that_is_rejected_or_cancelled_never_runs(client: httpx.AsyncClient) -> None:
    await put_pool(client, approvals={"start": {"self_approval": True}})
    rejected, cancelled = await submit(client, 1), await submit(client, 2)
    asked = await of_task(client, rejected)
    assert (await reject(client, asked["id"], reason="no")).json()["status"] == "rejected"
    assert (await read(client, rejected))["status"] == "cancelled"
    asked = await of_task(client, cancelled)
    assert (await client.post(f"/v1/tasks/{cancelled}/cancel")).status_code == 200
    late = refused(await approve(client, asked["id"], payload_hash=asked["payload_hash"]), 409, "approval_decided")
    assert late["approval_status"] == "superseded"


async def asking(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """An agent that asks before it runs a command, and returns what it was told."""
    told = body["steps"].get("approve:shell")
    if told is not None:
        return await stream(request, ("result", {"result": told}))
    return await stream(
        request, ("suspend", {"step": "approve:shell", "reason": "approval", "action": "shell", "args": ARGS})
    )


@pytest.mark.parametrize("args", [None, {"command": ["df"]}])
async def test_an_agent_asks_waits_and_gets_exactly_what_was_approved(
    client: httpx.AsyncClient, agents: Any, args: Any
) -> None:
    agent = await agents(handler=asking)
    await put_pool(client)
    await register(client, agent.url)
    submitter = bearer(await new_key(client, "tasks:write"))
    made = await client.post("/v1/tasks", json={"pool": "echo"}, headers=submitter)
    task_id = made.json()["id"]
    await until_status(client, task_id, "waiting")
    asked = await of_task(client, task_id)
    edit = {} if args is None else {"args": args}
    decided = (await approve(client, asked["id"], payload_hash=asked["payload_hash"], **edit)).json()
    done = await until_status(client, task_id, "succeeded")
    assert done["result"] == {
        "status": "approved" if args is None else "edited", "action": "shell", "args": args or ARGS, "reason": "",
        "decided_by": decided["decided_by"], "payload_hash": payload_hash("shell", args or ARGS),
    }  # fmt: skip


async def test_what_nobody_answers_expires_and_the_agent_is_told(app: App, agents: Any) -> None:
    client, yard = app
    agent = await agents(handler=asking)
    await put_pool(client, approvals={"actions": {"*": {"on_expiry": "reject", "expires_s": 3600}}})
    await register(client, agent.url)
    task_id = await submit(client)
    await until_status(client, task_id, "waiting")
    asked = await of_task(client, task_id)
    async with yard.db.hot() as connection:
        await connection.execute("UPDATE approvals SET expires_at = now() WHERE id = $1", UUID(asked["id"]))

    async def over() -> bool:
        return (await shown(client, asked["id"]))["status"] == "rejected"

    await until(over)
    assert (await until_status(client, task_id, "succeeded"))["result"]["decided_by"] == "policy"
