"""`/v1/events`: the tenant's feed as a stream and as pages; and stream tokens, which open a stream by its address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.auth.callers import Caller
from app.auth.edge import Recheck, _untrace
from app.auth.streamkeys import StreamKeys, StreamTokenExpired, StreamTokenForeign, StreamTokenInvalid, task_channel
from app.events.stream import PING, while_allowed
from app.wiring import Yard
from tests.api.test_event_streams import events_of
from tests.api.verbs import bearer, new_key, put_pool, refused, register, run, submit, until, until_status
from tests.core.database import HandClock
from tests.support.service import Fleet, new_pepper

App = tuple[httpx.AsyncClient, Yard]


@asynccontextmanager
async def following(
    client: httpx.AsyncClient, path: str = "/v1/events", after: str | None = None, **options: Any
) -> AsyncIterator[Any]:
    """An open stream."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
    async with client.stream("GET", path, headers=headers, **options) as response:
        assert response.status_code == 200, await response.aread()
        yield events_of(response)


async def listed(client: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    """All pages."""
    items: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        answer = await client.get("/v1/events", params={**params, **token}, headers={"Accept": "application/json"})
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        assert answer.json()["next_page_token"]
        if not answer.json()["more"]:
            return items
        token = {"page_token": answer.json()["next_page_token"]}


async def test_the_feed_begins_now_and_tells_of_all_tasks(served: App, agents: Any) -> None:
    client, _ = served
    agent = await agents()
    await put_pool(client)
    await put_pool(client, "other")
    await register(client, agent.url)
    await run(client)
    async with asyncio.timeout(20), following(client) as events:
        place, name, snapshot = await anext(events)
        assert (name, snapshot) == ("snapshot", {"cursor": place})
        tasks = [(await run(client))["id"], await submit(client, pool="other")]
        seen = [await anext(events) for _ in range(4)]
    assert [(data["task_id"], data["seq"], name) for _, name, data in seen] == [
        (tasks[0], 1, "task.queued"), (tasks[0], 2, "task.running"), (tasks[0], 3, "task.succeeded"),
        (tasks[1], 1, "task.queued"),
    ]  # fmt: skip
    assert all(data["id"] == place for place, _, data in seen)
    assert seen[3][2]["pool"] == "other" and seen[1][2]["data"]["fence"] == 1
    async with asyncio.timeout(20), following(client, after=seen[1][0]) as events:
        assert [await anext(events) for _ in range(2)] == seen[2:], "resumed"
    async with asyncio.timeout(20), following(client, after=place) as events:
        assert [await anext(events) for _ in range(4)] == seen, "from where the first stream began"


async def test_the_feed_as_pages_and_by_filters(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    await put_pool(client, "other")
    await register(client, agent.url)
    done = (await run(client, thread_id="talk"))["id"]
    waiting = await submit(client, pool="other")
    whole = await listed(client)
    assert [(item["task_id"], item["seq"]) for item in whole] == [(done, 1), (done, 2), (done, 3), (waiting, 1)]
    assert await listed(client, page_size=1) == await listed(client, page_size=3) == whole
    for params, expected in (
        ({"type": "task.queued"}, [whole[0], whole[3]]),
        ({"pool": "other"}, [whole[3]]),
        ({"task_id": done}, whole[:3]),
        ({"thread_id": "talk", "type": "task.s"}, [whole[2]]),
        ({"from": "now"}, []),
    ):
        assert await listed(client, **params) == expected
    headers = {"Accept": "application/json", "Last-Event-ID": whole[1]["id"]}
    assert (await client.get("/v1/events", headers=headers)).json()["items"] == whole[2:]


async def test_a_page_that_has_caught_up_says_where_to_go_on(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    for params in ({}, {"from": "now"}, {"pool": "nowhere"}, {"type": "nothing."}):
        answer = await client.get("/v1/events", params=params, headers={"Accept": "application/json"})
        assert (answer.json()["items"], answer.json()["more"]) == ([], False)
        task_id = await submit(client)
        token = {"page_token": answer.json()["next_page_token"]}

        async def heard(token: dict[str, str] = token) -> Any:
            page = (await client.get("/v1/events", params=token, headers={"Accept": "application/json"})).json()
            token["page_token"] = page["next_page_token"]
            return page["items"]

        assert [item["task_id"] for item in await until(heard)] == [task_id]
        assert await heard() == []


async def test_a_stream_from_the_beginning(served: App) -> None:
    client, _ = served
    await put_pool(client)
    tasks = [await submit(client) for _ in range(3)]
    async with asyncio.timeout(20), following(client, params={"from": "beginning"}) as events:
        seen = [await anext(events) for _ in range(4)]
    assert [data["task_id"] for _, _, data in seen[1:]] == tasks


async def test_a_cursor_whose_event_is_gone_gets_a_gap(served: App) -> None:
    client, yard = served
    await put_pool(client)
    tasks = [await submit(client) for _ in range(2)]
    first = (await listed(client))[0]["id"]
    async with yard.db.hot() as connection:
        await connection.execute("DELETE FROM events WHERE task_id = $1", UUID(tasks[0]))
    async with asyncio.timeout(20), following(client, after=first) as events:
        assert await anext(events) == (first, "gap", {"reason": "retention", "missing": None})
        assert (await anext(events))[2]["task_id"] == tasks[1]


async def test_a_place_that_cannot_be_is_refused(client: httpx.AsyncClient) -> None:
    for value in ("x", "1", "1.2", f"1.2.{uuid4()}.", f"99999999999.1.{uuid4()}"):
        answer = await client.get("/v1/events", headers={"Last-Event-ID": value})
        refused(answer, 400, "bad_request")
    params = {"page_token": "WyJ0YXNrcyIsIngiXQ"}
    answer = await client.get("/v1/events", params=params, headers={"Accept": "application/json"})
    refused(answer, 400, "bad_page_token")
    for wrong in ({"from": "yesterday"}, {"task_id": "x"}, {"page_size": 0}, {"since": "1"}):
        refused(await client.get("/v1/events", params=wrong), 422, "validation_error")


async def test_tenants_do_not_hear_each_other(served: App) -> None:
    client, _ = served
    await put_pool(client)
    mine = await submit(client)
    other = await new_key(client, "tasks:read", "tasks:write", tenant="other")
    client.headers.update(bearer(other))
    assert await listed(client) == await listed(client, task_id=mine) == []
    async with asyncio.timeout(20), following(client, params={"from": "beginning"}) as events:
        await anext(events)
        theirs = await submit(client)
        assert (await anext(events))[2]["task_id"] == theirs
    refused(await client.get("/v1/stream-token", params={"channel": f"task:{mine}"}), 404, "task_not_found")


async def token_for(client: httpx.AsyncClient, channel: str, **options: Any) -> str:
    answer = await client.get("/v1/stream-token", params={"channel": channel}, **options)
    assert answer.status_code == 200 and set(answer.json()) == {"token", "expires_at"}
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json()["token"])


async def test_a_stream_token_opens_its_channel_and_nothing_else(served: App, agents: Any) -> None:
    client, _ = served
    agent = await agents()
    await put_pool(client)
    await register(client, agent.url)
    task_id, other = (await run(client))["id"], (await run(client))["id"]
    feed, task = await token_for(client, "events"), await token_for(client, f"task:{task_id.upper()}")
    del client.headers["Authorization"]
    async with asyncio.timeout(20), following(client, params={"token": feed, "from": "beginning"}) as events:
        assert [(await anext(events))[1] for _ in range(2)] == ["snapshot", "task.queued"]
    async with asyncio.timeout(20), following(client, f"/v1/tasks/{task_id}/events", params={"token": task}) as of:
        assert (await anext(of))[2]["status"] == "succeeded"
    for path, token in (
        ("/v1/events", task),
        (f"/v1/tasks/{task_id}/events", feed),
        (f"/v1/tasks/{other}/events", task),
    ):
        refused(await client.get(path, params={"token": token}), 403, "stream_token_foreign")
    # Not the last character: some of its bits say nothing.
    forged = task[:-5] + ("A" if task[-5] != "A" else "B") + task[-4:]
    for token in ("", "x", forged, task + "x", "é" * 10):
        refused(await client.get("/v1/events", params={"token": token}), 401, "stream_token_invalid")
    for path in ("/v1/tasks", f"/v1/tasks/{task_id}", "/v1/stream-token"):
        refused(await client.get(path, params={"token": feed}), 422, "validation_error")
        refused(await client.get(path, headers=bearer(feed)), 401, "unauthenticated")


def test_the_service_does_not_log_stream_tokens(managers: Fleet) -> None:
    manager = managers.manager(YARD_TELEMETRY_LOG_LEVEL="debug")
    with manager.client() as client:
        token = client.get("/v1/stream-token", params={"channel": "events"}).json()["token"]
    with httpx.stream("GET", f"{manager.url}/v1/events?token={token}") as response:
        assert response.status_code == 200
    assert httpx.get(f"{manager.url}/v1/tasks?token={token}").status_code == 422
    assert httpx.get(f"{manager.url}/v1/events?token={token}x").status_code == 401
    manager.stop()
    assert token not in manager.log.read_text()


async def test_a_stream_token_ends_with_its_key(client: httpx.AsyncClient) -> None:
    made = (await client.post("/v1/keys", json={"name": "n", "scopes": ["tasks:read"]})).json()
    token = await token_for(client, "events", headers=bearer(made["key"]))
    await client.delete(f"/v1/keys/{made['id']}")
    del client.headers["Authorization"]
    refused(await client.get("/v1/events", params={"token": token}), 401, "stream_token_invalid")


@pytest.mark.parametrize("by_token", [False, True])
@pytest.mark.parametrize("of_task", [False, True])
async def test_an_open_stream_ends_with_its_key(served: App, of_task: bool, by_token: bool) -> None:
    client, yard = served
    yard.edge.recheck_s = 0.0
    await put_pool(client)
    task_id = await submit(client)
    path, channel = (f"/v1/tasks/{task_id}/events", f"task:{task_id}") if of_task else ("/v1/events", "events")
    made = (await client.post("/v1/keys", json={"name": "n", "scopes": ["tasks:read"]})).json()
    admin = bearer(client.headers["Authorization"].split()[1])
    params = {"token": await token_for(client, channel, headers=bearer(made["key"]))} if by_token else {}
    client.headers.pop("Authorization")
    if not by_token:
        client.headers.update(bearer(made["key"]))
    async with asyncio.timeout(20), following(client, path, params=params) as events:
        assert (await anext(events))[1] == "snapshot"
        assert (await client.delete(f"/v1/keys/{made['id']}", headers=admin)).status_code == 200
        # It would be told of this.
        assert (await client.post(f"/v1/tasks/{task_id}/cancel", headers=admin, json={})).status_code == 200
        assert [event async for event in events] == []
    assert not yard.hub._feeds and not yard.hub._watches


async def test_a_caller_is_verified_again_now_and_then() -> None:
    clock, calls = HandClock(), 0

    async def verify() -> Caller:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StreamTokenInvalid("ended")
        return Caller("key", "default", frozenset())

    still_allowed = Recheck(verify, clock, 10.0)
    assert [await still_allowed() for _ in range(3)] == [True] * 3 and calls == 0
    clock.forward(10)
    assert [await still_allowed() for _ in range(3)] == [True] * 3 and calls == 1
    clock.forward(10)
    assert not await still_allowed()


async def test_a_stream_that_has_only_pings_ends_too_and_is_closed() -> None:
    closed, answers = False, iter([True, True, False])

    async def pings() -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            while True:
                yield PING
        finally:
            closed = True

    async def still_allowed() -> bool:
        return next(answers)

    assert [part async for part in while_allowed(pings(), still_allowed)] == [PING, PING]
    assert closed


async def test_a_stream_token_is_good_for_its_time(app: App) -> None:
    client, yard = app
    key = (await new_key(client, "tasks:read")).split("_")[1]
    clock = HandClock()
    keys = StreamKeys(yard.db, clock, new_pepper().encode(), 300.0)
    caller, channel = Caller(key, "default", frozenset({"tasks:read"})), task_channel(uuid4())
    made = keys.make(caller, channel)
    assert (made.expires_at - clock.now()).total_seconds() == pytest.approx(300, abs=1)
    assert await keys.verify(made.token, channel) == caller
    clock.forward(299)
    assert await keys.verify(made.token, channel) == caller
    with pytest.raises(StreamTokenForeign):
        await keys.verify(made.token, "events")
    with pytest.raises(StreamTokenInvalid):
        await StreamKeys(yard.db, clock, new_pepper().encode(), 300.0).verify(made.token, channel)
    clock.forward(2)
    with pytest.raises(StreamTokenExpired):
        await keys.verify(made.token, channel)


def test_a_token_in_an_address_does_not_end_in_the_traces() -> None:
    from fastapi import Request

    told = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(told))
    scope = {
        "type": "http", "method": "GET", "scheme": "http", "server": ("yard", 80), "path": "/v1/events",
        "query_string": b"token=secret", "headers": [],
    }  # fmt: skip
    with provider.get_tracer("t").start_as_current_span("GET /v1/events") as span:
        span.set_attribute("http.url", "http://yard/v1/events?token=secret")
        _untrace(Request(scope))
    provider.shutdown()
    assert "secret" not in str(dict(told.get_finished_spans()[0].attributes or {}))


async def test_a_service_that_stops_ends_the_feed(served: App) -> None:
    client, yard = served
    async with asyncio.timeout(20), following(client) as events:
        assert (await anext(events))[1] == "snapshot"
        yard.hub.close()
        assert [event async for event in events] == []
    assert not yard.hub._feeds


async def test_a_feed_hears_what_another_manager_commits(served: App) -> None:
    """Nobody rings: the table is asked all the same."""
    client, yard = served
    await put_pool(client)
    task_id = await submit(client)
    await until_status(client, task_id, "queued")
    async with asyncio.timeout(20), following(client) as events:
        await anext(events)
        async with yard.db.hot() as connection:
            await connection.execute(
                "INSERT INTO events (task_id, seq, tenant, type, data) VALUES ($1, 2, 'default', 'task.x', '{}')",
                UUID(task_id),
            )
        assert (await anext(events))[1] == "task.x"
