"""A pool's scale policy as a plain value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Floor:
    """At least `min` replicas for `duration_s` from each tick of `cron` (five fields, in `timezone`) on."""

    cron: str
    duration_s: float
    min: int
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class ScalePolicy:
    """`registry.fleet_wire.ScaleIn` says what each field means. Seconds, shares of 1, USD."""

    min: int = 0
    max: int = 10
    policy: str = "queue_wait"
    wait_s: float = 30.0
    wait_share: float = 0.05
    drain_s: float = 60.0
    high: float = 0.8
    low: float = 0.2
    tolerance: float = 0.1
    down_window_s: float = 300.0
    max_up: int | None = None
    max_down: int | None = None
    idle_s: float = 300.0
    schedule: tuple[Floor, ...] = ()
    forecast: bool = False
    tokens_per_min: float | None = None
    requests_per_min: float | None = None
    replica_usd_per_hour: float | None = None
    max_usd_per_hour: float | None = None
    drain_grace_s: float | None = None

    @classmethod
    def from_json(cls, scale: Mapping[str, Any]) -> ScalePolicy:
        """`scale` as a pool has it; what it does not name (pools of older versions) takes its default."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in scale.items() if name in known}
        values |= scale.get("provider") or {}
        values["schedule"] = tuple(Floor(**floor) for floor in scale.get("schedule", ()))
        return cls(**values)
