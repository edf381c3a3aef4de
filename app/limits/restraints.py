"""What holds pools back for a while: emergency mode, and pauses. Pure.

Several may stand at once, of the whole installation and of single pools; together they ask for the strictest of each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from math import floor
from typing import Literal
from uuid import UUID

type Kind = Literal["emergency", "pause"]

LOWEST = -32_768
"""Below every priority: nothing is shed."""


@dataclass(frozen=True, slots=True)
class Restraint:
    """`pool` None: the whole installation. Nothing below `min_priority` is taken in or claimed; no more than
    `max_running` tasks, or `max_share` of a pool's slots, run at once (what runs goes on); with `require_approval`
    people decide what policies would let pass. `source`: alert or person. None: no bound of that sort."""

    id: UUID
    kind: Kind
    pool: str | None
    min_priority: int | None
    max_running: int | None
    max_share: float | None
    require_approval: bool
    reason: str
    source: str
    created_by: str
    started_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    ended_by: str | None = None

    def fits(self, pool: str) -> bool:
        return self.pool is None or self.pool == pool


@dataclass(frozen=True, slots=True)
class Hold:
    """What all the restraints of one pool come to."""

    restraints: tuple[Restraint, ...]
    min_priority: int = LOWEST
    max_running: int | None = None
    max_share: float | None = None
    require_approval: bool = False

    @property
    def paused(self) -> bool:
        """Whether nothing starts at all."""
        return self.max_running == 0

    @property
    def capped(self) -> bool:
        return self.max_running is not None or self.max_share is not None

    def cap(self, slots: int) -> int:
        """How many tasks may run at once in a pool of so many slots. A share leaves one at least."""
        bounds = [slots]
        if self.max_share is not None:
            bounds.append(max(1, floor(self.max_share * slots + 1e-9)))
        if self.max_running is not None:
            bounds.append(self.max_running)
        return min(bounds)

    def keeps(self, priority: int) -> bool:
        """Whether no task of this priority starts, whatever runs."""
        return self.paused or self.sheds(priority) is not None

    def sheds(self, priority: int) -> Restraint | None:
        """The restraint that such a task waits for, the strictest; None: it may pass."""
        if priority >= self.min_priority:
            return None
        return max((item for item in self.restraints if item.min_priority is not None), key=_least)


def hold_of(restraints: Iterable[Restraint], pool: str) -> Hold | None:
    """What holds the pool; None: nothing does."""
    found = tuple(item for item in restraints if item.fits(pool))
    if not found:
        return None
    return Hold(
        found,
        max((item.min_priority for item in found if item.min_priority is not None), default=LOWEST),
        min((item.max_running for item in found if item.max_running is not None), default=None),
        min((item.max_share for item in found if item.max_share is not None), default=None),
        any(item.require_approval for item in found),
    )


def _least(item: Restraint) -> int:
    return LOWEST if item.min_priority is None else item.min_priority
