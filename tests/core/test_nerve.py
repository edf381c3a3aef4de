"""Redis as the nerve: away, frozen, back again; never an exception, never a long wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio as redis

from app.core.nerve import Nerve
from app.settings import RedisSettings
from tests.core.database import HandClock
from tests.core.redis_process import RedisProcess


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    process = RedisProcess(tmp_path)
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def nerve(server: RedisProcess, clock: HandClock) -> AsyncIterator[Nerve]:
    made = Nerve(RedisSettings(url=server.url, timeout_s=0.2, retry_after_s=0.1), clock)
    yield made
    await made.close()


async def ping(client: redis.Redis) -> bool:
    return bool(await client.ping())


async def test_an_answer_passes_through(nerve: Nerve) -> None:
    assert await nerve.run(ping) is True
    assert nerve.up


async def test_away_is_none_and_quick_and_asked_again_only_later(
    nerve: Nerve, server: RedisProcess, clock: HandClock
) -> None:
    assert await nerve.run(ping)
    server.kill()
    started = time.monotonic()
    assert await nerve.run(ping) is None
    assert time.monotonic() - started < 1.0
    assert not nerve.up
    server.start()
    assert await nerve.run(ping) is None, "within the pause nobody is asked"
    clock.forward(0.11)
    assert await nerve.run(ping) is True
    assert nerve.up


async def test_never_there_is_none_too(clock: HandClock, tmp_path: Path) -> None:
    nerve = Nerve(RedisSettings(url=RedisProcess(tmp_path).url, timeout_s=0.2), clock)
    assert await nerve.run(ping) is None
    await nerve.close()


async def test_frozen_costs_one_timeout_and_no_more(nerve: Nerve, server: RedisProcess, clock: HandClock) -> None:
    assert await nerve.run(ping)
    server.freeze()
    started = time.monotonic()
    assert await nerve.run(ping) is None
    for _ in range(100):
        assert await nerve.run(ping) is None
    assert time.monotonic() - started < 2.0
    server.thaw()
    clock.forward(1)
    assert await nerve.run(ping) is True


async def test_one_failure_is_enough_to_leave_every_dead_connection_behind(
    nerve: Nerve, server: RedisProcess, clock: HandClock
) -> None:
    async def pings(count: int) -> list[bool | None]:
        return list(await asyncio.gather(*(nerve.run(ping) for _ in range(count))))

    assert await pings(8) == [True] * 8
    server.kill()
    server.start()
    assert await nerve.run(ping) is None
    clock.forward(1)
    assert await pings(8) == [True] * 8


async def next_of(stream: AsyncIterator[tuple[str, bytes]]) -> tuple[str, bytes]:
    async with asyncio.timeout(10):
        return await anext(stream)


async def test_a_subscriber_is_told_of_each_connect_and_hears_again_after_a_restart(
    nerve: Nerve, server: RedisProcess, clock: HandClock
) -> None:
    stream = nerve.subscribe("a", "b")
    assert await next_of(stream) == ("", b"")
    await nerve.run(lambda client: client.publish("b", b"one"))
    assert await next_of(stream) == ("b", b"one")
    server.kill()
    again = asyncio.ensure_future(next_of(stream))
    while nerve.up:  # it has noticed
        await asyncio.sleep(0.005)
    server.start()
    assert await again == ("", b""), "something may have been missed"
    clock.forward(1)
    await nerve.run(lambda client: client.publish("a", b"two"))
    assert await next_of(stream) == ("a", b"two")
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_connection_cut_by_redis_counts_as_a_reconnect(nerve: Nerve, clock: HandClock) -> None:
    stream = nerve.subscribe("a")
    assert await next_of(stream) == ("", b"")
    kill = "CLIENT KILL TYPE pubsub"
    assert await nerve.run(lambda client: client.execute_command(kill)) == 1  # type: ignore[no-untyped-call]
    assert await next_of(stream) == ("", b"")
    await stream.aclose()  # type: ignore[attr-defined]


async def test_silence_is_not_a_fault(server: RedisProcess, clock: HandClock) -> None:
    nerve = Nerve(RedisSettings(url=server.url, timeout_s=0.05, retry_after_s=0.01), clock)
    stream = nerve.subscribe("a")
    assert await next_of(stream) == ("", b"")
    heard = asyncio.ensure_future(next_of(stream))
    done, _ = await asyncio.wait({heard}, timeout=0.4)  # eight times the timeout of a command
    assert not done
    await nerve.run(lambda client: client.publish("a", b"late"))
    assert await heard == ("a", b"late")
    await stream.aclose()  # type: ignore[attr-defined]
    await nerve.close()
