"""Tables of whom to tell, what holds that back, what is being told, and what was."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    Text,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

OUTCOMES = ("delivered", "retrying", "throttled", "permanent", "held")


class AlertReceiver(Base):
    """Whom to tell, and how. `config` is the notifier's own, secrets and all. `matchers` are written as text.

    `routed`: it gets alerts whose rules name no receiver; else only those that name it, and what is escalated to it.
    `failed_at` is set while it fails for good; `heartbeat_at` is when its last heartbeat was begun.
    """

    __tablename__ = "receivers"
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, server_default="")
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    routed: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    matchers: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    send_resolved: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    mute_times: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    active_times: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    group_by: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    group_wait_s: Mapped[float] = mapped_column(Double)
    group_interval_s: Mapped[float] = mapped_column(Double)
    repeat_interval_s: Mapped[float] = mapped_column(Double)
    escalate_to: Mapped[str | None] = mapped_column(ForeignKey("receivers.name"))
    escalate_after_s: Mapped[float | None] = mapped_column(Double)
    heartbeat_s: Mapped[float | None] = mapped_column(Double)
    heartbeat_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    enabled: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    throttled_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    failed_reason: Mapped[str] = mapped_column(Text, server_default="")
    failed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class AlertSilence(Base):
    """A silence. It is kept for a while after its end, for whoever asks why nobody was told."""

    __tablename__ = "silences"
    __table_args__ = (Index("ix_silences_ends_at", "ends_at"),)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    matchers: Mapped[list[str]] = mapped_column(ARRAY(Text))
    starts_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ends_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_by: Mapped[str] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text, server_default="")
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class InhibitRuleRow(Base):
    """An alert that meets `source` holds back those that meet `target` and have the same `equal` labels."""

    __tablename__ = "inhibit_rules"
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    source: Mapped[list[str]] = mapped_column(ARRAY(Text))
    target: Mapped[list[str]] = mapped_column(ARRAY(Text))
    equal: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class MuteTime(Base):
    """Named intervals, as `intervals.parse_interval` reads them."""

    __tablename__ = "mute_times"
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    intervals: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class AlertGroup(Base):
    """Alerts that one receiver is told about together. `due_at` is when to look at it next, for whatever reason.

    `notice_id`, `notice_digest`, `tries`, `tried_since` and `retry_at` are of the notice that is being sent: it has its
    id before the first try, and keeps it as long as it says the same. `refused_digest`: what the receiver refused for
    good. `alarmed` are the fingerprints it was (or would have been) told fire, `alarmed_at` since when; `escalated_at`
    is set once these were escalated. `ack_due`: the receiver has not been told of the acknowledgement. `resend_at`:
    for receivers that forget. `lease`: whoever has it, until `leased_until`, is the only one to send.
    `last_notification` is the row that an identical flush counts up.
    """

    __tablename__ = "alert_groups"
    __table_args__ = (
        Index("ix_alert_groups_due_at", "due_at"),
        Index("ix_alert_groups_receiver", "receiver"),
    )
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    receiver: Mapped[str] = mapped_column(ForeignKey("receivers.name", ondelete="CASCADE"))
    labels: Mapped[dict[str, str]] = mapped_column(JSON)
    opened_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    next_flush_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    flushed: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    receipt: Mapped[str] = mapped_column(Text, server_default="")
    notice_id: Mapped[UUID | None]
    notice_digest: Mapped[str] = mapped_column(Text, server_default="")
    tries: Mapped[int] = mapped_column(Integer, server_default="0")
    tried_since: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    retry_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    refused_digest: Mapped[str] = mapped_column(Text, server_default="")
    alarmed: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    alarmed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    escalated_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    acked_by: Mapped[str] = mapped_column(Text, server_default="")
    acked_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ack_comment: Mapped[str] = mapped_column(Text, server_default="")
    ack_due: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    resend_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    lease: Mapped[UUID | None]
    leased_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_notification: Mapped[UUID | None]


class AlertGroupMember(Base):
    """One alert in a receiver's group: a copy of our own, which outlives the alert's state until people were told.

    `rule` is the rule it came of. An alert is in one group of a receiver only: in that in which it was told first.
    """

    __tablename__ = "alert_group_members"
    __table_args__ = (Index("ix_alert_group_members_group_key", "group_key"),)
    receiver: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text, primary_key=True)
    group_key: Mapped[str] = mapped_column(ForeignKey("alert_groups.key", ondelete="CASCADE"))
    rule: Mapped[str] = mapped_column(Text)
    starts_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ends_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    alert: Mapped[dict[str, Any]] = mapped_column(JSON)


class NotificationLogEntry(Base):
    """What a receiver was told last about a group. It outlives the group."""

    __tablename__ = "notification_log"
    __table_args__ = (Index("ix_notification_log_expires_at", "expires_at"),)
    group_key: Mapped[str] = mapped_column(Text, primary_key=True)
    receiver: Mapped[str] = mapped_column(Text, primary_key=True)
    firing: Mapped[list[str]] = mapped_column(ARRAY(Text))
    resolved: Mapped[list[str]] = mapped_column(ARRAY(Text))
    sent_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Notification(Base):
    """One send, or one decision not to send. `verdicts`: of each alert, why. `count`: how often in a row it came out
    so, `at` first and `last_at` last. The id of a send is that of its notice."""

    __tablename__ = "notifications"
    __table_args__ = (
        CheckConstraint("outcome IN ('" + "','".join(OUTCOMES) + "')", name="outcome"),
        Index("ix_notifications_receiver", "receiver", text("id DESC")),
        Index("ix_notifications_group_key", "group_key", text("id DESC")),
        Index("ix_notifications_last_at", "last_at"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    group_key: Mapped[str] = mapped_column(Text)
    receiver: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    sent: Mapped[bool] = mapped_column(Boolean)
    verdicts: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    outcome: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text, server_default="")
    tries: Mapped[int] = mapped_column(Integer, server_default="0")
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    last_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    count: Mapped[int] = mapped_column(Integer, server_default="1")
