"""Signals of people: how long they have been asked without an answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.alerts.reading import Reading, Sample
from app.alerts.signals.base import By, Dimension, Signal
from app.alerts.signals.series import labels_of, split
from app.core.db import HotConnection


def oldest_statement(dimension: Dimension) -> str:
    """By series: since when the oldest pending approval waits."""
    series = "tenant" if dimension == "tenant" else "pool"
    return f"SELECT {series} AS series, min(created_at) AS since FROM approvals WHERE status = 'pending' GROUP BY 1"  # noqa: S608


async def approval_age(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
    """How long the oldest pending approval has waited; 0 where none is."""
    found = await split(connection, by, oldest_statement(by.dimension))
    return [
        Sample(labels_of(by, name), 0.0 if row is None else max(0.0, (now - row["since"]).total_seconds()), at=now)
        for name, row in found.items()
    ]


SIGNALS = (
    Signal(
        "approval_age",
        "seconds",
        "How long the oldest pending approval has waited.",
        approval_age,
        frozenset({"pool", "tenant"}),
    ),
)
