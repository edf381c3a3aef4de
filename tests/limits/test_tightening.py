"""Tightened pools: from an objective whose budget is gone to tasks that are held, replicas that stay, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from app.limits import tightening
from app.wiring import Yard
from tests.api.verbs import bearer, new_key, put_pool, refused, submit
from tests.conftest import running_app, settings_for
from tests.slo.ended_tasks import Ended, write
from tests.support.service import Backing
from tests.support.waiting import until_async

App = tuple[httpx.AsyncClient, Yard]
STRICT: dict[str, Any] = {
    "kind": "availability",
    "target": 0.9,
    "scope": {"pool": "echo"},
    "window": {"kind": "rolling", "seconds": 3600},
    "on_exhausted": ["require_approval", "freeze_rollouts"],
}


def ago(**units: float) -> datetime:
    return datetime.now(UTC) - timedelta(**units)


async def ended(yard: Yard, **statuses: int) -> None:
    tasks = [Ended(ago(seconds=2), status, pool="echo") for status, number in statuses.items() for _ in range(number)]
    await write(yard.db, tasks)


async def judged(yard: Yard) -> None:
    """The loop's pass, and what the hint of it makes every manager do."""
    while await yard.objectives.counting.run_once():
        pass
    await yard.durable.tightening.refresh()


async def shown(client: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await client.get("/v1/slos/strict")).json())


