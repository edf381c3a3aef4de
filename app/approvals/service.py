"""Decide approvals, and end those whose time is over. Each verb is one transaction with what becomes of the task.

Times are the database's, so that managers whose clocks differ agree on what has expired.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final
from uuid import UUID

import orjson

from app.approvals import decide, queries
from app.approvals.decide import Asked, Counted, Refused, Vote, Word
from app.approvals.hooks import Decided, TaskHooks
from app.approvals.opening import POLICY, decided_data, supersede
from app.approvals.payload import NotCanonical, payload_hash
from app.approvals.policy import DEFAULT_SCOPE
from app.approvals.records import COLUMNS, ApprovalRecord
from app.approvals.refusals import ApprovalNotFound, ArgsNotCanonical, problem_of
from app.approvals.telemetry import OUTCOMES
from app.auth.callers import Caller
from app.auth.service import Forbidden
from app.core.db import Database, HotConnection
from app.core.http import DATABASE_AWAY
from app.core.jsonbody import dump_json

HOLDS_UP = {"action": "waiting", "start": "held"}
"""The status of a task that an approval of this kind is about."""


class Unset(Enum):
    """The type of UNSET: null is a value."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


_LOCKED = f"SELECT {COLUMNS}, expires_at <= now() AS overdue FROM approvals WHERE id = $1 FOR UPDATE"  # noqa: S608

_COUNTED = f"""
WITH voided AS (
  UPDATE approval_votes SET void = true WHERE approval_id = $1 AND $5 AND NOT void
), voted AS (
  INSERT INTO approval_votes (approval_id, ordinal, caller, decision, payload_hash, reason, source)
  SELECT $1, 1 + count(*), $6, $7, $3, $8, $9 FROM approval_votes WHERE approval_id = $1
)
UPDATE approvals SET status = $2, payload_hash = $3, edited_args = CASE WHEN $5 THEN $4::json ELSE edited_args END,
  decided_at = CASE WHEN $2 <> 'pending' THEN now() END, decided_by = CASE WHEN $2 <> 'pending' THEN $6 END,
  decided_from = CASE WHEN $2 <> 'pending' THEN $9 END, reason = CASE WHEN $2 <> 'pending' THEN $8 ELSE reason END
WHERE id = $1 RETURNING {COLUMNS}
"""  # noqa: S608 - only constants

_ESCALATED = f"""
UPDATE approvals SET groups = escalate_to, escalations = escalations + 1,
  expires_at = now() + coalesce(make_interval(secs => escalate_s), expires_at - created_at)
WHERE id = $1 RETURNING {COLUMNS}
"""  # noqa: S608

_ENDED = f"""
UPDATE approvals SET status = $2, reason = $3, decided_at = now(), decided_by = $4
WHERE id = $1 RETURNING {COLUMNS}
"""  # noqa: S608

# Of several managers one sees to an approval; a lock on its row would come before its task's.
_CLAIM = "SELECT pg_try_advisory_xact_lock(hashtext('approvals'), hashtext($1::text))"

_DUE = "SELECT id, tenant FROM approvals WHERE status = 'pending' AND expires_at <= now() ORDER BY expires_at LIMIT $1"


