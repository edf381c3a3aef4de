"""The stream of one task: a snapshot, every event once and in order, then the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast
from uuid import UUID

import orjson
import pytest

from app.core.clock import Clock
from app.core.db import Database
from app.core.nerve import Nerve
from app.events.hub import TOKEN_BACKLOG, Hub
from app.events.numbering import Numbering
from app.events.order import Place
from app.events.stream import PAGE, task_stream
from app.settings import RedisSettings
from app.tasks import queue
from tests.core.database import HandClock
from tests.support.service import Backing
from tests.tasks.queue_driver import claim, insert, row, settle, succeeded, task


@pytest.fixture
async def hub(db: Database, backing: Backing) -> AsyncIterator[Hub]:
    """The hub of a manager without peers."""
    nerve = Nerve(RedisSettings(url=backing.redis_url), Clock())
    yield Hub(db, nerve, lambda: False)
    await nerve.close()


async def running(db: Database) -> UUID:
    await insert(db, task())
    return (await claim(db, 1))[0].id


def parse(frame: bytes) -> tuple[str | None, str, Any]:
    """(id, event, data) of one frame."""
    fields = dict(line.split(": ", 1) for line in frame.decode().strip().split("\n"))
    return fields.get("id"), fields["event"], orjson.loads(fields["data"])


async def whole(frames: AsyncIterator[bytes]) -> list[tuple[str | None, str, Any]]:
    async with asyncio.timeout(15):
        return [parse(frame) async for frame in frames]


async def note(db: Database, task_id: UUID, count: int) -> None:
    async with db.hot() as connection:
        await queue.record(connection, [queue.Note(task_id, 1, "task.progress", f'{{"n": {n}}}') for n in range(count)])


def stream(
    db: Database,
    hub: Hub,
    task_id: UUID,
    after: str,
    clock: Clock | None = None,
    *,
    fresh: bool = False,
    final: bool = False,
) -> AsyncGenerator[bytes]:
    """The stream behind the place `after`; `fresh`: with a snapshot first."""
    place = Place.read(after)
    assert place is not None
    frames = task_stream(
        db, hub, clock or Clock(), task_id, after=place, snapshot=b"{}" if fresh else None, final=final
    )
    return cast("AsyncGenerator[bytes]", frames)


class Agent:
    """Talks as the manager that runs it reports: tokens through the hub, notes into the table."""

    def __init__(self, db: Database, hub: Hub, task_id: UUID, fence: int = 1) -> None:
        self._db, self._hub, self._task_id, self._numbering = db, hub, task_id, Numbering(fence)

    def token(self, count: int = 1, *, lost: bool = False) -> None:
        for _ in range(count):
            n, note = self._numbering.token()
            if not lost:
                self._hub.token(self._task_id, self._numbering.fence, n, note, {"text": f"{n} "})

    async def note(self) -> None:
        data = orjson.dumps(self._numbering.note()).decode()
        async with self._db.hot() as connection:
            await queue.record(connection, [queue.Note(self._task_id, self._numbering.fence, "task.progress", data)])
        self._hub.changed([self._task_id])

    async def end(self) -> None:
        await settle(self._db, succeeded(self._task_id, self._numbering.fence))
        self._hub.changed([self._task_id])

    async def kept(self) -> None:
        """Returns when Redis has all tokens so far."""
        count, fence = self._numbering.tokens, self._numbering.fence
        async with asyncio.timeout(10):
            while not await self._hub.store.read(self._task_id, fence, count):
                await asyncio.sleep(0.01)


async def test_a_final_task_is_its_snapshot_only_and_replays_from_any_event(db: Database, hub: Hub) -> None:
    task_id = await running(db)
    await settle(db, succeeded(task_id, 1))
    assert await whole(stream(db, hub, task_id, "3", fresh=True, final=True)) == [("3", "snapshot", {})]
    frames = await whole(stream(db, hub, task_id, "1", final=True))
    assert [(seq, name) for seq, name, _ in frames] == [("2", "task.running"), ("3", "task.succeeded")]
    assert frames[0][2]["seq"] == 2 and frames[0][2]["data"]["attempt"] == 1
    assert await whole(stream(db, hub, task_id, "3", final=True)) == [], "nothing more to come"
    assert not hub._watches


async def test_a_follower_gets_every_event_once_while_they_are_written(db: Database, hub: Hub) -> None:
    task_id = await running(db)

    async def work() -> None:
        for count in (1, 7, 3):
            await note(db, task_id, count)
            hub.changed([task_id])
            await asyncio.sleep(0)
        await settle(db, succeeded(task_id, 1))
        hub.changed([task_id])

    following = asyncio.ensure_future(whole(stream(db, hub, task_id, "0")))
    await work()
    frames = await following
    assert [seq for seq, _, _ in frames] == [str(n) for n in range(1, 15)]
    assert frames[-1][1] == "task.succeeded"


@pytest.mark.parametrize("events", [PAGE - 3, PAGE - 2, 2 * PAGE + 5])
async def test_more_events_than_a_page(db: Database, hub: Hub, events: int) -> None:
    task_id = await running(db)
    await note(db, task_id, events)
    await settle(db, succeeded(task_id, 1))
    frames = await whole(stream(db, hub, task_id, "0"))
    assert [seq for seq, _, _ in frames] == [str(n) for n in range(1, events + 4)]


async def test_tokens_pass_between_events_and_each_is_a_place_to_resume_from(db: Database, hub: Hub) -> None:
    task_id = await running(db)
    agent = Agent(db, hub, task_id)
    following = stream(db, hub, task_id, "2", fresh=True)
    seen = []
    async with asyncio.timeout(10):
        assert parse(await anext(following))[1] == "snapshot"
        agent.token()
        seen.append(parse(await anext(following)))
        await agent.note()
        seen.append(parse(await anext(following)))
        agent.token(2)
        seen += [parse(await anext(following)), parse(await anext(following))]
        await agent.end()
        seen += await whole(following)
    assert not hub._watches, "the end of a stream ends its watch"
    assert [(place, name) for place, name, _ in seen] == [
        ("2-1-1", "token"), ("3", "task.progress"), ("3-1-2", "token"), ("3-1-3", "token"), ("4", "task.succeeded")
    ]  # fmt: skip
    assert seen[0][2] == {"text": "1 "}
    await agent.kept()
    for index, after in enumerate(["2", *(place for place, _, _ in seen)]):
        assert await whole(stream(db, hub, task_id, after, final=True)) == seen[index:], "late, and the same"


async def test_a_newcomer_hears_what_was_said_since_the_last_event(db: Database, hub: Hub) -> None:
    task_id = await running(db)
    agent = Agent(db, hub, task_id)
    agent.token(3)
    await agent.note()
    agent.token(2)
    await agent.kept()
    following = stream(db, hub, task_id, "3", fresh=True)
    async with asyncio.timeout(10):
        heard = [parse(await anext(following))[0] for _ in range(3)]
        agent.token()
        assert [*heard, parse(await anext(following))[0]] == ["3", "3-1-4", "3-1-5", "3-1-6"]
    await following.aclose()


async def test_a_client_that_takes_nothing_for_long_misses_nothing(db: Database, hub: Hub) -> None:
    """More is said meanwhile than is held for anyone: the rest comes from Redis."""
    task_id = await running(db)
    agent = Agent(db, hub, task_id)
    slow = stream(db, hub, task_id, "2", fresh=True)
    frames = [parse(await anext(slow))]
    for _ in range(3):
        agent.token(TOKEN_BACKLOG)
        await agent.kept()
        await agent.note()
    await agent.end()
    frames += await whole(slow)
    texts = [data["text"] for _, name, data in frames if name == "token"]
    assert texts == [f"{n} " for n in range(1, 3 * TOKEN_BACKLOG + 1)]
    assert [place for place, name, _ in frames if name == "task.progress"] == ["3", "4", "5"]
    assert not [name for _, name, _ in frames if name == "gap"]


async def test_tokens_that_never_come_are_told_after_a_while(db: Database, hub: Hub, clock: HandClock) -> None:
    task_id = await running(db)
    agent = Agent(db, hub, task_id)
    agent.token(2)
    agent.token(5, lost=True)
    await agent.note()
    following = stream(db, hub, task_id, "2", clock)  # its clock is long before the event's time: the event is new
    async with asyncio.timeout(10):
        assert [parse(await anext(following))[0] for _ in range(2)] == ["2-1-1", "2-1-2"]
        waiting = asyncio.ensure_future(anext(following))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done(), "they may still come"
        clock.forward(hub.settings.patience_s)
        assert parse(await waiting) == ("2-1-7", "gap", {"reason": "tokens_gone", "missing": 5})
        assert parse(await anext(following))[:2] == ("3", "task.progress")
    await following.aclose()


async def test_tokens_of_long_ago_are_not_waited_for(db: Database, hub: Hub) -> None:
    """Those that Redis has dropped for their number or their age are told at once."""
    hub.settings = hub.settings.model_copy(update={"max_tokens": 100})
    task_id = await running(db)
    agent = Agent(db, hub, task_id)
    for _ in range(4):
        agent.token(300)
        await agent.kept()
        await agent.note()
    await agent.end()
    frames = await whole(stream(db, hub, task_id, "2", HandClock(), final=True))
    gaps = [data["missing"] for _, name, data in frames if name == "gap"]
    tokens = [data["text"] for _, name, data in frames if name == "token"]
    assert 100 <= len(tokens) < 400 and sum(gaps) + len(tokens) == 1200
    assert tokens == [f"{n} " for n in range(1201 - len(tokens), 1201)]
    await hub._nerve.run(lambda client: client.flushdb())
    later = HandClock()
    later.seconds = 1e9  # years after the events
    frames = await whole(stream(db, hub, task_id, "2", later, final=True))
    assert [name for _, name, _ in frames] == ["gap", "task.progress"] * 4 + ["task.succeeded"]


async def test_without_redis_tokens_pass_here_and_late_readers_are_told(db: Database, clock: HandClock) -> None:
    nerve = Nerve(RedisSettings(url="redis://127.0.0.1:1/0"), clock)
    hub = Hub(db, nerve, lambda: False)
    task_id = await running(db)
    agent = Agent(db, hub, task_id)
    here = stream(db, hub, task_id, "2", fresh=True)
    async with asyncio.timeout(10):
        await anext(here)
        agent.token(2)
        assert [parse(await anext(here))[0] for _ in range(2)] == ["2-1-1", "2-1-2"]
        await agent.note()
        await agent.end()
        assert [place for place, _, _ in await whole(here)] == ["3", "4"]
    late = await whole(stream(db, hub, task_id, "2", clock))
    assert late[0] == ("2-1-2", "gap", {"reason": "tokens_unreachable", "missing": 2})
    assert [place for place, _, _ in late[1:]] == ["3", "4"]
    await nerve.close()


async def test_readers_on_two_managers_and_a_late_one_have_one_order(db: Database, backing: Backing) -> None:
    nerves = [Nerve(RedisSettings(url=backing.redis_url), Clock()) for _ in range(2)]
    here, there = (Hub(db, nerve, lambda: True) for nerve in nerves)
    listening = asyncio.ensure_future(there.listen())
    task_id = await running(db)
    agent = Agent(db, here, task_id)
    readers = [asyncio.ensure_future(whole(stream(db, hub, task_id, "0"))) for hub in (here, there, there)]
    for count in (3, 0, 40, 1, 7):
        agent.token(count)
        await asyncio.sleep(0)
        await agent.note()
    agent.token(5)
    await agent.kept()
    await agent.end()
    one, *others = [await reader for reader in readers]
    assert others == [one, one]
    assert await whole(stream(db, there, task_id, "0", final=True)) == one
    assert [data["text"] for _, name, data in one if name == "token"] == [f"{n} " for n in range(1, 57)]
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    for nerve in nerves:
        await nerve.close()


async def test_closing_a_stream_ends_its_watch_not_its_task(db: Database, hub: Hub) -> None:
    task_id = await running(db)
    following = stream(db, hub, task_id, "2", fresh=True)
    await anext(following)
    await following.aclose()
    assert not hub._watches and (await row(db, task_id))["status"] == "running"


async def test_a_service_that_stops_ends_its_streams(db: Database, hub: Hub) -> None:
    task_id = await running(db)
    following = asyncio.ensure_future(whole(stream(db, hub, task_id, "2", fresh=True)))
    async with asyncio.timeout(10):
        while not hub._watches:
            await asyncio.sleep(0.001)
        hub.close()
        assert [name for _, name, _ in await following] == ["snapshot"]
