"""An event stream that survives broken connections and restarts of the manager."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx

from yardmaster.errors import YardError
from yardmaster.problems import refused
from yardmaster.sse import Decoder, Event

FINAL_EVENTS = frozenset({"task.succeeded", "task.failed", "task.cancelled", "task.expired"})
SILENCE_S = 45.0  # three pings missed: the connection is dead, though nobody said so
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0


async def follow(
    http: httpx.AsyncClient,
    path: str,
    last_id: str | None,
    *,
    final: Callable[[], Awaitable[bool]],
) -> AsyncIterator[Event]:
    """The events of a stream until one of FINAL_EVENTS, or until it ended and `final()` is true.

    Reconnects with Last-Event-ID after a broken stream, silence, 429 or 5xx; other refusals raise YardError.
    """
    decoder = Decoder(last_id)
    failures = 0
    while True:
        try:
            async for event in _once(http, path, decoder):
                failures = 0
                yield event
                if event.type in FINAL_EVENTS:
                    return
            if await final():
                return
        except httpx.HTTPError:
            failures += 1
        except YardError as error:
            if error.status not in (0, 429) and error.status < 500:
                raise
            failures += 1
        await asyncio.sleep(_pause_s(decoder.retry_s, failures))


async def _once(http: httpx.AsyncClient, path: str, decoder: Decoder) -> AsyncIterator[Event]:
    headers = {"Accept": "text/event-stream"}
    if decoder.last_id is not None:
        headers["Last-Event-ID"] = decoder.last_id
    timeout = httpx.Timeout(10.0, read=SILENCE_S)
    async with http.stream("GET", path, headers=headers, timeout=timeout) as answer:
        if not answer.is_success:
            await answer.aread()
            raise refused(answer)
        decoder.restart()
        async for chunk in answer.aiter_bytes():
            for event in decoder.pieces(chunk):
                yield event


def _pause_s(wished_s: float | None, failures: int) -> float:
    """The server's wish, or doubling from FIRST_PAUSE_S; half of it at least, the rest at random."""
    pause_s = wished_s if wished_s is not None else FIRST_PAUSE_S * 2.0 ** min(failures, 10)
    return min(pause_s, LONGEST_PAUSE_S) * (0.5 + random.random() / 2)  # noqa: S311  # no secret
