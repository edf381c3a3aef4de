"""Waits: what is asked of the manager, how the answer is read, and that nothing makes a success of an open wait."""

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sdk.durable_calls import Task, approved, child
from yardmaster import ApprovalRejected, Child, ChildFailed, Context, PlainContext, Unwind
from yardmaster.eventlog import EventLog
from yardmaster.journal import Journal
from yardmaster.limits import Limits
from yardmaster.outcome import succeeded
from yardmaster.storable import encode


@pytest.mark.parametrize(
    ("ask", "suspend"),
    [
        (
            lambda ctx: ctx.approve("shell", {"command": ["df"]}, risk="low", expires_s=60),
            {"step": "approve:shell", "reason": "approval", "action": "shell", "args": {"command": ["df"]},
             "risk": "low", "expires_s": 60},
        ),
        (
            lambda ctx: ctx.approve("shell", None, step="ask"),
            {"step": "ask", "reason": "approval", "action": "shell", "args": None},
        ),
        (
            lambda ctx: ctx.call("scan", [1], priority=3, max_attempts=2, deadline_s=9.5),
            {"step": "call:scan", "reason": "call", "calls": [
                {"pool": "scan", "payload": [1], "priority": 3, "max_attempts": 2, "deadline_s": 9.5}]},
        ),
        (
            lambda ctx: ctx.call(None, 1, type="any"),
            {"step": "call:any", "reason": "call", "calls": [{"type": "any", "payload": 1}]},
        ),
        (
            lambda ctx: ctx.gather(Child("a", 1), Child("b")),
            {"step": "gather", "reason": "call", "calls": [
                {"pool": "a", "payload": 1}, {"pool": "b", "payload": None}]},
        ),
        (
            lambda ctx: ctx.wait_event("paid", {"id": 7}, 30),
            {"step": "event:paid", "reason": "event", "name": "paid", "match": {"id": 7}, "timeout_s": 30},
        ),
        (lambda ctx: ctx.wait_event("paid"), {"step": "event:paid", "reason": "event", "name": "paid"}),
        (lambda ctx: ctx.sleep(0.5), {"step": "sleep", "reason": "timer", "seconds": 0.5}),
    ],
)  # fmt: skip
async def test_a_wait_suspends_with_its_question(served: Any, ask: Any, suspend: dict[str, Any]) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        ctx.usage("m", input_tokens=3)
        return await ask(ctx)

    def plain(ctx: PlainContext, payload: Any) -> Any:
        ctx.usage("m", input_tokens=3)
        return ask(ctx)

    for handler in (handle, plain):
        agent = await served(handler)
        assert [(event.type, event.data) for event in await Task(agent).call()] == [
            ("usage", {"model": "m", "input_tokens": 3, "output_tokens": 0}),
            ("suspend", suspend),
        ]
        assert (await agent.get("/health")).json()["running"] == 0


async def test_summed_up_usage_precedes_the_suspend(served: Any) -> None:
    def handle(ctx: PlainContext, payload: Any) -> None:
        for _ in range(30):
            ctx.usage("m", input_tokens=1)
        ctx.sleep(1)

    events = await Task(await served(handle, limits=Limits(usage_events=10))).call()
    assert sum(event.data["input_tokens"] for event in events if event.type == "usage") == 30
    assert events[-1].type == "suspend"


@pytest.mark.parametrize("status", ["rejected", "expired"])
async def test_who_does_not_look_at_the_decision_cannot_go_on(served: Any, status: str) -> None:
    async def handle(ctx: Context, payload: Any) -> str:
        await ctx.approve("shell", {})
        return "acted"

    last = await Task(await served(handle)).run(approved({}, status))
    assert (last.type, last.data["code"], last.data["retry"]) == ("error", f"approval_{status}", False)


async def test_a_rejection_carries_its_decision(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.approve("shell", {"x": 1}))
        except* ApprovalRejected as group_error:
            error = group_error.exceptions[0]
            assert isinstance(error, ApprovalRejected)
            found = error.decision
        return [found.status, found.args, found.reason, found.decided_by, found.payload_hash]

    last = await Task(await served(handle)).run(approved({"x": 1}, "rejected"))
    assert last.data == {"result": ["rejected", {"x": 1}, "why not", "ann", "ab" * 32]}


