"""Tells watchers that there is something to read. A lost word costs latency: every so often the table is asked."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from uuid import UUID, uuid4

import redis.asyncio as redis

from app.core.batch import Batcher
from app.core.db import Database
from app.core.nerve import Nerve
from app.events.order import Token
from app.events.tokens import REFUSED, TokenStore, as_token, pack, unpack
from app.settings import StreamSettings

CHANGES, TOKENS = "yard:events", "yard:said"
TOKEN_BACKLOG, TOKEN_BACKLOG_BYTES = 1024, 1_048_576
MAX_UNSENT, MAX_UNSENT_BYTES = 2_000, 16 * 1_048_576
"""Words waiting to be sent to Redis; of more, the newest are dropped."""
MAX_SENT_BYTES = 1_048_576


class Bell:
    """`wake` is set when there is something new."""

    __slots__ = ("wake",)

    def __init__(self) -> None:
        self.wake = asyncio.Event()

    async def changed(self, timeout_s: float) -> bool:
        """Wait for a word, at most `timeout_s`; whether one came."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.wake.wait()
        except TimeoutError:
            return False
        self.wake.clear()
        return True


class Watch(Bell):
    """One watcher of one task. `wake` is set when there is something: new tokens (`take` them), or, when `stale`,
    perhaps new events in the table; when `deaf`, perhaps tokens that were not heard. Whoever looks after it sets
    them to False before."""

    __slots__ = ("_bytes", "_tokens", "deaf", "stale", "task_id")

    def __init__(self, task_id: UUID) -> None:
        super().__init__()
        self.task_id = task_id
        self.stale, self.deaf = True, False
        self._tokens: deque[Token] | None = None  # made with the first: most watchers of idle tasks never hear one
        self._bytes = 0

    @property
    def heard(self) -> bool:
        """Whether there are tokens to take."""
        return bool(self._tokens)

    def hear(self, token: Token) -> None:
        """Keep a token for the watcher. Of more than it may be behind, the oldest go: their numbers will be missed."""
        if self._tokens is None:
            self._tokens = deque()
        self._tokens.append(token)
        self._bytes += len(token.data)
        while len(self._tokens) > TOKEN_BACKLOG or (self._bytes > TOKEN_BACKLOG_BYTES and len(self._tokens) > 1):
            self._bytes -= len(self._tokens.popleft().data)
        self.wake.set()

    def take(self) -> Sequence[Token]:
        """The tokens heard since the last time."""
        tokens, self._tokens, self._bytes = self._tokens, None, 0
        return tokens or ()


class _Word(NamedTuple):
    """To be sent: a message for other managers (empty: there are none), and the token it tells of, if any."""

    channel: str
    message: bytes
    kept: tuple[UUID, Token] | None = None


class Hub:
    """Watches of this manager. `peers()` says whether other managers must be told too.

    `settings` bound what is kept of tokens for late readers; the composition root puts its own there.
    """

    def __init__(
        self, db: Database, nerve: Nerve, peers: Callable[[], bool], settings: StreamSettings | None = None
    ) -> None:
        self._db, self._nerve, self._peers = db, nerve, peers
        self.settings = settings or StreamSettings()
        self._me = uuid4().bytes
        self._watches: dict[UUID, set[Watch]] = {}
        self._feeds: set[Bell] = set()
        self._seen: dict[UUID, int] = {}
        # One after the other over one connection: tokens keep their order, and a burst does not use up the pool.
        self._outbox: Batcher[_Word, None] = Batcher(
            self._publish, limit=500, weigh=lambda word: len(word.message), max_weight=MAX_SENT_BYTES
        )
        self.closing = False

    @property
    def store(self) -> TokenStore:
        """The tokens that are kept for late readers."""
        return TokenStore(self._nerve, self.settings)

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

    def watch_all(self) -> Bell:
        """A bell that rings at every change of any task; end with `unwatch_all`."""
        bell = Bell()
        self._feeds.add(bell)
        return bell

    def unwatch_all(self, bell: Bell) -> None:
        self._feeds.discard(bell)

    def changed(self, task_ids: Iterable[UUID]) -> None:
        """These tasks have new committed events: wake their watchers, here and on other managers."""
        ids = list(task_ids)
        if not ids:
            return
        self._wake(ids)
        if self._peers():
            self._send(_Word(CHANGES, b"".join(task_id.bytes for task_id in ids)))

    def token(self, task_id: UUID, fence: int, n: int, note: int, data: dict[str, object]) -> None:
        """Pass token `n` (after `note` notes; see `numbering.py`) of attempt `fence` on, and keep it for a while."""
        token = as_token(fence, n, note, data)
        self._token(task_id, token)
        self._send(_Word(TOKENS, pack(task_id, token), (task_id, token)))

    async def listen(self) -> None:
        """Hear what other managers say, for ever."""
        async for channel, message in self._nerve.subscribe(CHANGES, TOKENS):
            sender, body = message[:16], message[16:]
            if not channel:
                self._doubt()
                await self.check()
            elif sender == self._me:
                continue  # our own watchers know already
            elif channel == CHANGES:
                self._wake([UUID(bytes=body[i : i + 16]) for i in range(0, len(body), 16)])
            else:
                self._token(*unpack(body))

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
        for bell in self._feeds:
            bell.wake.set()

    def _doubt(self) -> None:
        for watch in itertools.chain.from_iterable(self._watches.values()):
            watch.deaf = True
            watch.wake.set()

    def _token(self, task_id: UUID, token: Token) -> None:
        for watch in self._watches.get(task_id, ()):
            watch.hear(token)

    def _send(self, word: _Word) -> None:
        if self._outbox.waiting < MAX_UNSENT and self._outbox.waiting_weight < MAX_UNSENT_BYTES:
            self._outbox.put_nowait(word)

    async def _publish(self, words: Sequence[_Word]) -> list[None]:
        told = self._peers()

        async def call(client: redis.Redis) -> list[object]:
            pipeline = client.pipeline(transaction=False)
            # Kept before they are told: who hears of a token finds those before it.
            self.store.keep(pipeline, [word.kept for word in words if word.kept is not None])
            for word in words if told else ():
                pipeline.publish(word.channel, self._me + word.message)
            return await pipeline.execute(raise_on_error=False)

        answers = await self._nerve.run(call) or []
        refused = sum(isinstance(answer, redis.ResponseError) for answer in answers)
        if refused:
            REFUSED.inc(refused)
        return [None] * len(words)
