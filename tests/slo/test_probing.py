"""Probes through the real dispatch path: a manager, an agent over HTTP, and what their answers come to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from app.alerts.reading import Sample, Unanswered
from app.limits import restraint_service
from tests.api.verbs import Gate, put_pool, register, until
from tests.conftest import running_app, settings_for
from tests.slo.probe_desk import Desk
from tests.support.service import Backing
from tests.support.stub_agent import StubAgent


@pytest.fixture
async def desk(backing: Backing) -> AsyncIterator[Desk]:
    async with running_app(settings_for(backing), backing.admin_key) as (client, yard):
        await put_pool(client)
        yield await Desk(yard, client).open()


async def wrong(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Anything but the payload."""
    return web.json_response({"result": [body["payload"]], "usage": []})


async def agent_of(desk: Desk, agents: Any, **options: Any) -> StubAgent:
    agent: StubAgent = await agents(**options)
    await register(desk.client, agent.url)
    return agent


async def test_a_probe_passes_after_runs_enough(desk: Desk, agents: Any) -> None:
    agent = await agent_of(desk, agents)
    await desk.put(labels={"team": "search"})
    labels = {"probe": "golden", "pool": "echo", "team": "search"}
    assert await desk.signal("probe_success") == [Unanswered(labels, "no_data", "it has not run yet")]
    first = await desk.run()
    assert (first["outcome"], first["reason"]) == ("passed", "")
    assert [check["check"] for check in first["checks"]] == ["status", "json $ equals", "timeout"]
    assert 0 < first["latency_s"] < 20
    assert await desk.state() == "undecided"
    second = await desk.run()
    assert await desk.state() == "passing"
    assert (second["outcome"], second["task_id"]) == ("passed", agent.calls[1]["task_id"])
    at = datetime.fromisoformat(second["planned_at"])
    assert await desk.signal("probe_success") == [Sample(labels, 1.0, at=at)]
    assert await desk.signal("probe_latency") == [Sample(labels, second["latency_s"], at=at)]
    (row,) = await desk.sql("SELECT * FROM tasks WHERE id = $1", second["task_id"])
    assert (row["tenant"], row["submitted_by"], row["synthetic"]) == ("yardmaster-probes", "probes", True)
    assert row["labels"] == '{"team": "search", "probe": "golden"}'
    assert row["idempotency_key"].startswith("probe:")


async def test_wrong_answers_fail_it_after_k_of_n_and_right_ones_heal_it(desk: Desk, agents: Any) -> None:
    agent = await agent_of(desk, agents)
    await desk.put()
    for _ in range(3):
        await desk.run()
    agent.handler = wrong
    run = await desk.run()
    assert (run["outcome"], run["reason"]) == ("failed", "json $ equals: [42] is found, not equals 42")
    assert await desk.state() == "passing"
    await desk.run()
    assert await desk.state() == "failing"
    (reading,) = await desk.signal("probe_success")
    assert isinstance(reading, Sample)
    assert reading.value == 0.0
    agent.handler = StubAgent().handler
    await desk.run()
    assert await desk.state() == "failing"
    await desk.run()
    assert await desk.state() == "passing"


async def test_a_slow_answer_fails_and_its_task_is_ended(desk: Desk, agents: Any) -> None:
    gate = Gate()
    agent = await agent_of(desk, agents, handler=gate)
    await desk.put(timeout_s=0.5, fail_after=1, of_last=1)
    run = await desk.run()
    assert (run["outcome"], run["reason"], run["latency_s"]) == ("failed", "There was no answer in time.", None)
    assert [(check["check"], check["passed"]) for check in run["checks"]] == [("timeout", False)]
    assert await desk.state() == "failing"
    (row,) = await desk.sql("SELECT status, error_code FROM tasks")
    assert tuple(row) == ("cancelled", "probe_timeout")

    async def told() -> bool:
        return agent.cancels == [run["task_id"]]

    await until(told)
    gate.open.set()


