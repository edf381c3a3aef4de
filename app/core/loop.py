"""A background loop: one `tick()` again and again, safe to stop, to wake, and to run twice.

A tick looks at state, not at messages. It returns how many seconds may pass before the next one (None: the interval).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter

log = structlog.get_logger()

LOOP_ERRORS = Counter("yard_loop_errors", "Ticks of background loops that failed.", ["loop"])
BACKOFF_CAP_S = 30.0
VITAL_BACKOFF_CAP_S = 2.0
"""For the loops without which no task runs: after an outage they are back at once."""


class Loop:
    """Owns sleep, jitter (±10 %), backoff (doubling up to `backoff_cap_s`) and stop; the domain gives `tick`.

    `wake()` makes the next tick run at once, also when it arrives during a tick; it does not cut a backoff short,
    so that wakes cannot turn an outage into a storm.
    """

    def __init__(
        self,
        name: str,
        tick: Callable[[], Awaitable[float | None]],
        *,
        interval_s: float,
        backoff_cap_s: float = BACKOFF_CAP_S,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self._tick = tick
        self._interval_s = interval_s
        self._backoff_cap_s = backoff_cap_s
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._due_at: float | None = None
        self.failures = 0

    @property
    def lag_s(self) -> float:
        """How many seconds ago a tick should have gone well; 0 while there is time. One that hangs or fails is late."""
        return 0.0 if self._due_at is None else max(0.0, asyncio.get_running_loop().time() - self._due_at)

    def start(self) -> None:
        """Start; a second call does nothing."""
        if self._task is None:
            self._due_at = asyncio.get_running_loop().time()
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"loop:{self.name}")

    def wake(self) -> None:
        """Ask for a tick now."""
        self._wake.set()

    async def stop(self) -> None:
        """Let a running tick end (10 s at most), then stop; a second call does nothing."""
        self._stopping.set()
        self._wake.set()
        if self._task is None:
            return
        task, self._task = self._task, None
        await asyncio.wait({task}, timeout=10.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def rest(self, seconds: float) -> None:
        """A pause within a tick: a stop ends it, a wake does not."""
        await self._wait(self._stopping, seconds)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            delay = await self._once()
            if self.failures:
                await self._wait(self._stopping, delay)
            else:
                await self._wait(self._wake, delay)

    async def _once(self) -> float:
        try:
            asked = await self._tick()
        except Exception as exc:
            self.failures = min(self.failures + 1, 30)
            LOOP_ERRORS.labels(self.name).inc()
            if self.failures == 1:  # once an outage, not once a tick
                log.error("loop_failed", loop=self.name, error=repr(exc), exc_info=_unexpected(exc))
            return self._jittered(min(self._backoff_cap_s, 0.1 * 2.0**self.failures))
        if self.failures:
            log.info("loop_recovered", loop=self.name, failed_ticks=self.failures)
        self.failures = 0
        delay = self._jittered(self._interval_s) if asked is None else asked
        self._due_at = asyncio.get_running_loop().time() + delay
        return delay

    def _jittered(self, seconds: float) -> float:
        return seconds * self._rng.uniform(0.9, 1.1)

    @staticmethod
    async def _wait(event: asyncio.Event, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass


def _unexpected(exc: Exception) -> bool:
    """Whether a traceback helps: a database that is away explains itself in one line."""
    known = ("asyncpg", "sqlalchemy")
    return not isinstance(exc, OSError | TimeoutError) and not type(exc).__module__.startswith(known)
