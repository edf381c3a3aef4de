"""One flush of one group: decide, give the notice its id, tell, store. No transaction is open while it tells.

    claimed ──▶ decide ──▶ hold ─────────────────────────▶ store
                       └─▶ begin (id persisted) ──▶ tell ──▶ store: one transaction for the group and its receiver

A manager that dies between the provider's answer and our commit lets its lease run out; the next one tells once more,
under the same `Notice.id` and the same dedup key. That is the one duplicate that can come of a crash.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import orjson
import structlog
import uuid_utils

from app.alerts import group_sql as sql
from app.alerts import receiver_health as health
from app.alerts.claiming import Claimed
from app.alerts.notifiers.alerts import Notice
from app.alerts.outcomes import After, after_hold, after_send
from app.alerts.outside import Notifiers
from app.alerts.records import Alert
from app.alerts.steps import Hold, OpenGroup, Send, Told, Wait, look, reason_of, same_verdicts
from app.alerts.telemetry import NOTIFICATIONS
from app.core.db import Database, HotConnection
from app.core.failpoints import reach
from app.core.http import DATABASE_AWAY
from app.core.jsonbody import dump_json
from app.settings import AlertSettings

log = structlog.get_logger()

STORE_AGAIN_S = (0.1, 0.5, 1.0, *(2.0,) * 30)
"""Pauses before a send is stored again where the database was away, a minute of them: what is not stored is sent twice.
They may outlast the lease: nothing is stored of a group that is another's by then. They stay short, so that it is
stored before the group is claimed anew."""


class LeaseLost(Exception):
    """The group is another's now; nothing was stored."""


class Flushes:
    """`seen` are the alerts of the last look."""

    def __init__(
        self,
        db: Database,
        notifiers: Notifiers,
        settings: AlertSettings,
        *,
        spread: Callable[[], float] = lambda: random.uniform(-1.0, 1.0),  # noqa: S311 - jitter, not a secret
    ) -> None:
        self._db, self._notifiers, self._settings, self._spread = db, notifiers, settings, spread

    async def flush(self, item: Claimed, seen: Mapping[str, Alert]) -> None:
        """Do what is to be done about the group, and give it back. Raises LeaseLost."""
        alerts = item.alerts(seen)
        step = look(item.group, alerts, item.receiver, item.log, item.around, item.now)
        match step:
            case Wait():
                async with self._db.hot() as connection:
                    await connection.execute(sql.RELEASE, item.group.key, item.lease)
            case Hold():
                await self._hold(item, step, alerts)
            case Send():
                await self._send(item, step, alerts)

    async def _hold(self, item: Claimed, step: Hold, alerts: Sequence[Alert]) -> None:
        after = after_hold(item.group, step, item.receiver, item.now)
        async with self._db.hot() as connection, connection.transaction():
            noted = await _note(connection, item, step, alerts) if step.verdicts else None
            if not await _store(connection, item, after, step, alerts, noted):
                raise LeaseLost

    async def _send(self, item: Claimed, step: Send, alerts: Sequence[Alert]) -> None:
        known = item.group.notice_id if item.group.notice_digest == step.digest else None
        notice_id = known or new_id()
        if not await self._begin(item, step, notice_id, alerts):
            return
        reach("notifications.begun")
        outcome = await self._notifiers.notify(item.receiver, self._notice(item, step, notice_id))
        reach("notifications.sent")
        now = await self._database_time(item.now)
        after = after_send(
            _tried(item, notice_id, step),
            step,
            outcome,
            item.receiver,
            item.around,
            now,
            spread=self._spread(),
            failed_after_s=self._settings.failed_after_s,
        )
        NOTIFICATIONS.labels(item.receiver.kind, after.outcome or "held").inc()
        await self._stored(item, after, step, alerts, notice_id)

    async def _begin(self, item: Claimed, step: Send, notice_id: UUID, alerts: Sequence[Alert]) -> bool:
        """Whether the group is still ours; then the notice has its id for good."""
        async with self._db.hot() as connection, connection.transaction():
            ours = await connection.fetchval(
                sql.BEGIN,
                *(item.group.key, item.lease, notice_id, step.digest, sorted(step.alarmed), step.news, step.lifts),
                item.lease_s,
            )
            if ours is None:
                return False
            await connection.execute(
                sql.BEGIN_NOTIFICATION,
                *(notice_id, item.group.key, item.receiver.name, step.reason, told_json(step.verdicts, alerts)),
            )
        return True

    def _notice(self, item: Claimed, step: Send, notice_id: UUID) -> Notice:
        group, url = item.group, self._settings.url.rstrip("/")
        return Notice(
            notice_id,
            group.key,
            group.receiver,
            step.reason,
            step.alerts,
            group.labels,
            f"{url}/v1/alert-groups/{group.key}" if url else "",
            group.receipt,
            group.acked_by if group.acked(item.now) and not step.lifts else "",
        )

    async def _database_time(self, at_least: datetime) -> datetime:
        try:
            async with self._db.hot() as connection:
                now: datetime = await connection.fetchval("SELECT now()")
                return max(at_least, now)
        except DATABASE_AWAY:
            return at_least

    async def _stored(self, item: Claimed, after: After, step: Send, alerts: Sequence[Alert], notice_id: UUID) -> None:
        """Store what came of a send, patiently: it has happened."""
        for pause_s in (*STORE_AGAIN_S, None):
            try:
                async with self._db.hot() as connection, connection.transaction():
                    if await _store(connection, item, after, step, alerts, notice_id):
                        await _of_receiver(connection, item, after, notice_id)
                    else:
                        log.warning("notification_lease_lost", group=item.group.key, notice_id=str(notice_id))
            except DATABASE_AWAY:
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)
            else:
                break
        if after.outcome != "delivered":
            log.warning(
                "notification_not_delivered", receiver=item.receiver.name, outcome=after.outcome, detail=after.detail
            )


