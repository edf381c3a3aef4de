"""Signals of objectives: how fast error budgets burn, and what is left of them.

A series is an objective: labelled `slo`, `owner` (its tenant), and `tenant`, `pool` and `label` where its scope names
them. One whose minutes are not counted up to now, or not back to the beginning of its windows, has no data.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from app.alerts.reading import Reading, Sample, Unanswered
from app.alerts.records import Labels
from app.alerts.signals.base import By, Signal
from app.core.db import HotConnection
from app.slo.burn_alerts import RuleSeverity
from app.slo.numbers import Numbers, all_numbers, severities, severity_burn

_NUMBERS = "objectives"
_SAME = timedelta(seconds=5)
"""Signals that are read within it say what the first of them found."""

type _Read = Callable[[HotConnection, By, datetime], Awaitable[Sequence[Reading]]]


async def _numbers(connection: HotConnection, by: By, now: datetime) -> list[Numbers]:
    """How objectives stand, judged once for all signals of a pass."""
    kept = by.memo.get(_NUMBERS)
    if kept is None or not timedelta(0) <= now - kept[0] <= _SAME:
        by.memo[_NUMBERS] = kept = now, await all_numbers(connection, now)
    found: list[Numbers] = kept[1]
    return found


def _burn(severity: RuleSeverity) -> _Read:
    async def read(connection: HotConnection, by: By, now: datetime) -> list[Reading]:
        found = await _numbers(connection, by, now)
        return [_burning(item, severity) for item in found if severity in severities(item.slo.rules)]

    return read


def _burning(found: Numbers, severity: RuleSeverity) -> Reading:
    labels = labels_of(found)
    if not found.judged:
        return Unanswered(labels, "no_data", _uncounted(found))
    burn = severity_burn(found, severity)
    if burn is None:
        return Unanswered(labels, "no_data", "no burn rule has enough events in both of its windows")
    ratio, events = burn
    return Sample(labels, float(ratio), total=events, at=found.slo.counted_until)


async def _remaining(connection: HotConnection, by: By, now: datetime) -> list[Reading]:
    return [_left(item) for item in await _numbers(connection, by, now)]


def _left(found: Numbers) -> Reading:
    labels, budget = labels_of(found), found.standing.budget
    if not found.judged:
        return Unanswered(labels, "no_data", _uncounted(found))
    if budget.state in ("no_data", "insufficient_evidence"):
        return Unanswered(labels, "no_data", f"the window has {budget.state.replace('_', ' ')}")
    return Sample(labels, float(1 - budget.spent), total=budget.counts.valid, at=found.slo.counted_until)


def labels_of(found: Numbers) -> Labels:
    """What makes its series."""
    scope = found.slo.objective.scope
    labels = {"slo": found.slo.name, "owner": found.slo.owner}
    labels |= {name: value for name, value in (("tenant", scope.tenant), ("pool", scope.pool)) if value is not None}
    if scope.label_key is not None:
        labels["label"] = f"{scope.label_key}={scope.label_value}"
    return labels


def _uncounted(found: Numbers) -> str:
    if found.complete:
        return "its minutes are not counted up to now"
    return "its minutes are not counted back to the beginning of its windows"


SIGNALS: tuple[Signal, ...] = (
    Signal(
        "slo_burn_page",
        "ratio",
        "How fast the error budget of an objective burns, by its rules that page: 1 and more where both windows of "
        "one burn faster than its factor.",
        _burn("critical"),
    ),
    Signal(
        "slo_burn_ticket",
        "ratio",
        "The same by its rules that only warn.",
        _burn("warning"),
    ),
    Signal(
        "slo_budget_remaining",
        "ratio",
        "The share of the error budget of an objective that is left; below 0 it is overspent.",
        _remaining,
    ),
)
