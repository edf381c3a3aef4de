"""Heartbeats: a dead man's switch hears a `Watchdog` alert every so often, for as long as rules are evaluated.

A beat is begun before it is sent. One that fails, or that a crash swallows, is not made up for: the switch waits for
several. Where no rule was evaluated lately there is none at all, which is what the switch is for.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from app.alerts import receiver_health as health
from app.alerts.flushing import new_id
from app.alerts.notifiers.alerts import Delivered, Notice, Outcome, Permanent, Throttled
from app.alerts.outside import Notifiers
from app.alerts.receivers import COLUMNS, ReceiverRecord
from app.alerts.records import Alert, fingerprint
from app.core.db import Database, HotConnection
from app.core.jsonbody import dump_json

WATCHDOG = "Watchdog"
FRESH_INTERVALS = 4
FRESH_LEAST_S = 30.0
"""Rules count as evaluated when the last evaluation is not older than so many of their intervals."""

_BEGIN = f"""
UPDATE receivers SET heartbeat_at = now()
WHERE enabled AND heartbeat_s IS NOT NULL AND name <> ALL($2::text[])
  AND (heartbeat_at IS NULL OR heartbeat_at > now() OR now() >= heartbeat_at + make_interval(secs => heartbeat_s))
  AND EXISTS (SELECT FROM alert_rules WHERE enabled AND evaluated_at > now() - make_interval(secs => $1))
RETURNING {COLUMNS}
"""  # noqa: S608 - constants
_LAST = "SELECT id FROM notifications WHERE receiver = $1 AND group_key = $2 AND outcome = $3 ORDER BY id DESC LIMIT 1"
_NEWEST = "SELECT id FROM notifications WHERE receiver = $1 AND group_key = $2 ORDER BY id DESC LIMIT 1"
_COUNT_UP = "UPDATE notifications SET count = count + 1, tries = tries + 1, last_at = now(), detail = $2 WHERE id = $1"
_ADD = """
INSERT INTO notifications (id, group_key, receiver, reason, sent, verdicts, outcome, detail, tries)
VALUES ($1, $2, $3, 'heartbeat', $4, $5, $6, $7, 1)
"""


async def due(db: Database, interval_s: float, beating: Collection[str] = ()) -> list[ReceiverRecord]:
    """The receivers that are to hear a beat now, each from this call on until the next is due. `beating`: receivers
    whose last one is under way here."""
    async with db.hot() as connection:
        rows = await connection.fetch(_BEGIN, max(FRESH_LEAST_S, FRESH_INTERVALS * interval_s), list(beating))
    return [ReceiverRecord.of(dict(row)) for row in rows]


async def beat(db: Database, notifiers: Notifiers, receiver: ReceiverRecord) -> Outcome:
    """Send one, and store how it went."""
    alert = watchdog(receiver.created_at)
    key = group_key(receiver.name)
    notice_id = new_id()
    outcome = await notifiers.notify(
        receiver, Notice(notice_id, key, receiver.name, "repeat", (alert,), {"alertname": WATCHDOG})
    )
    async with db.hot() as connection, connection.transaction():
        await _store(connection, receiver, notice_id, alert, outcome)
    return outcome


def group_key(receiver: str) -> str:
    return f"{receiver}:{fingerprint({'alertname': WATCHDOG})}"


def watchdog(since: datetime) -> Alert:
    """The alert that always fires. As in Prometheus' own rules it is of severity none; ours is info."""
    return Alert(
        {"alertname": WATCHDOG, "severity": "info"},
        since,
        annotations={"summary": "Alerting works: rules are evaluated, and this receiver can be told."},
    )


async def _store(
    connection: HotConnection, receiver: ReceiverRecord, notice_id: object, alert: Alert, outcome: Outcome
) -> None:
    """The beats of a row of the same outcome are counted in one row."""
    delivered = isinstance(outcome, Delivered)
    fate = "delivered" if delivered else "permanent" if isinstance(outcome, Permanent) else "retrying"
    fate = "throttled" if isinstance(outcome, Throttled) else fate
    detail = outcome.note if isinstance(outcome, Delivered) else outcome.reason
    key = group_key(receiver.name)
    last = await connection.fetchval(_LAST, receiver.name, key, fate)
    if last is not None and last == await connection.fetchval(_NEWEST, receiver.name, key):
        await connection.execute(_COUNT_UP, last, detail)
    else:
        verdicts = dump_json(
            [{"fingerprint": alert.fingerprint, "labels": dict(alert.labels), "sent": delivered, "reason": "heartbeat",
              "by": ""}]
        )  # fmt: skip
        await connection.execute(_ADD, notice_id, key, receiver.name, delivered, verdicts, fate, detail)
    if delivered:
        await health.works(connection, receiver.name)
    elif isinstance(outcome, Permanent):
        await health.failing(connection, receiver.name, outcome.reason, receiver.updated_at)
