"""The REST client against a small real server that speaks the manager's API."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from yardmaster import Client, YardError

TASK = {"id": "t1", "status": "queued", "pool": "echo"}


class FakeApi:
    """Answers every route of the client; `streams` are what successive event streams say."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.streams: list[list[str] | int] = []
        self.statuses = ["running"]
        routes = [
            Route("/v1/tasks/{id}/events", self.events),
            Route("/v1/tasks/missing", self.missing),
            Route("/v1/tasks/{id}", self.task),
            Route("/v1/tasks", self.page, methods=["GET"]),
            Route("/v1/agents", self.page, methods=["GET"]),
            Route("/v1/pools", self.page, methods=["GET"]),
            Route("/v1/approvals", self.page, methods=["GET"]),
            Route("/{path:path}", self.accept, methods=["POST", "PUT"]),
        ]
        self.app = Starlette(routes=routes)

    async def note(self, request: Request) -> Any:
        body = json.loads(await request.body() or b"null")
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        self.requests.append((request.method, path, dict(request.headers), body))
        return body

    async def accept(self, request: Request) -> Response:
        body = await self.note(request)
        if request.url.path == "/v1/tasks/batch":
            return JSONResponse({"tasks": [TASK for _ in body["tasks"]]}, 202)
        return JSONResponse(TASK, 202)

    async def task(self, request: Request) -> Response:
        await self.note(request)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return JSONResponse(TASK | {"status": status})

    async def missing(self, request: Request) -> Response:
        problem = {"type": "about:blank", "title": "Not found", "status": 404, "code": "task_not_found"}
        return JSONResponse(problem | {"detail": "no task missing"}, 404, media_type="application/problem+json")

    async def page(self, request: Request) -> Response:
        await self.note(request)
        second = request.query_params.get("page_token") == "p2"
        ids, token = (["c"], None) if second else (["a", "b"], "p2")
        return JSONResponse({"items": [{"id": item} for item in ids], "next_page_token": token})

    async def events(self, request: Request) -> Response:
        await self.note(request)
        stream = self.streams.pop(0)
        if isinstance(stream, int):
            return JSONResponse({"code": "overloaded", "title": "busy"}, stream)

        async def say() -> AsyncIterator[str]:
            for text in stream:
                if text == "BREAK":
                    raise ConnectionError("the stream breaks")
                yield text
                await asyncio.sleep(0.01)

        return StreamingResponse(say(), media_type="text/event-stream")


def event(number: int | str, kind: str, **data: Any) -> str:
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


@pytest.fixture
async def api(serve_app: Any) -> AsyncIterator[tuple[FakeApi, Client]]:
    fake = FakeApi()
    async with serve_app(fake.app) as url, Client(url, "key") as client:
        yield fake, client


async def test_submit_says_everything(api: tuple[FakeApi, Client]) -> None:
    fake, client = api
    task = await client.submit(pool="echo", payload={"a": 1}, wait=5, idempotency_key="k1", priority=7, deadline_s=60)
    method, path, headers, body = fake.requests[0]
    assert (task, method, path) == (TASK, "POST", "/v1/tasks")
    assert body == {"pool": "echo", "payload": {"a": 1}, "priority": 7, "deadline_s": 60}
    assert (headers["prefer"], headers["idempotency-key"]) == ("wait=5", "k1")
    assert headers["authorization"] == "Bearer key"


async def test_every_verb_reaches_its_route(api: tuple[FakeApi, Client]) -> None:
    fake, client = api
    assert await client.submit_batch([{"pool": "echo", "payload": 1}] * 3) == [TASK] * 3
    await client.cancel("t1")
    await client.retry("t1")
    await client.put_pool("echo", {"slots": 2})
    await client.scale("echo", 3, "more")
    assert [(method, path, body) for method, path, _, body in fake.requests[1:]] == [
        ("POST", "/v1/tasks/t1/cancel", None),
        ("POST", "/v1/tasks/t1/retry", None),
        ("PUT", "/v1/pools/echo", {"slots": 2}),
        ("POST", "/v1/pools/echo/scale", {"replicas": 3, "reason": "more"}),
    ]


async def test_lists_follow_their_pages(api: tuple[FakeApi, Client]) -> None:
    fake, client = api
    assert [item["id"] async for item in client.tasks(status="failed", pool="echo", page_size=2)] == ["a", "b", "c"]
    assert [path for _, path, _, _ in fake.requests] == [
        "/v1/tasks?status=failed&pool=echo&page_size=2",
        "/v1/tasks?status=failed&pool=echo&page_size=2&page_token=p2",
    ]
    assert [item["id"] async for item in client.agents(pool="echo")] == ["a", "b", "c"]
    assert [item["id"] async for item in client.pools()] == ["a", "b", "c"]


