"""Rates over a real Redis, without one, and over several managers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.auth.callers import Caller
from app.core.nerve import Nerve
from app.limits.gcra import Rate
from app.limits.rates import PREFIX, BurstExceeded, RateLimited, RateLimits
from app.limits.view import LimitsView
from app.settings import RedisSettings
from tests.core.database import HandClock
from tests.core.redis_process import RedisProcess
from tests.support.service import Backing

SLOW = 1 / 1000
"""Nothing comes back to a bucket of this rate while a test runs."""
CALLER = Caller("key1", "acme", frozenset({"tasks:write"}))


def limited(**rates: Rate) -> LimitsView:
    """A view that knows these, by kind; asks no database."""
    names = {"tenant": "acme", "key": "key1", "pool": "p", "other": "q"}
    view = LimitsView(None)  # type: ignore[arg-type]
    view.rates = {("pool" if kind == "other" else kind, names[kind]): rate for kind, rate in rates.items()}
    return view


@pytest.fixture
async def nerve(backing: Backing, clock: HandClock) -> AsyncIterator[Nerve]:
    made = Nerve(RedisSettings(url=backing.redis_url), clock)
    yield made
    await made.close()


async def refused(limits: RateLimits, counts: dict[str, int]) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        await limits.admit(CALLER, counts)
    return caught.value


async def keys(nerve: Nerve) -> list[bytes]:
    return list(await nerve.run(lambda client: client.keys(f"{PREFIX}*")) or [])


async def test_without_rates_redis_is_not_asked(clock: HandClock, tmp_path: Path) -> None:
    nerve = Nerve(RedisSettings(url=RedisProcess(tmp_path).url), clock)
    await RateLimits(limited(), nerve, clock, lambda: 1).admit(CALLER, {"p": 5})
    await RateLimits(limited(other=Rate(1, 1)), nerve, clock, lambda: 1).admit(CALLER, {"p": 5})
    assert nerve.up
    await nerve.close()


async def test_a_burst_passes_and_the_next_is_told_when(nerve: Nerve, clock: HandClock) -> None:
    limits = RateLimits(limited(tenant=Rate(SLOW, 5)), nerve, clock, lambda: 1)
    await limits.admit(CALLER, {"p": 3, "q": 2})
    problem = await refused(limits, {"p": 1})
    assert problem.status == 429
    assert problem.extra["limit"] == {"kind": "tenant", "name": "acme", "rate_per_s": SLOW, "burst": 5}
    assert problem.extra["retry_after_s"] == pytest.approx(1000, rel=0.05)
    assert 950 <= int(problem.headers["Retry-After"]) <= 1001


async def test_two_managers_share_one_bucket(nerve: Nerve, clock: HandClock) -> None:
    one, two = (RateLimits(limited(key=Rate(SLOW, 4)), nerve, clock, lambda: 2) for _ in range(2))
    for limits in (one, two, one, two):
        await limits.admit(CALLER, {"p": 1})
    await refused(one, {"p": 1})
    await refused(two, {"p": 1})


async def test_what_one_limit_refuses_consumes_nothing_of_the_others(nerve: Nerve, clock: HandClock) -> None:
    limits = RateLimits(limited(tenant=Rate(SLOW, 10), pool=Rate(SLOW, 1)), nerve, clock, lambda: 1)
    await limits.admit(CALLER, {"p": 1})
    for _ in range(5):
        assert (await refused(limits, {"p": 1, "q": 5})).extra["limit"]["kind"] == "pool"  # type: ignore[index]
    await limits.admit(CALLER, {"q": 9})
    assert (await refused(limits, {"q": 1})).extra["limit"]["kind"] == "tenant"  # type: ignore[index]


async def test_more_than_the_burst_never_passes_and_says_so(nerve: Nerve, clock: HandClock) -> None:
    limits = RateLimits(limited(pool=Rate(100.0, 10)), nerve, clock, lambda: 1)
    with pytest.raises(BurstExceeded) as caught:
        await limits.admit(CALLER, {"p": 11})
    assert (caught.value.status, caught.value.code) == (422, "burst_exceeded")
    assert await keys(nerve) == []


async def test_the_state_expires_when_the_bucket_is_full_again(nerve: Nerve, clock: HandClock) -> None:
    limits = RateLimits(limited(tenant=Rate(100_000.0, 5)), nerve, clock, lambda: 1)
    for _ in range(50):
        await limits.admit(CALLER, {"p": 1})
    limits = RateLimits(limited(tenant=Rate(SLOW, 5)), nerve, clock, lambda: 1)
    await limits.admit(CALLER, {"p": 2})
    (key,) = await keys(nerve)
    left_ms = await nerve.run(lambda client: client.pttl(key))
    assert left_ms is not None
    assert 1_900_000 < left_ms <= 2_000_100


async def test_while_redis_is_away_the_managers_allow_the_rate_together(clock: HandClock, tmp_path: Path) -> None:
    nerve = Nerve(RedisSettings(url=RedisProcess(tmp_path).url, timeout_s=0.2, retry_after_s=1e9), clock)
    managers = [RateLimits(limited(tenant=Rate(10.0, 20)), nerve, clock, lambda: 4) for _ in range(4)]
    for limits in managers:
        await limits.admit(CALLER, {"p": 20})  # a burst each, once
    passed = 0
    for _ in range(100):
        clock.forward(0.1)
        for limits in managers:
            try:
                await limits.admit(CALLER, {"p": 1})
                passed += 1
            except RateLimited as problem:
                assert float(str(problem.extra["retry_after_s"])) <= 0.4 + 1e-6
    assert passed == 100  # 10 s at 10 a second
    await nerve.close()


async def test_redis_comes_back_and_is_asked_again(clock: HandClock, tmp_path: Path) -> None:
    server = RedisProcess(tmp_path)
    nerve = Nerve(RedisSettings(url=server.url, timeout_s=0.5, retry_after_s=1.0), clock)
    limits = RateLimits(limited(tenant=Rate(SLOW, 2)), nerve, clock, lambda: 1)
    await limits.admit(CALLER, {"p": 2})
    await refused(limits, {"p": 1})
    server.start()
    try:
        clock.forward(1.1)
        await limits.admit(CALLER, {"p": 2})  # its script is not known to a new server, nor is the state
        await refused(limits, {"p": 1})
        assert nerve.up
    finally:
        server.kill()
        await nerve.close()
