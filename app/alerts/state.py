"""The state of one alert instance, with the semantics of Prometheus.

      ok ──▶ pending ──▶ firing ◀──▶ recovering
       ▲        │           │             │
       └────────┘           └─▶ resolved ◀┘ ──▶ pending

It is active since the first evaluation that was violated, and fires once that is `for` ago. A pending one that clears
was nothing. One that fires and is no longer violated recovers for `keep_firing_for`, counted from the first evaluation
that was not; for Prometheus it still fires then. Between two evaluations nothing moves: an evaluation that says neither
leaves the state as it is, and the next one counts from the same times.

The timers are times in the state, so another manager goes on where one stopped. An instance's time never goes back: on
a clock that was set back it stands still until the clock has caught up, so nothing starts again and nothing is early.
A clock that is set forward is time that has passed: it looks the same as a time without managers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Literal

from app.alerts.confidence import Finding
from app.alerts.reading import Missing
from app.alerts.records import Alert, Labels, fingerprint

type Phase = Literal["ok", "pending", "firing", "recovering", "resolved"]
type Reason = Finding | Missing | Literal["answered", "rule_changed"]
"""Why an evaluation found what it found. `answered`: what could not be read or had no data is judged again.
`rule_changed`: it is of a rule that has other labels now."""

FOUND: frozenset[Reason] = frozenset({"violated", "cleared", "too_few_events", "not_confident"})
"""Reasons that come with a number."""

RESOLVED_RETENTION = timedelta(minutes=15)
"""How long Prometheus goes on telling that an alert is resolved."""

_TIMES = ("judged_at", "active_at", "fired_at", "keep_since", "resolved_at")


@dataclass(frozen=True, slots=True)
class State:
    """An instance after an evaluation.

    `active_at`: the first violated evaluation; `fired_at`: when it began to fire; `keep_since`: the first evaluation
    that was not violated, while it recovers; `resolved_at`: when it ended. `value` and `annotations` are of the last
    violated evaluation. `seen`: its signal has said a number of it.
    """

    labels: Labels
    phase: Phase
    reason: Reason
    judged_at: datetime
    active_at: datetime | None = None
    fired_at: datetime | None = None
    keep_since: datetime | None = None
    resolved_at: datetime | None = None
    value: float | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    seen: bool = True

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.labels)

    @property
    def active(self) -> bool:
        return self.phase in ("pending", "firing", "recovering")

    @property
    def firing(self) -> bool:
        """What Prometheus calls firing: also while it recovers."""
        return self.phase in ("firing", "recovering")

    def outlived(self, now: datetime) -> bool:
        """Whether it was resolved so long ago that it may be forgotten, if people were told."""
        return self.resolved_at is not None and now - self.resolved_at > RESOLVED_RETENTION

    def alert(self, url: str = "") -> Alert | None:
        """What people are told of it: nothing, unless it fires or has."""
        if self.fired_at is None:
            return None
        return Alert(self.labels, self.fired_at, self.resolved_at, self.annotations, self.value, url)


@dataclass(frozen=True, slots=True)
class Timers:
    """How long it must be violated to fire, and how long not to be resolved."""

    hold: timedelta
    keep_firing: timedelta

    @classmethod
    def of(cls, for_s: float, keep_firing_for_s: float) -> Timers:
        return cls(timedelta(seconds=for_s), timedelta(seconds=keep_firing_for_s))


def time_of(state: State | None, now: datetime) -> datetime:
    """The instance's time: now, but never before it was judged last."""
    return now if state is None else max(now, state.judged_at)


def violated(
    state: State | None,
    labels: Labels,
    reason: Reason,
    timers: Timers,
    now: datetime,
    *,
    value: float | None,
    annotations: Mapping[str, str],
) -> State:
    """The state after an evaluation that was violated."""
    at = time_of(state, now)
    seen = reason in FOUND or (state is not None and state.seen)
    if state is None or not state.active:
        state = State(labels, "pending", reason, at, active_at=at)
    state = replace(
        state, reason=reason, judged_at=at, keep_since=None, value=value, annotations=annotations, seen=seen
    )
    if state.phase == "pending" and state.active_at is not None and at - state.active_at >= timers.hold:
        return replace(state, phase="firing", fired_at=at)
    return replace(state, phase="firing") if state.phase == "recovering" else state


def cleared(state: State | None, reason: Reason, timers: Timers, now: datetime) -> State | None:
    """The state after an evaluation that was not violated; None: there is nothing to remember."""
    if state is None or state.phase in ("ok", "pending"):
        return None
    state = state if state.seen else replace(state, seen=reason in FOUND)
    if state.phase == "resolved":
        return state
    at = time_of(state, now)
    since = state.keep_since or at
    if at - since < timers.keep_firing:
        return replace(state, phase="recovering", reason=reason, judged_at=at, keep_since=since)
    return replace(
        state,
        phase="resolved",
        reason=reason,
        judged_at=at,
        keep_since=since if timers.keep_firing else None,
        resolved_at=at,
    )


def to_json(state: State) -> dict[str, Any]:
    """As JSON, times in ISO 8601. A value that JSON has no number for is a text: NaN, inf, -inf."""
    times = {name: at.isoformat() for name in _TIMES if (at := getattr(state, name)) is not None}
    value = state.value if state.value is None or isfinite(state.value) else repr(state.value)
    return {
        "labels": dict(state.labels),
        "phase": state.phase,
        "reason": state.reason,
        "value": value,
        "annotations": dict(state.annotations),
        "seen": state.seen,
        **times,
    }


def from_json(found: Mapping[str, Any]) -> State:
    """The state that `to_json` wrote."""
    times = {name: datetime.fromisoformat(found[name]) for name in _TIMES if found.get(name) is not None}
    value = found["value"]
    return State(
        labels=dict(found["labels"]),
        phase=found["phase"],
        reason=found["reason"],
        value=None if value is None else float(value),
        annotations=dict(found["annotations"]),
        seen=found["seen"],
        **times,
    )
