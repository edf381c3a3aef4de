"""Signals of receivers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.alerts.reading import Reading, Sample
from app.alerts.receivers import FAILING_LABEL, FAILING_SIGNAL
from app.alerts.signals.base import By, Signal
from app.core.db import HotConnection

_FAILING = "SELECT name, failed_at IS NOT NULL AS failing FROM receivers WHERE enabled ORDER BY name"


async def _read(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
    return [
        Sample({FAILING_LABEL: row["name"]}, 1.0 if row["failing"] else 0.0, at=now)
        for row in await connection.fetch(_FAILING)
    ]


SIGNALS: tuple[Signal, ...] = (
    Signal(FAILING_SIGNAL, "0 or 1", "1 for each receiver that fails for good, 0 for each other.", _read),
)
