"""The events of one execution, kept for every listener in bounded memory.

One log, many readers: each reader remembers the number of the last event it has seen and asks for later
ones, so a slow reader holds nothing back and costs nothing. Progress and tokens are kept up to a bound and
the oldest go first; steps are never dropped (the manager bounds them); usage is money, so it isn't either:
past its own bound it is added up and handed over with the outcome.

`append` and `add_usage` may be called from any thread. The loop is woken at most once for any number of
events that arrive before it runs.
"""

import asyncio
import threading
from collections import deque
from typing import Any

from yardmaster.limits import Limits
from yardmaster.sse import frame
from yardmaster.storable import encode


class EventLog:
    """Frames numbered from 1; readers wait with `changed` and read with `since`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._loop = loop
        self._limits = limits
        self._lock = threading.Lock()
        self._last = 0
        self._live: deque[tuple[int, bytes]] = deque()
        self._live_bytes = 0
        self._steps: list[tuple[int, bytes]] = []
        self._usage: list[tuple[int, bytes]] = []
        self._overflow: dict[str, dict[str, Any]] = {}
        self._waking = False
        self._closed = False
        self._waiters: set[asyncio.Future[None]] = set()

    def append(self, event: str, data: dict[str, Any]) -> None:
        """Keep a progress or token event. TypeError or ValueError when `data` isn't JSON."""
        self._push_live(frame(event, encode(data)))

    def add_step(self, name: str, result: bytes) -> None:
        """Keep a finished step for good; `result` is encoded JSON."""
        data = step_frame(name, result)
        with self._lock:
            if self._closed:
                return
            self._last += 1
            self._steps.append((self._last, data))
            self._wake_soon()

    def add_usage(self, usage: dict[str, Any]) -> None:
        """Keep one usage report. TypeError or ValueError when it isn't JSON."""
        data = encode(usage)
        with self._lock:
            if self._closed:
                return
            if len(self._usage) < self._limits.usage_events:
                self._last += 1
                self._usage.append((self._last, data))
            else:
                _add_up(self._overflow, usage)
            self._wake_soon()

    def close(self) -> None:
        """Nothing is kept after this: the outcome is known. Wakes every reader. Called in the loop."""
        with self._lock:
            self._closed = True
        self._wake()

    def since(self, seen: int) -> tuple[int, bytes]:
        """The frames of all kept events after number `seen`, in order, and the number of the last one."""
        with self._lock:
            fresh = _newest(self._live, seen) + _newest(self._steps, seen)
            fresh += [(number, frame("usage", data)) for number, data in _newest(self._usage, seen)]
            last = self._last
        fresh.sort()
        return last, b"".join(data for _, data in fresh)

    @property
    def shown(self) -> bool:
        """Whether there is progress, a token or a step to show."""
        return bool(self._live or self._steps)

    @property
    def closed(self) -> bool:
        """Whether the outcome is known: nothing is kept any more."""
        return self._closed

    @property
    def last(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._last

    def usage(self) -> bytes:
        """All usage reported so far, as a JSON array."""
        with self._lock:
            return b"[" + b",".join([data for _, data in self._usage] + self._summed()) + b"]"

    def overflow(self) -> bytes:
        """The frames of the usage that was added up instead of being sent one by one."""
        with self._lock:
            return b"".join(frame("usage", data) for data in self._summed())

    async def changed(self, seen: int, timeout_s: float) -> bool:
        """Wait for an event after `seen` or for the close; False when `timeout_s` passed first."""
        if self._last > seen or self._closed:
            return True
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            done, _ = await asyncio.wait([waiter], timeout=timeout_s)
            return bool(done)
        finally:
            self._waiters.discard(waiter)

    def _summed(self) -> list[bytes]:
        return [encode(total) for total in self._overflow.values()]

    def _push_live(self, data: bytes) -> None:
        with self._lock:
            if self._closed:
                return
            self._last += 1
            self._live.append((self._last, data))
            self._live_bytes += len(data)
            while self._live and self._over():
                self._live_bytes -= len(self._live.popleft()[1])
            self._wake_soon()

    def _over(self) -> bool:
        return len(self._live) > self._limits.live_events or self._live_bytes > self._limits.live_bytes

    def _wake_soon(self) -> None:
        if self._waking:
            return
        self._waking = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # a thread that outlived its loop has nobody left to tell
            self._closed = True

    def _wake(self) -> None:
        self._waking = False
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def step_frame(name: str, result: bytes) -> bytes:
    """A `step` event's bytes; `result` is encoded JSON."""
    return frame("step", b'{"name":%s,"result":%s}' % (encode(name), result))


def _newest(items: deque[tuple[int, bytes]] | list[tuple[int, bytes]], seen: int) -> list[tuple[int, bytes]]:
    fresh: list[tuple[int, bytes]] = []
    for item in reversed(items):
        if item[0] <= seen:
            break
        fresh.append(item)
    return fresh


def _add_up(sums: dict[str, dict[str, Any]], usage: dict[str, Any]) -> None:
    """Add a report's numbers to the sum of its model; of other members the last one stays."""
    total = sums.setdefault(str(usage.get("model", "")), {})
    for name, value in usage.items():
        before = total.get(name, 0)
        numbers = _is_number(value) and _is_number(before)
        total[name] = before + value if numbers else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
