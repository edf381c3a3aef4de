"""Alerts in receivers' groups: what the states of rules make of them. Pure.

Looked at as they are, not as they change: whatever was missed is made up for by the next look. An alert stays in the
group in which a receiver was told of it first, whatever becomes of the receiver's routing meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import isfinite
from typing import Any

from app.alerts.grouping import Group, group_key, group_labels, joined, opened
from app.alerts.receivers import ReceiverRecord, RuleRoute, routed_to
from app.alerts.records import Alert
from app.alerts.state import State


@dataclass(frozen=True, slots=True)
class Member:
    """One alert in one group of a receiver. `rule`: what it came of."""

    receiver: str
    group_key: str
    rule: str
    alert: Alert


@dataclass(frozen=True, slots=True)
class Current:
    """An alert as its rule's state says it is now."""

    rule: str
    alert: Alert


@dataclass(slots=True)
class Plan:
    """What is to be stored: groups that are new, groups that are flushed earlier, members that are new or changed."""

    opened: dict[str, tuple[str, Group]] = field(default_factory=dict)
    hurried: dict[str, datetime] = field(default_factory=dict)
    put: list[Member] = field(default_factory=list)


def current(
    instances: Iterable[tuple[str, State]],
    rules: Mapping[str, RuleRoute],
    url: str,
    reports: Mapping[tuple[str, str, datetime], str] | None = None,
) -> dict[str, Current]:
    """By fingerprint, the alerts that fire or have fired. `url`: where people reach this service. `reports`: where the
    report on a rule's instance is read that began to fire then; people find it in the annotation `report`."""
    found = dict[str, Current]()
    for rule, state in instances:
        alert = state.alert(f"{url}/v1/alert-rules/{rule}" if url else "")
        if alert is None or state.phase not in ("firing", "recovering", "resolved"):
            continue
        route = rules.get(rule)
        annotations = alert.annotations if route is None else route.annotated(alert.annotations)
        report = (reports or {}).get((rule, alert.fingerprint, alert.starts_at))
        if report is not None:
            annotations = {**annotations, "report": report}
        found[alert.fingerprint] = Current(rule, replace(alert, annotations=annotations))
    return found


def plan(
    alerts: Mapping[str, Current],
    rules: Mapping[str, RuleRoute],
    receivers: Sequence[ReceiverRecord],
    members: Iterable[Member],
    groups: Mapping[str, Group],
    now: datetime,
) -> Plan:
    """`groups` are those that are open, by key; `members` all of theirs."""
    made, by_alert = Plan(), defaultdict[str, dict[str, Member]](dict)
    for member in members:
        by_alert[member.alert.fingerprint][member.receiver] = member
    for fingerprint, found in alerts.items():
        known = by_alert.pop(fingerprint, {})
        for member in known.values():
            _heard(made, member, found.alert, groups, now)
        if found.alert.firing:
            for receiver in routed_to(rules.get(found.rule), found.alert.labels, receivers):
                if receiver.name not in known:
                    made.put.append(_joins(made, receiver, found, groups, now))
    for known in by_alert.values():  # nothing is said of them any more
        made.put += [
            replace(member, alert=replace(member.alert, ends_at=max(now, member.alert.starts_at)))
            for member in known.values()
            if member.alert.firing
        ]
    return made


def escalated(found: Iterable[tuple[Member, ReceiverRecord]], groups: Mapping[str, Group], now: datetime) -> Plan:
    """Each alert joins a group of the other receiver, which is flushed at once."""
    made = Plan()
    for member, receiver in found:
        joining = _joins(made, receiver, Current(member.rule, member.alert), groups, now)
        made.put.append(joining)
        made.hurried[joining.group_key] = now
    return made


def _heard(made: Plan, member: Member, alert: Alert, groups: Mapping[str, Group], now: datetime) -> None:
    """Another word on an alert that the receiver has."""
    old = member.alert
    if (old.starts_at, old.ends_at) == (alert.starts_at, alert.ends_at):
        return
    made.put.append(replace(member, alert=alert))
    group = groups.get(member.group_key)
    if group is not None:
        _hurry(made, group, alert, now)


def _joins(made: Plan, receiver: ReceiverRecord, found: Current, groups: Mapping[str, Group], now: datetime) -> Member:
    labels = group_labels(found.alert.labels, receiver.group_by)
    key = group_key(receiver.name, labels)
    if (group := groups.get(key)) is not None:
        _hurry(made, group, found.alert, now)
    elif key in made.opened:
        made.opened[key] = receiver.name, joined(made.opened[key][1], found.alert.starts_at, now)
    else:
        made.opened[key] = receiver.name, opened(receiver.name, labels, receiver.timing, found.alert.starts_at, now)
    return Member(receiver.name, key, found.rule, found.alert)


def _hurry(made: Plan, group: Group, alert: Alert, now: datetime) -> None:
    at = joined(group, alert.starts_at, now).next_flush_at
    if at < group.next_flush_at:
        made.hurried[group.key] = min(at, made.hurried.get(group.key, at))


def to_json(alert: Alert) -> dict[str, Any]:
    """As JSON, times in ISO 8601; a value that JSON has no number for as text."""
    value = alert.value if alert.value is None or isfinite(alert.value) else repr(alert.value)
    return {
        "labels": dict(alert.labels),
        "starts_at": alert.starts_at.isoformat(),
        "ends_at": None if alert.ends_at is None else alert.ends_at.isoformat(),
        "annotations": dict(alert.annotations),
        "value": value,
        "url": alert.url,
    }


def from_json(found: Mapping[str, Any]) -> Alert:
    """The alert that `to_json` wrote."""
    ends, value = found["ends_at"], found["value"]
    return Alert(
        dict(found["labels"]),
        datetime.fromisoformat(found["starts_at"]),
        None if ends is None else datetime.fromisoformat(ends),
        dict(found["annotations"]),
        None if value is None else float(value),
        found["url"],
    )