def _tried(item: Claimed, notice_id: UUID, step: Send) -> OpenGroup:
    """The group as `begin` left it."""
    group = item.group
    return replace(
        group,
        notice_id=notice_id,
        notice_digest=step.digest,
        tries=group.tries + 1,
        tried_since=group.tried_since or item.now,
    )


async def _store(
    connection: HotConnection,
    item: Claimed,
    after: After,
    step: Hold | Send,
    alerts: Sequence[Alert],
    notification: UUID | None,
) -> bool:
    """The group, its log and its members. False: it is no longer ours, and nothing was written."""
    ours = await connection.fetchval(
        sql.STORE,
        *(item.group.key, item.lease, after.next_flush_at, after.flushed, after.receipt, after.notice_id),
        *(after.notice_digest, after.tries, after.tried_since, after.retry_at, after.refused_digest, after.resend_at),
        *(after.ack_told, after.ends, notification, item.group.next_flush_at),
    )
    if ours is None:
        return False
    if after.told and (entry := step.entry) is not None:
        await connection.execute(
            sql.STORE_LOG,
            *(entry.group_key, entry.receiver, sorted(entry.firing), sorted(entry.resolved)),
            *(entry.sent_at, entry.expires_at),
        )
    settled = [alert for alert in alerts if alert.fingerprint in step.settled] if after.told else []
    if settled:
        starts = [alert.starts_at for alert in settled]
        await connection.execute(sql.SETTLE, item.group.key, [alert.fingerprint for alert in settled], starts)
    return True


async def _note(connection: HotConnection, item: Claimed, step: Hold, alerts: Sequence[Alert]) -> UUID:
    """One row for as long as it comes out the same."""
    last, told = item.group.last_notification, told_json(step.verdicts, alerts)
    row = None if last is None else await connection.fetchrow(sql.LAST, last)
    held = last is not None and row is not None and row["outcome"] == "held"
    if held and row is not None and same_verdicts(orjson.loads(row["verdicts"]), step.verdicts):
        assert last is not None
        await connection.execute(sql.COUNT_UP, last, told)
        return last
    made, reason = new_id(), reason_of(step.verdicts)
    by = next((verdict.by for verdict in step.verdicts if verdict.by), "")
    await connection.execute(sql.ADD_HELD, made, item.group.key, item.receiver.name, reason, told, by)
    return made


async def _of_receiver(connection: HotConnection, item: Claimed, after: After, notice_id: UUID) -> None:
    """What the outcome says about the notification and about the receiver."""
    assert after.outcome is not None
    delivered = after.outcome == "delivered"
    await connection.execute(sql.END_NOTIFICATION, notice_id, delivered, after.outcome, after.detail)
    name = item.receiver.name
    if delivered:
        await health.works(connection, name)
    if after.throttled_until is not None:
        await health.throttled(connection, name, after.throttled_until)
    if after.failing:
        await health.failing(connection, name, after.failing, item.receiver.updated_at)


def told_json(verdicts: Sequence[Told], alerts: Sequence[Alert]) -> str:
    """Verdicts as they are stored, with the labels of their alerts."""
    labels = {alert.fingerprint: dict(alert.labels) for alert in alerts}
    return dump_json(
        [
            {
                "fingerprint": item.fingerprint,
                "labels": labels.get(item.fingerprint, {}),
                "sent": item.sent,
                "reason": item.reason,
                "by": item.by,
            }
            for item in verdicts
        ]
    )


def new_id() -> UUID:
    """An id that rises with time (UUIDv7)."""
    return UUID(bytes=uuid_utils.uuid7().bytes)
