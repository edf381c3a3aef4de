"""Steps: each runs once, is told, and is given back; what doesn't match fails clearly."""

import asyncio
import contextlib
import json
import threading
from typing import Any

import httpx
import pytest

from tests.sdk.durable_calls import Task, approved
from yardmaster import Child, Context, Limits, PermanentError, PlainContext, Unwind


class Work:
    """Functions that count their calls."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def do(self, name: str, result: Any = None) -> Any:
        self.ran.append(name)
        return name if result is None else result

    async def wait(self, name: str, gate: asyncio.Event) -> str:
        self.ran.append(name)
        await gate.wait()
        return name


async def test_steps_run_once_and_are_given_back(served: Any) -> None:
    work = Work()

    async def handle(ctx: Context, payload: Any) -> list[Any]:
        first = await ctx.step("one", work.do, "one", {"n": (1, 2), 3: "ü"})
        ctx.progress(50)
        items = [await ctx.step("item", work.do, f"item{n}") for n in range(3)]
        decision = await ctx.approve("go", {"items": items})
        return [first, items, decision.status, ctx.resumed_at]

    task = Task(await served(handle))
    events = await task.call()
    assert [(event.type, event.data.get("name")) for event in events] == [
        ("step", "one"),
        ("progress", None),
        ("step", "item"),
        ("step", "item#2"),
        ("step", "item#3"),
        ("suspend", None),
    ]
    task.answer(approved({"items": []}))
    events = await task.call()
    assert [event.type for event in events] == ["progress", "result"]
    first = {"n": [1, 2], "3": "ü"}
    assert events[-1].data == {"result": [first, ["item0", "item1", "item2"], "approved", "approve:go"]}
    assert work.ran == ["one", "item0", "item1", "item2"]


async def test_the_first_run_sees_what_a_resumed_one_sees(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> bool:
        return (await ctx.step("pair", lambda: (1, 2))) == [1, 2]

    assert (await Task(await served(handle)).run()).data == {"result": True}


async def test_a_plain_handler_has_the_same_steps_without_await(served: Any) -> None:
    work = Work()

    def handle(ctx: PlainContext, payload: Any) -> Any:
        one = ctx.step("one", work.do, "one")
        try:
            decision = ctx.approve("go", {"x": one}, risk="low", expires_s=60)
        except Exception:
            return "swallowed"
        ctx.sleep(5)
        return [one, ctx.step("act", work.do, decision.args["x"] + "!"), ctx.wait_event("paid", {"id": 1})]

    task = Task(await served(handle))
    last = await task.run(approved({"x": "edited"}, "edited"), None, {"id": 1, "sum": 2})
    assert last.data == {"result": ["one", "edited!", {"id": 1, "sum": 2}]}
    assert work.ran == ["one", "edited!"]
    assert list(task.steps) == ["one", "approve:go", "sleep", "act", "event:paid"]


@pytest.mark.parametrize("blocking", [True, False])
async def test_async_handlers_take_both_kinds_of_functions(served: Any, blocking: bool) -> None:
    async def later(number: int) -> Any:
        await asyncio.sleep(0)
        return [number, threading.current_thread() is threading.main_thread()]

    def now(number: int) -> Any:
        return [number, threading.current_thread() is threading.main_thread()]

    async def handle(ctx: Context, payload: Any) -> Any:
        return [await ctx.step("s", now if blocking else later, 4), await ctx.step("l", lambda: later(5))]

    assert (await Task(await served(handle)).run()).data == {"result": [[4, not blocking], [5, True]]}


async def test_a_step_that_raises_is_not_stored(served: Any) -> None:
    work = Work()

    async def handle(ctx: Context, payload: Any) -> Any:
        await ctx.step("one", work.do, "one")
        return await ctx.step("two", work.do, "two") if ctx.attempt > 1 else await ctx.step("two", lambda: 1 / 0)

    task = Task(await served(handle))
    assert (await task.call())[-1].data["code"] == "handler_error"
    task.attempt = 2
    assert (await task.call())[-1].data == {"result": "two"}
    assert work.ran == ["one", "two"]


async def test_steps_side_by_side(served: Any) -> None:
    work, gate = Work(), asyncio.Event()

    async def handle(ctx: Context, payload: Any) -> Any:
        async def open_gate() -> None:
            gate.set()

        pair = ctx.step("a", work.wait, "a", gate), ctx.step("b", open_gate)
        first = await asyncio.gather(*pair)
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(ctx.step(f"n{n}", work.do, f"n{n}")) for n in range(20)]
        await ctx.sleep(1)
        return [first, len(made)]

    task = Task(await served(handle))
    assert (await task.run(None)).data == {"result": [["a", None], 20]}
    assert sorted(work.ran) == sorted(["a", *(f"n{n}" for n in range(20))])


async def test_a_chain_beside_stored_steps_waits_until_they_are_asked_for(served: Any) -> None:
    """In the second run a2 is new while b's branch is still busy with something that is no step."""
    work, busy = Work(), asyncio.Event()

    async def handle(ctx: Context, payload: Any) -> Any:
        async def a() -> Any:
            await ctx.step("a1", work.do, "a1")
            if ctx.attempt == 1:
                await busy.wait()
                raise ValueError("a broke")
            return await ctx.step("a2", work.do, "a2")

        async def b() -> Any:
            if ctx.attempt > 1:
                await asyncio.sleep(0.05)
            one = await ctx.step("b1", work.do, "b1")
            busy.set()
            return one

        return await asyncio.gather(a(), b())

    task = Task(await served(handle))
    assert (await task.call())[-1].type == "error"
    task.attempt = 2
    assert (await task.call())[-1].data == {"result": ["a2", "b1"]}
    assert sorted(work.ran) == ["a1", "a2", "b1"]


