"""Groups: alerts that people are told about together, and when a group is flushed next. Pure.

A group opens with its first alert and is flushed `group_wait` later, then every `group_interval`, counted from the
flush before, as long as it has alerts. Its state is plain values: whoever leads next resumes it from what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from app.alerts.records import Labels, fingerprint

BY_ALL = "..."
"""Groups by every label: each alert is a group of its own."""

SWEEP_S = 30.0
"""How often groups without alerts are removed (Alertmanager's own interval): an alert that comes later opens a new one,
and waits `group_wait` again."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a new group waits for more alerts, how long changes of it are collected, and when it is repeated."""

    group_wait: timedelta = timedelta(seconds=30)
    group_interval: timedelta = timedelta(minutes=5)
    repeat_interval: timedelta = timedelta(hours=4)

    def __post_init__(self) -> None:
        if self.group_wait < timedelta(0) or min(self.group_interval, self.repeat_interval) <= timedelta(0):
            raise ValueError("group_wait is not negative; group_interval and repeat_interval are more than nothing")


@dataclass(frozen=True, slots=True)
class Group:
    """`key` names it in the notification log. `flushed`: whether it was ever flushed."""

    key: str
    labels: Labels
    next_flush_at: datetime
    flushed: bool = False
    timing: Timing = field(default=Timing())


def group_labels(labels: Labels, by: Sequence[str]) -> Mapping[str, str]:
    """The labels that name an alert's group. A label that the alert lacks, or has empty, is left out."""
    names = labels if BY_ALL in by else by
    return {name: labels[name] for name in names if labels.get(name)}


def group_key(route: str, labels: Labels) -> str:
    """The same for the same labels on the same route, wherever it is computed: the route and 32 hex digits."""
    return f"{route}:{fingerprint(labels)}"


def opened(route: str, labels: Labels, timing: Timing, starts_at: datetime, now: datetime) -> Group:
    """The group that an alert opens: `labels` are the group's, `starts_at` is when the alert began to fire."""
    key, kept = group_key(route, labels), dict(labels)
    return joined(Group(key, kept, now + timing.group_wait, timing=timing), starts_at, now)


def joined(group: Group, starts_at: datetime, now: datetime) -> Group:
    """The group after one more alert, or another word on one of its alerts.

    One that has been firing for longer than `group_wait` is not made to wait for the first flush.
    """
    if not group.flushed and starts_at + group.timing.group_wait < now:
        return replace(group, next_flush_at=min(group.next_flush_at, now))
    return group


def due(group: Group, now: datetime) -> bool:
    """Whether to flush now. A flush further ahead than any wait is long was planned by a clock that since jumped back:
    it is due at once."""
    longest = max(group.timing.group_wait, group.timing.group_interval)
    return now >= group.next_flush_at or group.next_flush_at - now > longest


def flushed(group: Group, now: datetime, retry_at: datetime | None = None) -> Group:
    """The group after a flush, whatever came of it. One that came late is not made up for: the next one is a whole
    interval later, or at `retry_at` if that is earlier."""
    after = now + group.timing.group_interval
    return replace(group, flushed=True, next_flush_at=min(after, max(now, retry_at or after)))
