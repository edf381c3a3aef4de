"""Waiting: what 10,000 tasks that wait for people and clocks cost the manager, and the claims beside them."""

from __future__ import annotations

import asyncio
import time

import asyncpg

from scripts.bench import nginx, profile
from scripts.bench.dispatch import WARM_UP, once, submit
from scripts.bench.rig import Rig, server, service
from scripts.bench.targets import at_least, at_most

TARGETS = {"waiting_uss_mb": at_most(50.0), "waiting_ratio": at_least(0.90), "waiting_cpu_ratio": at_most(1.10)}

COUNT, WAITING = 10_000, 10_000
SLOTS = 64
WAIT_S = 120.0
_WAITING = "SELECT count(*) FROM tasks WHERE pool = $1 AND status = 'waiting'"


async def _all_wait(database_url: str, pool: str, count: int) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(WAIT_S):
            while await connection.fetchval(_WAITING, pool) < count:
                await asyncio.sleep(0.1)
    finally:
        await connection.close()


def _suspend(rig: Rig, executor_url: str, count: int) -> float:
    """Make so many tasks wait; suspensions per second."""
    rig.define("waiting", slots=SLOTS)
    submit(rig, "waiting", count)
    began = time.monotonic()
    agent_id = rig.employ("waiting", executor_url)
    with profile.profiled(rig, "waiting"):
        asyncio.run(_all_wait(rig.database_url, "waiting", count))
    elapsed = time.monotonic() - began
    rig.dismiss(agent_id)
    return count / elapsed


async def _vacuum(database_url: str) -> None:
    """What was written before is cleared before the claims are measured: else autovacuum does it during one of them."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("VACUUM (ANALYZE) tasks, events, attempts")
    finally:
        await connection.close()


def measure(rounds: int = 3, waiting: int = WAITING, count: int = COUNT) -> list[dict[str, float]]:
    """Drain a pool, let tasks of another wait, drain a third: one service a round."""
    found = []
    with nginx.executor() as url, server("scripts.bench.suspender") as suspender_url:
        for _ in range(rounds):
            with service() as rig:
                once(rig, url, "warm-up", min(count, WARM_UP))
                _suspend_few(rig, suspender_url)
                asyncio.run(_vacuum(rig.database_url))
                before, empty = once(rig, url, "before", count), rig.memory_mb()
                suspended_per_s = _suspend(rig, suspender_url, waiting)
                full = rig.memory_mb()
                asyncio.run(_vacuum(rig.database_url))
                after = once(rig, url, "after", count)
            found.append(
                {
                    "waiting": float(waiting),
                    "waiting_uss_mb": full["uss"] - empty["uss"],
                    "waiting_ratio": after.rate_per_s / before.rate_per_s,
                    "waiting_cpu_ratio": after.cpu / before.cpu,
                    "waiting_before_per_s": before.rate_per_s,
                    "waiting_after_per_s": after.rate_per_s,
                    "suspended_per_s": suspended_per_s,
                }
            )
    return found


def _suspend_few(rig: Rig, executor_url: str) -> None:
    """What the first suspension ever loads is not counted."""
    rig.define("few", slots=1)
    submit(rig, "few", 10)
    agent_id = rig.employ("few", executor_url)
    asyncio.run(_all_wait(rig.database_url, "few", 10))
    rig.dismiss(agent_id)
