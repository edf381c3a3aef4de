"""Tells watchers that there is something to read. A lost word costs latency: every so often the table is asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from uuid import UUID

import orjson

from app.core.db import Database
from app.core.nerve import Nerve

CHANGES, TOKENS = "yard:events", "yard:tokens"
TOKEN_BACKLOG = 1024


class Watch:
    """One watcher of one task. `wake` is set when the task may have new events; `tokens` are the newest unread."""

    __slots__ = ("task_id", "tokens", "wake")

    def __init__(self, task_id: UUID) -> None:
        self.task_id = task_id
        self.wake = asyncio.Event()
        self.tokens: deque[dict[str, object]] = deque(maxlen=TOKEN_BACKLOG)

    async def changed(self, timeout_s: float) -> bool:
        """Wait for a word, at most `timeout_s`; whether one came."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.wake.wait()
        except TimeoutError:
            return False
        self.wake.clear()
        return True


class Hub:
    """Watches of this manager. `peers()` says whether other managers must be told too."""

    def __init__(self, db: Database, nerve: Nerve, peers: Callable[[], bool]) -> None:
        self._db, self._nerve, self._peers = db, nerve, peers
        self._watches: dict[UUID, set[Watch]] = {}
        self._seen: dict[UUID, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.closing = False

    def close(self) -> None:
        """The service stops: end every stream and wait. Watchers find out by `closing`."""
        self.closing = True
        self._wake(list(self._watches))

    def watch(self, task_id: UUID) -> Watch:
        """Begin to watch; end with `unwatch`."""
        watch = Watch(task_id)
        self._watches.setdefault(task_id, set()).add(watch)
        return watch

    def unwatch(self, watch: Watch) -> None:
        watches = self._watches.get(watch.task_id, set())
        watches.discard(watch)
        if not watches:
            self._watches.pop(watch.task_id, None)
            self._seen.pop(watch.task_id, None)

    def changed(self, task_ids: Iterable[UUID]) -> None:
        """These tasks have new committed events: wake their watchers, here and on other managers."""
        ids = list(task_ids)
        self._wake(ids)
        if ids and self._peers():
            self._send(CHANGES, b"".join(task_id.bytes for task_id in ids))

    def token(self, task_id: UUID, data: dict[str, object]) -> None:
        """Pass one token event on; it is not stored."""
        self._token(task_id, data)
        if self._peers():
            self._send(TOKENS, task_id.bytes + orjson.dumps(data))

    async def listen(self) -> None:
        """Hear what other managers say, for ever."""
        async for channel, message in self._nerve.subscribe(CHANGES, TOKENS):
            if channel == CHANGES:
                self._wake(UUID(bytes=message[i : i + 16]) for i in range(0, len(message), 16))
            elif channel == TOKENS:
                self._token(UUID(bytes=message[:16]), orjson.loads(message[16:]))
            else:
                await self.check()

    async def check(self) -> float | None:
        """Ask the table about every watched task; wakes the watchers of those that moved. One query for all."""
        if not self._watches:
            return None
        async with self._db.hot() as connection:
            rows = await connection.fetch("SELECT id, event_seq FROM tasks WHERE id = ANY($1)", list(self._watches))
        moved = [row["id"] for row in rows if self._seen.get(row["id"]) != row["event_seq"]]
        self._seen.update((row["id"], row["event_seq"]) for row in rows if row["id"] in self._watches)
        self._wake(moved)
        return None if self._nerve.up or not self._peers() else 1.0

    def _wake(self, task_ids: Iterable[UUID]) -> None:
        for task_id in task_ids:
            for watch in self._watches.get(task_id, ()):
                watch.wake.set()

    def _token(self, task_id: UUID, data: dict[str, object]) -> None:
        for watch in self._watches.get(task_id, ()):
            watch.tokens.append(data)
            watch.wake.set()

    def _send(self, channel: str, message: bytes) -> None:
        async def publish() -> None:
            await self._nerve.run(lambda client: client.publish(channel, message))

        task = asyncio.get_running_loop().create_task(publish())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
