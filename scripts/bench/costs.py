"""Costs: a report over 90 days from the roll-ups of 10 million rows of usage, and how long rolling them up takes.

The rows are made inside PostgreSQL: 20 tenants with five pools each, three models a pool, one attempt in ten failed,
one in fifty synthetic, one in a thousand without a price, evenly over 90 days. The roll-up is the service's own, run
here without its rests.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import asyncpg

from app.core.clock import Clock
from app.core.db import Database
from app.core.leader import Leader
from app.costs.rollup import RollupLoop, next_width
from app.settings import CostSettings, DatabaseSettings
from scripts.bench import rows
from scripts.bench.rig import Rig, percentile, service
from scripts.bench.targets import at_most

TARGETS = {"costs_report_ms": at_most(100.0)}

LOADING = {**rows.LOADING, "max_wal_size": "'1GB'"}
ROWS, DAYS, CALLS = 10_000_000, 90, 50
TENANTS, POOLS, MODELS = 20, 5, 3
CHUNK = 1_000_000

# $1, $2: first and last number; $3: how many there are; $4: days.
USAGE = f"""
INSERT INTO usage (task_id, fence, ordinal, tenant, pool, model, input_tokens, output_tokens, quantities, at, type,
  outcome, synthetic, cost_usd, price_version)
SELECT (lpad(to_hex(i), 12, '0') || '7' || substr(h, 1, 3) || '8' || substr(h, 5, 15))::uuid, 1, 0,
  'tenant-' || i % {TENANTS}, 'pool-' || (i % {TENANTS} + r % {POOLS}) % {TENANTS},
  'model-' || (i % {TENANTS} + r % {POOLS} + r / 64 % {MODELS}) % 8, 500 + r % 1000, 100 + r % 300, '{{}}',
  now() - make_interval(secs => $4::int * 86400 * (1.0 - i / $3::float8)), 'work',
  CASE WHEN r % 20 = 0 THEN 'failed' WHEN r % 20 = 1 THEN 'cancelled' ELSE 'succeeded' END, r % 50 = 2,
  CASE WHEN r % 1000 <> 3 THEN ((500 + r % 1000) * 25 + (100 + r % 300) * 100) / 10000000.0 END, 'bench'
FROM (SELECT i, md5(i::text) AS h, ('x' || substr(md5(i::text), 1, 7))::bit(28)::int AS r
      FROM generate_series($1::bigint, $2::bigint) i) made
"""


async def _load(rig: Rig, count: int) -> float:
    """Insert the rows, forget what was rolled up; the table's size in GB."""
    connection = await asyncpg.connect(rig.database_url)
    try:
        await rows.configure(connection, [f"SET {name} = {value}" for name, value in LOADING.items()])
        for first in range(0, count, CHUNK):
            await connection.execute(USAGE, first, min(count, first + CHUNK) - 1, count, DAYS)
        await connection.execute("VACUUM (ANALYZE) usage")
        await connection.execute("DELETE FROM usage_rolled")
        await rows.configure(connection, [f"RESET {name}" for name in LOADING])
        await connection.execute("CHECKPOINT")
        return float(await connection.fetchval("SELECT pg_total_relation_size('usage')")) / 1e9
    finally:
        await connection.close()


async def _roll(rig: Rig) -> dict[str, float]:
    """Roll all of it up; then once more, as the service does every few seconds."""
    db, clock = Database(DatabaseSettings(url=rig.database_url)), Clock()
    await db.start()
    try:
        rolling = RollupLoop(db, Leader(db, clock, "bench", "bench"), clock, CostSettings())
        began, longest = time.monotonic(), 0.0
        while True:
            started = time.monotonic()
            done = await rolling.roll()
            took_s = time.monotonic() - started
            longest = max(longest, took_s)
            rolling.width = next_width(rolling.width, took_s)
            if done is not None and not done.more:
                break
        whole_s = time.monotonic() - began
        started = time.monotonic()
        await rolling.roll()
        again_s = time.monotonic() - started
        async with db.read() as connection:
            await connection.execute("ANALYZE usage_days, usage_hours")
            counted = await connection.fetchval("SELECT count(*) FROM usage_days")
    finally:
        await db.stop()
    return {
        "costs_rollup_s": whole_s,
        "costs_rollup_longest_span_s": longest,
        "costs_rollup_again_ms": 1000 * again_s,
        "costs_days_rows": float(counted),
    }


def _report(rig: Rig, path: str) -> list[float]:
    """Milliseconds of each of CALLS calls, one after the other."""
    found = []
    with rig.client() as client:
        for number in range(CALLS + 3):
            started = time.monotonic()
            answer = client.get(path).raise_for_status()
            if number >= 3:
                found.append(1000 * (time.monotonic() - started))
        if "items" in answer.json():
            assert len(answer.json()["items"]) >= DAYS
    return found


def measure(rounds: int = 3, count: int = ROWS, data: Path | None = None) -> list[dict[str, float]]:
    """One load and one roll-up; the reports in rounds."""
    found = []
    with service(data=data, environment={"YARD_COSTS_INTERVAL_S": "86400"}) as rig:
        size_gb = asyncio.run(_load(rig, count))
        rolled = asyncio.run(_roll(rig))
        begin = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() - (DAYS - 1) * 86_400))
        day, model = (f"/v1/costs?group_by={group}&from={begin}" for group in ("day", "day,model"))
        for _ in range(rounds):
            calls = _report(rig, day)
            found.append(
                {
                    "costs_report_ms": percentile(calls, 0.5),
                    "costs_report_p95_ms": percentile(calls, 0.95),
                    "costs_report_by_model_ms": percentile(_report(rig, model), 0.5),
                    "costs_analysis_ms": percentile(_report(rig, "/v1/costs/analysis"), 0.5),
                    "costs_usage_rows": float(count),
                    "costs_usage_gb": size_gb,
                    **rolled,
                }
            )
    return found
