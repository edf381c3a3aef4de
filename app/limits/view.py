"""Every manager's copy of the limits: read by a hint and by time, so that asking them costs no query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil

from app.core.batch import Batcher
from app.core.db import Database
from app.limits.gcra import Rate

TOPIC = "limits"

COLUMNS = "kind, name, rate_per_s, burst, concurrency, policy, weight, updated_at"
_ALL = f"SELECT {COLUMNS} FROM limits"  # noqa: S608 - only constants
_TEMPORARY = """
SELECT kind, name, rate_per_s, burst, extract(epoch FROM expires_at - clock_timestamp())::float8 AS left_s
FROM temporary_limits WHERE ended_at IS NULL AND expires_at > clock_timestamp()
"""


@dataclass(frozen=True, slots=True)
class LimitRecord:
    """One limit; None: no bound of that sort."""

    kind: str
    name: str
    rate_per_s: float | None
    burst: int | None
    concurrency: int | None
    policy: str
    weight: float | None
    updated_at: datetime

    @property
    def rate(self) -> Rate | None:
        """What GCRA keeps. Without a burst of its own, a second's worth may come at once."""
        if self.rate_per_s is None:
            return None
        return Rate(self.rate_per_s, self.burst if self.burst is not None else max(1, ceil(self.rate_per_s)))


class LimitsView:
    """All limits as of the last `refresh`, by (kind, name). Read it freely; never change it.

    `rates` are what holds now, a temporary limit's where that is lower, with no larger a burst than the operator's;
    `left_s`: how long such a one still holds.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        # One read at a time: an older one must not replace a newer one.
        self._reads: Batcher[None, None] = Batcher(self._read_for, limit=10_000)
        self.limits: dict[tuple[str, str], LimitRecord] = {}
        self.rates: dict[tuple[str, str], Rate] = {}
        self.left_s: dict[tuple[str, str], float] = {}

    async def refresh(self) -> None:
        """Read them, in a read that begins after this call; callers that come together share one."""
        await self._reads.put(None)

    async def tick(self) -> float | None:
        """The loop's pass: what a lost hint would have told."""
        await self.refresh()
        return None

    async def _read_for(self, callers: Sequence[None]) -> Sequence[None]:
        async with self._db.read() as connection:
            found = [LimitRecord(*row) for row in await connection.fetch(_ALL)]
            temporary = await connection.fetch(_TEMPORARY)
        self.limits = {(limit.kind, limit.name): limit for limit in found}
        rates = {key: rate for key, limit in self.limits.items() if (rate := limit.rate) is not None}
        left_s: dict[tuple[str, str], float] = {}
        for row in temporary:
            key, rate = (row["kind"], row["name"]), Rate(row["rate_per_s"], row["burst"])
            own = self.limits[key].rate if key in self.limits else None
            if own is not None:
                rate = replace(rate, burst=min(rate.burst, own.burst))
            if key not in rates or rate.per_s < rates[key].per_s:
                rates[key], left_s[key] = rate, row["left_s"]
        self.rates, self.left_s = rates, left_s
        return callers