class Approvals:
    """The verbs. Every one locks the task's row, then the approval's."""

    def __init__(self, db: Database, hooks: TaskHooks) -> None:
        self._db, self._hooks = db, hooks

    async def get(self, caller: Caller, approval_id: UUID) -> ApprovalRecord:
        """An approval of the caller's tenant, with its votes; raises ApprovalNotFound."""
        found = await queries.get(self._db, caller.tenant, approval_id)
        if found is None:
            raise ApprovalNotFound("There is no approval with this id.")
        return found

    async def decide(
        self,
        caller: Caller,
        approval_id: UUID,
        *,
        approve: bool,
        payload_hash: str | None,
        args: Any = UNSET,
        reason: str = "",
        source: str,
    ) -> ApprovalRecord:
        """Count a caller's word; the approval after it, pending while its quorum lacks more.

        `payload_hash` is that of what the caller saw (a rejection may do without), `args` what it edited that into,
        `source` where the word came from. Of words that race for the last place one counts. Raises ApprovalNotFound,
        Forbidden, SelfApproval, ApprovalDecided, PayloadChanged, AlreadyVoted, ArgsNotCanonical, and what the tasks'
        hook refuses.
        """
        async with self._db.hot() as connection:
            seen = await self._seen(connection, caller, approval_id)
            word = Word(caller, approve, payload_hash, None if args is UNSET else _hash(seen.action, args))
            async with connection.transaction():
                record = await self._hold(connection, seen)
                votes = [
                    Vote(vote.caller, vote.decision == "approve", vote.void)
                    for vote in await queries.votes_of(connection, approval_id)
                ]
                verdict = decide.judge(_asked(record), votes, word)
                if isinstance(verdict, Counted):
                    record = await self._count(connection, record, word, verdict, args, reason, source)
                record = record.with_votes(await queries.votes_of(connection, approval_id))
        self._committed(seen, record)
        if isinstance(verdict, Refused):
            raise problem_of(verdict.why, record)
        return record

    async def expire_due(self, limit: int) -> int:
        """End or hand on approvals whose time is over, each in a transaction of its own; how many there were.

        One that fails keeps no other waiting: its error is raised at the end.
        """
        failed: Exception | None = None
        async with self._db.hot() as connection:
            due = await connection.fetch(_DUE, limit)
            for row in due:
                try:
                    await self._expire(connection, row["tenant"], row["id"])
                except DATABASE_AWAY:
                    raise
                except Exception as exc:
                    failed = failed or exc
        if failed is not None:
            raise failed
        return len(due)

    async def _expire(self, connection: HotConnection, tenant: str, approval_id: UUID) -> None:
        async with connection.transaction():
            if not await connection.fetchval(_CLAIM, str(approval_id)):
                return
            seen = await queries.one(connection, tenant, approval_id)
            if seen is None or seen.final:
                return
            record = await self._hold(connection, seen)
        self._committed(seen, record)

    async def _seen(self, connection: HotConnection, caller: Caller, approval_id: UUID) -> ApprovalRecord:
        """The approval before any lock: who may not decide it, or comes too late, waits for nobody."""
        seen = await queries.one(connection, caller.tenant, approval_id)
        if seen is None:
            if not caller.may(DEFAULT_SCOPE):
                raise Forbidden(f"This needs the scope `{DEFAULT_SCOPE}`.", extra={"needs": DEFAULT_SCOPE})
            raise ApprovalNotFound("There is no approval with this id.")
        why = decide.barred(_asked(seen), caller)
        if why is not None:
            raise problem_of(why, seen)
        if seen.final:
            raise problem_of("decided", seen)
        return seen

    async def _hold(self, connection: HotConnection, seen: ApprovalRecord) -> ApprovalRecord:
        """The approval with its task and itself locked, as it stands: its expiry, and what its task did, are noted."""
        status = await self._hooks.lock(connection, seen.task_id)
        row = await connection.fetchrow(_LOCKED, seen.id)
        if row is None:
            raise ApprovalNotFound("There is no approval with this id.")
        record = ApprovalRecord.of(row)
        if record.final:
            return record
        if status != HOLDS_UP[record.kind]:
            for gone in await supersede(connection, [record.task_id], f"The task is {status or 'deleted'}."):
                await self._hooks.record(connection, gone.task_id, "approval.superseded", orjson.loads(gone.data))
            return ApprovalRecord.of(await connection.fetchrow(_LOCKED, seen.id))
        return await self._at_expiry(connection, record) if row["overdue"] else record

    async def _at_expiry(self, connection: HotConnection, record: ApprovalRecord) -> ApprovalRecord:
        becomes = decide.at_expiry(_asked(record))
        if becomes == "escalated":
            record = ApprovalRecord.of(await connection.fetchrow(_ESCALATED, record.id))
            data = {"approval_id": record.id, "step": record.step, "groups": record.groups}
            data["expires_at"] = record.expires_at
            await self._hooks.record(connection, record.task_id, "approval.escalated", data)
            return record
        reason = "Nobody decided by its expiry."
        record = ApprovalRecord.of(await connection.fetchrow(_ENDED, record.id, becomes, reason, POLICY))
        await self._end(connection, record)
        return record

    async def _count(
        self,
        connection: HotConnection,
        record: ApprovalRecord,
        word: Word,
        counted: Counted,
        args: Any,
        reason: str,
        source: str,
    ) -> ApprovalRecord:
        restored = counted.payload_hash == _first_hash(record)
        edited = dump_json(args) if counted.edits and not restored else None
        row = await connection.fetchrow(
            _COUNTED,
            record.id,
            counted.status,
            counted.payload_hash,
            edited,
            counted.edits,
            word.caller.id,
            "approve" if word.approve else "reject",
            reason,
            source,
        )
        record = ApprovalRecord.of(row)
        if record.final:
            await self._end(connection, record)
        else:
            data = _voted(record, counted, word.caller.id, reason, source)
            await self._hooks.record(connection, record.task_id, "approval.voted", data)
        return record

    async def _end(self, connection: HotConnection, record: ApprovalRecord) -> None:
        """Write that it was decided, and let the task go on or end."""
        decided = Decided(
            record.id,
            record.task_id,
            record.tenant,
            record.pool,
            record.kind,
            record.step,
            record.action,
            record.status,
            record.current_args,
            record.reason,
            record.decided_by or POLICY,
            record.payload_hash,
        )
        data = decided_data(decided, record.decided_from)
        await self._hooks.record(connection, record.task_id, "approval.decided", data)
        await self._hooks.decided(connection, decided)

    def _committed(self, seen: ApprovalRecord, record: ApprovalRecord) -> None:
        if record.escalations > seen.escalations:
            OUTCOMES.labels("escalated").inc()
        if record.final and not seen.final:
            OUTCOMES.labels(record.status).inc()
        self._hooks.committed([record.task_id], [record.pool])


def _voted(record: ApprovalRecord, counted: Counted, caller: str, reason: str, source: str) -> dict[str, Any]:
    return {
        "approval_id": record.id,
        "step": record.step,
        "caller": caller,
        "payload_hash": record.payload_hash,
        "edited": counted.edits,
        "votes": counted.votes,
        "quorum": record.quorum,
        "source": source,
        "reason": reason,
    }


def _asked(record: ApprovalRecord) -> Asked:
    return Asked(
        record.status,
        record.tenant,
        record.submitted_by,
        record.payload_hash,
        _first_hash(record),
        record.scope,
        frozenset(record.groups),
        record.quorum,
        record.self_approval,
        record.on_expiry,
        record.escalations,
    )


def _first_hash(record: ApprovalRecord) -> str:
    if record.edited_args is None:
        return record.payload_hash
    return payload_hash(record.action, orjson.loads(record.args))


def _hash(action: str, args: Any) -> str:
    try:
        return payload_hash(action, args)
    except NotCanonical as exc:
        raise ArgsNotCanonical(f"args: {exc}", extra={"errors": [{"path": "args", "message": str(exc)}]}) from None
