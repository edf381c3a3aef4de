"""Dispatch: tasks per second through the real service ÷ the hand-tuned loop, and processor time per 1,000 tasks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import asyncpg
import httpx

from scripts.bench import nginx
from scripts.bench.rig import Rig, service

COUNT = 10_000
SLOTS = 64
PAYLOAD = {"text": "x" * 180}


def submit(rig: Rig, pool: str, count: int) -> None:
    """Queue `count` tasks, a thousand a request."""
    with rig.client() as client:
        for first in range(0, count, 1000):
            batch = [{"pool": pool, "payload": PAYLOAD}] * min(1000, count - first)
            client.post("/v1/tasks/batch", json={"tasks": batch}).raise_for_status()


async def drained(database_url: str, pool: str) -> None:
    """Wait until no task of the pool is queued or running."""
    connection = await asyncpg.connect(database_url)
    left = "SELECT EXISTS (SELECT FROM tasks WHERE pool = $1 AND status IN ('queued', 'running'))"
    try:
        while await connection.fetchval(left, pool):
            await asyncio.sleep(0.02)
    finally:
        await connection.close()


def database_url(rig: Rig) -> str:
    """The embedded PostgreSQL's address, read from the service's own environment."""
    import psutil

    run = rig.folder / "data" / "run"
    found = psutil.Process(rig.service.pid).environ().get("YARD_DATABASE_URL")
    return found or f"postgresql://postgres@/yardmaster?host={run}&port=5432"


def once(rig: Rig, executor_url: str, name: str, count: int = COUNT) -> tuple[float, float]:
    """(tasks per second, CPU seconds per 1,000) to drain `count` queued tasks."""
    with rig.client() as client:
        body = {"slots": SLOTS, "input_schema": {"type": "object"}}
        client.put(f"/v1/pools/{name}", json=body).raise_for_status()
    submit(rig, name, count)
    time.sleep(1.0)
    cpu, started = rig.cpu_s(), time.monotonic()
    with rig.client() as client:
        agent = client.post("/v1/agents", json={"pool": name, "url": executor_url}).raise_for_status().json()
        client.post(f"/v1/agents/{agent['id']}/heartbeat", json={"status": "idle"}).raise_for_status()
        asyncio.run(drained(database_url(rig), name))
        elapsed = time.monotonic() - started
        used = rig.cpu_s() - cpu
        client.delete(f"/v1/agents/{agent['id']}").raise_for_status()
    return count / elapsed, used / count * 1000


def reference(rig: Rig, executor_url: str, count: int = COUNT) -> float:
    """The hand-tuned loop in a process of its own, on the same PostgreSQL."""
    code = (
        "import sys, uvloop; from scripts.bench.reference import run; "
        "print(uvloop.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3]))))"
    )
    command = [sys.executable, "-c", code, database_url(rig), executor_url, str(count)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(found.stdout)


def measure(rounds: int = 3) -> list[dict[str, float]]:
    """Interleaved rounds of reference and service."""
    found = []
    with service() as rig, nginx.executor() as url:
        httpx.get(url + "/health")
        once(rig, url, "warm-up", 2000)
        for number in range(rounds):
            reference_rate = reference(rig, url)
            rate, cpu = once(rig, url, f"bench-{number}")
            found.append(
                {
                    "reference_per_s": reference_rate,
                    "dispatch_per_s": rate,
                    "dispatch_ratio": rate / reference_rate,
                    "dispatch_cpu_s_per_1000": cpu,
                }
            )
    return found
