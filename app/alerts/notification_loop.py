"""The leader's pass: look at the alerts, escalate, beat, and flush the groups that are due, side by side.

Leadership saves work; what keeps a group from being told twice is its lease. What is under way when leadership ends is
finished; what a manager that died had under way is taken over when its leases run out.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from app.alerts import heartbeats
from app.alerts.claiming import Claimed, Claims
from app.alerts.escalation import escalate
from app.alerts.flushing import Flushes, LeaseLost
from app.alerts.grouping import SWEEP_S
from app.alerts.looking import Seen, look
from app.alerts.notification_sweep import sweep
from app.alerts.outside import Notifiers
from app.alerts.receivers import ReceiverRecord
from app.core.clock import Clock
from app.core.db import Database
from app.core.http import DATABASE_AWAY
from app.core.leader import Leader
from app.settings import AlertSettings

log = structlog.get_logger()

TOPIC = "alerts"
ACQUIRED = 3
"""Connections that a flush waits for within its lease: to begin, for the time, and to store how it went."""


class NotificationLoop:
    """`on_free` asks for the next tick when something ended; `hint` says that alerts, or what holds them, changed."""

    def __init__(
        self, db: Database, clock: Clock, leader: Leader, notifiers: Notifiers, settings: AlertSettings
    ) -> None:
        self._db, self._clock, self._leader, self._notifiers, self._settings = db, clock, leader, notifiers, settings
        self.lease_s = notifiers.bound_s + ACQUIRED * db.settings.acquire_timeout_s
        self._claims = Claims(db, lease_s=self.lease_s, each=settings.max_in_flight_per_receiver)
        self._flushes = Flushes(db, notifiers, settings)
        self.on_free: Callable[[], None] = lambda: None
        self._seen: Seen | None = None
        self._look_at = self._sweep_at = 0.0
        self._busy: Tally[str] = Tally()
        self._running: set[asyncio.Task[None]] = set()
        self._beating: dict[str, asyncio.Task[None]] = {}  # a switch that hangs takes no alert's place
        self._closed = False

    def hint(self) -> None:
        """Look at the alerts in the next tick."""
        self._look_at = 0.0

    async def tick(self) -> float | None:
        if self._closed or not await self._leader.leads():
            self._seen = None
            return None
        now = self._clock.monotonic()
        if self._seen is None or now >= self._look_at:
            self._look_at = now + 0.8 * self._settings.flush_interval_s  # the loop comes ±10 %
            self._seen = await look(self._db, self._settings.url.rstrip("/")) or self._seen
            await escalate(self._db)
            for receiver in await heartbeats.due(self._db, self._settings.interval_s, self._beating):
                self._beat(receiver)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            await sweep(self._db, retention_s=self._settings.retention_s, lease_s=self.lease_s)
        if self._seen is not None:
            await self._flush_due(self._seen)
        return None

    async def idle(self) -> None:
        """Wait until nothing that was started is under way."""
        while tasks := self._under_way():
            await asyncio.wait(tasks)

    async def close(self, grace_s: float) -> None:
        """Start nothing more; what does not end within the grace is told again when its lease ends."""
        self._closed = True
        if tasks := self._under_way():
            await asyncio.wait(tasks, timeout=grace_s)
        tasks = self._under_way()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _under_way(self) -> set[asyncio.Task[None]]:
        return self._running | set(self._beating.values())

    async def _flush_due(self, seen: Seen) -> None:
        free = self._settings.max_in_flight - len(self._running)
        if free <= 0:
            return
        resend_s = {name: self._notifiers.resend_s(name) for name in {item.kind for item in seen.receivers.values()}}
        for item in await self._claims.take(+self._busy, free, seen.alerts, resend_s):
            self._start(item, seen)

    def _start(self, item: Claimed, seen: Seen) -> None:
        receiver = item.receiver.name
        self._busy[receiver] += 1
        task = self._task(receiver, self._flushes.flush(item, seen.alerts))
        self._running.add(task)
        task.add_done_callback(lambda task: self._ended(receiver, task))

    def _beat(self, receiver: ReceiverRecord) -> None:
        task = self._task(receiver.name, heartbeats.beat(self._db, self._notifiers, receiver))
        self._beating[receiver.name] = task
        task.add_done_callback(lambda _: self._beating.pop(receiver.name, None))

    def _task(self, receiver: str, work: Coroutine[Any, Any, object]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self._guarded(receiver, work), name="alert-notification")

    def _ended(self, receiver: str, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._busy[receiver] -= 1
        if not task.cancelled():
            self.on_free()

    async def _guarded(self, receiver: str, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except LeaseLost:
            log.info("notification_lease_lost", receiver=receiver)
        except DATABASE_AWAY as exc:
            log.warning("notification_not_stored", receiver=receiver, error=repr(exc))
        except Exception as exc:  # the others must be told all the same
            log.error("notification_failed", receiver=receiver, exc_info=exc)
