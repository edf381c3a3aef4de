"""Backlog: dispatch rate beside many queued tasks, and beside a long history, ÷ the rate beside almost nothing.

Three databases: `light` (1,000 queued tasks), `deep` (1 M queued over 200 tenants and 50 pools), `old` (1,000 queued
and 10 M finished). Each round starts the service on each of them in turn and drains a pool of its own there.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from scripts.bench import nginx, rows
from scripts.bench.dispatch import WARM_UP, Drained, once
from scripts.bench.rig import service
from scripts.bench.targets import at_least

TARGETS = {"backlog_ratio": at_least(0.90), "history_ratio": at_least(0.90)}

BACKLOG, HISTORY, LITTLE = 1_000_000, 10_000_000, 1_000
DRAINED = 50_000
"""Enough for several seconds: what a service does once after its start (counts, cold caches) is not the rate."""


def _prepare(data: Path, queued: int, finished: int) -> float:
    """A database with so many tasks in it; its size in GB."""
    with service(data=data) as rig:
        for number in range(rows.POOLS):
            rig.define(f"backlog-{number}", slots=1)
        return asyncio.run(rows.load(rig.database_url, queued=queued, finished=finished))


def _drain(data: Path, executor_url: str, number: int, count: int) -> Drained:
    with service(data=data) as rig:
        once(rig, executor_url, f"warm-{number}", min(count, WARM_UP))
        return once(rig, executor_url, f"{data.name}-{number}", count)


def measure(
    rounds: int = 3, backlog: int = BACKLOG, history: int = HISTORY, count: int = DRAINED
) -> list[dict[str, float]]:
    """Interleaved rounds over the three databases."""
    found = []
    states = {"light": (LITTLE, 0), "deep": (backlog, 0), "old": (LITTLE, history)}
    with (
        tempfile.TemporaryDirectory(prefix="yard-backlog-", ignore_cleanup_errors=True) as name,
        nginx.executor() as url,
    ):
        sizes = {state: _prepare(Path(name) / state, *counts) for state, counts in states.items()}
        for number in range(rounds):
            light, deep, old = (_drain(Path(name) / state, url, number, count) for state in states)
            row = {
                "backlog_ratio": deep.rate_per_s / light.rate_per_s,
                "history_ratio": old.rate_per_s / light.rate_per_s,
                "backlog_queued": float(backlog),
                "history_finished": float(history),
                "backlog_gb": sizes["deep"],
                "history_gb": sizes["old"],
            }
            for state, ours in (("light", light), ("backlog", deep), ("history", old)):
                row[f"{state}_per_s"] = ours.rate_per_s
                row[f"{state}_cpu_s_per_1000"] = ours.cpu
                row[f"{state}_postgres_cpu_s_per_1000"] = ours.cpu_s_per_1000.get("postgres", 0.0)
            found.append(row)
    return found
