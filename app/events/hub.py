"""Tells watchers that there is something to read. A lost word costs latency: every so often the table is asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID, uuid4

import orjson
import redis.asyncio as redis

from app.core.batch import Batcher
from app.core.db import Database
from app.core.nerve import Nerve

CHANGES, TOKENS = "yard:events", "yard:tokens"
TOKEN_BACKLOG = 1024
MAX_UNSENT = 2_000
"""Words waiting to be sent to other managers; of more, the newest are dropped."""


class Watch:
    """One watcher of one task. `wake` is set when there is something: new `tokens` (the newest unread), or, when
    `stale`, perhaps new events in the table. Whoever reads the table sets `stale` to False before."""

    __slots__ = ("stale", "task_id", "tokens", "wake")

    def __init__(self, task_id: UUID) -> None:
        self.task_id = task_id
        self.wake = asyncio.Event()
        self.stale = True
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
        self._me = uuid4().bytes
        self._watches: dict[UUID, set[Watch]] = {}
        self._seen: dict[UUID, int] = {}
        # One after the other over one connection: tokens keep their order, and a burst does not use up the pool.
        self._outbox: Batcher[tuple[str, bytes], None] = Batcher(self._publish, limit=500)
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
            sender, body = message[:16], message[16:]
            if not channel:
                await self.check()
            elif sender == self._me:
                continue  # our own watchers know already
            elif channel == CHANGES:
                self._wake(UUID(bytes=body[i : i + 16]) for i in range(0, len(body), 16))
            else:
                self._token(UUID(bytes=body[:16]), orjson.loads(body[16:]))

    async def check(self) -> float | None:
        """Ask the table about every watched task; wakes the watchers of those that moved. One query for all."""
        if not self._watches:
            return None
        async with self._db.read() as connection:
            rows = await connection.fetch("SELECT id, event_seq FROM tasks WHERE id = ANY($1)", list(self._watches))
        moved = [row["id"] for row in rows if self._seen.get(row["id"]) != row["event_seq"]]
        self._seen.update((row["id"], row["event_seq"]) for row in rows if row["id"] in self._watches)
        self._wake(moved)
        return None if self._nerve.up or not self._peers() else 1.0

    def _wake(self, task_ids: Iterable[UUID]) -> None:
        for task_id in task_ids:
            for watch in self._watches.get(task_id, ()):
                watch.stale = True
                watch.wake.set()

    def _token(self, task_id: UUID, data: dict[str, object]) -> None:
        for watch in self._watches.get(task_id, ()):
            watch.tokens.append(data)
            watch.wake.set()

    def _send(self, channel: str, message: bytes) -> None:
        if self._outbox.waiting < MAX_UNSENT:
            self._outbox.put_nowait((channel, self._me + message))

    async def _publish(self, messages: Sequence[tuple[str, bytes]]) -> list[None]:
        async def call(client: redis.Redis) -> None:
            pipeline = client.pipeline(transaction=False)
            for channel, message in messages:
                pipeline.publish(channel, message)
            await pipeline.execute()

        await self._nerve.run(call)
        return [None] * len(messages)
