"""Room under concurrency keys: which keyed tasks may be claimed.

A task with a `concurrency_key` waits with `wake_at = infinity` until it is admitted. What is claimable or running under
a key is counted from the rows themselves, so a crash cannot keep a place; and only `admit` adds to it, one at a time
for all managers, so the limit holds. The limit is the pool's, else the tenant's; without one all are admitted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from app.core.db import HotConnection
from app.tasks import waits_sql as sql
from app.tasks.queue import Key

LOCK = "SELECT pg_advisory_xact_lock(hashtext('yardmaster-admission'))"
BATCH = 1000


async def lock(connection: HotConnection) -> None:
    """Until the transaction ends nobody else admits. Taken before any row is locked."""
    await connection.execute(LOCK)


async def admit(
    connection: HotConnection, keys: Collection[Key] | None = None, limit: int = BATCH
) -> Mapping[str, bool]:
    """Make tasks claimable where there is room under these keys, or (None) all: the pools, and whether some are pinned
    to an agent."""
    named: tuple[list[str] | None, ...] = (None, None, None)
    if keys is not None:
        named = tuple([key[place] for key in keys] for place in range(3))
    async with connection.transaction():
        await lock(connection)
        rows = await connection.fetch(sql.ADMIT, limit, *named)
    pools: dict[str, bool] = {}
    for row in rows:
        pools[row["pool"]] = pools.get(row["pool"], False) or row["pinned"]
    return pools


async def under_keys(
    connection: HotConnection, tenant: str, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], list[UUID]]:
    """The open tasks under each (pool, key), oldest first."""
    rows = await connection.fetch(sql.UNDER_KEYS, tenant, [pool for pool, _ in keys], [key for _, key in keys])
    found: dict[tuple[str, str], list[UUID]] = {}
    for row in rows:
        found.setdefault((row["pool"], row["concurrency_key"]), []).append(row["id"])
    return found
