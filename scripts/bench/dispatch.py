"""Dispatch: tasks per second through the real service ÷ the hand-tuned loop, and processor time per 1,000 tasks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass

import asyncpg

from scripts.bench import nginx, profile
from scripts.bench.rig import Rig, service
from scripts.bench.targets import at_least, at_most

TARGETS = {"dispatch_ratio": at_least(0.40, " (aim 0.50)"), "dispatch_cpu_s_per_1000": at_most(0.9)}

COUNT = 10_000
WARM_UP = 2_000
SLOTS = 64
PAYLOAD = {"text": "x" * 180}
SETTLE_S = 1.0

# Read by the partial indexes of what is queued and what runs: however many are finished, asking costs nothing.
_LEFT = """
SELECT EXISTS (SELECT FROM tasks WHERE status = 'queued' AND wake_at IS NULL AND pinned_agent_id IS NULL AND pool = $1)
  OR EXISTS (SELECT FROM tasks WHERE status = 'running' AND pool = $1)
"""


@dataclass(frozen=True, slots=True)
class Drained:
    """Tasks per second, and CPU seconds per 1,000 tasks by kind of process."""

    rate_per_s: float
    cpu_s_per_1000: dict[str, float]

    @property
    def cpu(self) -> float:
        return sum(self.cpu_s_per_1000.values())


def submit(rig: Rig, pool: str, count: int) -> None:
    """Queue `count` tasks, a thousand a request."""
    with rig.client() as client:
        for first in range(0, count, 1000):
            batch = [{"pool": pool, "payload": PAYLOAD}] * min(1000, count - first)
            client.post("/v1/tasks/batch", json={"tasks": batch}).raise_for_status()


async def drained(database_url: str, pool: str) -> None:
    """Wait until no task of the pool is queued or running."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET enable_seqscan = off")
        while await connection.fetchval(_LEFT, pool):
            await asyncio.sleep(0.02)
    finally:
        await connection.close()


def once(rig: Rig, executor_url: str, name: str, count: int = COUNT, slots: int = SLOTS) -> Drained:
    """Drain `count` queued tasks of a new pool by one agent with `slots` slots."""
    rig.define(name, slots=slots)
    submit(rig, name, count)
    time.sleep(SETTLE_S)
    cpu, started = rig.cpu_by_kind(), time.monotonic()
    with profile.profiled(rig, name):
        agent_id = rig.employ(name, executor_url)
        asyncio.run(drained(rig.database_url, name))
        elapsed = time.monotonic() - started
        used = rig.cpu_by_kind() - cpu
    rig.dismiss(agent_id)
    return Drained(count / elapsed, {kind: seconds / count * 1000 for kind, seconds in used.items()})


def reference(rig: Rig, executor_url: str, count: int = COUNT) -> float:
    """Tasks per second of the hand-tuned loop in a process of its own, on the same PostgreSQL."""
    code = (
        "import sys, uvloop; from scripts.bench.reference import run; "
        "print(uvloop.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3]))))"
    )
    command = [sys.executable, "-c", code, rig.database_url, executor_url, str(count)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(found.stdout)


def measure(rounds: int = 3, count: int = COUNT) -> list[dict[str, float]]:
    """Interleaved rounds of reference and service."""
    found = []
    with service() as rig, nginx.executor() as url:
        once(rig, url, "warm-up", min(count, WARM_UP))
        for number in range(rounds):
            reference_rate = reference(rig, url, count)
            ours = once(rig, url, f"dispatch-{number}", count)
            found.append(
                {
                    "reference_per_s": reference_rate,
                    "dispatch_per_s": ours.rate_per_s,
                    "dispatch_ratio": ours.rate_per_s / reference_rate,
                    "dispatch_cpu_s_per_1000": ours.cpu,
                    **{f"dispatch_{kind}_cpu_s_per_1000": used for kind, used in ours.cpu_s_per_1000.items()},
                }
            )
    return found