async def test_the_end_waits_for_steps_in_progress(served: Any) -> None:
    """A branch fails: the step of the other one is finished and told before the error."""
    work = Work()

    async def handle(ctx: Context, payload: Any) -> Any:
        gate, began = asyncio.Event(), asyncio.Event()

        async def slow() -> str:
            began.set()
            await gate.wait()
            return "slow"

        async def fail() -> None:
            await began.wait()
            asyncio.get_running_loop().call_later(0.02, gate.set)
            raise ValueError("other")

        async def chain() -> None:
            await ctx.step("slow", slow)
            await ctx.step("never", work.do, "never")

        await asyncio.gather(chain(), fail())

    events = await Task(await served(handle)).call()
    assert [event.type for event in events] == ["step", "error"]
    assert events[-1].data["message"] == "ValueError: other"
    assert work.ran == []


def _stored(**steps: Any) -> dict[str, Any]:
    return {"steps": steps}


async def test_a_new_step_before_the_stored_ones_is_a_mismatch(served: Any) -> None:
    work = Work()

    async def handle(ctx: Context, payload: Any) -> Any:
        try:
            await ctx.step("renamed", work.do, "renamed")
        except Exception:
            work.ran.append("swallowed")
        return "success"

    def plain(ctx: PlainContext, payload: Any) -> Any:
        ctx.sleep(5)

    for handler in (handle, plain):
        error = (await Task(await served(handler)).call(**_stored(fetch=1, parse=2)))[-1].data
        assert (error["code"], error["retry"]) == ("steps_mismatch", False)
        assert "'fetch', 'parse'" in error["message"]
    assert work.ran == ["swallowed"]


