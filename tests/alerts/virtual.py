"""Our pipeline under a virtual clock: groups, notification log and alerts of one trace, and what would be told when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from app.alerts.deliver import LogEntry, Receiver
from app.alerts.grouping import Group, Timing, flushed, group_key, group_labels, joined, opened
from app.alerts.inhibition import Inhibitions, InhibitRule
from app.alerts.matching import Matcher
from app.alerts.mute_times import MuteTimes
from app.alerts.pipeline import flush
from app.alerts.records import Alert, fingerprint
from app.alerts.silences import Silence, expire

type Labels = Mapping[str, str]


@dataclass(frozen=True)
class Route:
    """What a kind of alerts is told with."""

    name: str
    timing: Timing
    receivers: tuple[Receiver, ...]
    group_by: tuple[str, ...]
    rules: tuple[InhibitRule, ...] = ()
    mute_times: MuteTimes = field(default_factory=MuteTimes)


@dataclass(frozen=True)
class Delivery:
    """One attempt to tell one receiver about one group; alerts by their fingerprints."""

    at: datetime
    receiver: str
    group: tuple[tuple[str, str], ...]
    firing: frozenset[str]
    resolved: frozenset[str]

    @property
    def what(self) -> tuple[frozenset[str], frozenset[str]]:
        return self.firing, self.resolved


@dataclass(frozen=True)
class Refusal:
    """From `begin` to `end` a receiver refuses what it is told."""

    receiver: str
    begin: datetime
    end: datetime


@dataclass
class World:
    """Feed it with events in their order, then `run_until` the end; `told` is what came of it.

    `lag`: how much later than planned each flush comes.
    """

    route: Route
    refusals: Sequence[Refusal] = ()
    lag: timedelta = timedelta(0)
    told: list[Delivery] = field(default_factory=list)
    _alerts: dict[str, Alert] = field(default_factory=dict)
    _groups: dict[str, Group] = field(default_factory=dict)
    _members: dict[str, dict[str, Alert]] = field(default_factory=dict)
    _silences: dict[int, Silence] = field(default_factory=dict)
    _log: dict[tuple[str, str], LogEntry] = field(default_factory=dict)

    def fire(self, labels: Labels, starts_at: datetime, now: datetime) -> None:
        """An alert fires, or is said to fire still."""
        known = self._alerts.get(fingerprint(labels))
        begin = min(known.starts_at, starts_at) if known is not None and known.firing else starts_at
        self._put(Alert(labels, begin), now)

    def resolve(self, labels: Labels, now: datetime) -> None:
        """An alert ends; one that nobody knew of is only heard of."""
        known = self._alerts.get(fingerprint(labels))
        self._put(Alert(labels, known.starts_at if known is not None and known.firing else now, now), now)

    def silence(self, number: int, matchers: tuple[Matcher, ...], starts_at: datetime, ends_at: datetime) -> None:
        self._silences[number] = Silence(UUID(int=number), matchers, starts_at, ends_at)

    def expire(self, number: int, now: datetime) -> None:
        self._silences[number] = expire(self._silences[number], now)

    def sweep(self) -> None:
        """Groups without alerts end."""
        for key in [key for key, members in self._members.items() if not members]:
            del self._groups[key], self._members[key]

    def run_until(self, end: datetime) -> None:
        """Flush what is due before `end`, in its order."""
        while self._groups:
            group = min(self._groups.values(), key=lambda group: group.next_flush_at)
            if group.next_flush_at >= end:
                return
            self._flush(group, group.next_flush_at)

    def _put(self, alert: Alert, now: datetime) -> None:
        self._alerts[alert.fingerprint] = alert
        labels = group_labels(alert.labels, self.route.group_by)
        key = group_key(self.route.name, labels)
        if (group := self._groups.get(key)) is None:
            self._groups[key] = opened(self.route.name, labels, self.route.timing, alert.starts_at, now)
        else:
            self._groups[key] = joined(group, alert.starts_at, now)
        self._members.setdefault(key, {})[alert.fingerprint] = alert

    def _flush(self, group: Group, now: datetime) -> None:
        members = self._members[group.key]
        inhibitions = Inhibitions.of(self.route.rules, self._alerts.values())
        settled = [frozenset(members)]
        for receiver in self.route.receivers:
            log = self._log.get((group.key, receiver.name))
            silences = tuple(self._silences.values())
            decision = flush(group, members.values(), receiver, log, silences, inhibitions, self.route.mute_times, now)
            if decision.alerts:
                self.told.append(_delivery(decision.alerts, receiver, group, now))
                if self._refused(receiver, now):
                    settled.append(frozenset())
                    continue
            settled.append(decision.settled)
            if decision.entry is not None:
                self._log[group.key, receiver.name] = decision.entry
        for done in frozenset.intersection(*settled):
            del members[done]
        after = flushed(group, now)
        self._groups[group.key] = replace(after, next_flush_at=after.next_flush_at + self.lag)

    def _refused(self, receiver: Receiver, now: datetime) -> bool:
        return any(item.receiver == receiver.name and item.begin <= now < item.end for item in self.refusals)


def _delivery(alerts: Sequence[Alert], receiver: Receiver, group: Group, now: datetime) -> Delivery:
    return Delivery(
        now,
        receiver.name,
        tuple(sorted(group.labels.items())),
        frozenset(alert.fingerprint for alert in alerts if alert.firing),
        frozenset(alert.fingerprint for alert in alerts if not alert.firing),
    )
