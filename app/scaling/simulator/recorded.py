"""A world from recorded load: a file of arrivals, or what the service kept of a pool, minute by minute.

A minute says how many tasks came, and the mean and the variation of how long attempts took. Its arrivals are spread
over it at random, their service times log-normal; fractions of an arrival are carried on to the next minute. A minute
in which nothing ended takes the service times of the last one that had any.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.scaling.simulator.traces import START_BUSY, WARM_UP_S
from app.scaling.simulator.world import Bounds, Task, World, dice, log_normal

LONGEST_S = 30 * 86_400.0
MINUTE_S = 60.0
WARM_UP_SHARE = 0.1
MOST_TASKS = 2_000_000


class BadTrace(ValueError):
    """The record cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Minute:
    """`arrivals` in the minute that begins at `at` (seconds since the epoch), and how long attempts took, if any."""

    at: float
    arrivals: float
    service_s: float | None
    service_cv: float


def read(lines: Iterable[str]) -> list[Task]:
    """Arrivals from JSON lines {"at":12.5,"seconds":48} or from CSV with a header that names `at` and `seconds`; by
    time. `at` is in seconds or ISO 8601, further fields are ignored. Raises BadTrace with the number of the line."""
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise BadTrace("there is no arrival in it")
    rows = _json_rows(numbered) if numbered[0][1].lstrip().startswith("{") else _csv_rows(numbered)
    tasks = []
    for number, row in rows:
        try:
            tasks.append(Task(_time(row.get("at")), _seconds(row.get("seconds"))))
        except BadTrace as error:
            raise BadTrace(f"line {number} {error}") from None
    if not tasks:
        raise BadTrace("there is no arrival in it")
    return sorted(tasks, key=lambda task: task.at_s)


def _json_rows(numbered: Sequence[tuple[int, str]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in numbered:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise BadTrace(f"line {number} is not JSON") from None
        if not isinstance(row, dict):
            raise BadTrace(f"line {number} is not a JSON object")
        yield number, row


def _csv_rows(numbered: Sequence[tuple[int, str]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    header = [name.strip() for name in next(csv.reader([numbered[0][1]]))]
    if not {"at", "seconds"} <= set(header):
        raise BadTrace('is neither JSON lines nor CSV with a header that names "at" and "seconds"')
    for number, line in numbered[1:]:
        yield number, dict(zip(header, next(csv.reader([line])), strict=False))


def minutes(items: Iterable[Mapping[str, Any]]) -> list[Minute]:
    """The minutes as the service lists them, by time. Raises BadTrace where no task came in them."""
    found = [
        Minute(
            at=datetime.fromisoformat(item["minute"]).timestamp(),
            arrivals=max(0.0, float(item["arrivals"])),
            service_s=item.get("service_mean_s"),
            service_cv=1.0 if item.get("service_cv") is None else float(item["service_cv"]),
        )
        for item in items
    ]
    if not any(minute.arrivals for minute in found):
        raise BadTrace("no task came in that time")
    if all(minute.service_s is None for minute in found):
        raise BadTrace("no attempt ended in that time, so that nobody knows how long one takes")
    if sum(minute.arrivals for minute in found) > MOST_TASKS:
        raise BadTrace(f"more than {MOST_TASKS:,} tasks came in that time: take less of it")
    return sorted(found, key=lambda minute: minute.at)


def spread(recorded: Sequence[Minute], seed: int) -> list[Task]:
    """Tasks as the minutes tell, `at_s` since the epoch."""
    rng = dice("recorded", seed)
    known = next((minute for minute in recorded if minute.service_s is not None), None)
    assert known is not None, "`minutes` lets no other record through"
    tasks, carried = [], 0.0
    for minute in recorded:
        known = minute if minute.service_s is not None else known
        carried += minute.arrivals
        for _ in range(int(carried)):
            service_s = log_normal(rng, max(0.001, known.service_s or 0.0), known.service_cv)
            tasks.append(Task(minute.at + MINUTE_S * rng.random(), service_s))
        carried -= int(carried)
    return sorted(tasks, key=lambda task: task.at_s)


def world(name: str, tasks: Sequence[Task], bounds: Bounds, seed: int) -> World:
    """The tasks, from a clock that starts with the first. What comes in the first tenth of the time, but at most in
    `WARM_UP_S`, is not counted."""
    begins_at = tasks[0].at_s
    length_s = max(MINUTE_S, tasks[-1].at_s - begins_at)
    warm_up_s = min(WARM_UP_S, WARM_UP_SHARE * length_s)
    first = [task for task in tasks if task.at_s - begins_at <= warm_up_s]
    busy = sum(task.service_s for task in first) / max(warm_up_s, MINUTE_S)
    replicas = math.ceil(busy / (START_BUSY * bounds.slots))
    return World(
        name=name,
        tasks=tuple(Task(task.at_s - begins_at, task.service_s) for task in tasks),
        duration_s=length_s,
        bounds=bounds,
        replicas=max(bounds.min, min(bounds.max, replicas)),
        seed=seed,
        count_from_s=warm_up_s,
        begins_at=begins_at,
    )


@dataclass(frozen=True, slots=True)
class Replayed:
    """Worlds of recorded tasks, which are the same for every seed; may be sent to other processes."""

    tasks: Sequence[Task]
    bounds: Bounds

    def __call__(self, name: str, seed: int) -> World:
        return world(name, self.tasks, self.bounds, seed)


@dataclass(frozen=True, slots=True)
class Spread:
    """Worlds of recorded minutes, spread anew for every seed; may be sent to other processes."""

    minutes: Sequence[Minute]
    bounds: Bounds

    def __call__(self, name: str, seed: int) -> World:
        return world(name, spread(self.minutes, seed), self.bounds, seed)


def _time(value: object) -> float:
    if isinstance(value, str):
        try:
            return _seconds(float(value), "at", math.inf)
        except ValueError:
            return _moment(value)
    return _seconds(value, "at", math.inf)


def _moment(value: str) -> float:
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise BadTrace('has an "at" that is no time') from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _seconds(value: object, name: str = "seconds", most: float = LONGEST_S) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadTrace(f'has no number as "{name}"')
    try:
        number = float(value)
    except ValueError:
        raise BadTrace(f'has no number as "{name}"') from None
    if not (0.0 <= number <= most and number < math.inf):
        raise BadTrace(f'has a "{name}" that is out of range')
    return number
