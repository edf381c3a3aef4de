"""What is true in a simulation: tasks, the pool's bounds, and when its metrics cannot be had. Plain values."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

MONDAY = 1_767_571_200.0
"""2026-01-05 00:00 UTC: where the clock of a generated trace starts."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task: when it is submitted, and for how long it holds a slot."""

    at_s: float
    service_s: float


@dataclass(frozen=True, slots=True)
class Gap:
    """From `start_s` to `end_s` the metrics are `missing` (no answer), or `stale` (what was true when it began)."""

    start_s: float
    end_s: float
    kind: Literal["missing", "stale"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """A pool: its limits, the slots of a replica, and the mean seconds from launch to ready."""

    min: int
    max: int
    slots: int
    cold_start_s: float


@dataclass(frozen=True, slots=True)
class World:
    """A pool and what comes to it, in order of arrival.

    It starts with `replicas` ready ones. Until `count_from_s` everything runs and nothing is counted, since autoscalers
    have to see some load first. `noise`: the standard deviation of measured numbers, as a share of the true ones.
    `begins_at`: the virtual clock's zero in seconds since the epoch.
    """

    name: str
    tasks: tuple[Task, ...]
    duration_s: float
    bounds: Bounds
    replicas: int
    seed: int
    gaps: tuple[Gap, ...] = ()
    noise: float = 0.0
    count_from_s: float = 0.0
    begins_at: float = MONDAY


def dice(*names: object) -> random.Random:
    """Random numbers of their own for one purpose: the same for the same names."""
    return random.Random("/".join(map(str, names)))  # noqa: S311 - a simulation, not a secret


def log_normal(rng: random.Random, mean: float, cv: float) -> float:
    """A log-normal value of that mean, and of that standard deviation over mean; the mean itself for cv 0."""
    if cv <= 0.0:
        return mean
    variance = math.log1p(cv * cv)
    return rng.lognormvariate(math.log(mean) - variance / 2.0, math.sqrt(variance))


def needed_slots(tasks: tuple[Task, ...], times: list[float]) -> list[int]:
    """How many tasks would run at each of `times` (ascending) if none ever waited: the slots that are needed."""
    starts = sorted(task.at_s for task in tasks)
    ends = sorted(task.at_s + task.service_s for task in tasks)
    found, begun, ended = [], 0, 0
    for time_s in times:
        while begun < len(starts) and starts[begun] <= time_s:
            begun += 1
        while ended < len(ends) and ends[ended] <= time_s:
            ended += 1
        found.append(begun - ended)
    return found
