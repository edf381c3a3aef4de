"""One flush of one group for one receiver: which alerts are told, which are not, and why. Pure.

    alerts ──▶ inhibited? ──▶ muted by time? ──▶ silenced? ──▶ known to the receiver? ──▶ receiver throttled? ──▶ send

The stages and their order are Alertmanager's. Whoever calls sends `decision.alerts`, if there are any, and then stores
`decision.entry` in one transaction with what the verdicts say. A send that fails stores nothing: the next flush comes
to the same decision. A leader that dies between sending and storing leaves the one duplicate that can happen.

An alert that ends while it is held back is settled without a word, as in Alertmanager: its silence covers its end too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from app.alerts.deliver import LogEntry, Reason, Receiver, SendReason, needs_update, told, unexpired
from app.alerts.grouping import Group, due
from app.alerts.inhibition import Inhibitions
from app.alerts.mute_times import MuteTimes
from app.alerts.records import Alert
from app.alerts.silences import Silence, silenced_by


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one alert. `by` names what held it back: the silence's id, the inhibiting rule and alert, the
    time interval, a time; or `send_resolved` for an end that the receiver does not want to hear."""

    fingerprint: str
    sent: bool
    reason: Reason
    by: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and one verdict an alert, in the order of the payload.

    `reason`: why the receiver is told; None: it is not. `alerts`: the payload; empty: nothing is sent. `entry`: the log
    entry to store after the send, or at once where nothing is to be sent; None: the log stays as it is. `settled`:
    ended alerts that this receiver needs no more of; one that all receivers have settled leaves the group, unless it
    fired again meanwhile. `retry_at`: flush again then, without waiting for the group's next flush.
    """

    verdicts: tuple[Verdict, ...]
    reason: SendReason | None = None
    alerts: tuple[Alert, ...] = ()
    entry: LogEntry | None = None
    settled: frozenset[str] = frozenset()
    retry_at: datetime | None = None


def flush(
    group: Group,
    alerts: Iterable[Alert],
    receiver: Receiver,
    log: LogEntry | None,
    silences: Sequence[Silence],
    inhibitions: Inhibitions,
    mute_times: MuteTimes,
    now: datetime,
) -> Decision:
    """Judge the group's alerts. `log` is the entry of this group and this receiver; `now` is database time.

    A group that is not due yet holds all its alerts back as pending, so that one can ask at any time.
    """
    ordered = _latest(alerts)
    if not due(group, now):
        when = group.next_flush_at.isoformat()
        return Decision(tuple(Verdict(alert.fingerprint, False, "pending", when) for alert in ordered))
    interval = mute_times.muted_by(now)
    judged = [(alert, _held(alert, silences, inhibitions, interval, now)) for alert in ordered]
    passed = tuple(alert for alert, verdict in judged if verdict is None)
    decision = _deliver(group, passed, receiver, unexpired(log, now), now)
    rest = iter(decision.verdicts)
    ended = frozenset(alert.fingerprint for alert in ordered if not alert.firing)
    return replace(
        decision,
        verdicts=tuple(verdict or next(rest) for _, verdict in judged),
        settled=ended if decision.retry_at is None else frozenset(),
    )


def _held(
    alert: Alert, silences: Sequence[Silence], inhibitions: Inhibitions, interval: str | None, now: datetime
) -> Verdict | None:
    """The first stage that holds the alert back; None: it goes on."""
    if inhibitor := inhibitions.inhibited_by(alert.labels):
        return Verdict(alert.fingerprint, False, "inhibited", f"{inhibitor.rule} {inhibitor.fingerprint}")
    if interval is not None:
        return Verdict(alert.fingerprint, False, "muted", interval)
    if silence := silenced_by(silences, alert.labels, now):
        return Verdict(alert.fingerprint, False, "silenced", str(silence.id))
    return None


def _deliver(
    group: Group, alerts: tuple[Alert, ...], receiver: Receiver, entry: LogEntry | None, now: datetime
) -> Decision:
    """The decision on the alerts that nothing holds back."""
    if not alerts:
        return Decision(())
    firing = frozenset(alert.fingerprint for alert in alerts if alert.firing)
    resolved = frozenset(alert.fingerprint for alert in alerts if not alert.firing)
    repeat = group.timing.repeat_interval
    why = needs_update(entry, firing, resolved, send_resolved=receiver.send_resolved, repeat_interval=repeat, now=now)
    if why is None:
        return Decision(tuple(_known(alert) for alert in alerts))
    payload = tuple(alert for alert in alerts if alert.firing or receiver.send_resolved)
    until = receiver.throttled_until
    if payload and until is not None and until > now:
        held = tuple(Verdict(alert.fingerprint, False, "throttled", until.isoformat()) for alert in alerts)
        return Decision(held, retry_at=until)
    return Decision(
        tuple(_told(alert, receiver, entry, why) for alert in alerts),
        why,
        payload,
        told(group.key, receiver.name, firing, resolved, repeat_interval=repeat, now=now),
    )


def _known(alert: Alert) -> Verdict:
    return Verdict(alert.fingerprint, False, "deduplicated")


def _told(alert: Alert, receiver: Receiver, entry: LogEntry | None, why: SendReason) -> Verdict:
    """An alert's own news if it has any, else the reason for which the group is told."""
    if not alert.firing and not receiver.send_resolved:
        return Verdict(alert.fingerprint, False, "deduplicated", "send_resolved")
    if entry is not None and alert.firing and alert.fingerprint not in entry.firing:
        return Verdict(alert.fingerprint, True, "new_alerts")
    if entry is not None and not alert.firing and alert.fingerprint not in entry.resolved:
        return Verdict(alert.fingerprint, True, "resolved")
    return Verdict(alert.fingerprint, True, why)


def _latest(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """By their labels; of several with the same labels the one that began last."""
    by_labels = {tuple(sorted(alert.labels.items())): alert for alert in sorted(alerts, key=_beginning)}
    return tuple(by_labels[labels] for labels in sorted(by_labels))


def _beginning(alert: Alert) -> datetime:
    return alert.starts_at
