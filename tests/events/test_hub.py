"""Watchers hear of changes and tokens here and on other managers, over a real Redis; a lost word costs latency only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import pytest
import redis.asyncio as redis

from app.core.db import Database
from app.core.nerve import Nerve
from app.events.hub import TOKEN_BACKLOG, TOKEN_BACKLOG_BYTES, Hub
from app.events.order import Token
from app.events.tokens import key_of
from app.settings import RedisSettings, StreamSettings
from tests.core.database import HandClock
from tests.support.service import Backing
from tests.tasks.queue_driver import claim, insert, task

WAIT_S = 10.0
ONE = UUID(int=1)
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


def say(hub: Hub, count: int, start: int = 0) -> None:
    """Tokens of attempt 3, a note after every ten."""
    for n in range(start + 1, start + count + 1):
        hub.token(ONE, 3, n, n // 10, {"text": str(n)})


async def test_tokens_arrive_in_order_here_and_there(make: Make) -> None:
    here, there = make(), make()
    await connected(there, here)
    mine, far = here.watch(UUID(int=1)), there.watch(UUID(int=1))
    say(here, 50)
    heard = list(mine.take())
    assert [(token.fence, token.n, token.note) for token in heard] == [(3, n, n // 10) for n in range(1, 51)]
    assert heard[0].data == b'{"text":"1"}'
    async with asyncio.timeout(WAIT_S):
        while len(heard) < 100:
            await far.changed(WAIT_S)
            heard += far.take()
    assert heard[50:] == heard[:50]


async def kept(hub: Hub, count: int, first: int = 1) -> list[Token]:
    """The kept tokens, once there are so many."""
    async with asyncio.timeout(WAIT_S):
        while len(found := await hub.store.read(ONE, 3, first) or []) < count:
            await asyncio.sleep(0.01)
    return found


async def test_tokens_are_kept_for_those_who_come_later(make: Make) -> None:
    here, there = make(), make()
    mine = here.watch(ONE)
    say(here, 50)
    assert await kept(there, 50) == list(mine.take())
    assert [token.n for token in await there.store.read(ONE, 3, 20) or []] == list(range(20, 51))
    assert await there.store.read(ONE, 2, 1) == await there.store.read(UUID(int=2), 3, 1) == []


async def test_of_many_tokens_the_newest_are_kept_and_not_for_ever(make: Make, backing: Backing) -> None:
    hub = make()
    hub.settings = StreamSettings(max_tokens=100, tokens_ttl_s=500)
    for start in range(0, 1000, 100):  # not more than may wait to be sent
        say(hub, 100, start)
        await kept(hub, 1, start + 100)
    async with redis.Redis.from_url(backing.redis_url) as client:
        assert 100 <= await client.xlen(key_of(ONE)) < 300, "about so many"
        assert 0 < await client.pttl(key_of(ONE)) <= 500_000
    assert [token.n for token in await kept(hub, 1, 1000)] == [1000]


async def test_a_late_token_of_an_overtaken_attempt_is_refused(make: Make) -> None:
    hub = make()
    hub.token(ONE, 4, 1, 0, {"text": "new"})
    hub.token(ONE, 3, 1, 0, {"text": "late"})
    hub.token(ONE, 4, 2, 0, {"text": "next"})
    async with asyncio.timeout(WAIT_S):
        while len(found := await hub.store.read(ONE, 4, 1) or []) < 2:
            await asyncio.sleep(0.01)
    assert await hub.store.read(ONE, 3, 1) == []
    assert [token.data for token in found] == [b'{"text":"new"}', b'{"text":"next"}']


async def test_without_redis_those_who_are_here_hear_tokens(db: Database, clock: HandClock) -> None:
    nerve = Nerve(RedisSettings(url="redis://127.0.0.1:1/0"), clock)
    hub = Hub(db, nerve, lambda: True)
    watch = hub.watch(ONE)
    say(hub, 3)
    assert [token.n for token in watch.take()] == [1, 2, 3]
    assert await hub.store.read(ONE, 3, 1) is None
    async with asyncio.timeout(WAIT_S):
        while hub._outbox._active:
            await asyncio.sleep(0.01)
    await nerve.close()


async def test_a_slow_watcher_holds_a_bounded_number_of_tokens(make: Make) -> None:
    hub = make()
    watch = hub.watch(UUID(int=1))
    for n in range(TOKEN_BACKLOG + 10):
        hub._token(ONE, Token(1, n, 0, b"x"))
    assert [token.n for token in watch.take()] == list(range(10, TOKEN_BACKLOG + 10)), "the newest: the gap shows"
    assert not watch.heard and watch.take() == ()
    for n in range(100):
        hub._token(ONE, Token(1, n, 0, b"x" * 60_000))
    assert sum(len(token.data) for token in watch.take()) <= TOKEN_BACKLOG_BYTES


async def test_whoever_listens_anew_doubts_what_was_heard(make: Make) -> None:
    hub = make()
    watch = hub.watch(ONE)
    async with asyncio.timeout(WAIT_S):
        while not watch.deaf:
            await watch.changed(WAIT_S)


async def test_a_bell_rings_for_any_task_here_and_on_other_managers(make: Make) -> None:
    here, there = make(), make()
    await connected(there, here)
    bells = [here.watch_all(), there.watch_all()]
    here.changed([])
    assert not bells[0].wake.is_set()
    here.changed([UUID(int=7)])
    assert bells[0].wake.is_set() and await bells[1].changed(WAIT_S)
    here.unwatch_all(bells[0])
    here.close()
    assert not here._feeds and not await bells[1].changed(0.0)


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
