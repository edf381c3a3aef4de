"""Two managers: dispatch rate with `--workers 2` ÷ with 1, and which processes use the processor meanwhile.

Beside other busy processes the ratio flatters: two managers are given two shares of the processor.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import asyncpg

from scripts.bench import nginx
from scripts.bench.dispatch import COUNT, Drained, once
from scripts.bench.rig import Rig, service
from scripts.bench.targets import at_least

TARGETS = {"two_managers_ratio": at_least(1.5, " (with a free core)")}

SLOTS = 128
WARM_UP = 2_000
MOST_WARM_UPS = 20


async def _managers_of(database_url: str, pool: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(DISTINCT manager_id) FROM attempts WHERE pool = $1", pool))
    finally:
        await connection.close()


def _warm_up(rig: Rig, executor_url: str, workers: int, label: str, count: int) -> None:
    """Until all managers take part: a newcomer waits one lease before it uses its share."""
    for number in range(MOST_WARM_UPS):
        pool = f"warm-{label}-{number}"
        once(rig, executor_url, pool, count, SLOTS)
        if asyncio.run(_managers_of(rig.database_url, pool)) == workers:
            return
    raise RuntimeError(f"not all of the {workers} managers took part")


def _drain(data: Path, executor_url: str, workers: int, label: str, count: int) -> Drained:
    with service("--workers", str(workers), data=data) as rig:
        _warm_up(rig, executor_url, workers, label, min(count, WARM_UP))
        return once(rig, executor_url, f"managers-{label}", count, SLOTS)


def _by_kind(name: str, drained: Drained) -> dict[str, float]:
    found = {f"{name}_{kind}_cpu_s_per_1000": used for kind, used in drained.cpu_s_per_1000.items()}
    return {f"{name}_per_s": drained.rate_per_s, f"{name}_cores_used": drained.cpu / 1000 * drained.rate_per_s, **found}


def measure(rounds: int = 3, count: int = COUNT) -> list[dict[str, float]]:
    """Interleaved rounds; the service is started anew for each, on the data of the rounds before."""
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="yard-managers-", ignore_cleanup_errors=True) as name,
        nginx.executor() as url,
    ):
        for number in range(rounds):
            one = _drain(Path(name) / "one", url, 1, f"{number}", count)
            two = _drain(Path(name) / "two", url, 2, f"{number}", count)
            found.append(
                {
                    "cores": float(len(os.sched_getaffinity(0))),
                    "two_managers_ratio": two.rate_per_s / one.rate_per_s,
                    **_by_kind("one_manager", one),
                    **_by_kind("two_managers", two),
                }
            )
    return found
