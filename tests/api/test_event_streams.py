"""`/v1/tasks/{id}/events`: a snapshot first, every event once and in order, an end; or a page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from aiohttp import web

from app.wiring import Yard
from tests.api.verbs import Failing, Gate, put_pool, read, refused, register, run, submit, until_status
from tests.support.stub_agent import stream

App = tuple[httpx.AsyncClient, Yard]
Event = tuple[str | None, str, Any]


async def events_of(response: httpx.Response) -> AsyncIterator[Event]:
    """Events of a stream as (id, name, data); comments are left out."""
    frame: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            frame[name] = value
        elif frame:
            yield frame.get("id"), frame["event"], json.loads(frame["data"])
            frame = {}


@asynccontextmanager
async def following(client: httpx.AsyncClient, task_id: str, after: str | None = None) -> AsyncIterator[Any]:
    """An open stream of a task's events."""
    headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": after})
    async with client.stream("GET", f"/v1/tasks/{task_id}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        yield events_of(response)


async def all_events(client: httpx.AsyncClient, task_id: str, after: str | None = None) -> list[Event]:
    """The stream to its end."""
    async with asyncio.timeout(10), following(client, task_id, after) as events:
        return [event async for event in events]


class Talking:
    """An agent that reports twice, waits for `go`, and reports again before its result."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for percent in (10, 20):
            await response.write(b'event: progress\ndata: {"percent": %d}\n\n' % percent)
        await self.go.wait()
        for text in ("to", "ken"):
            await response.write(b'event: token\ndata: {"text": "%s"}\n\n' % text.encode())
        for percent in (30, 40):
            await response.write(b'event: progress\ndata: {"percent": %d, "message": "m"}\n\n' % percent)
        await response.write(b'event: result\ndata: {"result": "ok"}\n\n')
        await response.write_eof()
        return response


async def test_a_stream_begins_with_a_snapshot_and_ends_with_the_task(served: App, agents: Any) -> None:
    client, _ = served
    talk = Talking()
    agent = await agents(handler=talk)
    await put_pool(client)
    task_id = await submit(client)
    async with asyncio.timeout(20), following(client, task_id) as events:
        number, name, snapshot = await anext(events)
        assert (number, name, snapshot["id"], snapshot["status"]) == ("1", "snapshot", task_id, "queued")
        await register(client, agent.url)
        assert (await anext(events))[1:2] == ("task.running",)
        talk.go.set()
        rest = [event async for event in events]
    assert [(place, name) for place, name, _ in rest] == [
        ("3", "task.progress"), ("4", "task.progress"), ("4-1-1", "token"), ("4-1-2", "token"),
        ("5", "task.progress"), ("6", "task.progress"), ("7", "task.succeeded"),
    ]  # fmt: skip
    stored = [data["data"] for _, name, data in rest if name == "task.progress"]
    assert [(data["percent"], data["note"], data["tokens"]) for data in stored] == [
        (10, 1, 0), (20, 2, 0), (30, 3, 2), (40, 4, 2),
    ]  # fmt: skip
    assert [data for _, name, data in rest if name == "token"] == [{"text": "to"}, {"text": "ken"}]


async def test_a_stream_is_resumed_at_any_event_or_token(served: App, agents: Any) -> None:
    client, _ = served
    talk = Talking()
    talk.go.set()
    agent = await agents(handler=talk)
    await put_pool(client)
    await register(client, agent.url)
    task_id = (await run(client))["id"]
    whole = await all_events(client, task_id, "0")
    assert [place for place, _, _ in whole] == ["1", "2", "3", "4", "4-1-1", "4-1-2", "5", "6", "7"]
    for index, (place, _, _) in enumerate(whole):
        assert await all_events(client, task_id, place) == whole[index + 1 :]


async def test_tokens_that_are_not_kept_any_more_are_told(app: App, agents: Any) -> None:
    client, yard = app
    talk = Talking()
    talk.go.set()
    agent = await agents(handler=talk)
    await put_pool(client)
    await register(client, agent.url)
    task_id = (await run(client))["id"]
    await yard.nerve.run(lambda redis: redis.flushdb())
    whole = await all_events(client, task_id, "4-1-1")
    assert whole[0] == ("4-1-2", "gap", {"reason": "tokens_gone", "missing": 1})
    assert [place for place, _, _ in whole[1:]] == ["5", "6", "7"]


async def test_a_stream_is_resumed_without_gaps_or_repeats(served: App, agents: Any) -> None:
    client, _ = served
    talk = Talking()
    agent = await agents(handler=talk)
    await put_pool(client)
    await register(client, agent.url)
    task_id = await submit(client)
    seen: list[str] = []
    async with asyncio.timeout(20), following(client, task_id, "0") as events:
        async for number, _, _ in events:
            seen.append(number)
            if len(seen) == 3:
                break  # the connection is lost in the middle of it
    talk.go.set()
    await until_status(client, task_id, "succeeded")
    rest = await all_events(client, task_id, seen[-1])
    seen += [place for place, name, _ in rest if name != "token"]
    assert seen == [str(n) for n in range(1, len(seen) + 1)]
    assert [data["text"] for _, name, data in rest if name == "token"] == ["to", "ken"]
    page = (await client.get(f"/v1/tasks/{task_id}/events", headers={"Accept": "application/json"})).json()
    assert [str(event["seq"]) for event in page["items"]] == seen


async def test_a_final_task_has_a_short_stream(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    await register(client, agent.url)
    task = await run(client, 5)
    (only,) = await all_events(client, task["id"])
    assert (only[1], only[2]["status"], only[2]["result"]) == ("snapshot", "succeeded", 5)
    last = only[0]
    assert last is not None
    # Somebody who has seen all of it gets an end, not silence.
    assert await all_events(client, task["id"], last) == []
    for place in (f"{int(last) + 100}", f"{int(last) + 1}-1-1"):
        ahead = await client.get(f"/v1/tasks/{task['id']}/events", headers={"Last-Event-ID": place})
        assert (ahead.status_code, ahead.json()["code"]) == (400, "bad_request")


async def test_a_replayed_task_has_one_history(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents(handler=Failing(times=2))
    await put_pool(client, max_attempts=2)
    await register(client, agent.url)
    task = await run(client)
    assert (await client.post(f"/v1/tasks/{task['id']}/retry")).status_code == 200
    await until_status(client, task["id"], "succeeded")
    names = [name for _, name, _ in await all_events(client, task["id"], "0")]
    assert names == [
        "task.queued", "task.running", "task.retrying", "task.running", "task.failed",
        "task.replayed", "task.running", "task.succeeded",
    ]  # fmt: skip


async def test_closing_a_stream_does_not_stop_the_task(served: App, agents: Any) -> None:
    client, _ = served
    gate = Gate()
    agent = await agents(handler=gate)
    await put_pool(client)
    await register(client, agent.url)
    task_id = await submit(client)
    await until_status(client, task_id, "running")
    async with asyncio.timeout(10), following(client, task_id) as events:
        assert (await anext(events))[2]["status"] == "running"
    gate.open.set()
    assert (await until_status(client, task_id, "succeeded", "cancelled"))["status"] == "succeeded"
    assert not agent.cancels


async def test_a_page_of_events_by_json(client: httpx.AsyncClient, agents: Any) -> None:
    progress = [("progress", {"percent": n, "message": f"step {n}"}) for n in range(5)]
    agent = await agents(handler=lambda request, _: stream(request, *progress, ("result", {"result": None})))
    await put_pool(client)
    await register(client, agent.url)
    task_id = (await run(client))["id"]
    seen: list[Any] = []
    token: str | None = None
    while True:
        params = {"page_size": "3"} | ({"page_token": token} if token else {})
        answer = await client.get(f"/v1/tasks/{task_id}/events", params=params, headers={"Accept": "application/json"})
        assert answer.headers["content-type"] == "application/json"
        page = answer.json()
        assert len(page["items"]) <= 3
        seen += page["items"]
        token = page["next_page_token"]
        if token is None:
            break
    assert [event["seq"] for event in seen] == list(range(1, 9))
    assert [event["type"] for event in seen] == ["task.queued", "task.running"] + ["task.progress"] * 5 + [
        "task.succeeded"
    ]
    assert seen[3]["data"] == {"percent": 1.0, "message": "step 1", "fence": 1, "note": 2, "tokens": 0}
    other = await submit(client)
    foreign = (
        await client.get(f"/v1/tasks/{task_id}/events", params={"page_size": 1}, headers={"Accept": "application/json"})
    ).json()["next_page_token"]
    answer = await client.get(
        f"/v1/tasks/{other}/events", params={"page_token": foreign}, headers={"Accept": "application/json"}
    )
    refused(answer, 400, "bad_page_token")


async def test_a_place_that_cannot_be_is_refused(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    task_id = await submit(client)
    for value in ("-1", "x", "1.5", "+1", "1e3", " ", "9999999999", "\u0662", "0x1", "1-2", "1-2-", "1-2-3-4"):
        headers = {"Last-Event-ID": value.encode()}
        answer = await client.get(f"/v1/tasks/{task_id}/events", headers=headers)  # type: ignore[arg-type]
        refused(answer, 400, "bad_request")
    too_long = await client.get(f"/v1/tasks/{task_id}/events", headers={"Last-Event-ID": "1" * 49})
    refused(too_long, 422, "validation_error")
    assert (await read(client, task_id))["status"] == "queued"