async def test_a_permanent_error_in_a_task_group_stays_permanent(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.approve("shell", {}))

    assert (await Task(await served(handle)).run(approved({}, "rejected"))).data["code"] == "approval_rejected"


async def test_children_return_their_results_in_order(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        one = await ctx.call("a", 1)
        return [one, await ctx.gather(Child("a", 2), Child("b", 3)), await ctx.gather()]

    last = await Task(await served(handle)).run(
        [child("succeeded", 10)], [child("succeeded", 20), child("succeeded", 30)]
    )
    assert last.data == {"result": [10, [20, 30], []]}


async def test_a_failing_child_raises_in_the_parent(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        if payload == "catch":
            try:
                await ctx.gather(Child("a"), Child("b"), Child("c"))
            except ChildFailed as error:
                return [error.task_id, error.status, error.error]
        if payload == "in place":
            found = await ctx.gather(Child("a"), Child("b"), Child("c"), return_errors=True)
            return [item.status if isinstance(item, ChildFailed) else item for item in found]
        return await ctx.call("a")

    agent = await served(handle)
    three = [child("succeeded", 1), child("failed", code="bad"), child("cancelled")]
    error = {"code": "bad", "message": "it broke"}
    assert (await Task(agent, "catch").run(three)).data == {"result": ["c-failed", "failed", error]}
    in_place = Task(await served(handle), "in place")
    assert (await in_place.run(three)).data == {"result": [1, "failed", "cancelled"]}
    last = await Task(await served(handle)).run([child("failed", code="bad")])
    assert last.data == {"code": "child_failed", "message": "child task c-failed failed: bad: it broke", "retry": False}


async def test_an_event_that_never_came_is_none_and_no_time_left_is_no_wait(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        await ctx.sleep(0)
        await ctx.sleep(-3)
        return await ctx.wait_event("never", timeout_s=1)

    task = Task(await served(handle))
    events = await task.call()
    assert [(event.type, event.data.get("name")) for event in events[:2]] == [("step", "sleep"), ("step", "sleep#2")]
    task.answer(None)
    assert (await task.call())[-1].data == {"result": None}


async def _bare(ctx: Context) -> str:
    try:
        await ctx.approve("a", {})
    except BaseException:
        return "swallowed"
    return "approved"


async def _finally(ctx: Context) -> str:
    try:
        await ctx.approve("a", {})
    finally:
        return "swallowed"  # noqa: B012


async def _turned(ctx: Context) -> str:
    try:
        await ctx.approve("a", {})
    except BaseException as error:
        raise ValueError("turned") from error
    return "approved"


async def _suppressed(ctx: Context) -> str:
    with contextlib.suppress(BaseException):
        await ctx.approve("a", {})
    await ctx.step("must not run", print, "must not run")
    return "swallowed"


async def _abandoned(ctx: Context) -> str:
    asking = asyncio.ensure_future(ctx.approve("a", {}))
    await asyncio.wait([asking])
    return "swallowed"


async def _grouped(ctx: Context) -> str:
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.approve("a", {}))
    return "approved"


async def _timed(ctx: Context) -> str:
    async with asyncio.timeout(5):
        await ctx.approve("a", {})
    return "approved"


async def _cancelling(ctx: Context) -> str:
    try:
        await ctx.approve("a", {})
    except Unwind:
        raise asyncio.CancelledError from None
    return "approved"


@pytest.mark.parametrize(
    "handler",
    [_bare, _finally, _turned, _suppressed, _abandoned, _grouped, _timed, _cancelling],
    ids=lambda handler: handler.__name__,
)
async def test_whatever_becomes_of_the_unwind_the_task_waits(
    served: Any, handler: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        return await handler(ctx)

    task = Task(await served(handle))
    assert (await task.call())[-1].type == "suspend"
    task.answer(approved({}))
    if handler is not _finally and handler is not _suppressed and handler is not _abandoned:
        assert (await task.call())[-1].data == {"result": "approved"}
    assert "must not run" not in capfd.readouterr().out


async def test_a_plain_handler_that_swallows_waits_too(served: Any) -> None:
    def handle(ctx: PlainContext, payload: Any) -> str:
        with contextlib.suppress(BaseException):
            ctx.sleep(5)
        ctx.progress(99)
        return "swallowed"

    assert [event.type for event in await Task(await served(handle)).call()] == ["progress", "suspend"]


async def test_two_waits_at_once_are_refused(served: Any) -> None:
    async def together(ctx: Context, payload: Any) -> None:
        await asyncio.gather(ctx.approve("a", {}), ctx.approve("b", {}))

    async def one_after_a_swallowed_one(ctx: Context, payload: Any) -> None:
        with contextlib.suppress(BaseException):
            await ctx.approve("a", {})
        await ctx.sleep(5)

    async def as_children(ctx: Context, payload: Any) -> None:
        await asyncio.gather(ctx.call("a", 1), ctx.call("b", 2))

    async def wrapped(ctx: Context, payload: Any) -> None:
        await ctx.gather(ctx.call("a", 1), ctx.call("b", 2))  # type: ignore[arg-type]

    for handler, code in (
        (together, "two_waits"),
        (one_after_a_swallowed_one, "two_waits"),
        (as_children, "two_waits"),
        (wrapped, "bad_step"),
    ):
        error = (await Task(await served(handler)).call())[-1].data
        assert (error["code"], error["retry"]) == (code, False)
        assert "ctx.gather" in error["message"]


async def test_a_wait_lets_the_steps_beside_it_finish(served: Any) -> None:
    ran: list[str] = []

    async def handle(ctx: Context, payload: Any) -> Any:
        began, gate = asyncio.Event(), asyncio.Event()

        async def slow() -> str:
            ran.append("slow")
            began.set()
            await gate.wait()
            return "slow"

        async def chain() -> Any:
            return [await ctx.step("slow", slow), await ctx.step("after", ran.append, "after")]

        async def ask() -> Any:
            if not ctx.resumed_at:
                await began.wait()
            asyncio.get_running_loop().call_later(0.02, gate.set)
            return (await ctx.approve("a", {})).status

        return await asyncio.gather(chain(), ask())

    task = Task(await served(handle))
    assert [event.type for event in await task.call()] == ["step", "suspend"]
    assert ran == ["slow"]
    task.answer(approved({}))
    assert (await task.call())[-1].data == {"result": [["slow", None], "approved"]}
    assert ran == ["slow", "after"]


async def test_a_failing_sibling_is_told_rather_than_asked_about(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        async def fail() -> None:
            await asyncio.sleep(0.02)
            raise ValueError("sibling")

        await asyncio.gather(ctx.step("bad", fail), ctx.approve("a", {}))

    assert (await Task(await served(handle)).call())[-1].data["message"] == "ValueError: sibling"


NAMES = st.sampled_from(["a", "b", "a#2", "b#2", "a#2#2"])


@given(st.lists(NAMES, max_size=12), st.integers(0, 12))
async def test_a_repeated_handler_matches_wherever_it_broke_off(names: list[str], told: int) -> None:
    """The same names in the same order give the same numbered names, each once, whatever was stored."""
    first = _journal({})
    numbered = [_make(first, name, place) for place, name in enumerate(names)]
    assert len(set(numbered)) == len(names)
    stored = {name: place for place, name in enumerate(numbered[:told])}
    again = _journal(stored)
    assert [_make(again, name, place) for place, name in enumerate(names)] == numbered
    assert again.verdict(succeeded(None)).ok
    assert set(again.finished) == set(numbered[told:])


def _journal(stored: dict[str, Any]) -> Journal:
    journal = Journal(EventLog(asyncio.get_running_loop(), Limits()), Limits(), stored)
    journal.streamed = True
    return journal


def _make(journal: Journal, name: str, value: Any) -> str:
    numbered = journal.ask(name)
    if journal.knows(numbered):
        assert journal.result(numbered) == value
    else:
        journal.check_match(numbered)
        journal.store(numbered, value)
        assert journal.finished[numbered] == encode(value)
    return numbered
