"""Batch by what has arrived.

While one batch is being written the next one gathers; an idle batcher writes a lone item at once. No timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence


class BatcherClosed(RuntimeError):
    """`put` after `close`."""


class Batcher[Item, Answer]:
    """Hands items to `write` in batches of at most `limit`, at most `writers` batches at a time.

    `write` gets the items in arrival order and returns one answer each, in the same order. When it raises, each item
    of that batch gets the exception (a copy of the reference), and the next batch is tried as usual. A caller that is
    cancelled while waiting does not take its item back: it may already be on its way.

    `weigh` and `max_weight` bound a batch by size too. When `isolate(exception)` says that one item may be to blame,
    the items of the failed batch, of which nothing was written, are tried one by one.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        limit: int,
        writers: int = 1,
        weigh: Callable[[Item], int] = lambda _: 0,
        max_weight: int = 1,
        isolate: Callable[[Exception], bool] = lambda _: False,
    ) -> None:
        self._write = write
        self._limit = limit
        self._writers = writers
        self._weigh, self._max_weight = weigh, max_weight
        self._isolate = isolate
        self.waiting_weight = 0
        self._pending: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._draining = 0
        self._active: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def waiting(self) -> int:
        """Items not yet handed to `write`."""
        return len(self._pending)

    async def put(self, item: Item) -> Answer:
        """Add one item and wait for its answer."""
        return await self.put_nowait(item)

    def put_nowait(self, item: Item) -> asyncio.Future[Answer]:
        """Add one item; the future carries its answer."""
        if self._closed:
            raise BatcherClosed
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._pending.append((item, future))
        self.waiting_weight += self._weigh(item)
        self._kick()
        return future

    async def close(self) -> None:
        """Refuse new items and wait until all that were accepted are written."""
        self._closed = True
        while self._active or self._pending:
            self._kick()
            await asyncio.wait(self._active)

    def _kick(self) -> None:
        if self._pending and self._draining < self._writers:
            self._draining += 1
            task = asyncio.get_running_loop().create_task(self._drain())
            self._active.add(task)
            task.add_done_callback(self._active.discard)

    async def _drain(self) -> None:
        try:
            # Let everything that is ready in this turn of the event loop join the batch.
            await asyncio.sleep(0)
            while self._pending:
                await self._write_one(self._next())
        finally:
            # Counted down here, not when the task is done: an item put between the two would wait for ever.
            self._draining -= 1

    def _next(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        """The next batch: at most `limit` items and, but for a first one that is too heavy alone, `max_weight`."""
        count = weight = 0
        for item, _ in self._pending[: self._limit]:
            heavier = weight + self._weigh(item)
            if count and heavier > self._max_weight:
                break
            count, weight = count + 1, heavier
        batch, self._pending = self._pending[:count], self._pending[count:]
        self.waiting_weight -= weight
        return batch

    async def _one_by_one(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            for pair in batch:
                await self._write_one([pair])
        finally:
            for _, future in batch:
                if not future.done():  # cut short: nobody may wait for ever
                    future.set_exception(BatcherClosed())
                    future.exception()

    async def _write_one(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._write([item for item, _ in batch])
            if len(answers) != len(batch):  # else a caller without an answer would wait for ever
                raise RuntimeError(f"{len(answers)} answers for a batch of {len(batch)}")  # noqa: TRY301
        except BaseException as exc:
            if len(batch) > 1 and isinstance(exc, Exception) and self._isolate(exc):
                await self._one_by_one(batch)
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(exc if isinstance(exc, Exception) else BatcherClosed())
                    future.exception()  # a caller that has gone must not turn this into a warning
            if not isinstance(exc, Exception):
                raise
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
