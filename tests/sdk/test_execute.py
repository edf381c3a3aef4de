"""The executor contract over real HTTP."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from yardmaster import Context, Limits, PermanentError
from yardmaster.sse import Decoder, Event

BOTH = {"Accept": "text/event-stream, application/json"}


def body(task_id: str = "t1", **fields: Any) -> dict[str, Any]:
    return {"task_id": task_id, "attempt": 1, "fence": 1, "type": "echo", "payload": {}} | fields


async def execute(agent: httpx.AsyncClient, *, headers: Any = None, **fields: Any) -> httpx.Response:
    return await agent.post("/execute", json=body(**fields), headers=headers)


def events(text: str) -> list[Event]:
    decoder = Decoder()
    return [event for line in text.split("\n") if (event := decoder.feed(line))]


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def test_quick_handler_is_answered_in_plain_json(served: Any) -> None:
    async def handle(ctx: Context, payload: dict[str, Any]) -> dict[str, Any]:
        ctx.usage("m", input_tokens=3, output_tokens=4, cached_tokens=1)
        return {"echo": payload, "attempt": ctx.attempt, "fence": ctx.fence, "type": ctx.type}

    agent = await served(handle)
    answer = await execute(agent, headers=BOTH, payload={"a": "ü"}, fence=7)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "result": {"echo": {"a": "ü"}, "attempt": 1, "fence": 7, "type": "echo"},
        "usage": [{"model": "m", "input_tokens": 3, "output_tokens": 4, "cached_tokens": 1}],
    }


async def test_slow_handler_streams_events_pings_and_result(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> str:
        ctx.progress(50, "half")
        ctx.token("hel")
        ctx.token("lo")
        await asyncio.sleep(0.2)
        ctx.usage("m", output_tokens=2)
        return "done"

    answer = await execute(await served(handle), headers=BOTH)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert ": ping" in answer.text
    assert [(event.type, event.data) for event in events(answer.text)] == [
        ("progress", {"percent": 50.0, "message": "half"}),
        ("token", {"text": "hel"}),
        ("token", {"text": "lo"}),
        ("usage", {"model": "m", "input_tokens": 0, "output_tokens": 2}),
        ("result", {"result": "done"}),
    ]


async def test_first_event_is_sent_live(served: Any) -> None:
    release = asyncio.Event()

    async def handle(ctx: Context, payload: Any) -> None:
        ctx.progress(1, "started")
        await release.wait()

    agent = await served(handle)
    async with agent.stream("POST", "/execute", json=body(), headers=BOTH) as answer:
        async for line in answer.aiter_lines():
            if line == "event: progress":
                release.set()
        assert release.is_set()


async def test_plain_function_runs_in_a_thread_and_reports(served: Any) -> None:
    def handle(ctx: Context, payload: Any) -> bool:
        ctx.progress(None, "blocking")
        time.sleep(0.05)
        return threading.current_thread() is not threading.main_thread()

    answer = await execute(await served(handle), headers=BOTH)
    assert [event.type for event in events(answer.text)] == ["progress", "result"]
    assert events(answer.text)[-1].data == {"result": True}


@pytest.mark.parametrize(
    ("raised", "status", "error"),
    [
        (KeyError("x"), 500, {"code": "handler_error", "message": "KeyError: 'x'", "retry": True}),
        (SystemExit(3), 500, {"code": "handler_error", "message": "SystemExit: 3", "retry": True}),
        (
            asyncio.CancelledError(),
            500,
            {"code": "handler_error", "message": "the handler cancelled itself", "retry": True},
        ),
        (PermanentError("empty", "nothing"), 422, {"code": "empty", "message": "nothing", "retry": False}),
    ],
)  # fmt: skip
async def test_failures_are_classified(served: Any, raised: BaseException, status: int, error: dict[str, Any]) -> None:
    async def handle(ctx: Context, payload: dict[str, Any]) -> None:
        await asyncio.sleep(payload["for_s"])
        raise raised

    agent = await served(handle)
    plain = await execute(agent, task_id="plain", payload={"for_s": 0})
    assert (plain.status_code, plain.json()["error"]) == (status, error)
    streamed = await execute(agent, task_id="sse", payload={"for_s": 0.05}, headers=BOTH)
    assert [(event.type, event.data) for event in events(streamed.text)] == [("error", error)]
    assert (await agent.get("/health")).json() == {"status": "idle", "running": 0, "slots": 2}


@pytest.mark.parametrize("result", [object(), float("nan"), {1, 2}, "\ud800"])
async def test_a_result_that_is_not_json_is_permanent(served: Any, result: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        return result

    answer = await execute(await served(handle))
    assert answer.status_code == 422
    assert (answer.json()["error"]["code"], answer.json()["error"]["retry"]) == ("bad_result", False)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{", b'{"task_id": ""}', b'{"task_id": 5}', b'{"task_id":"t","attempt":0}',
        b'{"task_id":"t","attempt":true}', b'{"task_id":"t","deadline":"soon"}',
        b'{"task_id":"t","deadline":"2026-01-01T00:00:00"}', b'{"task_id":"t","payload":NaN}',
        b"[" * 100_000, b"\xff\xfe",
    ],
)  # fmt: skip
async def test_bad_bodies_are_400(served: Any, content: bytes) -> None:
    async def handle(ctx: Context, payload: Any) -> None: ...

    answer = await (await served(handle)).post("/execute", content=content)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_call")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_oversized_body_is_413(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> None: ...

    agent = await served(handle, limits=Limits(body_bytes=1000))
    assert (await agent.post("/execute", content=b"x" * 2000)).status_code == 413


async def test_second_call_joins_and_gets_earlier_events(served: Any) -> None:
    release, runs = asyncio.Event(), []

    async def handle(ctx: Context, payload: Any) -> int:
        runs.append(1)
        ctx.progress(10, "early")
        await release.wait()
        return len(runs)

    agent = await served(handle, slots=1)
    first = asyncio.create_task(execute(agent, headers=BOTH))
    await until(lambda: runs)
    second = asyncio.create_task(execute(agent, headers=BOTH, fence=2))
    plain = asyncio.create_task(execute(agent, fence=2))
    full = await execute(agent, task_id="other")
    assert (full.status_code, full.headers["retry-after"], full.json()["code"]) == (429, "1", "slots_full")
    assert (await agent.get("/health")).json() == {"status": "busy", "running": 1, "slots": 1}
    await asyncio.sleep(0.05)
    release.set()
    for answer in (await first, await second):
        assert [event.type for event in events(answer.text)] == ["progress", "result"]
    assert (await plain).json() == {"result": 1, "usage": []}


async def test_execution_outlives_its_caller_and_a_rescue_joins_it(served: Any) -> None:
    release, runs = asyncio.Event(), []

    async def handle(ctx: Context, payload: Any) -> str:
        runs.append(1)
        await release.wait()
        return "kept alive"

    agent = await served(handle)
    with pytest.raises(httpx.ReadTimeout):
        await agent.post("/execute", json=body(), timeout=0.1)
    rescue = asyncio.create_task(execute(agent, fence=2))
    await asyncio.sleep(0.5)  # longer than unheard_s: somebody listens
    release.set()
    assert (await rescue).json()["result"] == "kept alive"
    assert len(runs) == 1


async def test_an_execution_nobody_listens_to_is_given_up(served: Any) -> None:
    stopped = asyncio.Event()

    async def handle(ctx: Context, payload: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    agent = await served(handle)
    with pytest.raises(httpx.ReadTimeout):
        await agent.post("/execute", json=body(), timeout=0.05)
    async with asyncio.timeout(3):
        await stopped.wait()
    await until(lambda: agent.runner.running == 0)


async def test_kept_result_fences_and_retries(served: Any) -> None:
    runs: list[int] = []

    async def handle(ctx: Context, payload: Any) -> int:
        runs.append(ctx.attempt)
        ctx.usage("m", input_tokens=1)
        return len(runs)

    agent = await served(handle)
    assert (await execute(agent, fence=3)).json()["result"] == 1
    rescued = (await execute(agent, fence=4, headers=BOTH)).json()
    assert rescued == {"result": 1, "usage": [{"model": "m", "input_tokens": 1, "output_tokens": 0}]}
    stale = await execute(agent, fence=3)
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "stale_fence")
    assert (await execute(agent, fence=5, attempt=2)).json()["result"] == 2
    assert runs == [1, 2]


async def test_a_retry_that_joins_owns_the_result(served: Any) -> None:
    release, runs = asyncio.Event(), []

    async def handle(ctx: Context, payload: Any) -> int:
        runs.append(1)
        await release.wait()
        return len(runs)

    agent = await served(handle)
    first = asyncio.create_task(execute(agent))
    await until(lambda: runs)
    retry = asyncio.create_task(execute(agent, attempt=2, fence=2))
    await asyncio.sleep(0.05)
    release.set()
    assert [(await call).json()["result"] for call in (first, retry)] == [1, 1]
    assert (await execute(agent, attempt=2, fence=3)).json()["result"] == 1


async def test_a_failure_is_not_kept(served: Any) -> None:
    runs: list[int] = []

    async def handle(ctx: Context, payload: Any) -> int:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("first")
        return 2

    agent = await served(handle)
    assert (await execute(agent)).status_code == 500
    assert (await execute(agent)).json()["result"] == 2


async def test_cancel_stops_async_and_tells_plain_handlers(served: Any) -> None:
    async def wait(ctx: Context, payload: Any) -> None:
        await asyncio.sleep(60)

    def block(ctx: Context, payload: Any) -> None:
        assert ctx.cancelled.wait(10)

    for handler in (wait, block):
        agent = await served(handler)
        running = asyncio.create_task(execute(agent))
        await until(lambda agent=agent: agent.runner.running == 1)
        assert (await agent.post("/cancel", json={"task_id": "t1"})).json() == {"cancelled": True}
        answer = await running
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "cancelled")
        await until(lambda agent=agent: agent.runner.running == 0)
        assert (await agent.post("/cancel", json={"task_id": "t1"})).json() == {"cancelled": False}


async def test_a_stuck_thread_keeps_its_slot_but_not_its_task(served: Any) -> None:
    release = threading.Event()

    def stuck(ctx: Context, payload: Any) -> str:
        release.wait(10)
        return "late"

    agent = await served(stuck, slots=2)
    soon = (datetime.now(UTC) + timedelta(seconds=0.1)).isoformat()
    late = await execute(agent, deadline=soon)
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline")
    assert late.json()["error"]["retry"] is True
    assert agent.runner.running == 1
    again = asyncio.create_task(execute(agent, attempt=2, fence=2))
    await until(lambda: agent.runner.running == 2)
    assert (await execute(agent, task_id="other")).status_code == 429
    release.set()
    assert (await again).json()["result"] == "late"
    await until(lambda: agent.runner.running == 0)


async def test_a_deadline_in_the_past_ends_at_once_and_frees_the_slot(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> None:
        await asyncio.sleep(60)

    agent = await served(handle)
    answer = await execute(agent, deadline="2020-01-01T00:00:00Z", headers=BOTH)
    assert answer.json()["error"]["code"] == "deadline"
    await until(lambda: agent.runner.running == 0)


async def test_draining_refuses_new_work_and_allows_joins(served: Any) -> None:
    release = asyncio.Event()

    async def handle(ctx: Context, payload: Any) -> str:
        await release.wait()
        return "finished"

    agent = await served(handle)
    running = asyncio.create_task(execute(agent))
    await until(lambda: agent.runner.running == 1)
    agent.runner.draining = True
    refused = await execute(agent, task_id="new")
    assert (refused.status_code, refused.json()["code"]) == (503, "draining")
    assert int(refused.headers["retry-after"]) > 0
    assert (await agent.get("/health")).json()["status"] == "draining"
    joined = asyncio.create_task(execute(agent))
    await asyncio.sleep(0.05)
    release.set()
    assert [(await call).json()["result"] for call in (running, joined)] == ["finished", "finished"]


async def test_a_flood_of_tokens_is_bounded_and_the_outcome_and_usage_arrive(served: Any) -> None:
    def flood(ctx: Context, payload: Any) -> str:
        for number in range(20_000):
            ctx.token(f"{number} " + "x" * 50)
        for _ in range(30):
            ctx.usage("m", input_tokens=1)
        return "end"

    agent = await served(flood, limits=Limits(live_events=100, usage_events=10))
    answer = await execute(agent, headers=BOTH)
    seen = events(answer.text)
    assert seen[-1].data == {"result": "end"}
    assert sum(event.data["input_tokens"] for event in seen if event.type == "usage") == 30
    numbers = [int(event.data["text"].split()[0]) for event in seen if event.type == "token"]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 19_999


async def test_traceparent_continues_in_a_span_and_reaches_the_handler(served: Any) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    def handle(ctx: Context, payload: Any) -> list[str | None]:
        return [ctx.traceparent, f"{trace.get_current_span().get_span_context().trace_id:032x}"]

    answer = await execute(await served(handle), headers={"traceparent": parent})
    assert answer.json()["result"] == [parent, parent.split("-")[1]]