async def test_an_answer_that_is_slower_than_a_check_allows_fails(desk: Desk, agents: Any) -> None:
    async def late(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.json_response({"result": body["payload"]})

    await agent_of(desk, agents, handler=late)
    await desk.put(checks=[{"kind": "latency", "max_s": 0.2}])
    run = await desk.run()
    assert run["outcome"] == "failed"
    assert run["reason"].startswith("latency: it took ")
    assert run["latency_s"] > 0.2


async def test_an_agent_that_is_dead_fails_it(desk: Desk, agents: Any) -> None:
    agent = await agent_of(desk, agents)
    await agent.stop()
    await desk.put(timeout_s=1.0)
    run = await desk.run()
    assert run["outcome"] == "failed"


async def test_a_pool_without_agents_fails_it(desk: Desk) -> None:
    await desk.put(timeout_s=0.3)
    run = await desk.run()
    assert (run["outcome"], run["reason"]) == ("failed", "There was no answer in time.")


async def test_a_stopped_pool_is_an_error_with_its_name(desk: Desk, agents: Any) -> None:
    await agent_of(desk, agents)
    await desk.put(fail_after=1, of_last=1)
    stop = (await desk.client.post("/v1/stops", json={"pool": "echo", "reason": "on fire"})).json()
    run = await desk.run()
    why = "pool_stopped: A stop keeps pool echo from working: on fire"
    assert (run["outcome"], run["reason"], run["task_id"]) == ("error", why, None)
    labels = {"probe": "golden", "pool": "echo"}
    assert await desk.signal("probe_success") == [Unanswered(labels, "error", why)]
    await desk.client.post(f"/v1/stops/{stop['id']}/lift")
    assert (await desk.run())["outcome"] == "passed"


async def test_a_stop_that_comes_meanwhile_is_an_error_too(desk: Desk, agents: Any) -> None:
    await agent_of(desk, agents, handler=Gate())
    await desk.put(timeout_s=1.0)
    desk.forward(60)
    await desk.loop.tick()
    await desk.client.post("/v1/stops", json={"tenant": "yardmaster-probes", "reason": "quiet, please"})
    run = await desk.judged()
    assert (run["outcome"], run["reason"]) == ("error", "A stop kept it from running.")


async def test_a_start_that_people_must_approve_is_an_error(desk: Desk, agents: Any) -> None:
    await agent_of(desk, agents)
    await put_pool(desk.client, approvals={"start": {"required": True}})
    await desk.put(timeout_s=0.3)
    run = await desk.run()
    assert (run["outcome"], run["reason"]) == ("error", "It waited for people to approve its start.")


@pytest.mark.parametrize("fields", [{"max_running": 0}, {"min_priority": 1}])
async def test_what_holds_the_pool_back_is_an_error(desk: Desk, fields: dict[str, Any]) -> None:
    await hold_back(desk, **fields)
    await desk.put(timeout_s=0.3)
    run = await desk.run()
    why = "A pause of its pool, or emergency mode, kept it from starting."
    assert (run["outcome"], run["reason"]) == ("error", why)


async def test_an_emergency_holds_no_probe(desk: Desk, agents: Any) -> None:
    await agent_of(desk, agents)
    await put_pool(desk.client, approvals={"start": {"required": False}})
    await hold_back(desk, require_approval=True)
    await desk.yard.durable.restraints.refresh()
    await desk.put()
    assert (await desk.run())["outcome"] == "passed"


async def hold_back(desk: Desk, **fields: Any) -> None:
    async with desk.yard.db.hot() as connection:
        until: datetime = await connection.fetchval("SELECT clock_timestamp() + interval '1 hour'")
        await restraint_service.begin(
            connection, uuid4(), "emergency", "echo", fields, reason="r", source="person", by="k", expires_at=until
        )


async def test_a_task_that_somebody_cancels_is_an_error(desk: Desk, agents: Any) -> None:
    await agent_of(desk, agents, handler=Gate())
    await desk.put()
    desk.forward(60)
    await desk.loop.tick()
    (run,) = await desk.runs()
    assert run["outcome"] == "pending"
    await desk.yard.tasks.cancel_many("yardmaster-probes", [run["task_id"]], "not now")
    run = await desk.judged()
    assert (run["outcome"], run["reason"]) == ("error", "Its task was cancelled: not now")


async def test_a_contract_that_fits_no_more_is_an_error(desk: Desk, agents: Any) -> None:
    await agent_of(desk, agents)
    await desk.put()
    await put_pool(desk.client, input_schema={"type": "string"})
    await desk.yard.view.refresh()
    run = await desk.run()
    assert run["outcome"] == "error"
    assert run["reason"].startswith("contract_violation: payload")


async def test_two_leaders_make_and_judge_each_run_once(desk: Desk, agents: Any) -> None:
    agent = await agent_of(desk, agents)
    other = Desk(desk.yard, desk.client)
    names = [f"p{number}" for number in range(6)]
    for name in names:
        await desk.put(name)
    other.now = desk.now
    for _ in range(3):
        for one in (desk, other):
            one.forward(60)
        await asyncio.gather(*(one.loop.tick() for one in (desk, other) for _ in range(3)))

    async def all_judged() -> bool:
        await asyncio.gather(desk.loop.tick(), other.loop.tick())
        return not await desk.sql("SELECT 1 FROM probe_runs WHERE outcome = 'pending'")

    await until(all_judged)
    for name in names:
        assert [run["outcome"] for run in await desk.runs(name)] == ["passed"] * 3
    rows = await desk.sql("SELECT task_id FROM probe_runs")
    tasks = await desk.sql("SELECT id FROM tasks")
    assert sorted(row["task_id"] for row in rows) == sorted(row["id"] for row in tasks)
    assert len(agent.calls) == len(tasks) == 18


async def test_times_that_passed_while_nobody_looked_are_not_made_up_for(desk: Desk, agents: Any) -> None:
    await agent_of(desk, agents)
    await desk.put()
    await desk.run()
    desk.forward(3600)
    (reading,) = await desk.signal("probe_success")
    assert isinstance(reading, Unanswered)
    assert (reading.why, reading.detail[:20]) == ("no_data", "it has not run since")
    for _ in range(3):
        await desk.loop.tick()
    assert len(await desk.runs()) == 2


async def test_a_run_now_counts_as_all_do(desk: Desk, agents: Any) -> None:
    await agent_of(desk, agents)
    await desk.put(enabled=False, fail_after=1, of_last=1)
    made = await desk.client.post("/v1/probes/golden/run")
    assert made.status_code == 202
    assert (made.json()["outcome"], made.json()["by_hand"]) == ("pending", True)
    run = await desk.judged()
    assert (run["outcome"], run["by_hand"], run["task_id"]) == ("passed", True, made.json()["task_id"])
    assert await desk.state() == "disabled"
    assert await desk.signal("probe_success") == []
    await desk.put(fail_after=1, of_last=1)
    assert await desk.state() == "passing"
    desk.forward(-60)
    await desk.loop.tick()
    assert len(await desk.runs()) == 1


async def test_another_question_is_judged_by_its_own_runs(desk: Desk, agents: Any) -> None:
    await agent_of(desk, agents)
    await desk.put(fail_after=1, of_last=1)
    await desk.run()
    await desk.put(fail_after=1, of_last=1, labels={"a": "b"}, every_s=120)
    assert await desk.state() == "passing"
    await desk.put(fail_after=1, of_last=1, payload=43, checks=[])
    assert await desk.state() == "undecided"
    run = (await desk.client.post("/v1/probes/golden/run")).json()
    await desk.put(fail_after=1, of_last=1)
    (closed,) = [found for found in await desk.runs() if found["task_id"] == run["task_id"]]
    assert (closed["outcome"], closed["reason"]) == ("error", "The probe was defined anew meanwhile.")
    assert await desk.state() == "undecided"


async def test_a_probe_that_is_removed_leaves_no_task_behind(desk: Desk, agents: Any) -> None:
    agent = await agent_of(desk, agents, handler=Gate())
    await desk.put()
    run = (await desk.client.post("/v1/probes/golden/run")).json()

    async def called() -> bool:
        return bool(agent.calls)

    await until(called)
    assert (await desk.client.delete("/v1/probes/golden")).status_code == 204
    (row,) = await desk.sql("SELECT id::text, status, error_code FROM tasks")
    assert tuple(row) == (run["task_id"], "cancelled", "probe_gone")
    assert await desk.sql("SELECT 1 FROM probe_runs") == []
    await desk.loop.tick()


async def test_of_old_runs_so_many_are_kept(desk: Desk) -> None:
    await desk.put("a", enabled=False)
    await desk.put("b", enabled=False)
    await desk.sql(
        """INSERT INTO probe_runs (probe_id, planned_at, outcome, made_at)
        SELECT p.id, now() - make_interval(mins => i), CASE WHEN i = 200 THEN 'pending' ELSE 'passed' END, now()
        FROM probes p, generate_series(1, CASE p.name WHEN 'a' THEN 200 ELSE 50 END) AS i"""
    )
    keeper = Desk(desk.yard, desk.client, probe_runs=100)
    await keeper.loop._keep_up()
    counts = await desk.sql("SELECT name, count(*) FROM probe_runs r JOIN probes p ON p.id = r.probe_id GROUP BY 1")
    assert {row["name"]: row["count"] for row in counts} == {"a": 101, "b": 50}


async def test_a_run_is_judged_after_a_restart(backing: Backing, agents: Any) -> None:
    agent = await agents()
    settings = settings_for(backing)
    async with running_app(settings, backing.admin_key) as (client, yard):
        first = await Desk(yard, client).open()
        await put_pool(client)
        await register(client, agent.url)
        await first.put(fail_after=1, of_last=1)
        first.forward(60)
        await first.loop.tick()
        assert [run["outcome"] for run in await first.runs()] == ["pending"]
    async with running_app(settings, backing.admin_key) as (client, yard):

        async def judged() -> bool:
            return str((await Desk(yard, client).runs())[0]["outcome"]) == "passed"

        await until(judged)  # by the manager's own loop
        assert len(agent.calls) == 1
