"""Receivers as plain values, and which of them an alert goes to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

import orjson

from app.alerts.deliver import Receiver
from app.alerts.grouping import Timing
from app.alerts.matching import all_match, parse_matcher
from app.alerts.records import Labels, Matcher

FAILING_SIGNAL = "receivers_failing"
FAILING_LABEL = "receiver"
"""The signal of receivers that fail, and its label: an alert about a receiver is never told to that one."""

MAX_PAUSE = timedelta(hours=1)
"""No provider is taken at its word for longer: a later time was stored by a clock that since jumped back."""


@dataclass(frozen=True, slots=True)
class ReceiverRecord:
    """One receiver. `config` is as its notifier's `config_type` reads it, secrets in clear."""

    name: str
    kind: str
    description: str
    config: Mapping[str, Any]
    routed: bool
    matchers: tuple[Matcher, ...]
    send_resolved: bool
    mute_times: tuple[str, ...]
    active_times: tuple[str, ...]
    group_by: tuple[str, ...]
    group_wait_s: float
    group_interval_s: float
    repeat_interval_s: float
    escalate_to: str | None
    escalate_after_s: float | None
    heartbeat_s: float | None
    heartbeat_at: datetime | None
    enabled: bool
    throttled_until: datetime | None
    failed_reason: str
    failed_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> ReceiverRecord:
        """From a row of COLUMNS."""
        values = {field.name: row[field.name] for field in fields(cls)}
        values["config"] = orjson.loads(values["config"])
        values["matchers"] = tuple(map(parse_matcher, values["matchers"]))
        for name in ("mute_times", "active_times", "group_by"):
            values[name] = tuple(values[name])
        return cls(**values)

    @property
    def timing(self) -> Timing:
        return Timing(
            timedelta(seconds=self.group_wait_s),
            timedelta(seconds=self.group_interval_s),
            timedelta(seconds=self.repeat_interval_s),
        )

    def told(self, now: datetime) -> Receiver:
        """As the pipeline sees it."""
        until = self.throttled_until
        paused = until is not None and now < until <= now + MAX_PAUSE
        return Receiver(self.name, self.send_resolved, until if paused else None)


COLUMNS = ", ".join(field.name for field in fields(ReceiverRecord))


@dataclass(frozen=True, slots=True)
class RuleRoute:
    """What routing needs of a rule. `threshold` is for people: `< 0.9`."""

    receivers: tuple[str, ...] = ()
    signal: str = ""
    threshold: str = ""

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> RuleRoute:
        """From a rule's stored fields."""
        threshold = f"{spec.get('comparison', '')} {spec['threshold']:g}" if "threshold" in spec else ""
        return cls(tuple(spec.get("receivers", ())), str(spec.get("signal", "")), threshold)

    def annotated(self, annotations: Mapping[str, str]) -> dict[str, str]:
        """The alert's annotations, with what messages show of its rule."""
        found = {"signal": self.signal, "threshold": self.threshold, **annotations}
        return {name: text for name, text in found.items() if text}


def about_receiver(rule: RuleRoute | None, labels: Labels) -> str | None:
    """The receiver that an alert is about, if it is about one."""
    return labels.get(FAILING_LABEL) if rule is not None and rule.signal == FAILING_SIGNAL else None


def routed_to(rule: RuleRoute | None, labels: Labels, receivers: Iterable[ReceiverRecord]) -> list[ReceiverRecord]:
    """Those that the alert opens a group of, or joins one.

    The rule's own, as far as they are there; else every one whose matchers the labels meet. A rule that is gone sends
    nothing to anybody new. An alert about a receiver goes to all others only.
    """
    if rule is None:
        return []
    about = about_receiver(rule, labels)
    usable = [receiver for receiver in receivers if receiver.enabled and receiver.name != about]
    named = [receiver for receiver in usable if receiver.name in rule.receivers]
    return named or [receiver for receiver in usable if receiver.routed and all_match(receiver.matchers, labels)]