async def test_events_resume_after_breaks_and_overload(api: tuple[FakeApi, Client]) -> None:
    fake, client = api
    fake.streams = [
        ["retry: 10\n\n", event(1, "snapshot", status="queued"), event(2, "task.started"), "BREAK"],
        503,
        [": ping\n\n", event(3, "task.progress", percent=50)],
        [event(4, "task.succeeded"), event(5, "never seen")],
    ]
    seen = [(e.id, e.type) async for e in client.events("t1")]
    assert seen == [("1", "snapshot"), ("2", "task.started"), ("3", "task.progress"), ("4", "task.succeeded")]
    resumed = [headers.get("last-event-id") for _, path, headers, _ in fake.requests if "/events" in path]
    assert resumed == [None, "2", "2", "3"]


async def test_approvals_and_sent_events_reach_their_routes(api: tuple[FakeApi, Client]) -> None:
    fake, client = api
    assert [item["id"] async for item in client.approvals(status="pending", pool="echo")] == ["a", "b", "c"]
    fake.requests.clear()
    await client.approve("a/1", "h1")
    await client.approve("a1", "h1", reason="fine", args=None)
    await client.reject("a1", reason="no")
    await client.reject("a1", "h1")
    await client.send_event("paid", {"sum": 3})
    await client.send_event("paid", task_id="t1")
    assert [(path, body) for _, path, _, body in fake.requests] == [
        ("/v1/approvals/a/1/approve", {"payload_hash": "h1"}),  # the server's view: it arrived as a%2F1
        ("/v1/approvals/a1/approve", {"payload_hash": "h1", "reason": "fine", "args": None}),
        ("/v1/approvals/a1/reject", {"reason": "no"}),
        ("/v1/approvals/a1/reject", {"payload_hash": "h1"}),
        ("/v1/events", {"name": "paid", "data": {"sum": 3}}),
        ("/v1/events", {"name": "paid", "data": None, "task_id": "t1"}),
    ]


async def test_events_resume_after_tokens_and_gaps(api: tuple[FakeApi, Client]) -> None:
    """Ids are opaque: a token's is "event-fence-n"; a gap and a snapshot are events like others."""
    fake, client = api
    fake.streams = [
        ["retry: 10\n\n", event("12-3-344", "token", text="a"), event("12-3-345", "token", text="b"), "BREAK"],
        [event(14, "gap", missed=2), event(14, "snapshot", status="running"), "data: 1\n\n", "BREAK"],
        [event("14-3-400", "token", text="c"), event(15, "task.succeeded")],
    ]
    seen = [(e.id, e.type) async for e in client.events("t1", "12-3-343")]
    assert seen == [
        ("12-3-344", "token"), ("12-3-345", "token"), ("14", "gap"), ("14", "snapshot"), ("14", "message"),
        ("14-3-400", "token"), ("15", "task.succeeded"),
    ]  # fmt: skip
    resumed = [headers.get("last-event-id") for _, path, headers, _ in fake.requests if "/events" in path]
    assert resumed == ["12-3-343", "12-3-345", "14"]


async def test_events_end_when_the_stream_ends_and_the_task_is_final(api: tuple[FakeApi, Client]) -> None:
    fake, client = api
    fake.streams, fake.statuses = [[event(9, "snapshot", status="failed")]], ["failed"]
    assert [e.id async for e in client.events("t1", last_event_id="8")] == ["9"]
    assert fake.requests[0][2]["last-event-id"] == "8"


async def test_events_refused_raise(api: tuple[FakeApi, Client]) -> None:
    fake, client = api
    fake.streams = [403]
    with pytest.raises(YardError, match="403 overloaded"):
        await anext(client.events("t1"))


async def test_wait_returns_the_final_task_or_times_out(api: tuple[FakeApi, Client]) -> None:
    fake, client = api
    fake.statuses = ["queued", "running", "succeeded"]
    assert (await client.wait("t1", timeout=5))["status"] == "succeeded"
    fake.statuses = ["running"]
    with pytest.raises(YardError) as caught:
        await client.wait("t1", timeout=0.2)
    assert (caught.value.status, caught.value.code) == (0, "timeout")


async def test_errors_carry_the_problem(api: tuple[FakeApi, Client]) -> None:
    with pytest.raises(YardError) as caught:
        await api[1].get("missing")
    error = caught.value
    assert (error.status, error.code, error.title, error.detail) == (
        404,
        "task_not_found",
        "Not found",
        "no task missing",
    )


async def test_no_manager_is_an_error_too(unused_tcp_port: int) -> None:
    async with Client(f"http://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(YardError) as caught:
            await client.get("t1")
    assert (caught.value.status, caught.value.code) == (0, "unreachable")
