"""Escalation: where nobody acknowledges in time, another receiver is told too.

One step a time of alarm: the alerts join a group of the other receiver, which is flushed at once and goes its own way
from there, with its own silences, acknowledgement and escalation. New alerts in the first group begin a new time. As
long as there is nobody to tell, or nothing that still fires, the step is not taken. An alert about a receiver is never
told to that one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson
import structlog

from app.alerts import group_sql as sql
from app.alerts.looking import member_of, open_groups, read_receivers, store
from app.alerts.members import Member, escalated
from app.alerts.receivers import ReceiverRecord, RuleRoute, about_receiver
from app.core.db import Database

log = structlog.get_logger()

_DUE = """
SELECT g.key, g.alarmed, r.escalate_to FROM receivers r JOIN alert_groups g ON g.receiver = r.name
JOIN receivers t ON t.name = r.escalate_to AND t.enabled
WHERE r.enabled AND g.alarmed_at IS NOT NULL AND g.escalated_at IS NULL
  AND (g.acked_until IS NULL OR g.acked_until <= now())
  AND now() >= g.alarmed_at + make_interval(secs => r.escalate_after_s)
  AND EXISTS (SELECT FROM alert_group_members m
              WHERE m.group_key = g.key AND m.ends_at IS NULL AND m.fingerprint = ANY(g.alarmed))
ORDER BY g.key LIMIT 500 FOR UPDATE OF g SKIP LOCKED
"""
_MEMBERS = f"{sql.MEMBERS} WHERE group_key = ANY($1::text[]) AND ends_at IS NULL"
_HAS = "SELECT receiver, fingerprint FROM alert_group_members WHERE receiver = ANY($1::text[])"
_RULES = f"{sql.RULES} WHERE name = ANY($1::text[])"
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
        targets = {row["key"]: (receivers[row["escalate_to"]], frozenset(row["alarmed"])) for row in rows}
        members = [member_of(dict(row)) for row in await connection.fetch(_MEMBERS, list(targets))]
        found = await connection.fetch(_RULES, [member.rule for member in members])
        rules = {row["name"]: RuleRoute.of(orjson.loads(row["spec"])) for row in found}
        due = _to_tell(members, targets, rules)
        has = await connection.fetch(_HAS, list({receiver.name for _, receiver in due}))
        known = {(row["receiver"], row["fingerprint"]) for row in has}
        unknown = {
            at: (member, receiver)
            for member, receiver in due
            if (at := (receiver.name, member.alert.fingerprint)) not in known
        }
        now = await connection.fetchval("SELECT now()")
        await store(connection, escalated(unknown.values(), await open_groups(connection, receivers), now))
        done = sorted({member.group_key for member, _ in due})
        await connection.execute(_DONE, done)
    if done:
        log.info("alert_groups_escalated", groups=done[:10], count=len(done))
    return len(done)


def _to_tell(
    members: Sequence[Member],
    targets: Mapping[str, tuple[ReceiverRecord, frozenset[str]]],
    rules: Mapping[str, RuleRoute],
) -> list[tuple[Member, ReceiverRecord]]:
    """The alarmed ones, and whom each is escalated to. Pure."""
    found = list[tuple[Member, ReceiverRecord]]()
    for member in members:
        receiver, alarmed = targets[member.group_key]
        about = about_receiver(rules.get(member.rule), member.alert.labels)
        if member.alert.fingerprint in alarmed and receiver.name != about:
            found.append((member, receiver))
    return found
