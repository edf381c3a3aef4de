"""Hints between managers through LISTEN/NOTIFY. A lost hint costs latency, never correctness."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog

from app.core.db import Database, HotConnection

log = structlog.get_logger()

CHANNEL = "yard"


class Wakes:
    """Calls the functions registered for a topic when any manager notifies it.

    After a reconnect every function is called once with an empty payload: what was missed is looked up, not replayed.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._on: dict[str, list[Callable[[str], None]]] = defaultdict(list)
        self._task: asyncio.Task[None] | None = None

    def on(self, topic: str, call: Callable[[str], None]) -> None:
        """Call `call(payload)` whenever `topic` is notified. Register before `start`."""
        self._on[topic].append(call)

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._listen(), name="wakes")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _listen(self) -> None:
        delay_s, lost = 0.1, False
        while True:
            try:
                connection = await self._db.listener()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
                if not lost:
                    log.warning("wakes_lost", error=repr(exc))
                lost, delay_s = True, min(5.0, delay_s * 2)
                await asyncio.sleep(delay_s)
                continue
            try:
                delay_s, lost = 0.1, False
                await self._serve(connection)
            finally:
                connection.terminate()
            await asyncio.sleep(delay_s)

    async def _serve(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        closed = asyncio.Event()
        connection.add_termination_listener(lambda _: closed.set())
        try:
            await connection.add_listener(CHANNEL, self._heard)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return
        for topic in self._on:
            self._call(topic, "")
        await closed.wait()

    def _heard(self, _connection: Any, _pid: int, _channel: str, message: object) -> None:
        topic, _, payload = str(message).partition(":")
        self._call(topic, payload)

    def _call(self, topic: str, payload: str) -> None:
        for call in self._on.get(topic, ()):
            call(payload)


async def notify(connection: HotConnection, topic: str, payload: str = "") -> None:
    """Hint `topic` to every manager when the connection's transaction commits."""
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, f"{topic}:{payload}")
