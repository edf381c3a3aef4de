"""Keeping submissions to their rates: GCRA over the tenant, the API key and the pools of a request, all or none.

Redis keeps the state, so that all managers share it, and its clock is the only one. While Redis is away each manager
keeps the same state in its own memory, at the k-th part of the rate where k managers live: together they still allow
no more than the rate. The burst is left whole, else a batch that is allowed would never pass: right after Redis is
lost each manager may allow one burst of its own, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

import redis.asyncio as redis
from prometheus_client import Counter

from app.auth.callers import Caller
from app.core.clock import Clock
from app.core.errors import Invalid, Problem
from app.core.nerve import Nerve
from app.limits.gcra import Rate, take_all
from app.limits.view import LimitsView

LIMITED = Counter("yard_rate_limited", "Submissions refused for a rate limit.", ["kind"])

# A common hash tag: a cluster runs a script only over keys of one slot.
PREFIX = "{yard:rate}"

# `gcra.take_all` in microseconds. The state expires when the bucket is full again, which is what its absence means.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local tats, longest, which = {}, 1, 0
for i = 1, #KEYS do
  local interval, burst, units = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local start = math.min(math.max(tonumber(redis.call('GET', KEYS[i]) or now), now), now + burst * interval)
  tats[i] = start + units * interval
  local wait = tats[i] - now - burst * interval
  if wait > longest then longest, which = wait, i end
end
if which > 0 then return {which, math.ceil(longest)} end
for i = 1, #KEYS do
  redis.call('SET', KEYS[i], string.format('%.3f', tats[i]), 'PX', math.ceil((tats[i] - now) / 1000) + 1)
end
return {0, 0}
"""


class RateLimited(Problem):
    """A rate is used up. `extra["limit"]` says which, `extra["retry_after_s"]` when it goes on."""

    status, code, title = 429, "rate_limited", "Too many requests"


class BurstExceeded(Invalid):
    """More at once than the limit ever allows: waiting would not help."""

    code, title = "burst_exceeded", "More tasks at once than the limit allows"


type Charge = tuple[tuple[str, str], Rate, int]
"""A limit's (kind, name), its rate, and the units asked of it."""


class RateLimits:
    """`admit` before anything is written. Without rates it asks nobody."""

    def __init__(self, view: LimitsView, nerve: Nerve, clock: Clock, managers: Callable[[], int]) -> None:
        self._view, self._nerve, self._clock, self._managers = view, nerve, clock, managers
        self._script: Any = None
        self._tats: dict[tuple[str, str], float] = {}

    async def admit(self, caller: Caller, counts: Mapping[str, int]) -> None:
        """Let so many tasks by pool pass, or raise RateLimited or BurstExceeded: then nothing was consumed."""
        if not self._view.rates:
            return
        charges = self._charges(caller, counts)
        if not charges:
            return
        for limit, rate, units in charges:
            if units > rate.burst:
                left_s = self._view.left_s.get(limit)
                # What is too much only for a while is no mistake of the caller's.
                raise _too_many(limit, rate, units) if left_s is None else _limited(limit, rate, left_s)
        refused = await self._nerve.run(lambda client: self._ask(client, charges))
        which, wait_s = self._ask_here(charges) if refused is None else refused
        if which is not None:
            limit, rate, _ = charges[which]
            LIMITED.labels(limit[0]).inc()
            raise _limited(limit, rate, wait_s)

    def _charges(self, caller: Caller, counts: Mapping[str, int]) -> list[Charge]:
        rates, total = self._view.rates, sum(counts.values())
        asked = [(("tenant", caller.tenant), total), (("key", caller.id), total)]
        asked += [(("pool", pool), count) for pool, count in counts.items()]
        return [(limit, rates[limit], units) for limit, units in asked if units and limit in rates]

    async def _ask(self, client: redis.Redis, charges: list[Charge]) -> tuple[int | None, float]:
        if self._script is None:
            self._script = client.register_script(SCRIPT)
        keys = [f"{PREFIX}:{kind}:{name}" for (kind, name), _, _ in charges]
        arguments = [value for _, rate, units in charges for value in (repr(rate.interval_s * 1e6), rate.burst, units)]
        which, wait_us = await self._script(keys=keys, args=arguments)
        return (int(which) - 1 if which else None), int(wait_us) / 1e6

    def _ask_here(self, charges: list[Charge]) -> tuple[int | None, float]:
        """The same in this manager's memory. Limits that are gone are forgotten, so it holds no more than there are."""
        share = max(1, self._managers())
        now = self._clock.monotonic()
        self._tats = {limit: tat for limit, tat in self._tats.items() if limit in self._view.rates}
        asked = [
            (self._tats.get(limit, now), Rate(rate.per_s / share, rate.burst), units) for limit, rate, units in charges
        ]
        tats, which, wait_s = take_all(asked, now)
        self._tats.update(zip((limit for limit, _, _ in charges), tats, strict=True))
        return which, wait_s


def _named(limit: tuple[str, str], rate: Rate) -> dict[str, object]:
    return {"kind": limit[0], "name": limit[1], "rate_per_s": rate.per_s, "burst": rate.burst}


def _limited(limit: tuple[str, str], rate: Rate, wait_s: float) -> RateLimited:
    return RateLimited(
        f"The {limit[0]} {limit[1]!r} may submit {rate.per_s:g} tasks a second ({rate.burst} at once).",
        headers={"Retry-After": str(max(1, ceil(wait_s)))},
        extra={"limit": _named(limit, rate), "retry_after_s": round(wait_s, 6)},
    )


def _too_many(limit: tuple[str, str], rate: Rate, units: int) -> BurstExceeded:
    return BurstExceeded(
        f"{units} tasks at once never pass: the {limit[0]} {limit[1]!r} may submit {rate.burst} at once. "
        "Send smaller batches.",
        extra={"limit": _named(limit, rate)},
    )
