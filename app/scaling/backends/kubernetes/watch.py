"""A copy of the cluster's objects, kept by list and watch.

    list ──▶ watch ──ends, breaks──▶ watch again from the last version seen ──410──▶ list

Between two watches is a pause that doubles while they are short, so that one which dies at once, or every second, is
neither a storm of watches nor of lists. Now and then all is read anew, whatever the watches say.

What our own calls answer gets in as well, and may come later than the events of what happened after it. Versions of one
resource can be compared as numbers, so nothing older ever takes the place of what is newer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any

import structlog

from app.core.clock import Clock
from app.scaling.backends.base import BackendError
from app.scaling.backends.kubernetes import faults
from app.scaling.backends.kubernetes.client import Api
from app.scaling.backends.kubernetes.faults import ApiError

log = structlog.get_logger()

type Json = dict[str, Any]
type Listener = Callable[[Json | None, Json | None], None]
"""Called with an object before and after a change; None: it was not there, it is no more. Must not raise."""

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 15.0
LIVELY_PAUSE_S = 2.0
"""The longest after a watch that told something: however often it breaks, what happens is known soon."""
STEADY_S = 10.0
"""A watch that lived so long was none that fails."""
RELIST_S = 600.0
"""All is read anew, between two watches, after so long."""
TOMBSTONE_S = 600.0
"""What is gone is remembered for so long: an answer of ours that is as old must not bring it back."""


class Mirror:
    """The objects of one resource, by name, as of the last event; `run` keeps them so until it is cancelled.

    `failure`: why they cannot be had at present; None while all is well. `synced` is set once they were had.
    """

    def __init__(
        self,
        api: Api,
        clock: Clock,
        resource: str,
        selector: str,
        *,
        watch_s: float,
        changed: Listener,
        rng: random.Random | None = None,
        pauses_s: tuple[float, float] = (FIRST_PAUSE_S, LONGEST_PAUSE_S),
    ) -> None:
        self._api, self._clock, self._resource, self._selector = api, clock, resource, selector
        self._watch_s, self._changed, self._pauses_s = watch_s, changed, pauses_s
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._objects: dict[str, Json] = {}
        self._dead: dict[str, tuple[int, float]] = {}
        self._version = ""
        self._reached = -1
        self._relist_at = 0.0
        self._short, self._told = 0, 0
        self.synced = False
        self.failure: BackendError | None = None
        self.settled = asyncio.Event()
        """Set once it is known whether they can be had."""

    @property
    def objects(self) -> Mapping[str, Json]:
        """Read it; never change one."""
        return self._objects

    def put(self, item: Json) -> Json:
        """What a call of ours answered, ahead of the watch. What is known of it then: that, or what is newer."""
        self._store(item)
        return self._objects.get(item["metadata"]["name"], item)

    def told(self, name: str) -> bool:
        """Whether the watch has come as far as what is known of this object: others who watch may have, too."""
        item = self._objects.get(name)
        return item is not None and version_of(item) <= self._reached

    async def read(self, selector: str, names: Collection[str]) -> None:
        """Ask what there is by this further selector, whatever the watch says: of `names`, all that it knows by it,
        those that are not in the answer are gone. Raises ApiError."""
        items, version = await self._api.list(self._resource, f"{self._selector},{selector}")
        self._take(items, names, _number(version))

    async def run(self) -> None:
        while True:
            began, told, wait_s = self._clock.monotonic(), self._told, 0.0
            try:
                await self._turn()
            except BackendError as exc:
                wait_s = self._failed(exc)
            except Exception as exc:  # nobody would miss a task that ended: passes would go by an old copy for ever
                log.exception("kubernetes_watch_broken", resource=self._resource)
                self._failed(BackendError("api_error", f"The watch of {self._resource} failed: {exc!r}"))
            if self._clock.monotonic() - began >= STEADY_S:
                self._short = 0
            await asyncio.sleep(max(wait_s, self._pause_s(lively=self._told > told)))

    async def _turn(self) -> None:
        if not self._version or self._clock.monotonic() >= self._relist_at:
            await self._list()
        async with self._api.watch(self._resource, self._selector, self._version, self._lasting_s()) as events:
            self._recovered()
            await self._follow(events)

    async def _list(self) -> None:
        items, version = await self._api.list(self._resource, self._selector)
        number = _number(version)
        if number < self._reached:  # the cluster was set back to an older state: what we know is of no use
            for name in list(self._objects):
                self._forget(name)
            self._dead.clear()
        self._take(items, list(self._objects), number)
        self._version, self._reached, self.synced = version, number, True
        self._relist_at = self._clock.monotonic() + RELIST_S * self._rng.uniform(0.8, 1.2)
        self._recovered()

    def _take(self, items: Sequence[Json], names: Collection[str], version: int) -> None:
        for name in set(names) - {item["metadata"]["name"] for item in items}:
            self._drop(name, version)
        for item in items:
            self._store(item)

    async def _follow(self, events: AsyncIterator[Json]) -> None:
        async for event in events:
            item = event.get("object") or {}
            if event.get("type") == "ERROR":
                raise faults.of_event(event)
            self._told += 1
            metadata = item.get("metadata") or {}
            self._version = metadata.get("resourceVersion") or self._version
            self._reached = _number(self._version)
            if event["type"] == "DELETED":
                self._drop(metadata["name"], self._reached)
            elif event["type"] in ("ADDED", "MODIFIED"):
                self._store(item)

    def _store(self, item: Json) -> None:
        name, uid, version = item["metadata"]["name"], item["metadata"].get("uid"), version_of(item)
        before = self._objects.get(name)
        if before is not None and version < version_of(before):
            return
        if uid in self._dead and version <= self._dead[uid][0]:
            return
        item["metadata"].pop("managedFields", None)
        if before is not None and before["metadata"].get("uid") != uid:
            self._drop(name, version)  # another one of the same name: its end was missed
            before = None
        self._objects[name] = item
        self._changed(before, item)

    def _drop(self, name: str, version: int) -> None:
        """It was gone by this version."""
        before = self._objects.get(name)
        if before is None or version < version_of(before):
            return
        self._bury(before["metadata"].get("uid", ""), version)
        self._forget(name)

    def _forget(self, name: str) -> None:
        before = self._objects.pop(name)
        self._changed(before, None)

    def _bury(self, uid: str, version: int) -> None:
        now = self._clock.monotonic()
        while self._dead and (oldest := next(iter(self._dead.items())))[1][1] <= now - TOMBSTONE_S:
            del self._dead[oldest[0]]
        self._dead.pop(uid, None)
        self._dead[uid] = (version, now)

    def _failed(self, exc: BackendError) -> float:
        """How long to wait at least."""
        if isinstance(exc, ApiError) and exc.status == 410:  # too old to go on from: read all anew
            self._version = ""
            return 0.0
        if self.failure is None:
            log.warning("kubernetes_watch_failed", resource=self._resource, code=exc.code, error=str(exc))
        self.failure = exc
        self.settled.set()
        return exc.retry_after_s if isinstance(exc, ApiError) else 0.0

    def _recovered(self) -> None:
        if self.failure is not None:
            log.info("kubernetes_watch_recovered", resource=self._resource)
        self.failure = None
        self.settled.set()

    def _lasting_s(self) -> float:
        """Spread, so that those of all managers do not end together."""
        return self._watch_s * self._rng.uniform(0.8, 1.0)

    def _pause_s(self, *, lively: bool) -> float:
        first, longest = self._pauses_s
        pause_s = min(LIVELY_PAUSE_S if lively else longest, longest, first * 2.0 ** min(self._short, 30))
        self._short += 1
        return pause_s * self._rng.uniform(0.5, 1.0)


def version_of(item: Json) -> int:
    """−1: it has none that is a number."""
    return _number(str(item["metadata"].get("resourceVersion") or ""))


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else -1
