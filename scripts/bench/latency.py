"""Start latency: from POST /v1/tasks to the executor, and the round trip with `Prefer: wait`, at a steady rate."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import httpx

from scripts.bench import profile
from scripts.bench.rig import Rig, percentile, server, service
from scripts.bench.targets import at_most

TARGETS = {"start_p50_ms": at_most(5.0), "start_p99_ms": at_most(15.0)}

RATE_PER_S = 50
SECONDS = 10
WARM_UP = 100
ARRIVE_S = 10.0


async def _post(session: aiohttp.ClientSession, url: str, *, wait: bool) -> float:
    headers = {"Prefer": "wait=10"} if wait else {}
    started = time.monotonic()
    body = {"pool": "bench", "payload": {"sent": started, "text": "x" * 120}}
    async with session.post(f"{url}/v1/tasks", json=body, headers=headers) as response:
        await response.read()
        assert response.status == (200 if wait else 202), response.status
    return (time.monotonic() - started) * 1000


async def _steady(rig: Rig, count: int, *, wait: bool) -> list[float]:
    """Post `count` tasks at the rate, each at its own time whether or not the one before was answered."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {rig.key}"}) as session:
        posts, began = [], time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / RATE_PER_S - time.monotonic()))
            posts.append(asyncio.create_task(_post(session, rig.url, wait=wait)))
        return list(await asyncio.gather(*posts))


def _ages(executor_url: str, count: int) -> list[float]:
    """The ages of `count` tasks on arrival, once all are there."""
    ages: list[float] = []
    until = time.monotonic() + ARRIVE_S
    while len(ages) < count and time.monotonic() < until:
        ages += httpx.get(executor_url + "/stats").json()
        time.sleep(0.05)
    assert len(ages) == count, f"{len(ages)} of {count} tasks arrived"
    return ages


def measure(rounds: int = 3, seconds: int = SECONDS) -> list[dict[str, float]]:
    """Milliseconds: p50 and p99 of start latency and of the round trip, at 50 tasks/s."""
    found, count = [], RATE_PER_S * seconds
    with service() as rig, server("scripts.bench.executor") as executor_url:
        rig.define("bench", slots=64)
        rig.employ("bench", executor_url)
        asyncio.run(_steady(rig, WARM_UP, wait=True))
        for _ in range(rounds):
            httpx.get(executor_url + "/stats")
            with profile.profiled(rig, "latency"):
                asyncio.run(_steady(rig, count, wait=False))
            ages = _ages(executor_url, count)
            trips = asyncio.run(_steady(rig, count, wait=True))
            found.append(
                {
                    "start_p50_ms": percentile(ages, 0.5),
                    "start_p99_ms": percentile(ages, 0.99),
                    "round_trip_p50_ms": percentile(trips, 0.5),
                    "round_trip_p99_ms": percentile(trips, 0.99),
                }
            )
    return found
