"""Reads of approvals."""

from __future__ import annotations

from uuid import UUID

from app.approvals.records import COLUMNS, ApprovalRecord, VoteRecord
from app.core.db import Database, HotConnection

_VOTES = """
SELECT caller, decision, payload_hash, void, reason, source, at FROM approval_votes
WHERE approval_id = $1 ORDER BY ordinal
"""
_LIST_COLUMNS = COLUMNS.replace(" args,", " 'null' AS args,").replace(" edited_args,", " NULL AS edited_args,")
_HELD_STARTS = """
SELECT count(*) FROM (SELECT FROM approvals WHERE status = 'pending' AND kind = 'start' AND pool = $1 LIMIT $2) h
"""


async def one(connection: HotConnection, tenant: str, approval_id: UUID) -> ApprovalRecord | None:
    """An approval of a tenant, without its votes."""
    query = f"SELECT {COLUMNS} FROM approvals WHERE id = $1 AND tenant = $2"  # noqa: S608 - only constants
    row = await connection.fetchrow(query, approval_id, tenant)
    return None if row is None else ApprovalRecord.of(row)


async def votes_of(connection: HotConnection, approval_id: UUID) -> tuple[VoteRecord, ...]:
    """What callers said of it, in order."""
    return tuple(VoteRecord(*row) for row in await connection.fetch(_VOTES, approval_id))


async def get(db: Database, tenant: str, approval_id: UUID) -> ApprovalRecord | None:
    """An approval of a tenant as a whole."""
    async with db.read() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        record = await one(connection, tenant, approval_id)
        return record and record.with_votes(await votes_of(connection, approval_id))


async def page(
    db: Database,
    tenant: str,
    *,
    status: str | None = None,
    pool: str | None = None,
    task_id: UUID | None = None,
    before: UUID | None = None,
    limit: int,
) -> list[ApprovalRecord]:
    """Newest first, without arguments and votes."""
    where, args = ["tenant = $1"], [tenant, limit]
    for condition, value in (("status = ", status), ("pool = ", pool), ("task_id = ", task_id), ("id < ", before)):
        if value is not None:
            args.append(value)
            where.append(f"{condition}${len(args)}")
    query = f"SELECT {_LIST_COLUMNS} FROM approvals WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT $2"  # noqa: S608
    async with db.read() as connection:
        return [ApprovalRecord.of(row) for row in await connection.fetch(query, *args)]


async def pending(db: Database) -> int:
    """How many wait for people, of all tenants."""
    async with db.read() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM approvals WHERE status = 'pending'"))


async def held_starts(connection: HotConnection, pool: str, cap: int) -> int:
    """Tasks of a pool that are held until people agree to their start, counted up to `cap`."""
    return int(await connection.fetchval(_HELD_STARTS, pool, cap))
