"""A task that waits holds nothing, and goes on from its finished steps: timers, events, sub-tasks."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.wiring import Yard
from tests.api.verbs import put_pool, refused, register, submit
from tests.durable.scripted import (
    approval,
    calls,
    event,
    events_of,
    final,
    play,
    step,
    timer,
    types_of,
    until,
    waiting,
)


@pytest.fixture
async def agent(client: httpx.AsyncClient, agents: Any) -> Any:
    """A pool "echo" with one scripted agent of four slots."""
    await put_pool(client, max_attempts=2)
    stub = await agents(handler=play)
    await register(client, stub.url, slots=4)
    return stub


async def test_a_timer_suspends_and_the_steps_travel_with_the_next_call(client: httpx.AsyncClient, agent: Any) -> None:
    script = [step("one", {"n": 1}), timer(0.05), step("two", [2]), timer(0, step="sleep#2")]
    task = await final(client, await submit(client, {"script": script}))
    assert task["status"] == "succeeded" and task["attempt"] == 1, "waiting costs no try"
    assert task["result"]["steps"] == {"one": {"n": 1}, "sleep": None, "two": [2], "sleep#2": None}
    assert task["result"]["resume"] == {"step": "sleep#2", "reason": "timer"}
    assert [call["steps"] for call in agent.calls] == [
        {},
        {"one": {"n": 1}, "sleep": None},
        {"one": {"n": 1}, "sleep": None, "two": [2], "sleep#2": None},
    ]
    assert [call["fence"] for call in agent.calls] == [1, 2, 3]
    assert await types_of(client, task["id"]) == [
        "task.queued", "task.running", "task.step", "task.waiting", "task.resumed",
        "task.running", "task.step", "task.waiting", "task.resumed", "task.running", "task.succeeded",
    ]  # fmt: skip


async def test_a_waiting_task_says_for_what_and_holds_no_slot(app: tuple[httpx.AsyncClient, Yard], agent: Any) -> None:
    client, yard = app
    task = await waiting(client, await submit(client, {"script": [event(timeout_s=3600)]}))
    assert task["waiting"]["reason"] == "event" and task["waiting"]["step"] == "event:paid"
    assert task["waiting"]["until"] is not None
    assert yard.attempts.held == {}
    assert yard.slots.free_in("echo") == 4


async def test_an_event_resumes_those_it_fits_and_only_once_each(client: httpx.AsyncClient, agent: Any) -> None:
    first = await submit(client, {"script": [event(match={"order": 1}), event(step="event:paid#2")]})
    second = await submit(client, {"script": [event(match={"order": 2})]})
    for task_id in (first, second):
        await waiting(client, task_id)
    sent = await client.post("/v1/events", json={"name": "paid", "data": {"order": 1, "eur": 12.5}})
    assert sent.status_code == 202 and sent.json()["matched"] == 1
    task = await until(client, first, lambda task: (task["waiting"] or {}).get("step") == "event:paid#2")
    assert (await client.get(f"/v1/tasks/{second}")).json()["status"] == "waiting"
    await client.post("/v1/events", json={"name": "paid", "data": {"order": 2}})
    task = await final(client, first)
    assert task["result"]["steps"] == {"event:paid": {"order": 1, "eur": 12.5}, "event:paid#2": {"order": 2}}
    assert (await final(client, second))["result"]["steps"] == {"event:paid": {"order": 2}}


async def test_an_event_that_comes_first_is_kept_for_the_task_that_waits_later(
    client: httpx.AsyncClient, agent: Any
) -> None:
    old = await client.post("/v1/events", json={"name": "paid", "data": "before the task was submitted"})
    assert old.json()["matched"] == 0
    task_id = await submit(client, {"script": [timer(0.3), event()]})
    assert (await client.post("/v1/events", json={"name": "paid", "data": "early"})).json()["matched"] == 0
    assert (await final(client, task_id))["result"]["steps"]["event:paid"] == "early"


async def test_an_event_for_one_task_and_its_faults(client: httpx.AsyncClient, agent: Any) -> None:
    one, other = [await submit(client, {"script": [event()]}) for _ in range(2)]
    for task_id in (one, other):
        await waiting(client, task_id)
    sent = await client.post("/v1/events", json={"name": "paid", "task_id": one})
    assert sent.json()["matched"] == 1
    await final(client, one)
    body = {"name": "paid", "task_id": one}
    assert refused(await client.post("/v1/events", json=body), 409, "task_final")["task_status"] == "succeeded"
    missing = {"name": "paid", "task_id": "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10"}
    refused(await client.post("/v1/events", json=missing), 404, "task_not_found")
    refused(await client.post("/v1/events", json={"name": "no blanks"}), 422, "validation_error")
    assert (await client.get(f"/v1/tasks/{other}")).json()["status"] == "waiting"


async def test_an_event_that_does_not_come_is_null(client: httpx.AsyncClient, agent: Any) -> None:
    task = await final(client, await submit(client, {"script": [event(timeout_s=0.05)]}))
    assert task["result"]["steps"] == {"event:paid": None}


async def test_sub_tasks_answer_in_the_order_of_the_calls(client: httpx.AsyncClient, agent: Any) -> None:
    called = [{"pool": "echo", "payload": {"script": [["result", {"result": n}]], "n": n}} for n in range(5)]
    called[3]["payload"]["script"] = [["error", {"code": "boom", "message": "no", "retry": False}]]
    parent = await submit(client, {"script": [calls(*called), step("after")]})
    task = await final(client, parent)
    answers = task["result"]["steps"]["call"]
    assert [item["result"] for item in answers] == [0, 1, 2, None, 4]
    assert [item["status"] for item in answers] == ["succeeded"] * 3 + ["failed", "succeeded"]
    assert answers[3]["error"] == {"code": "boom", "message": "no"}
    assert task["children"] == {"succeeded": 4, "failed": 1}
    listed = (await client.get(f"/v1/tasks?parent_id={parent}")).json()["items"]
    assert {item["id"] for item in listed} == {item["task_id"] for item in answers}
    assert all(item["parent_id"] == parent and item["depth"] == 1 for item in listed)


async def test_sub_tasks_and_theirs_carry_the_labels_of_who_called_them(client: httpx.AsyncClient, agent: Any) -> None:
    child = {"pool": "echo", "payload": {"script": [calls({"pool": "echo", "payload": {"script": [step("one")]}})]}}
    body = {"pool": "echo", "payload": {"script": [calls(child)]}, "labels": {"team": "search", "project": "x"}}
    await final(client, (await client.post("/v1/tasks", json=body)).json()["id"])
    found = (await client.get("/v1/tasks")).json()["items"]
    assert sorted(task["depth"] for task in found) == [0, 1, 2]
    assert all(task["labels"] == body["labels"] for task in found)


async def test_cancel_reaches_the_sub_tasks_and_theirs(client: httpx.AsyncClient, agent: Any) -> None:
    grandchild = {"pool": "echo", "payload": {"script": [event()]}}
    child = {"pool": "echo", "payload": {"script": [calls(grandchild)]}}
    parent = await submit(client, {"script": [calls(child)]})
    await waiting(client, parent)
    (below,) = (await client.get(f"/v1/tasks?parent_id={parent}")).json()["items"]
    await waiting(client, below["id"])
    (lowest,) = (await client.get(f"/v1/tasks?parent_id={below['id']}")).json()["items"]
    await waiting(client, lowest["id"])
    assert (await client.post(f"/v1/tasks/{parent}/cancel")).status_code == 200
    for task_id in (parent, below["id"], lowest["id"]):
        assert (await client.get(f"/v1/tasks/{task_id}")).json()["status"] == "cancelled"


def nested(depth: int) -> dict[str, Any]:
    payload: dict[str, Any] = {"script": [["result", {"result": "deep"}]], "level": depth}
    for level in reversed(range(depth)):
        payload = {"script": [calls({"pool": "echo", "payload": payload})], "level": level}
    return payload


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ([["suspend", {"step": "x"}]], "bad_suspend"),
        ([["suspend", {"reason": "timer", "seconds": 1}]], "bad_suspend"),
        ([calls()], "bad_suspend"),
        ([calls({"pool": "nowhere"})], "pool_not_found"),
        ([calls({"type": "no such skill"})], "no_pool_for_type"),
        ([calls(*[{"pool": "echo", "payload": n} for n in range(300)])], "fan_out_limit"),
        ([["step", {"name": "a", "result": "x" * 300_000}]], "step_too_large"),
        ([["step", {"name": "a", "result": 1}], ["step", {"name": "a", "result": 2}]], "step_conflict"),
        ([["step", {"name": "", "result": 1}]], "bad_step"),
        ([["dance", {}]], "executor_unknown_event"),
        ([approval(args=2**60)], "approval_args_not_canonical"),
    ],
)  # fmt: skip
async def test_a_wish_that_cannot_be_is_a_failed_attempt(
    client: httpx.AsyncClient, agent: Any, script: list[Any], code: str
) -> None:
    task = await final(client, await submit(client, {"script": script}))
    assert (task["status"], task["error"]["code"]) == ("failed", code)
    assert len(agent.calls) == 1, "another try would end the same way"


async def test_a_cycle_of_calls_is_refused(client: httpx.AsyncClient, agents: Any) -> None:
    await put_pool(client)

    async def calls_itself(request: Any, body: dict[str, Any]) -> Any:
        from tests.support.stub_agent import stream

        if body["steps"]:
            error = body["steps"]["call"][0]["error"]
            return await stream(request, ("error", {"code": error["code"], "message": "as below", "retry": False}))
        return await stream(request, tuple(calls({"pool": "echo", "payload": body["payload"]})))

    stub = await agents(handler=calls_itself)
    await register(client, stub.url, slots=4)
    task = await final(client, await submit(client, {"a": 1}))
    assert task["error"]["code"] == "call_cycle"
    assert len(stub.calls) == 1


async def test_calls_that_go_too_deep_fail_at_the_bound(client: httpx.AsyncClient, agent: Any) -> None:
    task = await final(client, await submit(client, nested(9)))
    assert task["status"] == "succeeded", "the script does not look at what its call returned"
    answer = task["result"]["steps"]["call"][0]
    for _ in range(7):
        answer = answer["result"]["steps"]["call"][0]
    assert answer["error"]["code"] == "depth_limit"
    assert len(agent.calls) == 2 * 8 + 1


async def test_a_failed_parent_that_is_retried_calls_again_what_failed(client: httpx.AsyncClient, agents: Any) -> None:
    await put_pool(client, max_attempts=1)
    broken = True

    async def parent_or_child(request: Any, body: dict[str, Any]) -> Any:
        from tests.support.stub_agent import stream

        if body["payload"] == "child":
            ending = ("error", {"code": "boom", "retry": False}) if broken else ("result", {"result": "mended"})
            return await stream(request, ending)
        if "call" not in body["steps"]:
            first = [] if body["steps"] else [("step", {"name": "first", "result": 1})]
            return await stream(request, *first, tuple(calls({"pool": "echo", "payload": "child"})))
        answer = body["steps"]["call"][0]
        if answer["error"]:
            return await stream(request, ("error", {"code": "child_failed", "retry": False}))
        return await stream(request, ("result", {"result": answer["result"]}))

    stub = await agents(handler=parent_or_child)
    await register(client, stub.url, slots=4)
    parent = await submit(client, "parent")
    assert (await final(client, parent))["error"]["code"] == "child_failed"
    broken = False
    assert (await client.post(f"/v1/tasks/{parent}/retry")).status_code == 200
    assert (await final(client, parent))["result"] == "mended"
    steps = [item["data"]["name"] for item in await events_of(client, parent) if item["type"] == "task.step"]
    assert steps == ["first"], "what was finished is not run again"


async def test_a_sub_task_is_retried_only_while_its_caller_waits(client: httpx.AsyncClient, agent: Any) -> None:
    bad = {"pool": "echo", "payload": {"script": [["error", {"code": "boom", "retry": False}]]}}
    slow = {"pool": "echo", "payload": {"script": [event()]}}
    parent = await submit(client, {"script": [calls(bad, slow)]})
    await waiting(client, parent)
    listed = (await client.get(f"/v1/tasks?parent_id={parent}")).json()["items"]
    child = min(item["id"] for item in listed)
    assert (await final(client, child))["status"] == "failed"
    assert (await client.post(f"/v1/tasks/{child}/retry")).status_code == 200
    assert (await final(client, child))["status"] == "failed"
    await client.post("/v1/events", json={"name": "paid"})
    await final(client, parent)
    problem = refused(await client.post(f"/v1/tasks/{child}/retry"), 409, "task_has_caller")
    assert problem["parent_id"] == parent


async def test_an_event_is_sent_once_under_a_key(client: httpx.AsyncClient, agent: Any) -> None:
    task_id = await submit(client, {"script": [event(), event(step="again")]})
    await waiting(client, task_id)
    key = {"Idempotency-Key": "payment-1"}
    first = await client.post("/v1/events", json={"name": "paid", "data": 1}, headers=key)
    await until(client, task_id, lambda task: (task["waiting"] or {}).get("step") == "again")
    again = await client.post("/v1/events", json={"name": "paid", "data": 1}, headers=key)
    assert again.headers["Idempotency-Replayed"] == "true" and again.json() == first.json()
    other = await client.post("/v1/events", json={"name": "paid", "data": 2}, headers=key)
    refused(other, 422, "idempotency_key_reused")
    assert (await client.get(f"/v1/tasks/{task_id}")).json()["status"] == "waiting"


async def test_the_steps_and_their_results_can_be_read(client: httpx.AsyncClient, agent: Any) -> None:
    task_id = await submit(client, {"script": [step("one", {"n": 1}), timer(3600)]})
    await waiting(client, task_id)
    (found,) = (await client.get(f"/v1/tasks/{task_id}/steps")).json()["items"]
    assert (found["name"], found["failed"], found["result"]) == ("one", False, {"n": 1})


async def test_a_wait_beyond_the_bound_fails(client: httpx.AsyncClient, agent: Any) -> None:
    task = await final(client, await submit(client, {"script": [approval(args="x" * 70_000)]}))
    assert task["error"]["code"] == "approval_args_too_large"
