"""What is done about one group now, and what follows from how it went. Pure.

    look ──▶ wait   a try failed, and the pause after it is not over; or nothing is due
         ──▶ hold   nothing is told; each alert's verdict says why
         ──▶ send   tell the receiver; `after` says what the outcome makes of the group

Beside the pipeline's flush a receiver may be told of an acknowledgement, or told the same again where it forgets. A
notice keeps its id as long as it says the same (`digest`): a receiver that dedups by it never takes news for a repeat.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

import orjson

from app.alerts.deliver import LogEntry, told, unexpired
from app.alerts.grouping import Group, due
from app.alerts.inhibition import Inhibitions
from app.alerts.mute_times import MuteTimes
from app.alerts.notifiers.alerts import Reason
from app.alerts.pipeline import Decision, flush
from app.alerts.receivers import MAX_PAUSE, ReceiverRecord
from app.alerts.records import Alert, Labels
from app.alerts.silences import Silence

type Work = Literal["flush", "acknowledged", "resend"]


@dataclass(frozen=True, slots=True)
class Told:
    """What becomes of one alert, as it is stored. Beside the pipeline's reasons there are `acknowledged`: nobody is
    told again of what somebody has taken, and `refused`: the receiver refused the same for good."""

    fingerprint: str
    sent: bool
    reason: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class OpenGroup:
    """A group as its row has it; see `notification_models.AlertGroup`."""

    key: str
    receiver: str
    labels: Labels
    next_flush_at: datetime
    flushed: bool = False
    receipt: str = ""
    notice_id: UUID | None = None
    notice_digest: str = ""
    tries: int = 0
    tried_since: datetime | None = None
    retry_at: datetime | None = None
    refused_digest: str = ""
    alarmed: frozenset[str] = frozenset()
    alarmed_at: datetime | None = None
    escalated_at: datetime | None = None
    acked_by: str = ""
    acked_until: datetime | None = None
    ack_due: bool = False
    resend_at: datetime | None = None
    last_notification: UUID | None = None

    def acked(self, now: datetime) -> bool:
        return self.acked_until is not None and now < self.acked_until

    def retrying(self, now: datetime) -> bool:
        """Whether the pause after a failed try is not over. One longer than any is of a clock that jumped back."""
        return self.retry_at is not None and now < self.retry_at <= now + MAX_PAUSE


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the pipeline needs beside the group."""

    silences: Sequence[Silence] = ()
    inhibitions: Inhibitions = field(default_factory=Inhibitions)
    mute_times: MuteTimes = field(default_factory=MuteTimes)
    resend_s: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing is told. `entry`, where it is not None, and `settled` are stored all the same."""

    verdicts: tuple[Told, ...] = ()
    entry: LogEntry | None = None
    settled: frozenset[str] = frozenset()
    retry_at: datetime | None = None
    ends: bool = False
    work: Work = "flush"


@dataclass(frozen=True, slots=True)
class Send:
    """Tell `alerts`. `alarmed`: fingerprints that the receiver is (or would be) alarmed of afterwards; `news`: some of
    them are new. `lifts`: an acknowledgement ends, as it was not of these alerts. `ends`: nothing fires any more."""

    work: Work
    reason: Reason
    alerts: tuple[Alert, ...]
    digest: str
    verdicts: tuple[Told, ...]
    entry: LogEntry | None = None
    settled: frozenset[str] = frozenset()
    alarmed: frozenset[str] = frozenset()
    news: bool = False
    lifts: bool = False
    ends: bool = False


type Step = Wait | Hold | Send


def look(
    group: OpenGroup,
    alerts: Iterable[Alert],
    receiver: ReceiverRecord,
    log: LogEntry | None,
    around: Surroundings,
    now: datetime,
) -> Step:
    """What is to be done now; `now` is database time."""
    if group.retrying(now):
        return Wait()
    found = tuple(alerts)
    planned = timed(group, receiver)
    if due(planned, now):
        decision = flush(
            planned, found, receiver.told(now), log, around.silences, around.inhibitions, around.mute_times, now
        )
        return _flushed(group, found, receiver, log, decision, now)
    known = unexpired(log, now)
    told = tuple(alert for alert in found if alert.firing and known is not None and alert.fingerprint in known.firing)
    if group.ack_due:
        return _acknowledge(group, told) if group.acked(now) and told else Hold(work="acknowledged")
    if group.resend_at is not None and group.resend_at <= now:
        return _resend(told) if told else Hold(work="resend")
    return Wait()


def _flushed(
    group: OpenGroup,
    alerts: tuple[Alert, ...],
    receiver: ReceiverRecord,
    log: LogEntry | None,
    decision: Decision,
    now: datetime,
) -> Step:
    firing = frozenset(alert.fingerprint for alert in alerts if alert.firing)
    verdicts = tuple(Told(item.fingerprint, item.sent, item.reason, item.by) for item in decision.verdicts)
    if decision.reason is None and not firing and (untold := _untold_end(group, alerts, receiver, log, verdicts, now)):
        return untold
    if decision.reason is None or not decision.alerts:
        ends = not firing and decision.retry_at is None  # else the end is still to be told
        return Hold(verdicts, decision.entry, decision.settled, decision.retry_at, ends)
    if decision.reason == "repeat" and group.acked(now):
        return Hold(_instead(verdicts, "acknowledged", group.acked_by), None, decision.settled)
    digest = digest_of(decision.reason, decision.alerts)
    if digest == group.refused_digest and receiver.failed_at is not None:
        return Hold(_instead(verdicts, "refused", receiver.failed_reason))
    shown = frozenset(alert.fingerprint for alert in decision.alerts if alert.firing)
    alarmed = (group.alarmed & firing) | shown
    news = not shown <= group.alarmed
    return Send(
        "flush",
        decision.reason,
        decision.alerts,
        digest,
        verdicts,
        decision.entry,
        decision.settled,
        alarmed,
        news,
        news and bool(group.alarmed) and group.acked(now),
        not firing,
    )


def _untold_end(
    group: OpenGroup,
    alerts: tuple[Alert, ...],
    receiver: ReceiverRecord,
    log: LogEntry | None,
    verdicts: tuple[Told, ...],
    now: datetime,
) -> Send | Hold | None:
    """The end of alerts whose notice may have arrived though its answer was lost; None: nobody waits for it.

    It is told even though the log does not say that they were. The alarm is kept, as this notice may be lost too.
    """
    known = unexpired(log, now)
    if not group.tries or not group.alarmed or not receiver.send_resolved or (known is not None and known.firing):
        return None
    passed = frozenset(item.fingerprint for item in verdicts if item.reason == "deduplicated")
    ended = tuple(alert for alert in alerts if alert.fingerprint in passed)
    digest = digest_of("resolved", ended)
    refused = group.refused_digest and group.refused_digest == group.notice_digest
    if not ended or (refused and group.refused_digest != digest):  # refused is not lost: that notice did not arrive
        return None
    if refused and receiver.failed_at is not None:
        return Hold(_judged(verdicts, passed, "refused", receiver.failed_reason))
    if (until := receiver.told(now).throttled_until) is not None:
        return Hold(_judged(verdicts, passed, "throttled", until.isoformat()), retry_at=until)
    repeat = receiver.timing.repeat_interval
    return Send(
        "flush",
        "resolved",
        ended,
        digest,
        tuple(replace(item, sent=True, reason="resolved") if item.fingerprint in passed else item for item in verdicts),
        told(group.key, receiver.name, frozenset(), passed, repeat_interval=repeat, now=now),
        frozenset(alert.fingerprint for alert in alerts),
        group.alarmed,
        ends=True,
    )


def _acknowledge(group: OpenGroup, told: tuple[Alert, ...]) -> Send:
    verdicts = tuple(Told(alert.fingerprint, True, "acknowledged", group.acked_by) for alert in told)
    digest = digest_of(f"acknowledged {group.acked_by}", told)
    return Send("acknowledged", "acknowledged", told, digest, verdicts, alarmed=group.alarmed)


def _resend(told: tuple[Alert, ...]) -> Send:
    verdicts = tuple(Told(alert.fingerprint, True, "repeat", "the receiver forgets") for alert in told)
    alarmed = frozenset(alert.fingerprint for alert in told)
    return Send("resend", "repeat", told, digest_of("resend", told), verdicts, alarmed=alarmed)


def digest_of(what: str, alerts: Iterable[Alert]) -> str:
    """The same for notices that say the same: which alerts, since when they fire and when they ended."""
    said = [[alert.fingerprint, alert.starts_at.isoformat(), str(alert.ends_at)] for alert in alerts]
    return hashlib.sha256(orjson.dumps([what, sorted(said)])).hexdigest()


def same_verdicts(before: Iterable[Mapping[str, object]], now: Iterable[Told]) -> bool:
    """Whether a flush came out as the one before. By what something is held may differ: a time moves on."""
    old = [(item["fingerprint"], item["sent"], item["reason"]) for item in before]
    return old == [(item.fingerprint, item.sent, item.reason) for item in now]


def reason_of(verdicts: Iterable[Told]) -> str:
    """One reason for all alerts, where they have the same; else `several`."""
    found = {item.reason for item in verdicts}
    return found.pop() if len(found) == 1 else "several"


def _instead(verdicts: Iterable[Told], reason: str, by: str) -> tuple[Told, ...]:
    return tuple(replace(item, sent=False, reason=reason, by=by) if item.sent else item for item in verdicts)


def _judged(verdicts: tuple[Told, ...], of: frozenset[str], reason: str, by: str) -> tuple[Told, ...]:
    return tuple(replace(item, reason=reason, by=by) if item.fingerprint in of else item for item in verdicts)


def timed(group: OpenGroup, receiver: ReceiverRecord) -> Group:
    return Group(group.key, group.labels, group.next_flush_at, group.flushed, receiver.timing)
