"""Watchers hear of changes and tokens here and on other managers, over a real Redis; a lost word costs latency only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import pytest

from app.core.db import Database
from app.core.nerve import Nerve
from app.events.hub import TOKEN_BACKLOG, Hub
from app.settings import RedisSettings
from tests.core.database import HandClock
from tests.support.service import Backing
from tests.tasks.queue_driver import claim, insert, task

WAIT_S = 10.0
type Make = Callable[[], Hub]


@pytest.fixture
async def make(backing: Backing, db: Database, clock: HandClock) -> AsyncIterator[Make]:
    """Builds the hub of one manager after another; each listens."""
    nerves: list[Nerve] = []
    listening: list[asyncio.Task[None]] = []

    def made() -> Hub:
        nerves.append(Nerve(RedisSettings(url=backing.redis_url), clock))
        hub = Hub(db, nerves[-1], lambda: True)
        listening.append(asyncio.ensure_future(hub.listen()))
        return hub

    yield made
    for task_ in listening:
        task_.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    for nerve in nerves:
        await nerve.close()


async def connected(hub: Hub, other: Hub) -> None:
    """Returns when `hub` hears what `other` says."""
    probe = UUID(int=0)
    watch = hub.watch(probe)
    async with asyncio.timeout(WAIT_S):
        while not watch.wake.is_set():
            other.changed([probe])
            await asyncio.sleep(0.01)
    hub.unwatch(watch)


async def test_a_change_wakes_the_watchers_of_that_task_on_both_managers(make: Make) -> None:
    here, there = make(), make()
    await connected(there, here)
    mine, far, other = here.watch(UUID(int=1)), there.watch(UUID(int=1)), there.watch(UUID(int=2))
    here.changed([UUID(int=1), UUID(int=3)])
    assert mine.wake.is_set(), "at once, without Redis"
    assert await far.changed(WAIT_S)
    assert not other.wake.is_set()
    assert not await far.changed(0.0), "one word, one wake"


async def test_tokens_arrive_in_order_here_and_there(make: Make) -> None:
    here, there = make(), make()
    await connected(there, here)
    mine, far = here.watch(UUID(int=1)), there.watch(UUID(int=1))
    for n in range(50):
        here.token(UUID(int=1), {"text": str(n)})
    async with asyncio.timeout(WAIT_S):
        while len(far.tokens) < 50:
            await far.changed(WAIT_S)
    for watch in (mine, far):
        assert [token["text"] for token in watch.tokens] == [str(n) for n in range(50)]


async def test_a_slow_watcher_holds_a_bounded_number_of_tokens(make: Make) -> None:
    hub = make()
    watch = hub.watch(UUID(int=1))
    for n in range(TOKEN_BACKLOG + 10):
        hub._token(UUID(int=1), {"n": n})
    assert len(watch.tokens) == TOKEN_BACKLOG and watch.tokens[-1] == {"n": TOKEN_BACKLOG + 9}


async def test_the_table_is_asked_when_no_word_came(make: Make, db: Database) -> None:
    hub, new = make(), task()
    await insert(db, new)
    watch = hub.watch(new.id)
    await hub.check()
    assert await watch.changed(0.0)
    await hub.check()
    assert not await watch.changed(0.0), "nothing moved"
    await claim(db, 1)  # nobody tells the hub
    await hub.check()
    assert await watch.changed(0.0)


async def test_nothing_is_kept_of_a_watcher_that_left(make: Make, db: Database) -> None:
    hub, new = make(), task()
    await insert(db, new)
    one, two = hub.watch(new.id), hub.watch(new.id)
    await hub.check()
    for watch in (one, two, two):
        hub.unwatch(watch)
    hub.changed([new.id])
    assert not hub._watches and not hub._seen


async def test_closing_wakes_every_watcher(make: Make) -> None:
    hub = make()
    watches = [hub.watch(UUID(int=n)) for n in range(5)]
    hub.close()
    assert hub.closing and all(watch.wake.is_set() for watch in watches)
