"""What a step makes of a group: how the send went, or that nothing was sent. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from app.alerts.grouping import flushed
from app.alerts.notifiers.alerts import Delivered, Outcome, Permanent, Retryable, Throttled
from app.alerts.receivers import MAX_PAUSE, ReceiverRecord
from app.alerts.steps import Hold, OpenGroup, Send, Surroundings, timed

type Fate = Literal["delivered", "retrying", "throttled", "permanent"]

MAX_BACKOFF_S = 300.0
FIRST_BACKOFF_S = 1.0
JITTER = 0.2
MIN_PAUSE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class After:
    """The group after a step. `outcome` None: nothing was sent. `failing`: why the receiver fails for good; empty: it
    does not, as far as this says. `throttled_until`: the receiver takes nothing before. `told`: the log entry, and
    that alerts are settled, is to be stored."""

    next_flush_at: datetime
    flushed: bool
    receipt: str
    notice_id: UUID | None
    notice_digest: str
    tries: int
    tried_since: datetime | None
    retry_at: datetime | None
    refused_digest: str
    resend_at: datetime | None
    told: bool
    outcome: Fate | None = None
    detail: str = ""
    failing: str = ""
    throttled_until: datetime | None = None
    ack_told: bool = False
    ends: bool = False


def after_hold(group: OpenGroup, step: Hold, receiver: ReceiverRecord, now: datetime) -> After:
    """The group after nothing was told."""
    base = _unchanged(group)
    if step.work == "acknowledged":
        return replace(base, ack_told=True)
    if step.work == "resend":
        return replace(base, resend_at=None)
    after = flushed(timed(group, receiver), now, step.retry_at)
    done = replace(base, next_flush_at=after.next_flush_at, flushed=True, told=True, retry_at=None, ends=step.ends)
    if step.retry_at is None and all(item.reason != "refused" for item in step.verdicts):
        done = replace(done, notice_id=None, notice_digest="", tries=0, tried_since=None)
    return _ended(done) if step.ends else done


def after_send(
    group: OpenGroup,
    step: Send,
    outcome: Outcome,
    receiver: ReceiverRecord,
    around: Surroundings,
    now: datetime,
    *,
    spread: float,
    failed_after_s: float,
) -> After:
    """The group after a send; `now` is database time, `spread` a random number in −1..1. Nothing else is stored of a
    try that failed: the next flush comes to the same decision."""
    match outcome:
        case Delivered():
            return _delivered(group, step, outcome, receiver, around, now)
        case Throttled():
            until = now + min(max(outcome.pause, MIN_PAUSE), MAX_PAUSE)
            tries = max(group.tries - 1, 0)  # it was not the receiver's fault
            if outcome.own:
                return replace(
                    _unchanged(group), retry_at=until, tries=tries, outcome="throttled", detail=outcome.reason
                )
            base = replace(_lasting(group, outcome.reason, now, failed_after_s), retry_at=until, tries=tries)
            return replace(base, outcome="throttled", throttled_until=until)
        case Retryable():
            wait = timedelta(seconds=backoff_s(group.tries, spread))
            return replace(
                _lasting(group, outcome.reason, now, failed_after_s), outcome="retrying", retry_at=now + wait
            )
        case Permanent():
            return _refused(group, step, outcome, receiver, around, now)


def backoff_s(tries: int, spread: float) -> float:
    """The pause after this many tries: it doubles from a second to five minutes, ± a fifth."""
    planned = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(max(tries - 1, 0), 32))
    return min(MAX_BACKOFF_S, planned * (1 + JITTER * spread))


def _lasting(group: OpenGroup, reason: str, now: datetime, failed_after_s: float) -> After:
    """The group after a try that may pass by itself: from `failed_after_s` on the receiver counts as failing."""
    since = group.tried_since or now
    failing = reason if now - since >= timedelta(seconds=failed_after_s) else ""
    return replace(_unchanged(group), tried_since=since, detail=reason, failing=failing)


def _delivered(
    group: OpenGroup,
    step: Send,
    outcome: Delivered,
    receiver: ReceiverRecord,
    around: Surroundings,
    now: datetime,
) -> After:
    base = replace(
        _unchanged(group),
        outcome="delivered",
        detail=outcome.note,
        receipt=outcome.receipt,
        notice_id=None,
        notice_digest="",
        tries=0,
        tried_since=None,
        retry_at=None,
        refused_digest="",
    )
    forgets = around.resend_s is not None and any(alert.firing for alert in step.alerts)
    resend_at = now + timedelta(seconds=around.resend_s or 0.0) if forgets else None
    if step.work != "flush":
        kept = resend_at if step.work == "resend" else group.resend_at
        return replace(base, resend_at=kept, ack_told=step.work == "acknowledged")
    after = flushed(timed(group, receiver), now)
    done = replace(base, next_flush_at=after.next_flush_at, flushed=True, told=True, resend_at=resend_at)
    return _ended(done) if step.ends else done


def _refused(
    group: OpenGroup,
    step: Send,
    outcome: Permanent,
    receiver: ReceiverRecord,
    around: Surroundings,
    now: datetime,
) -> After:
    """The same is not tried again until the receiver works or was changed; the group goes on."""
    base = replace(_unchanged(group), outcome="permanent", detail=outcome.reason, failing=outcome.reason, retry_at=None)
    if step.work != "flush":
        resend_at = now + timedelta(seconds=around.resend_s or MAX_BACKOFF_S)
        kept = resend_at if step.work == "resend" else group.resend_at
        return replace(base, ack_told=step.work == "acknowledged", resend_at=kept)
    after = flushed(timed(group, receiver), now)
    return replace(base, next_flush_at=after.next_flush_at, flushed=True, refused_digest=step.digest)


def _ended(after: After) -> After:
    """Nothing fires: the next alert of the group begins anew, in a message of its own."""
    return replace(after, ends=True, receipt="", resend_at=None)


def _unchanged(group: OpenGroup) -> After:
    return After(
        next_flush_at=group.next_flush_at,
        flushed=group.flushed,
        receipt=group.receipt,
        notice_id=group.notice_id,
        notice_digest=group.notice_digest,
        tries=group.tries,
        tried_since=group.tried_since,
        retry_at=group.retry_at,
        refused_digest=group.refused_digest,
        resend_at=group.resend_at,
        told=False,
    )
