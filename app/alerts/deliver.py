"""Whether a receiver is told about a group once more, and the named reason. Pure.

The judgement is that of Alertmanager's deduplication: what now fires and what has ended is compared with the
notification log, which has one entry for each group and receiver, of what the receiver was told last.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

type SendReason = Literal["first", "new_alerts", "resolved", "repeat"]
type HoldReason = Literal["silenced", "inhibited", "muted", "pending", "deduplicated", "throttled"]
type Reason = Literal[SendReason, HoldReason]

SEND_REASONS: tuple[SendReason, ...] = ("first", "new_alerts", "resolved", "repeat")
HOLD_REASONS: tuple[HoldReason, ...] = ("silenced", "inhibited", "muted", "pending", "deduplicated", "throttled")

KEPT_AT_LEAST = timedelta(hours=1)
"""An entry outlives a short outage even where repeats are frequent: without it the end of an alert is not told."""

KEPT_AT_MOST = timedelta(hours=120)
"""Alertmanager's default. It bounds repeat intervals too: when the entry is gone, the receiver is told anew."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Whom to tell: one channel. `send_resolved`: whether it wants to hear that alerts ended. `throttled_until`: its
    provider takes nothing before."""

    name: str
    send_resolved: bool = True
    throttled_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What a receiver was told last about a group: fingerprints of alerts that fired and that had ended."""

    group_key: str
    receiver: str
    firing: frozenset[str]
    resolved: frozenset[str]
    sent_at: datetime
    expires_at: datetime


def needs_update(
    entry: LogEntry | None,
    firing: AbstractSet[str],
    resolved: AbstractSet[str],
    *,
    send_resolved: bool,
    repeat_interval: timedelta,
    now: datetime,
) -> SendReason | None:
    """Why the receiver is to be told; None: it knows. `firing` and `resolved` are what is left after muting.

    That all alerts ended is news even to a receiver that does not want to hear it, so that its entry is brought up to
    date: else an alert that fires again would be taken for known.
    """
    if entry is None:
        return "first" if firing else None
    if not firing <= entry.firing:
        return "new_alerts"
    if not firing:
        return "resolved" if entry.firing else None
    if send_resolved and not resolved <= entry.resolved:
        return "resolved"
    # Either way: an entry from long after now was made by a clock that since jumped back.
    return "repeat" if abs(now - entry.sent_at) >= repeat_interval else None


def told(
    group_key: str,
    receiver: str,
    firing: AbstractSet[str],
    resolved: AbstractSet[str],
    *,
    repeat_interval: timedelta,
    now: datetime,
) -> LogEntry:
    """The entry after the receiver was told. It is kept for two repeat intervals, as Alertmanager does."""
    kept = min(max(2 * repeat_interval, KEPT_AT_LEAST), KEPT_AT_MOST)
    return LogEntry(group_key, receiver, frozenset(firing), frozenset(resolved), now, now + kept)


def unexpired(entry: LogEntry | None, now: datetime) -> LogEntry | None:
    """The entry as long as it counts: an expired one is as good as none."""
    return entry if entry is not None and now < entry.expires_at else None
