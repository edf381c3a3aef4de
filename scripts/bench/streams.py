"""Streams: what 1,000 subscribers cost to whom nothing is sent but pings."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import cast

from scripts.bench import load, profile
from scripts.bench.rig import Rig, raise_file_limit, service
from scripts.bench.targets import at_most

TARGETS = {"streams_uss_mb": at_most(50.0), "streams_rss_mb": at_most(50.0)}

STREAMS = 1_000
TASKS = 100
SECONDS = 20.0
OPEN_S = 60.0
AT_ONCE = 50


class _Subscriber(asyncio.Protocol):
    """Reads a stream and remembers only that its snapshot came."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.begun = asyncio.Event()
        self.ended = False
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self.begun.is_set():
            self._head += data
            if b"event: snapshot" in self._head:
                self.begun.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True


async def _subscribe(rig: Rig, task_ids: list[str], count: int) -> list[_Subscriber]:
    """Open `count` streams, spread over the tasks; each has had its snapshot."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(task_id: str) -> _Subscriber:
        async with gate:
            loop = asyncio.get_running_loop()
            transport, subscriber = await loop.create_connection(_Subscriber, "127.0.0.1", rig.port)
            transport.write(load.request("GET", f"/v1/tasks/{task_id}/events", rig.key))
            await subscriber.begun.wait()
            return subscriber

    async with asyncio.timeout(OPEN_S):
        return list(await asyncio.gather(*(one(task_ids[number % len(task_ids)]) for number in range(count))))


def _close(subscribers: list[_Subscriber]) -> None:
    for subscriber in subscribers:
        assert subscriber.transport is not None
        subscriber.transport.close()


async def _cpu_share(rig: Rig, seconds: float) -> dict[str, float]:
    before, began = rig.cpu_by_kind(), time.monotonic()
    await asyncio.sleep(seconds)
    used, elapsed = rig.cpu_by_kind() - before, time.monotonic() - began
    return {"manager": used["manager"] / elapsed, "all": sum(used.values()) / elapsed}


async def _round(rig: Rig, task_ids: list[str], count: int, seconds: float) -> dict[str, float]:
    idle, empty = await _cpu_share(rig, seconds), rig.memory_mb()
    began = time.monotonic()
    subscribers = await _subscribe(rig, task_ids, count)
    opened_s = time.monotonic() - began
    with profile.profiled(rig, "streams"):
        busy, full = await _cpu_share(rig, seconds), rig.memory_mb()
    lost = sum(subscriber.ended for subscriber in subscribers)
    assert lost == 0, f"{lost} of {count} streams ended early"
    _close(subscribers)
    return {
        "streams": float(count),
        "streams_uss_mb": full["uss"] - empty["uss"],
        "streams_rss_mb": full["rss"] - empty["rss"],
        "streams_base_uss_mb": empty["uss"],
        "streams_cpu_share": busy["all"] - idle["all"],
        "streams_manager_cpu_share": busy["manager"] - idle["manager"],
        "streams_open_s": opened_s,
    }


async def _measure(rounds: int, count: int, seconds: float) -> list[dict[str, float]]:
    found = []
    for _ in range(rounds):
        # A manager of its own for each round: memory that the first round took is there for the second.
        with contextlib.ExitStack() as stack:
            rig = stack.enter_context(service())
            rig.define("streams", slots=1)
            with rig.client() as client:
                tasks = [{"pool": "streams", "payload": {"n": number}} for number in range(TASKS)]
                accepted = client.post("/v1/tasks/batch", json={"tasks": tasks}).raise_for_status().json()["tasks"]
            task_ids = [task["id"] for task in accepted]
            _close(await _subscribe(rig, task_ids, 10))  # what the first stream ever loads is not counted
            found.append(await _round(rig, task_ids, count, seconds))
    return found


def measure(rounds: int = 3, count: int = STREAMS, seconds: float = SECONDS) -> list[dict[str, float]]:
    """Megabytes (10^6) by which the manager grew, and shares of one core less the idle share just before."""
    raise_file_limit()
    return asyncio.run(_measure(rounds, count, seconds))