async def test_siblings_of_a_changed_handler_do_not_wait_for_ever(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        await asyncio.gather(ctx.step("x", int), ctx.step("y", int))

    agent = await served(handle, limits=Limits(siblings_s=0.05))
    assert (await Task(agent).call(**_stored(gone=1)))[-1].data["code"] == "steps_mismatch"


async def test_returning_without_the_stored_steps_is_a_mismatch(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        return await ctx.step("one", int)

    error = (await Task(await served(handle)).call(**_stored(one=1, two=2)))[-1].data
    assert (error["code"], "'two'" in error["message"], "'one'" in error["message"]) == ("steps_mismatch", True, False)


@pytest.mark.parametrize(
    ("result", "ask"),
    [
        (1, lambda ctx: ctx.approve("a", {}, step="w")),
        (approved({}, "superseded"), lambda ctx: ctx.approve("a", {}, step="w")),
        ([], lambda ctx: ctx.call("p", 1, step="w")),
        ({"status": "approved"}, lambda ctx: ctx.call("p", 1, step="w")),
        (1, lambda ctx: ctx.sleep(1, step="w")),
    ],
)
async def test_a_stored_result_of_another_kind_is_a_mismatch(served: Any, result: Any, ask: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        return await ask(ctx)

    assert (await Task(await served(handle)).call(**_stored(w=result)))[-1].data["code"] == "steps_mismatch"


def _spawn(ctx: PlainContext) -> None:
    caught: list[BaseException] = []

    def body() -> None:
        try:
            ctx.step("elsewhere", int)
        except PermanentError as error:
            caught.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("code", "misuse"),
    [
        ("step_too_large", lambda ctx: ctx.step("big", lambda: "x" * 2000)),
        ("bad_result", lambda ctx: ctx.step("odd", object)),
        ("bad_result", lambda ctx: ctx.step("odd", float, "nan")),
        ("bad_result", lambda ctx: ctx.step("huge", int, 2**63)),
        ("bad_result", lambda ctx: ctx.step("nul", str, "a\0b")),
        ("bad_result", lambda ctx: ctx.step("half", str, "\ud800")),
        ("bad_result", lambda ctx: ctx.step("deep", lambda: json.loads("[" * 254 + "]" * 254))),
        ("nested_step", lambda ctx: ctx.step("outer", lambda: ctx.step("inner", int))),
        ("bad_step", lambda ctx: ctx.step("", int)),
        ("bad_step", lambda ctx: ctx.step("x" * 201, int)),
        ("bad_step", lambda ctx: ctx.step("nul\0", int)),
        ("bad_step", lambda ctx: ctx.step("\ud800", int)),
        ("bad_step", lambda ctx: ctx.step("not callable", 5)),
        ("bad_step", lambda ctx: ctx.sleep(float("nan"))),
        ("bad_step", lambda ctx: ctx.sleep(float("inf"))),
        ("bad_step", lambda ctx: ctx.approve("", {})),
        ("bad_result", lambda ctx: ctx.approve("a", {"x": object()})),
        ("bad_result", lambda ctx: ctx.approve("a", {"x": 2**64})),
        ("bad_result", lambda ctx: ctx.approve("a", {}, risk="\ud800")),
        ("bad_result", lambda ctx: ctx.call("a", {"nul\0": 1})),
        ("bad_result", lambda ctx: ctx.gather(Child("a"), Child("b", "\0"))),
        ("bad_result", lambda ctx: ctx.wait_event("e", {"x": "\ud800"})),
        ("bad_step", lambda ctx: ctx.approve("a", {}, expires_s=-1)),
        ("bad_step", lambda ctx: ctx.call(None, 1)),
        ("bad_step", lambda ctx: ctx.gather(5)),
        ("bad_step", lambda ctx: ctx.wait_event("")),
        ("bad_step", lambda ctx: ctx.wait_event("two words")),
        ("bad_step", lambda ctx: ctx.step("two\nlines", int)),
        ("bad_step", lambda ctx: ctx.wait_event("e", timeout_s=0)),
    ],
)
async def test_misuse_ends_the_task_even_if_the_error_is_caught(served: Any, code: str, misuse: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> str:
        with contextlib.suppress(PermanentError):
            await misuse(ctx)
        return "success"

    def plain(ctx: PlainContext, payload: Any) -> str:
        with contextlib.suppress(PermanentError):
            misuse(ctx)
        return "success"

    for handler in (handle, plain):
        error = (await Task(await served(handler, limits=Limits(step_bytes=1000))).call())[-1]
        assert (error.type, error.data["code"], error.data["retry"]) == ("error", code, False)


async def test_a_plain_handler_makes_plain_steps_in_its_own_thread(served: Any) -> None:
    async def later() -> None: ...

    for misuse in (_spawn, lambda ctx: ctx.step("async", later)):

        def handle(ctx: PlainContext, payload: Any, misuse: Any = misuse) -> None:
            misuse(ctx)

        assert (await Task(await served(handle)).call())[-1].data["code"] == "bad_step"


async def test_a_name_has_room_for_its_number(served: Any) -> None:
    def handle(ctx: PlainContext, payload: Any) -> None:
        for _ in range(2):
            ctx.step("x" * 200, int)

    assert [event.type for event in await Task(await served(handle)).call()] == ["step", "error"]


async def test_a_coroutine_instead_of_a_function_is_refused(served: Any) -> None:
    async def later() -> None: ...

    async def handle(ctx: Context, payload: Any) -> None:
        await ctx.step("x", later())  # type: ignore[call-overload]

    assert (await Task(await served(handle)).call())[-1].data["code"] == "bad_step"


async def test_without_event_streams_no_step_runs(served: Any) -> None:
    work = Work()

    async def handle(ctx: Context, payload: Any) -> Any:
        return await ctx.step("one", work.do, "one")

    agent: httpx.AsyncClient = await served(handle)
    answer = await agent.post("/execute", json={"task_id": "t1", "payload": {}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "needs_event_stream")
    assert work.ran == []


async def test_steps_outlive_a_flood_of_tokens_in_order(served: Any) -> None:
    def flood(ctx: PlainContext, payload: Any) -> None:
        for number in range(50):
            ctx.step("s", int, number)
            for _ in range(100):
                ctx.token("x" * 20)

    events = await Task(await served(flood, limits=Limits(live_events=10))).call()
    assert [event.data["result"] for event in events if event.type == "step"] == list(range(50))
    assert events[-1].type == "result"


async def test_unwind_is_no_exception() -> None:
    assert not issubclass(Unwind, Exception)
