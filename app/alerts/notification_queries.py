"""Reads of notifications: what was told to whom, what was not, why, and what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from app.core.db import Database
from app.core.errors import NotFound

_COLUMNS = "id, group_key, receiver, reason, sent, verdicts, outcome, detail, tries, at, last_at, count"
_PAGE = f"""
SELECT {_COLUMNS} FROM notifications
WHERE ($1::uuid IS NULL OR id < $1) AND ($2::text IS NULL OR receiver = $2) AND ($3::text IS NULL OR group_key = $3)
  AND ($4::text IS NULL OR outcome = $4)
ORDER BY id DESC LIMIT $5
"""  # noqa: S608 - constants
_GET = f"SELECT {_COLUMNS} FROM notifications WHERE id = $1"  # noqa: S608
_STANDING = """
SELECT now() AS now, r.name IS NOT NULL AS receiver, coalesce(r.enabled, false) AS enabled, r.throttled_until,
  r.failed_at, r.repeat_interval_s, g.key IS NOT NULL AS open, g.last_notification, g.notice_id, g.next_flush_at,
  g.retry_at, g.acked_by, g.acked_until, l.sent_at, cardinality(l.firing) AS firing
FROM (SELECT $1::text AS key, $2::text AS name) AS wanted
LEFT JOIN receivers r ON r.name = wanted.name LEFT JOIN alert_groups g ON g.key = wanted.key
LEFT JOIN notification_log l ON l.group_key = wanted.key AND l.receiver = wanted.name
"""


class NotificationNotFound(NotFound):
    code, title = "notification_not_found", "No such notification"


@dataclass(frozen=True, slots=True)
class NotificationRecord:
    """See `notification_models.Notification`."""

    id: UUID
    group_key: str
    receiver: str
    reason: str
    sent: bool
    verdicts: list[dict[str, Any]]
    outcome: str
    detail: str
    tries: int
    at: datetime
    last_at: datetime
    count: int


async def page(
    db: Database, *, receiver: str | None, group: str | None, outcome: str | None, before: UUID | None, limit: int
) -> list[NotificationRecord]:
    """Newest first."""
    async with db.read() as connection:
        rows = await connection.fetch(_PAGE, before, receiver, group, outcome, limit)
    return [_record(dict(row)) for row in rows]


async def one(db: Database, notification_id: UUID) -> tuple[NotificationRecord, str]:
    """A notification, and what comes next. Raises NotificationNotFound."""
    async with db.read() as connection:
        row = await connection.fetchrow(_GET, notification_id)
        if row is None:
            raise NotificationNotFound("There is no notification with this id (any more).")
        found = _record(dict(row))
        standing = await connection.fetchrow(_STANDING, found.group_key, found.receiver)
    assert standing is not None
    return found, following(found, dict(standing))


def following(found: NotificationRecord, standing: Mapping[str, Any]) -> str:
    """What comes next, in a sentence. `standing`: how the group and its receiver stand now. Pure."""
    now = standing["now"]
    if found.reason == "heartbeat":
        return "The next heartbeat follows as long as rules are evaluated."
    if not standing["receiver"]:
        return "Nothing: the receiver was deleted."
    if not standing["enabled"]:
        return "Nothing, as long as the receiver is disabled."
    if not standing["open"]:
        return "Nothing: no alert of this group is left; the next one opens it anew."
    if standing["last_notification"] != found.id:
        return f"It was followed by the notification {standing['last_notification']} of the same group."
    return _next(found, standing, now)


def _next(found: NotificationRecord, standing: Mapping[str, Any], now: datetime) -> str:
    flush = f"The group is looked at again at {_time(standing['next_flush_at'])}."
    if found.outcome == "permanent" and standing["failed_at"] is not None:
        return "The same is not sent again until the receiver works or is changed; news of the group is tried. " + flush
    if found.outcome in ("retrying", "throttled"):
        at = standing["retry_at"]
        return f"It is tried again at {_time(at)}." if at is not None and at > now else "It is tried again now."
    until = standing["throttled_until"]
    if until is not None and until > now:
        flush += f" The receiver takes nothing before {_time(until)}."
    acked = standing["acked_until"]
    if acked is not None and acked > now:
        return f"{standing['acked_by']} has taken it until {_time(acked)}: until then only news is told. {flush}"
    if standing["firing"] and standing["sent_at"] is not None:
        again = f"{standing['repeat_interval_s']:g} s after {_time(standing['sent_at'])}"
        return f"{flush} Without news it is repeated {again}."
    return flush


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def _record(row: dict[str, Any]) -> NotificationRecord:
    return NotificationRecord(**{**row, "verdicts": orjson.loads(row["verdicts"])})
