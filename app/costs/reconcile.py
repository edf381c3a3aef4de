"""Proof that accounts and tasks agree: what an account has reserved is the sum of what tasks hold in it.

Both are written in one transaction, so in one snapshot any difference is drift. It is reported, then put right: with
the account's row locked nobody can reserve or release, and a statement that begins after that sees all that was. Also
kept here: the limit of open accounts, and how long accounts are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import structlog
from prometheus_client import Gauge

from app.core.db import Database

log = structlog.get_logger()

DRIFT = Gauge(
    "yard_budget_drift_usd",
    "USD reserved in budgets that no task holds, or held and not reserved, at the last look.",
    multiprocess_mode="mostrecent",
)
DRIFTED = Gauge(
    "yard_budget_drifted_accounts",
    "Accounts, of any unit, whose reservations are not those of the tasks, at the last look.",
    multiprocess_mode="mostrecent",
)

BATCH = 1000

# Two branches, each with an index of its own: a task that runs, and one whose attempt was broken off.
_HELD = """
  SELECT x.account, sum(x.amount) AS amount FROM (
    SELECT holds, hold_amounts FROM tasks WHERE status = 'running' AND holds IS NOT NULL
    UNION ALL
    SELECT holds, hold_amounts FROM tasks WHERE status <> 'running' AND holds IS NOT NULL
  ) t CROSS JOIN LATERAL unnest(t.holds, t.hold_amounts) AS x(account, amount) GROUP BY 1
"""
_DRIFTS = f"""
WITH held AS MATERIALIZED ({_HELD})
SELECT a.id, a.budget_id, a.key, a.unit, a.reserved, COALESCE(h.amount, 0) AS held
FROM budget_accounts a LEFT JOIN held h ON h.account = a.id
WHERE a.reserved <> COALESCE(h.amount, 0) ORDER BY a.id LIMIT {BATCH}
"""  # noqa: S608 - only constants
_LOCK = "SELECT id FROM budget_accounts WHERE id = ANY($1) ORDER BY id FOR UPDATE"
_REPAIR = f"""
UPDATE budget_accounts a SET reserved = d.held, touched_at = clock_timestamp()
FROM ({_DRIFTS}) d WHERE a.id = d.id AND a.id = ANY($1) RETURNING a.id
"""  # noqa: S608
# A manager that had not read the newest limit may have opened an account with the old one.
_RELIMIT = """
WITH stale AS (
  SELECT a.id, b."limit" FROM budget_accounts a JOIN budgets b ON b.id = a.budget_id
  WHERE a."limit" <> b."limit" AND (a.window_end IS NULL OR a.window_end > clock_timestamp())
  ORDER BY a.id LIMIT 1000 FOR UPDATE OF a
)
UPDATE budget_accounts a SET "limit" = s."limit", reported = '{}', touched_at = clock_timestamp()
FROM stale s WHERE a.id = s.id RETURNING 1
"""
# An account without an end goes when nobody has touched it for that long: a thread, root task or task that is over, a
# rolling window that is empty, or a budget that is deleted. The one account of a budget over all time stays: it is what
# was spent. Its events go too, and are found by their key.
_PRUNE = f"""
WITH old AS (
  SELECT a.id FROM budget_accounts a LEFT JOIN budgets b ON b.id = a.budget_id
  WHERE a.reserved = 0
    AND a.touched_at < clock_timestamp() - make_interval(secs => GREATEST($1, 61 * COALESCE(a.slice_s, 0)))
    AND (a.window_end < clock_timestamp() - make_interval(secs => $1)
      OR (a.window_end IS NULL AND (b.id IS NULL OR b.per IS NOT NULL OR a.slice_s IS NOT NULL)))
  LIMIT {BATCH} FOR UPDATE OF a SKIP LOCKED
), slices AS (
  DELETE FROM budget_slices WHERE account_id = ANY(ARRAY(SELECT id FROM old))
), noted AS (
  DELETE FROM events WHERE task_id = ANY(ARRAY(SELECT id FROM old)) AND type ^@ 'budget.'
)
DELETE FROM budget_accounts a USING old WHERE a.id = old.id RETURNING 1
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Drift:
    """An account that says `recorded` is reserved while tasks hold `actual`."""

    account_id: UUID
    budget_id: UUID
    key: str
    unit: str
    recorded: Decimal
    actual: Decimal


async def drifts(db: Database) -> list[Drift]:
    """Accounts that differ from the tasks now, up to 1,000."""
    async with db.read() as connection:
        return [Drift(*row) for row in await connection.fetch(_DRIFTS)]


async def repair(db: Database, found: Sequence[Drift]) -> int:
    """Put these right, as they are now: how many still were wrong."""
    if not found:
        return 0
    ids = [item.account_id for item in found]
    async with db.hot() as connection, connection.transaction():
        await connection.execute(_LOCK, ids)
        return len(await connection.fetch(_REPAIR, ids))


async def reconcile(db: Database) -> list[Drift]:
    """Report what has drifted, by log and gauge, and put it right: what was found."""
    found = await drifts(db)
    DRIFT.set(float(sum(abs(item.recorded - item.actual) for item in found if item.unit == "usd")))
    DRIFTED.set(len(found))
    for item in found:
        log.error(
            "budget_drift",
            account_id=str(item.account_id),
            budget_id=str(item.budget_id),
            key=item.key,
            unit=item.unit,
            recorded=str(item.recorded),
            actual=str(item.actual),
        )
    await repair(db, found)
    return found


async def relimit(db: Database) -> int:
    """Give open accounts the limit of their budget where they have another: how many had."""
    async with db.hot() as connection:
        return len(await connection.fetch(_RELIMIT))


async def prune(db: Database, keep_s: float) -> int:
    """Delete a batch of accounts of long ago, with their slices and events: how many."""
    async with db.hot() as connection:
        return len(await connection.fetch(_PRUNE, keep_s))