async def set_up(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    answer = await client.put("/v1/slos/strict", json=STRICT)
    assert answer.status_code == 201, answer.text


async def test_an_exhausted_budget_holds_tasks_until_people_agree_or_it_recovers(app: App) -> None:
    client, yard = app
    await set_up(client)
    await ended(yard, succeeded=18, failed=2)
    await judged(yard)
    found = await shown(client)
    assert found["standing"]["state"] == "exhausted"
    assert [(item["what"], item["pool"]) for item in found["tightened"]] == [
        ("freeze_rollouts", "echo"), ("require_approval", "echo"),
    ]  # fmt: skip
    assert yard.durable.tightening.freezes_rollouts("echo")
    scaling = (await client.get("/v1/pools/echo/scaling")).json()
    assert {(item["what"], item["slo"]) for item in scaling["tightened"]} == {
        ("freeze_rollouts", "strict"), ("require_approval", "strict"),
    }  # fmt: skip

    held = await submit(client, {"n": 1})
    assert (await client.get(f"/v1/tasks/{held}")).json()["status"] == "held"
    (blocker,) = (await client.get(f"/v1/tasks/{held}/explain")).json()["blockers"]
    assert blocker["code"] == "held_for_approval"
    assert "The error budget of the objective 'strict' is exhausted." in blocker["message"]
    refused(await client.post("/v1/tasks", json={"pool": "echo", "payload": 2**60}), 422, "approval_args_not_canonical")
    (approval,) = (await client.get("/v1/approvals", params={"status": "pending"})).json()["items"]
    assert approval["risk"] == "The error budget of the objective 'strict' is exhausted."
    decider = bearer(await new_key(client, "approvals:decide"))
    body = {"payload_hash": approval["payload_hash"]}
    answer = await client.post(f"/v1/approvals/{approval['id']}/approve", json=body, headers=decider)
    assert answer.status_code == 200, answer.text
    assert (await client.get(f"/v1/tasks/{held}")).json()["status"] == "queued"

    since = found["tightened"][0]["since"]
    await judged(yard)
    assert (await shown(client))["tightened"][0]["since"] == since, "a second pass changes nothing"

    await ended(yard, succeeded=60)
    await judged(yard)
    found = await shown(client)
    assert (found["standing"]["state"], found["tightened"]) == ("healthy", [])
    assert not yard.durable.tightening.freezes_rollouts("echo")
    free = await submit(client, {"n": 2})
    assert (await client.get(f"/v1/tasks/{free}")).json()["status"] == "queued"


async def test_a_tenant_with_one_key_can_approve_its_own_start(app: App) -> None:
    client, yard = app
    await set_up(client)
    await ended(yard, failed=1)
    await judged(yard)
    only = bearer(await new_key(client, "tasks:write", "tasks:read", "approvals:decide"))
    held = (await client.post("/v1/tasks", json={"pool": "echo", "payload": 1}, headers=only)).json()
    assert held["status"] == "held"
    (approval,) = (await client.get("/v1/approvals", params={"status": "pending"}, headers=only)).json()["items"]
    body = {"payload_hash": approval["payload_hash"]}
    answer = await client.post(f"/v1/approvals/{approval['id']}/approve", json=body, headers=only)
    assert answer.status_code == 200, answer.text


async def test_the_hint_reaches_every_manager(backing: Backing) -> None:
    settings = settings_for(backing)
    async with (
        running_app(settings, backing.admin_key) as (client, yard),
        running_app(settings, backing.admin_key) as (_, other),
    ):
        await set_up(client)
        await ended(yard, failed=1)

        async def held() -> bool:
            return other.durable.tightening.why_asked("echo") is not None

        await until_async(held, "the other manager asks")  # the loop of one of the two counts it
        assert (await client.delete("/v1/slos/strict")).status_code == 200

        async def lifted() -> bool:
            return other.durable.tightening.why_asked("echo") is None

        await until_async(lifted, "the other manager asks no more")


async def test_without_evidence_nothing_changes_and_with_no_events_it_is_lifted(app: App) -> None:
    client, yard = app
    await set_up(client)
    await judged(yard)
    assert (await shown(client))["tightened"] == []
    await ended(yard, failed=1)
    await judged(yard)
    assert len((await shown(client))["tightened"]) == 2
    async with yard.db.hot() as connection:  # as if a week had gone by
        await connection.execute("UPDATE tasks SET finished_at = finished_at - interval '7 days'")
        await connection.execute("UPDATE slos SET counted_until = now() - interval '1 hour'")
    await judged(yard)
    found = await shown(client)
    assert (found["standing"]["state"], found["tightened"]) == ("no_data", [])


async def test_tasks_that_nobody_approves_in_time_do_not_keep_the_budget_exhausted(app: App) -> None:
    client, yard = app
    await set_up(client)
    await ended(yard, succeeded=17, failed=2)
    await judged(yard)
    held = await submit(client, {"n": 1})
    async with yard.db.hot() as connection:
        await connection.execute("UPDATE approvals SET expires_at = now() - interval '1 s'")

    async def expired() -> bool:
        return bool((await client.get(f"/v1/tasks/{held}")).json()["status"] == "expired")

    await until_async(expired, "the question expires")
    await judged(yard)
    found = await shown(client)
    assert found["named"] == {"succeeded": 17, "failed": 2, "unapproved": 1}
    assert (found["standing"]["counts"]["bad"], found["standing"]["counts"]["excluded"]) == (2, 1)


async def test_what_is_no_longer_asked_for_is_lifted_at_once(app: App) -> None:
    client, yard = app
    await set_up(client)
    await ended(yard, failed=1)
    await judged(yard)
    answer = await client.put("/v1/slos/strict", json={**STRICT, "on_exhausted": ["freeze_rollouts"]})
    assert [item["what"] for item in answer.json()["tightened"]] == ["freeze_rollouts"]
    answer = await client.put("/v1/slos/strict", json={**STRICT, "on_exhausted": []})
    assert answer.json()["tightened"] == []


async def test_two_objectives_of_one_pool_each_hold_it(app: App) -> None:
    client, yard = app
    await put_pool(client)
    for name in ("one", "two"):
        await client.put(f"/v1/slos/{name}", json=STRICT)
    await ended(yard, failed=1)
    await judged(yard)
    async with yard.db.hot() as connection:
        found = await tightening.of_pool(connection, "echo")
    assert sorted((item.slo, item.what) for item in found) == [
        (name, what) for name in ("one", "two") for what in ("freeze_rollouts", "require_approval")
    ]
    await client.delete("/v1/slos/one")
    await yard.durable.tightening.refresh()
    assert yard.durable.tightening.why_asked("echo") == "The error budget of the objective 'two' is exhausted."
