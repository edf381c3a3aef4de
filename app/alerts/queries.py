"""Reads: approvals as messages show them, and who a Slack user is. They join other domains' tables, and write none."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.alerts.question import Facts
from app.auth.callers import Caller
from app.core.db import HotConnection

VOTES = """(SELECT count(*) FROM approval_votes v
 WHERE v.approval_id = a.id AND v.decision = 'approve' AND NOT v.void)"""

FACE = f"""CASE WHEN a.status = 'pending'
 THEN concat_ws(' ', a.status, left(a.payload_hash, 16), a.escalations, CASE WHEN a.quorum > 1 THEN {VOTES} END)
 ELSE a.status END"""
"""What a message of approval `a` shows: it is brought up to date when this changes."""

_FACTS = f"""
SELECT a.id, a.task_id, a.pool, a.step, a.action, coalesce(a.edited_args, a.args) AS args,
 a.edited_args IS NOT NULL AS edited, a.payload_hash, a.risk, coalesce(s.name, a.submitted_by) AS submitted_by,
 a.status, a.scope, a.groups, a.quorum, {VOTES} AS votes, a.escalations, a.expires_at, a.decided_at,
 coalesce(d.name, a.decided_by) AS decided_by, a.decided_from, a.reason, {FACE} AS face
FROM approvals a LEFT JOIN api_keys s ON s.id = a.submitted_by LEFT JOIN api_keys d ON d.id = a.decided_by
WHERE a.id = ANY($1::uuid[])
"""  # noqa: S608 - constants

_PERSON = """
SELECT a.tenant, u.key_id, k.id, k.scopes, k.groups FROM approvals a
LEFT JOIN slack_users u ON u.tenant = a.tenant AND u.user_id = $2
LEFT JOIN api_keys k ON k.id = u.key_id AND k.tenant = a.tenant AND k.revoked_at IS NULL
 AND (k.expires_at IS NULL OR k.expires_at > now())
WHERE a.id = $1
"""


@dataclass(frozen=True, slots=True)
class Person:
    """Who a Slack user is for the tenant of one approval. `caller` None: nobody, or (`mapped`) one whose key ended."""

    caller: Caller | None
    mapped: bool


async def facts(connection: HotConnection, approval_ids: Collection[UUID]) -> dict[UUID, Facts]:
    """The approvals that there are, by id."""
    found = await connection.fetch(_FACTS, list(approval_ids))
    return {row["id"]: _facts(row) for row in found}


async def person(connection: HotConnection, approval_id: UUID, user_id: str) -> Person | None:
    """The caller that the Slack user is, of the approval's tenant; None when there is no such approval."""
    row = await connection.fetchrow(_PERSON, approval_id, user_id)
    if row is None:
        return None
    if row["id"] is None:
        return Person(None, mapped=row["key_id"] is not None)
    caller = Caller(row["id"], row["tenant"], frozenset(row["scopes"]), groups=frozenset(row["groups"]))
    return Person(caller, mapped=True)


async def shown_where(connection: HotConnection, approval_id: UUID) -> frozenset[str]:
    """The messages about an approval that we know of, by the notifier's ids."""
    query = "SELECT message_id FROM approval_notices WHERE approval_id = $1 AND message_id IS NOT NULL"
    return frozenset(row["message_id"] for row in await connection.fetch(query, approval_id))


def _facts(row: Any) -> Facts:
    values = {name: row[name] for name in Facts.__dataclass_fields__}
    return Facts(**{**values, "groups": tuple(row["groups"])})
