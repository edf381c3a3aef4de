"""What attempts cost that were broken off, and the reservations they left."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from app.core.db import HotConnection
from app.tasks import moves_sql as moves
from app.tasks.queue import UsageRow


@dataclass(frozen=True, slots=True)
class Spent:
    """What an attempt used that was broken off, and how (`outcome`). `accounts`: those it held money in.

    `ended`: the agent was told to stop. Otherwise a later attempt may have joined its run, and tells it all again.
    """

    task_id: UUID
    fence: int
    tenant: str
    pool: str
    usage: Sequence[UsageRow]
    outcome: str
    ended: bool
    accounts: Collection[UUID] = ()


async def spend(connection: HotConnection, spent: Spent) -> None:
    """Write usage and book it, unless it is known already; what the attempt still holds is given back."""
    await connection.execute(
        moves.SPEND,
        spent.task_id,
        spent.fence,
        spent.tenant,
        spent.pool,
        [row.model for row in spent.usage],
        [row.input_tokens for row in spent.usage],
        [row.output_tokens for row in spent.usage],
        [row.quantities for row in spent.usage],
        spent.ended,
        spent.outcome,
        [row.cost_usd for row in spent.usage],
        [row.price_version for row in spent.usage],
        list(spent.accounts),
    )


async def give_back(connection: HotConnection, age_s: float, limit: int) -> int:
    """End the reservations of attempts that were broken off so long ago: how many tasks had some."""
    return int(await connection.fetchval(moves.ORPHANED, age_s, limit))


async def recost(connection: HotConnection, deltas: Mapping[UUID, Decimal]) -> None:
    """What tasks cost more (or less) by a price that was put right. In key order, as all that lock tasks."""
    await connection.execute(moves.RECOST, sorted(deltas), [deltas[task_id] for task_id in sorted(deltas)])
