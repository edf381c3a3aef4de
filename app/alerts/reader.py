"""Reads signals for rules: each in a read-only transaction of its own with a bound on its time. What goes wrong is an
answer too: an `error` for every series of that signal, and of no other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from app.alerts.reading import Reading, Unanswered
from app.alerts.rule import Rule
from app.alerts.signals.base import By, Memo, Signal
from app.alerts.telemetry import EVALUATION_ERRORS
from app.core.db import Database

log = structlog.get_logger()

MAX_INSTANCES = 1_000
"""Series that one rule may be about."""

MAX_ERROR = 500
GRACE_S = 0.5
"""A statement that takes too long is given up by the database, which says so, before the whole reading is."""

_NOW = "SELECT clock_timestamp()"


@dataclass(frozen=True, slots=True)
class Read:
    """What a signal said. `at`: the database's time just before."""

    signal: str
    by: str
    readings: Sequence[Reading]
    at: datetime


def error(detail: str) -> list[Reading]:
    """The readings of a signal that could not be read."""
    return [Unanswered({}, "error", detail[:MAX_ERROR])]


def concerned(rule: Rule, readings: Sequence[Reading]) -> Sequence[Reading]:
    """The readings that the rule is about: one `error` where they are too many. An answer about the whole signal is
    about every rule."""
    found = [item for item in readings if _of_all(item) or rule.concerns(item.labels)]
    if len(found) <= MAX_INSTANCES:
        return found
    return error(f"{len(found)} series: a rule may be about {MAX_INSTANCES} at most; leave some out by matchers")


def _of_all(reading: Reading) -> bool:
    return isinstance(reading, Unanswered) and not reading.labels


def error_in(readings: Sequence[Reading]) -> str:
    """The error among readings, for people; "" for none."""
    return next((item.detail for item in readings if isinstance(item, Unanswered) and item.why == "error"), "")


class Reader:
    """Reads signals. It keeps which of them failed last, so that each outage is logged once."""

    def __init__(self, db: Database, signals: Mapping[str, Signal], timeout_s: float) -> None:
        self._db, self.signals, self._timeout_s = db, signals, timeout_s
        self._failing: set[tuple[str, By]] = set()

    async def read(self, rule: Rule, memo: Memo | None = None) -> Read:
        """The rule's signal, now. `memo`: of one pass over many rules. Raises what the database raises where it is away
        altogether."""
        async with self._db.read() as connection:
            now: datetime = await connection.fetchval(_NOW)
        signal = self.signals.get(rule.signal)
        if signal is None:
            return Read(rule.signal, rule.by, error(f"there is no signal {rule.signal!r}"), now)
        return Read(rule.signal, rule.by, await self._answer(signal, By.of(rule.by, memo), now), now)

    async def _answer(self, signal: Signal, by: By, now: datetime) -> Sequence[Reading]:
        try:
            async with self._db.read() as connection, connection.transaction(readonly=True):
                await connection.execute("SELECT set_config('statement_timeout', $1, true)", self._timeout)
                async with asyncio.timeout(self._timeout_s + GRACE_S):
                    readings = await signal.read(connection, by, now)
        except Exception as exc:
            EVALUATION_ERRORS.labels("signal").inc()
            if (signal.name, by) not in self._failing:
                self._failing.add((signal.name, by))
                log.warning("signal_not_read", signal=signal.name, by=str(by), error=repr(exc))
            return error(f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__)
        self._failing.discard((signal.name, by))
        return readings

    @property
    def _timeout(self) -> str:
        return f"{max(1, round(self._timeout_s * 1000))}ms"
