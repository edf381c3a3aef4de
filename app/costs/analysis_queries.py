"""Reads for the analysis beside the roll-ups: budgets with their present accounts, retries, idle agents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from app.core.db import HotConnection
from app.costs.accounts import SPENT_NOW
from app.costs.advice import Retries

RETRIES_DAYS = 7
LOOK_S = 5.0
"""Retries and idle agents are counted from the attempts themselves: for no longer than this."""
MAX_ACCOUNTS = 100

BUDGETS = f"""
SELECT b.name, coalesce(a.key, '') AS key, b.unit, b.window_kind, b.rolling_s, b."limit",
  coalesce({SPENT_NOW}, 0) AS spent, coalesce(a.reserved, 0) AS reserved, a.window_start, a.window_end, a.opened_at
FROM budgets b LEFT JOIN budget_accounts a ON a.budget_id = b.id
  AND (a.window_start IS NULL OR a.window_start <= $1) AND (a.window_end IS NULL OR a.window_end > $1)
WHERE ($2::text IS NULL OR b.tenant = $2) AND (b.per IS NULL OR a.id IS NOT NULL)
ORDER BY coalesce({SPENT_NOW}, 0) / NULLIF(b."limit", 0) DESC NULLS LAST, b.name, key LIMIT $3
"""  # noqa: S608 - only constants
RETRIES = """
SELECT t.pool, t.type, count(DISTINCT (a.task_id, a.fence)) AS attempts,
  count(DISTINCT (a.task_id, a.fence)) FILTER (WHERE a.outcome = 'succeeded') AS succeeded,
  coalesce(sum(u.cost_usd), 0) AS usd
FROM attempts a JOIN tasks t ON t.id = a.task_id
  LEFT JOIN usage u ON u.task_id = a.task_id AND u.fence = a.fence
WHERE a.finished_at >= $1 AND a.attempt >= 2 AND a.counted AND a.outcome <> 'suspended' AND NOT t.synthetic
  AND ($2::text IS NULL OR t.tenant = $2)
GROUP BY t.pool, t.type
"""
IDLE = """
SELECT pool, count(*) AS agents FROM agents
WHERE status = 'idle' AND running = 0 AND registered_at < $1
  AND id <> ALL(ARRAY(SELECT DISTINCT agent_id FROM attempts WHERE finished_at >= $1 AND agent_id IS NOT NULL))
GROUP BY pool
"""


@dataclass(frozen=True, slots=True)
class Account:
    """A budget's account of the present window. `rolling`: [start, now] moves along."""

    name: str
    key: str
    unit: str
    window: str
    limit: Decimal
    spent: Decimal
    reserved: Decimal
    start: datetime | None
    end: datetime | None
    rolling: bool


async def accounts(connection: HotConnection, tenant: str | None, now: datetime) -> list[Account]:
    """The most strained MAX_ACCOUNTS of all budgets, or of those that are about one tenant."""
    found = []
    for row in await connection.fetch(BUDGETS, now, tenant, MAX_ACCOUNTS):
        start = row["window_start"] or row["opened_at"]
        if row["rolling_s"] is not None and start is not None:
            start = max(row["opened_at"], now - timedelta(seconds=row["rolling_s"]))
        found.append(
            Account(
                row["name"],
                row["key"],
                row["unit"],
                row["window_kind"],
                row["limit"],
                row["spent"],
                row["reserved"],
                start,
                row["window_end"],
                row["window_kind"] == "rolling",
            )
        )
    return found


async def retries(connection: HotConnection, tenant: str | None, now: datetime) -> list[Retries] | None:
    """Counted second and later attempts of the last RETRIES_DAYS; None where counting them takes too long."""
    try:
        rows = await connection.fetch(RETRIES, now - timedelta(days=RETRIES_DAYS), tenant, timeout=LOOK_S)
    except TimeoutError:
        return None
    return [Retries(row["pool"], row["type"], row["attempts"], row["succeeded"], row["usd"]) for row in rows]


async def idle_agents(connection: HotConnection, now: datetime) -> dict[str, int] | None:
    """Agents by pool that are idle, were there a day ago, and had no attempt since; None where that takes too long."""
    try:
        rows = await connection.fetch(IDLE, now - timedelta(days=1), timeout=LOOK_S)
    except TimeoutError:
        return None
    return {row["pool"]: row["agents"] for row in rows}
