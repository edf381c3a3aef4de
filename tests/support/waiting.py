"""Waiting for a condition, never for a fixed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

PAUSE_S = 0.05


def until[T](condition: Callable[[], T | None], what: str, timeout_s: float = 60.0) -> T:
    """The first true answer of `condition`; AssertionError with the last answer after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < end, f"not within {timeout_s:g} s: {what}; last: {answer!r}"
        time.sleep(PAUSE_S)
    return answer


async def until_async[T](condition: Callable[[], Awaitable[T | None]], what: str, timeout_s: float = 60.0) -> T:
    """The same for a coroutine function."""
    end = time.monotonic() + timeout_s
    while not (answer := await condition()):
        assert time.monotonic() < end, f"not within {timeout_s:g} s: {what}; last: {answer!r}"
        await asyncio.sleep(PAUSE_S)
    return answer
