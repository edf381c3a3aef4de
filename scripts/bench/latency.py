"""Start latency: from POST /v1/tasks to the executor, and the round trip with `Prefer: wait`, at a steady rate."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import httpx

from scripts.bench.rig import Rig, executor, percentile, service

RATE_PER_S = 50
SECONDS = 10
WARM_UP = 100


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


def measure() -> dict[str, float]:
    """Milliseconds: p50 and p99 of start latency and of the round trip, at 50 tasks/s."""
    with service() as rig, executor() as executor_url:
        rig.pool("bench", executor_url, slots=64)
        asyncio.run(_steady(rig, WARM_UP, wait=True))
        httpx.get(executor_url + "/stats")
        asyncio.run(_steady(rig, RATE_PER_S * SECONDS, wait=False))
        time.sleep(0.5)
        ages = httpx.get(executor_url + "/stats").json()
        trips = asyncio.run(_steady(rig, RATE_PER_S * SECONDS, wait=True))
    assert len(ages) == RATE_PER_S * SECONDS, len(ages)
    return {
        "start_p50_ms": percentile(ages, 0.5),
        "start_p99_ms": percentile(ages, 0.99),
        "round_trip_p50_ms": percentile(trips, 0.5),
        "round_trip_p99_ms": percentile(trips, 0.99),
    }
