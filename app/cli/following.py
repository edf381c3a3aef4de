"""Follow one task's events until it is final, through broken connections and restarts of the service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx

from app.cli.client import Api, refused, unreachable
from app.cli.failures import Failure, Refused
from app.cli.sse import Decoder, Event

FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
SILENCE_S = 35.0  # the service pings every 10 s: three were missed
GIVE_UP_S = 60.0  # so long without a word, the service counts as away
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0

type Heard = Callable[[Event], None]


def follow(
    api: Api, task_id: str, heard: Heard, timeout_s: float | None = None, *, give_up_s: float = GIVE_UP_S
) -> bool:
    """Call `heard` with the task's snapshot and then each event; True when it is final, False after `timeout_s`.

    Raises Refused where the service does not show the task, Away or Refused after
    `give_up_s` without an answer. A `lost`
    event (data: what happened) tells of a broken connection. Not inside a running event loop.
    """
    return asyncio.run(_within(_Following(api, task_id, heard, give_up_s), timeout_s))


async def _within(following: _Following, timeout_s: float | None) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await following.run()
    except TimeoutError:
        return False
    return True


class _Following:
    def __init__(self, api: Api, task_id: str, heard: Heard, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._api, self._path, self._heard = api, f"/v1/tasks/{task_id}/events", heard
        self._decoder = Decoder()
        self._final = False
        self._last_word = time.monotonic()
        self._failures = 0

    async def run(self) -> None:
        timeout = httpx.Timeout(10.0, connect=5.0, read=SILENCE_S)
        async with httpx.AsyncClient(
            base_url=self._api.url, headers=self._api.headers, timeout=timeout, trust_env=self._api.trust_env
        ) as http:
            while not self._final:
                await self._once(http)

    async def _once(self, http: httpx.AsyncClient) -> None:
        self._decoder.restart()
        try:
            await self._read(http)
        except httpx.TransportError as error:
            self._lost(unreachable(self._api.url, error))
        except Refused as error:
            if error.status != 429 and error.status < 500:
                raise
            self._lost(error)
        if not self._final:
            await asyncio.sleep(min(FIRST_PAUSE_S * 2.0 ** min(self._failures, 10), LONGEST_PAUSE_S))

    async def _read(self, http: httpx.AsyncClient) -> None:
        headers = {"Accept": "text/event-stream"}
        if self._decoder.last_id is not None:
            headers["Last-Event-ID"] = self._decoder.last_id
        async with http.stream("GET", self._path, headers=headers) as answer:
            if not answer.is_success:
                await answer.aread()
                raise refused(answer, self._api.url)
            async for piece in answer.aiter_bytes():
                self._failures, self._last_word = 0, time.monotonic()
                for event in self._decoder.feed(piece):
                    self._final = self._final or is_final(event)
                    self._heard(event)

    def _lost(self, failure: Failure) -> None:
        """Go on after a broken connection, unless there never was one or it has been away for too long."""
        never = self._decoder.last_id is None and self._failures == 0
        if never or time.monotonic() - self._last_word > self._give_up_s:
            raise failure
        self._failures += 1
        self._heard(Event("lost", failure.message))


def is_final(event: Event) -> bool:
    """Whether the task is over with this event."""
    if event.type == "snapshot":
        return isinstance(event.data, dict) and event.data.get("status") in FINAL
    return event.type.removeprefix("task.") in FINAL
