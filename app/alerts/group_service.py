"""Groups of alerts as people deal with them: read, acknowledge, silence.

An acknowledgement is of alerts, not of a medium: whoever takes a group takes those of other receivers too that hold
none but its alerts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import structlog

from app.alerts.grouping import BY_ALL
from app.alerts.looking import member_of
from app.alerts.matching import text_of
from app.alerts.members import Member
from app.alerts.notification_loop import TOPIC
from app.alerts.records import Labels, Matcher
from app.core.db import Database, HotConnection
from app.core.errors import Conflict, NotFound
from app.core.wake import notify

log = structlog.get_logger()

_COLUMNS = (
    "key, receiver, labels, opened_at, next_flush_at, flushed, tries, retry_at, alarmed_at, escalated_at, acked_by,"
    " acked_until, ack_comment, last_notification,"
    " (SELECT group_by FROM receivers WHERE receivers.name = alert_groups.receiver) AS group_by"
)
_GET = f"SELECT {_COLUMNS} FROM alert_groups WHERE key = $1"  # noqa: S608 - constants
_PAGE = f"""
SELECT {_COLUMNS} FROM alert_groups
WHERE ($1::text IS NULL OR key > $1) AND ($2::text IS NULL OR receiver = $2) ORDER BY key LIMIT $3
"""  # noqa: S608
_MEMBERS = """
SELECT receiver, group_key, rule, alert FROM alert_group_members WHERE group_key = ANY($1::text[])
ORDER BY starts_at, fingerprint
"""
_ACK = """
WITH taken AS (SELECT fingerprint FROM alert_group_members WHERE group_key = $1 AND ends_at IS NULL),
groups AS (
  SELECT g.key FROM alert_groups g
  WHERE EXISTS (SELECT FROM alert_group_members m WHERE m.group_key = g.key AND m.ends_at IS NULL)
    AND NOT EXISTS (SELECT FROM alert_group_members m WHERE m.group_key = g.key AND m.ends_at IS NULL
                    AND m.fingerprint NOT IN (SELECT fingerprint FROM taken))
  ORDER BY g.key FOR UPDATE
)
UPDATE alert_groups g SET acked_by = coalesce((SELECT name FROM api_keys WHERE id = $2), $2),
  acked_until = now() + make_interval(secs => $3), ack_comment = $4,
  ack_due = true, due_at = greatest(least(due_at, now()), retry_at)
FROM groups WHERE g.key = groups.key RETURNING g.key
"""
_UNACK = """
UPDATE alert_groups SET acked_by = '', acked_until = NULL, ack_comment = '', ack_due = false
WHERE key = $1 RETURNING key
"""


class GroupNotFound(NotFound):
    code, title = "alert_group_not_found", "No such group of alerts"


class NothingFires(Conflict):
    code, title = "alert_group_resolved", "Nothing fires in this group"


class NoLabels(Conflict):
    code, title = "alert_group_without_labels", "The group has no labels"


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A group with its alerts. `row` has what is stored of it."""

    key: str
    receiver: str
    labels: Labels
    row: Mapping[str, Any]
    members: tuple[Member, ...]

    def acked(self, now: datetime) -> bool:
        until = self.row["acked_until"]
        return until is not None and now < until


class Groups:
    """The verbs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, key: str) -> tuple[GroupRecord, datetime]:
        """A group, and the time it is. Raises GroupNotFound."""
        async with self._db.read() as connection:
            rows = await connection.fetch(_GET, key)
            found = await _whole(connection, rows)
            now: datetime = await connection.fetchval("SELECT now()")
        if not found:
            raise _missing()
        return found[0], now

    async def page(self, receiver: str | None, after: str | None, limit: int) -> tuple[list[GroupRecord], datetime]:
        """By key."""
        async with self._db.read() as connection:
            found = await _whole(connection, await connection.fetch(_PAGE, after, receiver, limit))
            now: datetime = await connection.fetchval("SELECT now()")
        return found, now

    async def acknowledge(self, key: str, by: str, for_s: float, comment: str) -> int:
        """Take a group; how many were taken with it, itself included. Taking it again sets a new owner and time.
        Raises GroupNotFound or NothingFires."""
        async with self._db.hot() as connection, connection.transaction():
            if await connection.fetchrow(_GET, key) is None:
                raise _missing()
            taken = [row["key"] for row in await connection.fetch(_ACK, key, by, for_s, comment)]
            if key not in taken:
                raise NothingFires("Nothing fires in this group any more.")
            await notify(connection, TOPIC)
        log.info("alert_group_acknowledged", group=key, by=by, for_s=for_s, groups=len(taken))
        return len(taken)

    async def unacknowledge(self, key: str, by: str) -> None:
        """Give a group back: it repeats and escalates again. Raises GroupNotFound."""
        async with self._db.hot() as connection:
            if await connection.fetchval(_UNACK, key) is None:
                raise _missing()
            await notify(connection, TOPIC)
        log.info("alert_group_unacknowledged", group=key, by=by)


def matchers_of(group: GroupRecord) -> list[str]:
    """Matchers that take in what the group takes in: its labels, and that those are missing that its alerts lack of the
    labels it is grouped by. Raises NoLabels: they would take in everything."""
    if not group.labels:
        raise NoLabels("The group has no labels that a silence could go by; make one with matchers of your own.")
    # a group that was opened before its receiver was grouped otherwise may have alerts with such a label
    has = {name for member in group.members for name, value in member.alert.labels.items() if value}
    lacking = set(group.row["group_by"]) - has - {BY_ALL}
    wanted = {**dict.fromkeys(lacking, ""), **group.labels}
    return [text_of(Matcher(name, "=", value)) for name, value in sorted(wanted.items())]


async def _whole(connection: HotConnection, rows: Sequence[Any]) -> list[GroupRecord]:
    keys = [row["key"] for row in rows]
    members = [member_of(dict(row)) for row in await connection.fetch(_MEMBERS, keys)]
    return [
        GroupRecord(
            row["key"],
            row["receiver"],
            orjson.loads(row["labels"]),
            dict(row),
            tuple(member for member in members if member.group_key == row["key"]),
        )
        for row in rows
    ]


def _missing() -> GroupNotFound:
    return GroupNotFound("There is no group of alerts with this key (any more).")
