"""Which managers are alive, and whether this one may claim."""

from __future__ import annotations

import os
import socket
from uuid import UUID

import structlog

from app.core.clock import Clock
from app.core.db import Database
from app.dispatch.candidates import Share
from app.dispatch.slots import SlotTable
from app.settings import DispatchSettings

log = structlog.get_logger()

FORGET_LEASES = 12

_BEAT = """
INSERT INTO managers AS m (id, host, pid) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp() RETURNING (xmax = 0) AS is_new
"""
_LIVE = """
SELECT id FROM managers WHERE heartbeat_at > clock_timestamp() - make_interval(secs => $1) ORDER BY id
"""
_FORGET = "DELETE FROM managers WHERE heartbeat_at < clock_timestamp() - make_interval(secs => $1)"


class Membership:
    """This manager's heartbeat and the list of the live ones. `tick` runs every heartbeat interval.

    A newcomer waits one lease before it uses its share, so that those who held the slots have learned of it; alone it
    need not wait. After a silence of its own longer than half a lease (the database was away) it starts anew as a
    newcomer and leaves rescuing alone for one lease: the others may be silent for the same reason.
    """

    def __init__(self, db: Database, clock: Clock, slots: SlotTable, settings: DispatchSettings, me: UUID) -> None:
        self._db, self._clock, self._slots, self._settings = db, clock, slots, settings
        self.me = me
        self.live: tuple[str, ...] = ()
        self._beat_at: float | None = None
        self._quiet_until = 0.0
        self._wait_until = 0.0

    @property
    def alone(self) -> bool:
        """Whether no other manager is alive."""
        return len(self.live) <= 1

    @property
    def share(self) -> Share:
        """Which of the live managers this one is."""
        me = str(self.me)
        return Share(self.live.index(me), len(self.live)) if me in self.live else Share()

    @property
    def may_claim(self) -> bool:
        """Whether our lease surely still runs: what we claim now cannot be rescued from us at once."""
        return self._beat_at is not None and self._clock.monotonic() - self._beat_at < 0.8 * self._settings.lease_s

    @property
    def may_rescue(self) -> bool:
        """Whether another manager's silence is its own, not the database's."""
        return self.may_claim and self._clock.monotonic() >= self._quiet_until

    async def tick(self) -> float | None:
        """Renew our heartbeat and read who lives."""
        before = self._clock.monotonic()
        async with self._db.vital() as connection:
            is_new = await connection.fetchval(_BEAT, self.me, socket.gethostname(), os.getpid())
            live = tuple(str(row["id"]) for row in await connection.fetch(_LIVE, self._settings.lease_s))
            await connection.execute(_FORGET, FORGET_LEASES * self._settings.lease_s)
        silent = self._beat_at is not None and before - self._beat_at > self._settings.lease_s / 2
        if silent:
            log.warning("manager_was_silent", seconds=round(before - (self._beat_at or before), 1))
            self._quiet_until = before + self._settings.lease_s
        if (is_new or silent) and len(live) > 1:
            self._wait_until = before + self._settings.lease_s
        if len(live) != len(self.live):
            log.info("managers_live", count=len(live))
        self._beat_at, self.live = before, live
        self._slots.set_managers(live, str(self.me), active=len(live) <= 1 or before >= self._wait_until)
        return None

    async def heard(self) -> set[str]:
        """Managers that reported within the last two heartbeat intervals: alive right now, as far as can be known."""
        async with self._db.vital() as connection:
            rows = await connection.fetch(_LIVE, 2 * self._settings.heartbeat_interval_s)
        return {str(row["id"]) for row in rows}

    async def leave(self) -> None:
        """Give our share up at once."""
        async with self._db.vital() as connection:
            await connection.execute("DELETE FROM managers WHERE id = $1", self.me)
