"""Every manager's copy of the restraints that stand: read by a hint and by time, so that asking costs no query."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from app.core.batch import Batcher
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import Unavailable
from app.limits.restraint_service import COLUMNS, STANDING
from app.limits.restraints import LOWEST, Hold, Restraint, hold_of

MAX_RETRY_AFTER_S = 300.0
"""Emergency mode may be lifted before it expires: clients are asked to look again by then."""

# How long each still stands is the database's word: managers whose clocks differ end it together.
_ALL = f"""
SELECT {COLUMNS}, extract(epoch FROM expires_at - clock_timestamp())::float8 AS left_s FROM restraints
WHERE {STANDING} ORDER BY started_at, id
"""  # noqa: S608 - only constants


class EmergencyMode(Unavailable):
    """Submissions of this priority are not taken in now."""

    code, title = "emergency_mode", "Emergency mode"


class RestraintView:
    """All that stand as of the last `refresh`; `of` forgets those whose time is over meanwhile.

    `on_change` is called after a refresh that found others than it was last called for, and soon after one is over.
    """

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock
        # One read at a time: an older one must not replace a newer one.
        self._reads: Batcher[None, None] = Batcher(self._read_for, limit=10_000)
        self._standing: tuple[tuple[Restraint, float], ...] = ()  # with the monotonic time at which it is over
        self._soonest = float("inf")
        self._holds: dict[str, Hold | None] = {}
        self._told: frozenset[Restraint] = frozenset()  # those that `on_change` was last called for
        self.on_change: Callable[[], None] = lambda: None

    async def refresh(self) -> None:
        """Read them, in a read that begins after this call; callers that come together share one."""
        await self._reads.put(None)

    async def tick(self) -> float | None:
        """The loop's pass. The next one is no later than the first of them is over."""
        await self.refresh()
        left = self._soonest - self._clock.monotonic()
        return max(0.0, left) if left < 1.0 else None

    def of(self, pool: str) -> Hold | None:
        """What holds the pool back now; None: nothing."""
        if not self._standing:
            return None
        if self._clock.monotonic() >= self._soonest:
            self._keep(self._standing)
            # Not within this call: whoever asks may be in the midst of what `on_change` does.
            asyncio.get_running_loop().call_soon(self._tell)
        if pool not in self._holds:
            self._holds[pool] = hold_of((item for item, _ in self._standing), pool)
        return self._holds[pool]

    def least(self, pool: str) -> int:
        """The least priority that may be claimed in the pool."""
        hold = self.of(pool)
        return LOWEST if hold is None else hold.min_priority

    def asks_people(self, pool: str) -> bool:
        """Whether people decide there what policies would let pass."""
        hold = self.of(pool)
        return hold is not None and hold.require_approval

    def admit(self, pool: str, priority: int) -> None:
        """Raise EmergencyMode for a submission that is shed."""
        hold = self.of(pool)
        by = None if hold is None else hold.sheds(priority)
        if by is None:
            return
        left = next((until for item, until in self._standing if item is by), 0.0) - self._clock.monotonic()
        of = "all pools" if by.pool is None else repr(by.pool)
        problem = EmergencyMode(
            f"Emergency mode of {of} takes no task below priority {by.min_priority}: {by.reason}",
            retry_after_s=min(MAX_RETRY_AFTER_S, left),
        )
        problem.extra = {"pool": pool, "min_priority": by.min_priority, "expires_at": by.expires_at}
        raise problem

    def _keep(self, found: Sequence[tuple[Restraint, float]]) -> None:
        now = self._clock.monotonic()
        self._standing = tuple((item, until) for item, until in found if until > now)
        self._soonest = min((until for _, until in self._standing), default=float("inf"))
        self._holds = {}

    def _tell(self) -> None:
        standing = frozenset(item for item, _ in self._standing)
        if standing != self._told:
            self._told = standing
            self.on_change()

    async def _read_for(self, callers: Sequence[None]) -> Sequence[None]:
        async with self._db.read() as connection:
            now = self._clock.monotonic()
            rows = await connection.fetch(_ALL)
        self._keep([(Restraint(*tuple(row)[:-1]), now + row["left_s"]) for row in rows])
        self._tell()
        return callers
