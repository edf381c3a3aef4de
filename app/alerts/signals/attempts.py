"""Signals of attempts that ended in the last five minutes: how many went well, and how long they took.

Good ones succeeded, or wait for something. Refusals, returns and what people stopped are neither good nor bad; nor is
an attempt whose manager died: that says nothing of the agent. Rows are found by the time at which they ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from app.alerts import reading
from app.alerts.reading import Reading, Sample, Unanswered
from app.alerts.signals.base import WINDOW_S, By, Dimension, Read, Signal
from app.alerts.signals.series import grouped, labels_of, split
from app.core.db import HotConnection

_ALL: frozenset[Dimension] = frozenset({"pool", "tenant", "label"})
_WINDOW = timedelta(seconds=WINDOW_S)
_GOOD = "'succeeded', 'suspended'"
_COUNTED = f"(a.counted OR a.outcome = 'suspended') AND a.outcome IN ({_GOOD}, 'failed', 'timeout', 'lost')"
_SERIES = {
    "pool": ("a.pool", ""),
    "tenant": ("t.tenant", "JOIN tasks t ON t.id = a.task_id"),
    "label": ("t.labels ->> $3::text", "JOIN tasks t ON t.id = a.task_id"),
}


def outcomes_statement(dimension: Dimension) -> str:
    """By series: how many attempts ended from $1 to $2, and how many of them well."""
    series, join = _SERIES[dimension]
    return f"""
SELECT {series} AS series, count(*) AS total, count(*) FILTER (WHERE a.outcome IN ({_GOOD})) AS good
FROM attempts a {join} WHERE a.finished_at > $1 AND a.finished_at <= $2 AND {_COUNTED}
{grouped(dimension)}
"""  # noqa: S608 - only constants


def seconds_statement(dimension: Dimension, share: float) -> str:
    """By series: how long the attempts took that ended from $1 to $2, at this share of them."""
    series, join = _SERIES[dimension]
    took = "greatest(0, extract(epoch FROM a.finished_at - a.started_at))::float8"
    return f"""
SELECT {series} AS series, count(*) AS total, percentile_cont({share:g}) WITHIN GROUP (ORDER BY {took}) AS seconds
FROM attempts a {join} WHERE a.finished_at > $1 AND a.finished_at <= $2 AND a.started_at IS NOT NULL AND {_COUNTED}
{grouped(dimension)}
"""  # noqa: S608 - only constants


async def success_rate(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
    """The share of attempts that went well."""
    counts = await _outcomes(connection, by, now)
    return [reading.success_rate(labels_of(by, name), good, total, now) for name, (good, total) in counts.items()]


async def error_rate(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
    """The share of attempts that did not."""
    counts = await _outcomes(connection, by, now)
    return [reading.error_rate(labels_of(by, name), good, total, now) for name, (good, total) in counts.items()]


async def _outcomes(connection: HotConnection, by: By, now: datetime) -> dict[str, tuple[int, int]]:
    found = await split(connection, by, outcomes_statement(by.dimension), now - _WINDOW, now)
    return {name: (0, 0) if row is None else (row["good"], row["total"]) for name, row in found.items()}


def _response_time(share: float) -> Read:
    async def read(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
        found = await split(connection, by, seconds_statement(by.dimension, share), now - _WINDOW, now)
        return [
            Unanswered(labels_of(by, name), "no_data", "no attempt ended")
            if row is None
            else Sample(labels_of(by, name), row["seconds"], row["total"], at=now)
            for name, row in found.items()
        ]

    return read


SIGNALS = (
    Signal("success_rate", "share", "Attempts of the last 5 minutes that went well, 0 to 1.", success_rate, _ALL),
    Signal("error_rate", "share", "Attempts of the last 5 minutes that failed, 0 to 1.", error_rate, _ALL),
    *(
        Signal(
            f"response_time_p{round(share * 100)}",
            "seconds",
            f"What {share:.0%} of the attempts of the last 5 minutes took at most, from the call to its end.",
            _response_time(share),
            _ALL,
        )
        for share in (0.5, 0.95, 0.99)
    ),
)
