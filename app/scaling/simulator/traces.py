"""The generated traces: what comes to a pool of agents in a few hours, each with a trouble of its own.

A trace is a rate of tasks over time. Its loads are given in busy slots (arrivals per second · mean seconds), service
times are log-normal, as those of agents are: most take a minute, some many.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from app.scaling.simulator.world import Bounds, Gap, Task, World, dice, log_normal

WARM_UP_S = 900.0
START_BUSY = 0.8
"""Of the slots at the start; the warm-up gives every policy time to have it its own way."""

type Load = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Trace:
    """One kind of load. `draw(rng, hours)` makes the load in busy slots at a time of the counted part (seconds from its
    start; negative in the warm-up); `most` is its highest value."""

    text: str
    hours: float
    service_s: float
    service_cv: float
    slots: int
    cold_start_s: float
    most: float
    draw: Callable[[random.Random, float], Load]
    gaps: tuple[Gap, ...] = ()
    noise: float = 0.0


def _step(_: random.Random, hours: float) -> Load:
    third_s = 1200.0 * hours

    def load(at_s: float) -> float:
        return 60.0 if third_s <= at_s < 2 * third_s else 15.0

    return load


def _spike(_: random.Random, hours: float) -> Load:
    spikes = [(hours * 3600.0 * share, length_s) for share, length_s in ((0.15, 240.0), (0.45, 480.0), (0.8, 180.0))]

    def load(at_s: float) -> float:
        return 75.0 if any(begin_s <= at_s < begin_s + length_s for begin_s, length_s in spikes) else 25.0

    return load


def _diurnal(_: random.Random, hours: float) -> Load:
    night, day = 8.0, 64.0

    def load(at_s: float) -> float:
        share = at_s / (3600.0 * hours)
        morning, evening = (share - 0.2) / 0.03, (0.85 - share) / 0.15
        return night + (day - night) * max(0.0, min(1.0, morning, evening))

    return load


def _burst(rng: random.Random, hours: float) -> Load:
    """Bursts that begin at random, twenty minutes apart in the mean, and last for two minutes in the mean."""
    bursts: list[tuple[float, float]] = []
    at_s = 0.0
    while (at_s := at_s + rng.expovariate(1 / 1200.0)) < 3600.0 * hours:
        bursts.append((at_s, at_s + rng.expovariate(1 / 120.0)))
        at_s = bursts[-1][1]

    def load(at_s: float) -> float:
        return 75.0 if any(begin_s <= at_s < end_s for begin_s, end_s in bursts) else 30.0

    return load


def _lossy(_: random.Random, hours: float) -> Load:
    wave_s = 1800.0 * hours

    def load(at_s: float) -> float:
        return 75.0 if at_s % wave_s >= wave_s / 2 else 20.0

    return load


def _gaps(*minutes: tuple[float, float, str]) -> tuple[Gap, ...]:
    return tuple(Gap(60.0 * start, 60.0 * end, kind) for start, end, kind in minutes)  # type: ignore[arg-type]


TRACES: Mapping[str, Trace] = MappingProxyType(
    {
        "step": Trace("four times the load for an hour", 3.0, 45.0, 0.8, 3, 60.0, 60.0, _step),
        "spike": Trace("three times the load, for 4, 8 and 3 minutes", 2.5, 45.0, 0.8, 3, 60.0, 75.0, _spike),
        "diurnal": Trace("a day in three hours, its morning in 5 minutes", 3.0, 60.0, 1.0, 4, 60.0, 64.0, _diurnal),
        "burst": Trace("2.5 times the load at random, for some 2 minutes", 3.0, 30.0, 0.7, 3, 60.0, 75.0, _burst),
        "lossy": Trace(
            "two waves, metrics with 3 % noise that are missing or stale for minutes", 3.0, 30.0, 0.8, 3, 60.0, 75.0,
            _lossy, _gaps((28, 33, "missing"), (62, 66, "stale"), (100, 104, "stale"), (118, 124, "missing"),
                          (150, 154, "missing")), 0.03,
        ),
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """The pool's numbers where they are asked for; None: the trace's own."""

    min: int = 2
    max: int = 60
    slots: int | None = None
    cold_start_s: float | None = None


def world(name: str, seed: int, limits: Limits | None = None, hours: float | None = None) -> World:
    """One trace; KeyError for a name that is none of TRACES."""
    trace, asked = TRACES[name], limits or Limits()
    length = hours or trace.hours
    bounds = Bounds(asked.min, asked.max, asked.slots or trace.slots, _either(asked.cold_start_s, trace.cold_start_s))
    rng = dice(name, seed)
    load = trace.draw(rng, length)
    begin = load(-WARM_UP_S) / (START_BUSY * bounds.slots)
    shrink = length / trace.hours
    return World(
        name=name,
        tasks=tuple(_tasks(rng, trace, load, 3600.0 * length)),
        duration_s=WARM_UP_S + 3600.0 * length,
        bounds=bounds,
        replicas=max(bounds.min, min(bounds.max, math.ceil(begin))),
        seed=seed,
        gaps=tuple(Gap(WARM_UP_S + shrink * g.start_s, WARM_UP_S + shrink * g.end_s, g.kind) for g in trace.gaps),
        noise=trace.noise,
        count_from_s=WARM_UP_S,
    )


@dataclass(frozen=True, slots=True)
class Generated:
    """`world` with the same limits and length each time; may be sent to other processes."""

    limits: Limits
    hours: float | None

    def __call__(self, name: str, seed: int) -> World:
        return world(name, seed, self.limits, self.hours)


def _either(asked: float | None, usual: float) -> float:
    return usual if asked is None else asked


def _tasks(rng: random.Random, trace: Trace, load: Load, length_s: float) -> list[Task]:
    """A Poisson process of varying rate, by thinning (Lewis and Shedler, 1979)."""
    tasks, at_s = [], -WARM_UP_S
    most = trace.most / trace.service_s
    while (at_s := at_s + rng.expovariate(most)) < length_s:
        if rng.random() * trace.most < load(at_s):
            tasks.append(Task(at_s + WARM_UP_S, log_normal(rng, trace.service_s, trace.service_cv)))
    return tasks
