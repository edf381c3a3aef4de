"""Escalation: where nobody acknowledges in time, another receiver is told too.

One step a time of alarm: the alerts join a group of the other receiver, which is flushed at once and goes its own way
from there, with its own silences, acknowledgement and escalation. New alerts in the first group begin a new time.
"""

from __future__ import annotations

import structlog

from app.alerts import group_sql as sql
from app.alerts.looking import member_of, open_groups, read_receivers, store
from app.alerts.members import escalated
from app.core.db import Database

log = structlog.get_logger()

_DUE = """
SELECT g.key, g.receiver, g.alarmed, r.escalate_to FROM receivers r JOIN alert_groups g ON g.receiver = r.name
WHERE r.enabled AND r.escalate_to IS NOT NULL AND g.alarmed_at IS NOT NULL AND g.escalated_at IS NULL
  AND (g.acked_until IS NULL OR g.acked_until <= now())
  AND now() >= g.alarmed_at + make_interval(secs => r.escalate_after_s)
ORDER BY g.key LIMIT 500 FOR UPDATE OF g SKIP LOCKED
"""
_MEMBERS = f"{sql.MEMBERS} WHERE group_key = ANY($1::text[]) AND ends_at IS NULL"
_HAS = "SELECT receiver || ' ' || fingerprint AS known FROM alert_group_members WHERE receiver = ANY($1::text[])"
_DONE = "UPDATE alert_groups SET escalated_at = now() WHERE key = ANY($1::text[])"


async def escalate(db: Database) -> int:
    """Escalate what is due, in one transaction; how many groups."""
    async with db.hot() as connection, connection.transaction():
        if not await connection.fetchval(sql.LOOK_LOCK):
            return 0
        rows = await connection.fetch(_DUE)
        if not rows:
            return 0
        receivers = await read_receivers(connection)
        targets = {row["key"]: (row["escalate_to"], frozenset(row["alarmed"])) for row in rows}
        known = {row["known"] for row in await connection.fetch(_HAS, list({to for to, _ in targets.values()}))}
        now = await connection.fetchval("SELECT now()")
        for row in await connection.fetch(_MEMBERS, list(targets)):
            member = member_of(dict(row))
            to, alarmed = targets[member.group_key]
            fingerprint = member.alert.fingerprint
            if fingerprint in alarmed and f"{to} {fingerprint}" not in known and receivers[to].enabled:
                await store(connection, escalated(member, receivers[to], await open_groups(connection, receivers), now))
                known.add(f"{to} {fingerprint}")
        await connection.execute(_DONE, list(targets))
    log.info("alert_groups_escalated", groups=list(targets)[:10], count=len(targets))
    return len(targets)
