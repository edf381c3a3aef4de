"""Calls that come again: joins, resumes of the same attempt, rescues of what nobody stored, and outrun runs."""

import asyncio
import threading
from typing import Any

import httpx
import pytest

from tests.sdk.durable_calls import STREAM, Task, approved, said
from tests.sdk.test_execute import until
from yardmaster import Context, PlainContext


class Ran(list[str]):
    def step(self, name: str) -> int:
        self.append(name)
        return len(self)


async def test_a_resume_of_the_same_attempt_starts_afresh(served: Any) -> None:
    ran = Ran()

    async def handle(ctx: Context, payload: Any) -> Any:
        ran.append("handler")
        one = await ctx.step("one", ran.step, "one")
        return [one, (await ctx.approve("a", {})).args]

    task = Task(await served(handle))
    assert [event.type for event in await task.call()] == ["step", "suspend"]
    task.answer(approved({"n": 5}))
    assert [event.data for event in await task.call()] == [{"result": [2, {"n": 5}]}]
    assert ran == ["handler", "one", "handler"]


async def test_a_suspend_nobody_stored_is_told_again_without_running_steps_again(served: Any) -> None:
    """The manager died between the agent's last word and its own commit; another one rescues the task."""
    ran = Ran()

    async def handle(ctx: Context, payload: Any) -> Any:
        await ctx.step("one", ran.step, "one")
        await ctx.step("two", ran.step, "two")
        await ctx.approve("a", {})
        return await ctx.step("act", ran.step, "act")

    task = Task(await served(handle))
    first = await task.call(forget=True)
    assert [event.type for event in first] == ["step", "step", "suspend"]
    assert await task.call() == first
    task.answer(approved({}))
    assert (await task.call())[-1].data == {"result": 3}
    assert ran == ["one", "two", "act"]


async def test_a_failure_nobody_stored_keeps_its_steps_within_the_attempt(served: Any) -> None:
    ran = Ran()

    async def handle(ctx: Context, payload: Any) -> Any:
        await ctx.step("one", ran.step, "one")
        if ctx.fence == 1:
            raise ValueError
        return "done"

    task = Task(await served(handle))
    assert (await task.call(forget=True))[-1].type == "error"
    assert [event.type for event in await task.call()] == ["step", "result"]
    assert ran == ["one"]


async def test_a_retry_runs_again_what_was_not_stored(served: Any) -> None:
    ran = Ran()

    async def handle(ctx: Context, payload: Any) -> Any:
        await ctx.step("one", ran.step, "one")
        raise ValueError

    task = Task(await served(handle))
    await task.call(forget=True)
    task.attempt = 2
    await task.call()
    assert ran == ["one", "one"]


async def test_steps_of_a_diverged_history_are_not_mixed_in(served: Any) -> None:
    ran = Ran()

    async def handle(ctx: Context, payload: Any) -> Any:
        one = await ctx.step("one", ran.step, "one")
        two = await ctx.step("two", ran.step, "two")
        await ctx.sleep(1)
        return [one, two]

    task = Task(await served(handle))
    await task.call(forget=True)
    task.steps = {"one": "made elsewhere"}
    await task.call()
    assert ran == ["one", "two", "two"]
    assert task.steps == {"one": "made elsewhere", "two": 3}


async def test_a_kept_success_is_told_with_its_steps(served: Any) -> None:
    ran = Ran()

    async def handle(ctx: Context, payload: Any) -> Any:
        ctx.usage("m", input_tokens=2)
        return await ctx.step("one", ran.step, "one")

    agent = await served(handle)
    task = Task(agent)
    first = await task.call(forget=True)
    again = await task.call()
    assert sorted(map(repr, again)) == sorted(map(repr, first))
    assert [event.type for event in again] == ["step", "usage", "result"]
    plain = await agent.post("/execute", json={"task_id": "t1", "fence": 3, "attempt": 1})
    assert (plain.status_code, plain.json()["error"]["code"]) == (406, "needs_event_stream")
    assert ran == ["one"]


