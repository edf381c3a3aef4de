"""NOTIFY reaches listeners; after a lost connection everybody is told to look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.core.db import Database
from app.core.wake import Wakes, notify

_TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = 'yardmaster-listen' AND datname = current_database()
"""


class Heard:
    """Payloads heard on one topic."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue()

    async def next(self) -> str:
        async with asyncio.timeout(10):
            return await self.queue.get()


@pytest.fixture
async def heard(db: Database) -> AsyncIterator[tuple[Heard, Heard]]:
    """Listeners of `keys` and `queued`, connected."""
    wakes, keys, queued = Wakes(db), Heard(), Heard()
    wakes.on("keys", keys.queue.put_nowait)
    wakes.on("queued", queued.queue.put_nowait)
    wakes.start()
    assert await keys.next() == "" and await queued.next() == ""
    yield keys, queued
    await wakes.stop()
    await wakes.stop()


async def test_a_hint_reaches_its_topic_on_commit(db: Database, heard: tuple[Heard, Heard]) -> None:
    keys, queued = heard
    async with db.hot() as connection:
        async with connection.transaction():
            await notify(connection, "queued", "later")
            async with db.hot() as other:
                await notify(other, "queued", "a:b:c")
            assert await queued.next() == "a:b:c"
        assert await queued.next() == "later"
        await notify(connection, "unknown", "x")
        await notify(connection, "keys")
    assert await keys.next() == ""
    assert keys.queue.empty() and queued.queue.empty()


async def test_after_its_backend_was_terminated_every_listener_is_told(
    db: Database, heard: tuple[Heard, Heard]
) -> None:
    keys, queued = heard
    for _ in range(3):
        async with db.hot() as connection:
            assert await connection.fetchval(_TERMINATE) == 1
        assert await keys.next() == "" and await queued.next() == ""
        async with db.hot() as connection:
            await notify(connection, "keys", "again")
        assert await keys.next() == "again"
    assert queued.queue.empty()
