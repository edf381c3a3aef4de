"""What probes spend is on budgets of their own: users' budgets, objectives and reports do not see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from app.settings import CostSettings
from app.slo.counts import totals
from app.slo.windows import Span
from tests.api.verbs import put_pool, refused, register, submit, until, until_status
from tests.api.verbs import run as run_task
from tests.conftest import running_app, settings_for
from tests.slo.objectives import objective
from tests.slo.probe_desk import Desk
from tests.support.service import Backing

OF_PROBES = {"tenant": "yardmaster-probes"}


async def spends(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    usage = [{"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 100}]
    return web.json_response({"result": body["payload"], "usage": usage})


@pytest.fixture
async def desk(backing: Backing, agents: Any) -> AsyncIterator[Desk]:
    settings = settings_for(backing, costs=CostSettings(interval_s=3600, refresh_interval_s=0.05))
    async with running_app(settings, backing.admin_key) as (client, yard):
        await put_pool(client)
        agent = await agents(handler=spends)
        await register(client, agent.url)
        yield await Desk(yard, client).open()


async def budget(desk: Desk, name: str, limit: str, **fields: Any) -> None:
    body = {"unit": "requests", "window": {"kind": "day"}, "limit": limit, **fields}
    answer = await desk.client.put(f"/v1/budgets/{name}", json=body)
    assert answer.status_code in (200, 201), answer.text


async def spent(desk: Desk, name: str) -> str:
    return str((await desk.client.get(f"/v1/budgets/{name}")).json()["account"]["spent"])


async def test_budgets_of_users_do_not_count_probes(desk: Desk) -> None:
    await budget(desk, "everything", "100")
    await budget(desk, "pool", "100", scope={"pool": "echo"})
    await budget(desk, "each", "1", scope={"per": "task"}, on_exhausted="fail")
    await budget(desk, "label", "100", scope={"label": {"key": "team", "value": "search"}})
    await budget(desk, "probes", "100", scope=OF_PROBES)
    await budget(desk, "golden", "100", scope={**OF_PROBES, "label": {"key": "probe", "value": "golden"}})
    await desk.put(labels={"team": "search"})
    await desk.put("other")
    assert (await desk.run())["outcome"] == "passed"
    assert (await desk.judged("other"))["outcome"] == "passed"
    await run_task(desk.client, 42, labels={"team": "search"})
    assert {name: await spent(desk, name) for name in ("everything", "pool", "label", "probes", "golden")} == {
        "everything": "1", "pool": "1", "label": "1", "probes": "2", "golden": "1",
    }  # fmt: skip


async def test_a_users_empty_budget_keeps_no_probe_waiting(desk: Desk) -> None:
    await budget(desk, "everything", "1")
    await run_task(desk.client, 1)
    waiting = await submit(desk.client, 2)

    async def parked() -> bool:
        return bool(await desk.sql("SELECT 1 FROM tasks WHERE parked_by IS NOT NULL"))

    await until(parked)
    await desk.put()
    assert (await desk.run())["outcome"] == "passed"
    assert (await desk.client.get(f"/v1/tasks/{waiting}")).json()["status"] == "queued"


@pytest.mark.parametrize(
    ("on_exhausted", "reason"),
    [
        ("wait", "It waited for money: a budget of probes has no room."),
        ("fail", "budget_exhausted: The budget 'probes' has 0 requests left"),
    ],
)
async def test_an_empty_budget_of_probes_is_an_error_and_keeps_no_user_waiting(
    desk: Desk, on_exhausted: str, reason: str
) -> None:
    await budget(desk, "probes", "1", scope=OF_PROBES, on_exhausted=on_exhausted)
    await desk.put(fail_after=1, of_last=1, timeout_s=3.0)
    assert (await desk.run())["outcome"] == "passed"
    run = await desk.run()
    assert (run["outcome"], run["reason"][: len(reason)]) == ("error", reason)
    assert await desk.state() == "undecided"
    await until_status(desk.client, await submit(desk.client, 1), "succeeded")


async def test_a_task_that_a_user_marks_as_synthetic_is_still_the_users(desk: Desk) -> None:
    await budget(desk, "everything", "100")
    await run_task(desk.client, 1, synthetic=True)
    assert await spent(desk, "everything") == "1"


async def test_objectives_and_reports_do_not_count_probes(desk: Desk) -> None:
    await desk.put()
    await desk.run()
    await run_task(desk.client, 42)
    now = datetime.now(UTC)
    span = Span(now - timedelta(hours=1), now + timedelta(hours=1))
    async with desk.yard.db.read() as connection:
        counted = await totals(connection, objective(), span, now)
    assert dict(counted.named) == {"succeeded": 1, "synthetic": 1}
    while (done := await desk.yard.money.rollup.roll()) is None or done.more:
        pass
    report = (await desk.client.get("/v1/costs")).json()
    assert report["totals"]["succeeded"] == 1
    of_probes = (await desk.client.get("/v1/costs", params={"tenant": "yardmaster-probes"})).json()
    assert (of_probes["totals"]["attempts"], of_probes["synthetic"]["succeeded"]) == (0, 1)
    assert float(of_probes["synthetic"]["cost_usd"]) > 0


async def test_a_probe_has_a_budget_of_its_own(desk: Desk) -> None:
    made = await desk.put(fail_after=1, of_last=1, budget={"unit": "requests", "limit": "1"})
    assert made["budget"] == {"unit": "requests", "limit": "1"}
    await desk.put("other")
    assert (await desk.run())["outcome"] == "passed"
    assert (await desk.judged("other"))["outcome"] == "passed"
    assert await spent(desk, "probe-golden") == "1"
    run = await desk.run()
    assert (run["outcome"], run["reason"][:16]) == ("error", "budget_exhausted")
    assert (await desk.judged("other"))["outcome"] == "passed"
    await desk.put(fail_after=1, of_last=1, budget={"unit": "requests", "limit": "5"})
    assert (await desk.run())["outcome"] == "passed"
    assert (await desk.put(fail_after=1, of_last=1))["budget"] is None
    assert (await desk.client.get("/v1/budgets/probe-golden")).status_code == 404
    await desk.put(budget={"limit": "0.5"})
    await desk.client.delete("/v1/probes/golden")
    assert (await desk.client.get("/v1/budgets")).json()["items"] == []


async def test_somebodys_budget_of_that_name_is_left_alone(desk: Desk) -> None:
    await budget(desk, "probe-golden", "7", scope={"tenant": "acme"})
    body = {"pool": "echo", "budget": {"limit": "1"}}
    refused(await desk.client.put("/v1/probes/golden", json=body), 409, "budget_name_taken")
    assert (await desk.put())["budget"] is None
    await desk.client.delete("/v1/probes/golden")
    assert await spent(desk, "probe-golden") == "0"