async def test_a_kept_success_does_not_answer_a_call_that_knows_more(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        return await ctx.step("one", int) if ctx.fence == 1 else [await ctx.step("one", int), await ctx.sleep(1)]

    task = Task(await served(handle))
    assert (await task.call())[-1].data == {"result": 0}
    task.steps |= {"sleep": None}
    assert (await task.call())[-1].data == {"result": [0, None]}


async def test_a_replayed_task_runs_again_though_it_succeeded_here(served: Any) -> None:
    ran = Ran()

    async def handle(ctx: Context, payload: Any) -> Any:
        ran.append("handler")
        return [ctx.attempt, len(ran)]

    task = Task(await served(handle))
    assert (await task.call())[-1].data == {"result": [1, 1]}
    assert (await task.call(replay=0))[-1].data == {"result": [1, 1]}
    assert (await task.call(replay=1))[-1].data == {"result": [1, 2]}
    assert (await task.call(replay=1))[-1].data == {"result": [1, 2]}
    assert ran == ["handler", "handler"]


async def test_a_deleted_step_is_not_recalled_after_a_replay(served: Any) -> None:
    ran = Ran()

    async def handle(ctx: Context, payload: Any) -> Any:
        one, two = await ctx.step("one", ran.step, "one"), await ctx.step("two", ran.step, "two")
        if len(ran) == 2:
            raise ValueError
        return [one, two]

    task = Task(await served(handle))
    assert (await task.call())[-1].type == "error"
    del task.steps["two"]
    events = await task.call(replay=1)
    assert [event.data.get("name") for event in events] == ["two", None]
    assert events[-1].data == {"result": [1, 3]}
    assert ran == ["one", "two", "two"]


async def test_a_run_of_an_earlier_replay_is_stopped(served: Any) -> None:
    ran = Ran()

    async def handle(ctx: Context, payload: Any) -> Any:
        ran.append("handler")
        await ctx.step("one", ran.step, "one")
        await ctx.step("two", asyncio.sleep, 60 if len(ran) == 2 else 0)
        return len(ran)

    agent = await served(handle)
    first = asyncio.create_task(_start(agent, 1))
    await until(lambda: len(ran) == 2)
    second = await _start(agent, 2, replay=1)
    assert (await first)[-1][1]["code"] == "outrun"
    assert second[-1] == ("result", {"result": 4})
    assert ran == ["handler", "one"] * 2


async def _start(agent: httpx.AsyncClient, fence: int, **fields: Any) -> list[Any]:
    body = {"task_id": "t1", "attempt": 1, "fence": fence, "type": "x", "payload": None} | fields
    return [(event.type, event.data) for event in said(await agent.post("/execute", json=body, headers=STREAM))]


async def test_a_rescue_joins_and_hears_every_step(served: Any) -> None:
    ran, gate = Ran(), threading.Event()

    def handle(ctx: PlainContext, payload: Any) -> Any:
        ctx.step("one", ran.step, "one")
        ctx.step("two", gate.wait, 10)
        ctx.sleep(1)

    agent = await served(handle, slots=1)
    first = asyncio.create_task(_start(agent, 1))
    await until(lambda: ran)
    second = asyncio.create_task(_start(agent, 2, steps={"one": 1}))
    third = asyncio.create_task(_start(agent, 2, steps={"one": 1}))
    await asyncio.sleep(0.05)
    gate.set()
    expected = [
        ("step", {"name": "one", "result": 1}),
        ("step", {"name": "two", "result": True}),
        ("suspend", {"step": "sleep", "reason": "timer", "seconds": 1}),
    ]
    assert await asyncio.gather(first, second, third) == [expected] * 3
    assert ran == ["one"]


async def test_a_join_brings_steps_that_this_run_has_not_asked_for_yet(served: Any) -> None:
    ran, gate = Ran(), asyncio.Event()

    async def handle(ctx: Context, payload: Any) -> Any:
        ran.append("handler")
        await gate.wait()
        return await ctx.step("one", ran.step, "one")

    agent = await served(handle)
    first = asyncio.create_task(_start(agent, 1))
    await until(lambda: ran)
    second = asyncio.create_task(_start(agent, 2, steps={"one": "elsewhere"}))
    await asyncio.sleep(0.05)
    gate.set()
    assert await asyncio.gather(first, second) == [[("result", {"result": "elsewhere"})]] * 2
    assert ran == ["handler"]


async def test_a_run_that_the_task_outran_is_stopped(served: Any) -> None:
    """Another agent made the step that this one has made otherwise, or still has in progress."""
    ran = Ran()

    async def handle(ctx: Context, payload: Any) -> Any:
        if ctx.type == "made":
            await ctx.step("one", ran.step, "mine")
            await ctx.step("two", asyncio.sleep, 0 if ctx.fence > 1 else 60)
        return await ctx.step("one", asyncio.sleep, 60)

    for kind in ("made", "in progress"):
        agent = await served(handle)
        first = asyncio.create_task(_start(agent, 1, type=kind))
        await until(lambda agent=agent: agent.runner.running == 1)
        await until(lambda: len(ran) == 1)
        await asyncio.sleep(0.02)
        known = {"one": "elsewhere"} | ({"two": None, "one#2": "too"} if kind == "made" else {})
        second = await _start(agent, 2, type=kind, steps=known)
        assert (await first)[-1][1]["code"] == "outrun"
        assert second[-1] == ("result", {"result": "too"} if kind == "made" else {"result": "elsewhere"})
        await until(lambda agent=agent: agent.runner.running == 0)
    assert ran == ["mine"]


async def test_a_cancel_ends_steps_in_progress_and_stays_a_cancel(served: Any) -> None:
    ended = Ran()

    async def handle(ctx: Context, payload: Any) -> Any:
        async def slow() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("slow")

        orphan = asyncio.create_task(ctx.step("slow", slow))
        await asyncio.gather(asyncio.shield(orphan), ctx.approve("a", {}))

    agent = await served(handle)
    call = asyncio.create_task(_start(agent, 1))
    await until(lambda: agent.runner.running == 1)
    await asyncio.sleep(0.05)
    assert (await agent.post("/cancel", json={"task_id": "t1"})).json() == {"cancelled": True}
    assert (await call)[-1][1]["code"] == "cancelled"
    await until(lambda: ended)
    await until(lambda: agent.runner.running == 0)


async def test_a_plain_handler_begins_no_step_after_the_end(served: Any) -> None:
    ran, gone = Ran(), threading.Event()

    def handle(ctx: PlainContext, payload: Any) -> Any:
        ran.append("handler")
        ctx.cancelled.wait(10)
        try:
            ctx.step("late", ran.step, "late")
        finally:
            gone.set()

    agent = await served(handle)
    call = asyncio.create_task(_start(agent, 1))
    await until(lambda: ran)
    await agent.post("/cancel", json={"task_id": "t1"})
    await call
    await until(gone.is_set)
    assert ran == ["handler"]


@pytest.mark.parametrize(
    "fields",
    [{"steps": []}, {"steps": "x"}, {"resume": "x"}, {"resume": {}}, {"resume": {"step": 1, "reason": "timer"}}],
)
async def test_bad_steps_and_resumes_are_400(served: Any, fields: dict[str, Any]) -> None:
    async def handle(ctx: Context, payload: Any) -> None: ...

    answer = await (await served(handle)).post("/execute", json={"task_id": "t1"} | fields)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_call")
