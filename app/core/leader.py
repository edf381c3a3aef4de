"""Leadership as a lease row: a saving, not a safety. Every pass a leader makes is right when two make it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.clock import Clock
from app.core.db import Base, Database


class Lease(Base):
    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    holder: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


_TAKE = """
INSERT INTO leases AS l (name, holder, expires_at) VALUES ($1, $2, now() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
WHERE l.holder = EXCLUDED.holder OR l.expires_at < now()
RETURNING 1
"""


class Leader:
    """Whether this manager holds the lease `name`. Asked before each pass; renewed at a third of its length."""

    def __init__(self, db: Database, clock: Clock, name: str, holder: str, *, lease_s: float = 10.0) -> None:
        self._db, self._clock, self._name, self._holder, self._lease_s = db, clock, name, holder, lease_s
        self._renew_at = 0.0
        self._leads = False

    async def leads(self) -> bool:
        """True while the lease is ours. The window counts from before the query, so it ends early, never late."""
        now = self._clock.monotonic()
        if now < self._renew_at:
            return self._leads
        async with self._db.vital() as connection:
            self._leads = bool(await connection.fetchval(_TAKE, self._name, self._holder, self._lease_s))
        self._renew_at = now + self._lease_s / 3
        return self._leads

    async def resign(self) -> None:
        """Give the lease back, so that another manager need not wait for it to expire."""
        if self._leads:
            self._leads, self._renew_at = False, 0.0
            async with self._db.vital() as connection:
                await connection.execute("DELETE FROM leases WHERE name = $1 AND holder = $2", self._name, self._holder)
