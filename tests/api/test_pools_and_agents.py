"""`/v1/pools` and `/v1/agents`: define, register, report, drain, remove."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx

from app.registry.fleet_wire import ScaleIn
from app.wiring import Yard
from tests.api.verbs import (
    Gate,
    agent_status,
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


async def test_a_pool_is_defined_read_replaced_and_listed(client: httpx.AsyncClient) -> None:
    body = {
        "description": "d", "skills": {"a": 0.5, "b": 1}, "slots": 3, "balancer": "round_robin", "timeout_s": 9,
        "max_attempts": 2, "retry": {"initial_s": 2, "max_s": 5, "factor": 3, "jitter": 0},
        "scale": ScaleIn(min=0, max=0, wait_s=5).model_dump(), "launch": {"kind": "external"},
        "input_schema": {"type": "object"}, "output_schema": {},
    }  # fmt: skip
    made = (await client.put("/v1/pools/one", json=body)).json()
    assert {name: made[name] for name in body} == body
    assert (made["name"], made["desired"], made["agents"]) == ("one", 0, {})
    assert (await client.get("/v1/pools/one")).json() == made
    replaced = (await client.put("/v1/pools/one", json={"slots": 7})).json()
    assert (replaced["slots"], replaced["skills"], replaced["input_schema"]) == (7, {}, None)
    assert replaced["created_at"] == made["created_at"]
    assert replaced["updated_at"] > made["updated_at"]
    refused(await client.get("/v1/pools/two"), 404, "pool_not_found")


async def test_pools_are_paged_by_name_while_some_are_added(client: httpx.AsyncClient) -> None:
    for name in ("b", "d", "f"):
        await put_pool(client, name)
    first = (await client.get("/v1/pools", params={"page_size": 2})).json()
    for name in ("a", "e"):
        await put_pool(client, name)
    rest = await client.get("/v1/pools", params={"page_size": 2, "page_token": first["next_page_token"]})
    assert [pool["name"] for pool in first["items"] + rest.json()["items"]] == ["b", "d", "e", "f"]
    assert rest.json()["next_page_token"] is None


async def test_what_a_pool_may_not_be(client: httpx.AsyncClient) -> None:
    process = {"kind": "process", "command": ["true"]}
    for body, code in (
        ({"balancer": "dice"}, "unknown_balancer"),
        ({"launch": process}, "launch_not_allowed"),
        ({"input_schema": {"type": "nonsense"}}, "bad_schema"),
        ({"output_schema": {"pattern": "("}}, "bad_schema"),
        ({"input_schema": {"$ref": "https://example.com/schema.json"}}, "bad_schema"),
        ({"input_schema": {"$ref": "#/nowhere"}}, "bad_schema"),
        ({"input_schema": {"$schema": "urn:nothing"}}, "bad_schema"),
        ({"scale": {"min": 3, "max": 2}}, "validation_error"),
        ({"skills": {"a": 1.01}}, "validation_error"),
        ({"skills": {"": 1}}, "validation_error"),
        ({"launch": {"kind": "balloon"}}, "validation_error"),
        ({"name": "x"}, "validation_error"),
    ):
        refused(await client.put("/v1/pools/x", json=body), 422, code)
    for name in ("-x", "a b", "é", "x" * 64, "a%0a", "..%2fx"):
        answer = await client.put(f"/v1/pools/{name}", json={})
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.get("/v1/pools")).json()["items"] == []


async def test_a_balancer_changed_at_run_time_takes_effect(client: httpx.AsyncClient, agents: Any) -> None:
    urls = {(await agents()).url: 1, (await agents()).url: 9}
    await put_pool(client, balancer="round_robin")
    weights = {}
    for url, weight in urls.items():
        weights[(await register(client, url, weight=weight, slots=50))["id"]] = weight
    await until_working(client, 2)
    even = Counter([(await run(client))["agent_id"] for _ in range(20)])
    assert set(even.values()) == {10}
    await put_pool(client, balancer="weighted_round_robin")
    uneven = Counter([(await run(client))["agent_id"] for _ in range(20)])
    assert {weights[agent]: count for agent, count in uneven.items()} == {1: 2, 9: 18}


async def until_working(client: httpx.AsyncClient, count: int, pool: str = "echo") -> None:
    async def there() -> bool:
        found = (await client.get(f"/v1/pools/{pool}")).json()["agents"]
        return bool(sum(found.get(status, 0) for status in ("idle", "busy")) >= count)

    await until(there)


async def test_a_pool_that_others_launch_cannot_be_scaled(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    body = {"replicas": 2, "reason": "test"}
    refused(await client.post("/v1/pools/echo/scale", json=body), 409, "pool_not_scalable")
    refused(await client.post("/v1/pools/none/scale", json=body), 404, "pool_not_found")
    refused(await client.post("/v1/pools/echo/scale", json={"replicas": -1}), 422, "validation_error")
    assert (await client.get("/v1/pools/echo")).json()["desired"] == 0


async def test_an_agent_registers_and_is_found(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client, slots=6)
    answer = await client.post(
        "/v1/agents", json={"pool": "echo", "url": agent.url + "/", "version": "1.2", "labels": {"zone": "a"}}
    )
    made = answer.json()
    assert answer.headers["location"] == f"/v1/agents/{made['id']}"
    assert (made["url"], made["slots"], made["version"], made["labels"]) == (agent.url, 6, "1.2", {"zone": "a"})
    assert made["status"] == "starting"
    assert made["heartbeat_interval_s"] == 15.0
    assert made["token"].startswith(f"ya_{made['id']}_")

    async def idle() -> bool:  # the health loop asked it
        return await agent_status(client, made["id"]) == "idle"

    await until(idle)
    found = (await client.get("/v1/agents", params={"pool": "echo", "status": "idle"})).json()["items"]
    assert [item["id"] for item in found] == [made["id"]]
    assert "token" not in found[0]
    refused(await client.post("/v1/agents", json={"pool": "none", "url": agent.url}), 404, "pool_not_found")
    refused(await client.get(f"/v1/agents/{uuid4()}"), 404, "agent_not_found")


async def test_an_agent_that_registers_again_keeps_its_id_and_gets_a_new_token(
    client: httpx.AsyncClient, agents: Any
) -> None:
    agent = await agents()
    await put_pool(client)
    first = await register(client, agent.url, slots=1)
    second = await register(client, agent.url, slots=5)
    assert (second["id"], second["slots"]) == (first["id"], 5)
    path = f"/v1/agents/{first['id']}/heartbeat"

    async def old_one_is_dead() -> bool:
        answer = await client.post(path, json={}, headers=bearer(first["token"]))
        return answer.status_code == 401

    await until(old_one_is_dead)
    assert (await client.post(path, json={}, headers=bearer(second["token"]))).status_code == 200


async def test_agents_are_paged_by_id(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    ids = [(await register(client, f"{agent.url}/{n}"))["id"] for n in range(5)]
    seen: list[str] = []
    token = None
    while len(seen) < 5:
        params = {"page_size": "2"} | ({"page_token": token} if token else {})
        page = (await client.get("/v1/agents", params=params)).json()
        seen += [item["id"] for item in page["items"]]
        token = page["next_page_token"]
    assert (seen, token) == (sorted(ids), None)


async def test_a_token_is_good_for_its_own_agent_only(client: httpx.AsyncClient, agents: Any) -> None:
    one, two = await agents(), await agents()
    await put_pool(client)
    mine, other = await register(client, one.url), await register(client, two.url)
    token = bearer(mine["token"])
    own, foreign = f"/v1/agents/{mine['id']}", f"/v1/agents/{other['id']}"
    assert (await client.post(f"{own}/heartbeat", json={"running": 1}, headers=token)).json() == {"directives": []}
    for method, path in (("POST", f"{foreign}/heartbeat"), ("POST", f"{foreign}/drain"), ("DELETE", foreign)):
        body: Any = {} if path.endswith("heartbeat") else None
        refused(await client.request(method, path, headers=token, json=body), 403, "forbidden")
    for method, path in (("GET", own), ("GET", "/v1/tasks"), ("GET", "/v1/pools"), ("GET", "/v1/keys")):
        refused(await client.request(method, path, headers=token), 403, "forbidden")
    refused(await client.post("/v1/tasks", json={"pool": "echo"}, headers=token), 403, "forbidden")
    assert await agent_status(client, other["id"]) != "draining"
    for_them = await new_key(client, "agents:register")
    for key in ({}, bearer(for_them)):  # an admin, and whoever may register agents
        assert (await client.post(f"{foreign}/heartbeat", json={"running": 0}, headers=key)).status_code == 200
    assert (await client.post(f"{own}/drain", headers=token)).json()["status"] == "draining"
    assert (await client.delete(own, headers=token)).status_code == 204


async def test_a_removed_agent_is_told_to_register_again(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    made = await register(client, agent.url)
    path = f"/v1/agents/{made['id']}"
    assert (await client.delete(path)).status_code == 204

    async def told() -> bool:
        return (await client.post(f"{path}/heartbeat", json={})).status_code == 404

    await until(told)
    refused(await client.post(f"{path}/heartbeat", json={}), 404, "agent_not_found")
    refused(await client.delete(path), 404, "agent_not_found")
    refused(await client.post(f"{path}/drain"), 404, "agent_not_found")
    assert await agent_status(client, made["id"]) == "gone"
    assert (await client.get("/v1/agents")).json()["items"] == []
    gone = (await client.get("/v1/agents", params={"status": "gone"})).json()["items"]
    assert [item["id"] for item in gone] == [made["id"]]
    again = await register(client, agent.url)
    assert again["id"] != made["id"]


async def test_a_drained_agent_finishes_takes_nothing_new_and_is_gone(client: httpx.AsyncClient, agents: Any) -> None:
    gate = Gate()
    leaving, staying = await agents(handler=gate), await agents()
    await put_pool(client)
    made = await register(client, leaving.url, slots=2)
    held = await submit(client, "held")
    await until_status(client, held, "running")
    for _ in range(2):  # draining twice changes nothing
        assert (await client.post(f"/v1/agents/{made['id']}/drain")).json()["status"] == "draining"
    await until_not_offered(client)
    await register(client, staying.url)
    await asyncio.gather(*(run(client, n) for n in range(5)))
    assert gate.order == ["held"]
    assert await agent_status(client, made["id"]) == "draining"  # it still works
    gate.open.set()
    assert (await until_status(client, held, "succeeded"))["attempt"] == 1

    async def gone() -> bool:
        return await agent_status(client, made["id"]) == "gone"

    await until(gone, within_s=20)


async def test_a_draining_agent_is_told_so_by_its_heartbeat(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    made = await register(client, agent.url)
    own, token = f"/v1/agents/{made['id']}", bearer(made["token"])
    assert (await client.post(f"{own}/heartbeat", json={}, headers=token)).json() == {"directives": []}
    await client.post(f"{own}/drain")

    async def told() -> bool:
        answer = await client.post(f"{own}/heartbeat", json={"running": 1}, headers=token)
        return bool(answer.json() == {"directives": [{"type": "drain"}]})

    await until(told)
    leaving = await client.post(f"{own}/heartbeat", json={"status": "draining"}, headers=token)
    assert leaving.json() == {"directives": []}  # it knows
    assert (await client.delete(own, headers=token)).status_code == 204
    assert await agent_status(client, made["id"]) == "gone"


async def test_an_agent_in_maintenance_gets_nothing_until_it_is_back(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    made = await register(client, agent.url)
    await until_working(client, 1)
    beat = f"/v1/agents/{made['id']}/heartbeat"

    async def in_maintenance() -> bool:  # the manager that hears it may not have learned yet that the agent works
        await client.post(beat, json={"status": "maintenance"})
        return await agent_status(client, made["id"]) == "maintenance"

    await until(in_maintenance)
    await until_not_offered(client)
    task_id = await submit(client)
    await client.post(beat, json={"status": "idle", "running": 0})
    assert (await until_status(client, task_id, "succeeded"))["attempt"] == 1
    assert (await read(client, task_id))["agent_id"] == made["id"]


async def until_not_offered(client: httpx.AsyncClient) -> None:
    """Until this manager's copy of the registry has caught up: a submission says that no agent can work."""

    async def noticed() -> bool:
        body = {"pool": "echo", "run_at": "2100-01-01T00:00:00Z"}
        notice = (await client.post("/v1/tasks", json=body)).json()["notice"]
        return notice is not None and notice["code"] == "no_working_agent"

    await until(noticed)
