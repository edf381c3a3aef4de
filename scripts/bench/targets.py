"""What a figure should reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A limit; `least` True: the figure should be at least that, else at most."""

    limit: float
    least: bool
    note: str = ""

    def met(self, value: float) -> bool:
        return value >= self.limit if self.least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.limit:g}{self.note}"


def at_least(limit: float, note: str = "") -> Target:
    return Target(limit, True, note)


def at_most(limit: float, note: str = "") -> Target:
    return Target(limit, False, note)
