"""Signals of probes: whether golden tasks are answered well, and how fast. A series each that is enabled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.alerts.reading import Reading, Sample, Unanswered
from app.alerts.records import Labels
from app.alerts.signals.base import By, Signal
from app.core.db import HotConnection
from app.slo import probe_queries
from app.slo.probe_queries import Watched


def success(found: Watched) -> Reading:
    """1 or 0, by so many of its last runs. Until these are enough there is no data; where the newest could not be made
    that is an error, with its name."""
    labels, standing = _labels(found), found.standing
    if standing.judgement == "undecided":
        return Unanswered(labels, "error" if standing.broken else "no_data", standing.why)
    return Sample(labels, float(standing.judgement == "passing"), at=found.runs[0].planned_at)


def latency(found: Watched) -> Reading:
    """Seconds of its last run, right or wrong; a run without an answer has none."""
    labels, runs = _labels(found), found.runs
    if not runs or runs[0].latency_s is None or found.standing.stale:
        return Unanswered(labels, "no_data", found.standing.why or "its last run had no answer")
    return Sample(labels, runs[0].latency_s, at=runs[0].planned_at)


async def _success(connection: HotConnection, _: By, now: datetime) -> Sequence[Reading]:
    return [success(found) for found in await probe_queries.watched(connection, now)]


async def _latency(connection: HotConnection, _: By, now: datetime) -> Sequence[Reading]:
    return [latency(found) for found in await probe_queries.watched(connection, now)]


def _labels(found: Watched) -> Labels:
    return {**found.probe.labels, "probe": found.probe.name, "pool": found.probe.pool}


SIGNALS: tuple[Signal, ...] = (
    Signal("probe_success", "0 or 1", "1 while a probe's last runs pass, 0 once too many failed.", _success),
    Signal("probe_latency", "seconds", "How long a probe's last run took, from submission to end.", _latency),
)
