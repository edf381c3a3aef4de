"""How far a rolling update may go at once: counts only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Set:
    """A ReplicaSet's counts: wanted pods and available ones."""

    wanted: int
    available: int


def bounds(strategy: dict[str, Any], desired: int) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods: percentages of the wanted count, surge rounded up, the other down."""
    if strategy.get("type") == "Recreate":
        return 0, desired
    rolling = strategy.get("rollingUpdate") or {}
    surge = count_of(rolling.get("maxSurge", "25%"), desired, up=True)
    unavailable = count_of(rolling.get("maxUnavailable", "25%"), desired, up=False)
    # Both rounded to nothing would never move.
    return surge, min(desired, unavailable if surge or unavailable else 1)


def count_of(value: int | str, desired: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    share = desired * int(value.rstrip("%")) / 100
    return math.ceil(share) if up else math.floor(share)


def new_size(desired: int, surge: int, new: Set, old: list[Set]) -> int:
    """What the new ReplicaSet is scaled to."""
    if new.wanted >= desired:
        return desired
    room = desired + surge - new.wanted - sum(one.wanted for one in old)
    return new.wanted + max(0, min(room, desired - new.wanted))


def old_sizes(desired: int, unavailable: int, new: Set, old: list[Set]) -> list[int]:
    """What the old ReplicaSets are scaled to: first what does not work there goes, then what may be missing."""
    least = desired - unavailable
    total = new.wanted + sum(one.wanted for one in old)
    budget = total - least - (new.wanted - new.available)
    sizes = []
    for one in old:
        gone = max(0, min(budget, one.wanted - one.available))
        budget -= gone
        sizes.append(one.wanted - gone)
    spare = new.available + sum(one.available for one in old) - least
    for index, size in enumerate(sizes):
        gone = max(0, min(spare, budget, size))
        spare, budget = spare - gone, budget - gone
        sizes[index] = size - gone
    return sizes
