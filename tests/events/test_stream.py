"""The stream of one task: a snapshot, every event once and in order, then the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
import pytest

from app.core.db import Database
from app.events.hub import Hub
from app.events.stream import PAGE, task_stream
from app.tasks import queue
from tests.tasks.queue_driver import claim, insert, returned, settle, succeeded, task


def alone(db: Database) -> Hub:
    """The hub of a manager without peers: it never talks to Redis."""
    return Hub(db, None, lambda: False)  # type: ignore[arg-type]


async def running(db: Database) -> UUID:
    await insert(db, task())
    return (await claim(db, 1))[0].id


def parse(frame: bytes) -> tuple[int | None, str, Any]:
    """(id, event, data) of one frame."""
    fields = dict(line.split(": ", 1) for line in frame.decode().strip().split("\n"))
    return int(fields["id"]) if "id" in fields else None, fields["event"], orjson.loads(fields["data"])


async def whole(frames: AsyncIterator[bytes]) -> list[tuple[int | None, str, Any]]:
    async with asyncio.timeout(15):
        return [parse(frame) async for frame in frames]


async def note(db: Database, task_id: UUID, count: int) -> None:
    async with db.hot() as connection:
        await queue.record(connection, [(task_id, 1, "task.progress", f'{{"n": {n}}}') for n in range(count)])


async def test_a_final_task_is_its_snapshot_only_and_replays_from_any_event(db: Database) -> None:
    task_id = await running(db)
    await settle(db, succeeded(task_id, 1))
    hub = alone(db)
    frames = await whole(task_stream(db, hub, task_id, after=3, snapshot=b'{"status": "succeeded"}', final=True))
    assert frames == [(3, "snapshot", {"status": "succeeded"})]
    frames = await whole(task_stream(db, hub, task_id, after=1, snapshot=None, final=True))
    assert [(seq, name) for seq, name, _ in frames] == [(2, "task.running"), (3, "task.succeeded")]
    assert frames[0][2]["seq"] == 2 and frames[0][2]["data"]["attempt"] == 1
    assert await whole(task_stream(db, hub, task_id, after=3, snapshot=None, final=True)) == [], "nothing more to come"
    assert not hub._watches


async def test_a_follower_gets_every_event_once_while_they_are_written(db: Database) -> None:
    task_id, hub = await running(db), alone(db)

    async def work() -> None:
        for count in (1, 7, 3):
            await note(db, task_id, count)
            hub.changed([task_id])
            await asyncio.sleep(0)
        await settle(db, succeeded(task_id, 1))
        hub.changed([task_id])

    following = asyncio.ensure_future(whole(task_stream(db, hub, task_id, after=0, snapshot=None, final=False)))
    await work()
    frames = await following
    assert [seq for seq, _, _ in frames] == list(range(1, 15))
    assert frames[-1][1] == "task.succeeded"


@pytest.mark.parametrize("events", [PAGE - 3, PAGE - 2, 2 * PAGE + 5])
async def test_more_events_than_a_page(db: Database, events: int) -> None:
    task_id = await running(db)
    await note(db, task_id, events)
    await settle(db, succeeded(task_id, 1))
    hub = alone(db)
    following = asyncio.ensure_future(whole(task_stream(db, hub, task_id, after=0, snapshot=None, final=False)))
    frames = await following
    assert [seq for seq, _, _ in frames] == list(range(1, events + 4))


async def test_tokens_pass_between_events_and_are_not_numbered(db: Database) -> None:
    task_id, hub = await running(db), alone(db)
    stream = task_stream(db, hub, task_id, after=2, snapshot=b"{}", final=False)
    async with asyncio.timeout(10):
        assert parse(await anext(stream))[1] == "snapshot"
        hub.token(task_id, {"text": "a"})
        assert parse(await anext(stream)) == (None, "token", {"text": "a"})
        await note(db, task_id, 1)
        hub.changed([task_id])
        assert parse(await anext(stream))[:2] == (3, "task.progress")
        await settle(db, returned(task_id, 1))
        hub.changed([task_id])
        assert parse(await anext(stream))[:2] == (4, "task.returned")
    await stream.aclose()  # type: ignore[attr-defined]
    assert not hub._watches, "closing a stream ends its watch, not its task"


async def test_a_service_that_stops_ends_its_streams(db: Database) -> None:
    task_id, hub = await running(db), alone(db)
    following = asyncio.ensure_future(whole(task_stream(db, hub, task_id, after=2, snapshot=b"{}", final=False)))
    async with asyncio.timeout(10):
        while not hub._watches:
            await asyncio.sleep(0.001)
        hub.close()
        assert [name for _, name, _ in await following] == ["snapshot"]
