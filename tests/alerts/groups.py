"""Receivers, groups and alerts as plain values, for tests of the pure parts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from app.alerts.deliver import LogEntry
from app.alerts.matching import parse_matcher
from app.alerts.receivers import ReceiverRecord
from app.alerts.records import Alert
from app.alerts.steps import OpenGroup

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def receiver(name: str = "on-call", *matchers: str, **fields: Any) -> ReceiverRecord:
    made = ReceiverRecord(
        name=name,
        kind="pagerduty",
        description="",
        config={},
        routed=True,
        matchers=tuple(map(parse_matcher, matchers)),
        send_resolved=True,
        mute_times=(),
        active_times=(),
        group_by=("pool",),
        group_wait_s=30,
        group_interval_s=300,
        repeat_interval_s=14_400,
        escalate_to=None,
        escalate_after_s=None,
        heartbeat_s=None,
        heartbeat_at=None,
        enabled=True,
        throttled_until=None,
        failed_reason="",
        failed_at=None,
        created_by="tests",
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(made, **fields)


def alert(name: str = "errors", *, since: float = 60, ended: float | None = None, **labels: str) -> Alert:
    """It began `since` seconds ago, and ended `ended` seconds ago."""
    ends = None if ended is None else NOW - seconds(ended)
    return Alert({"alertname": name, "severity": "critical", "pool": "ops", **labels}, NOW - seconds(since), ends)


def group(**fields: Any) -> OpenGroup:
    """One that is due."""
    return replace(OpenGroup("on-call:0", "on-call", {"pool": "ops"}, NOW), **fields)


def told(*alerts: Alert, ago: float = 300) -> LogEntry:
    """The receiver was told of these."""
    firing = frozenset(item.fingerprint for item in alerts if item.firing)
    resolved = frozenset(item.fingerprint for item in alerts if not item.firing)
    return LogEntry("on-call:0", "on-call", firing, resolved, NOW - seconds(ago), NOW + seconds(28_800))
