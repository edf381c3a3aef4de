"""Outliers: which agents get nothing for a while because their attempts fail. Pure.

For every balancer that is not an `Ejector` itself; the ideas are those of Envoy's outlier detection. One `Outliers`
belongs to one pool in one manager. An agent is ejected when

- `consecutive` attempts in a row failed, or
- at least `min_requests` attempts ended lately, at least `failure_share` of them failed, and that is at least
  `excess_share` more than of the pool's other agents' attempts, or
- the first attempt begun after its return failed, unless `failure_share` of the others' attempts fail too.

Only outcomes that are counted, and failures only if they are the agent's fault, say anything. A pool that fails as a
whole has no outliers: besides the second rule's comparison, a run of failures ejects only if it is unlikely (at most
1 in 1,000) at the failure share of the others. "Lately" weighs an outcome by exp(-age / interval_s), so nothing
depends on where an interval begins.

    in ──ejected for min(base_s · ejections, max_s)──▶ out ──time is up──▶ on trial ──success──▶ in
                                                        ▲                      │
                                                        └─────── failure ──────┘

`ejections` falls by one for each base_s in since the trial or the last such fall. At most the whole part of
max_share · members are out at once, so that a pool of three or fewer ejects none; past that nobody is ejected, and
when the pool shrinks those who are due next return early. Attempts that began before an agent's return say nothing
about it afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from app.dispatch.balancers.base import Outcome
from app.settings import BalancerSettings

UNLIKELY = 0.001


class Ejection(NamedTuple):
    """For how many seconds an agent gets nothing, and why in a few words."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Limits:
    """The rules' numbers; the module's text says what each does, `BalancerSettings` what it may be."""

    consecutive: int = 5
    min_requests: int = 20
    interval_s: float = 30.0
    failure_share: float = 0.5
    excess_share: float = 0.25
    base_s: float = 30.0
    max_s: float = 300.0
    max_share: float = 0.30

    @classmethod
    def of(cls, settings: BalancerSettings) -> Self:
        """The limits that the settings say."""
        return cls(
            consecutive=settings.outlier_consecutive,
            min_requests=settings.outlier_min_requests,
            interval_s=settings.outlier_interval_s,
            failure_share=settings.outlier_failure_share,
            excess_share=settings.outlier_excess_share,
            base_s=settings.outlier_base_s,
            max_s=settings.outlier_max_s,
            max_share=settings.outlier_max_share,
        )


@dataclass(slots=True)
class Tally:
    """Attempts that ended lately and those of them that failed, as of `at`, falling by 1/e per `interval_s`."""

    attempts: float = 0.0
    failures: float = 0.0
    at: float = 0.0

    def add(self, attempts: float, failures: float, now: float, interval_s: float) -> None:
        """Bring up to `now` and add; what was taken out before may leave a rest below zero, which is cut."""
        kept = math.exp((self.at - now) / interval_s)
        self.attempts = max(self.attempts * kept + attempts, 0.0)
        self.failures = min(max(self.failures * kept + failures, 0.0), self.attempts)
        self.at = now


@dataclass(slots=True)
class Record:
    """What is known of one agent. `until` is the end of its last ejection, `forgiven_at` when `ejections` fell last."""

    recent: Tally
    run: int = 0
    until: float = -math.inf
    forgiven_at: float = -math.inf
    ejections: int = 0
    on_trial: bool = False
    reason: str = ""


class Steady:
    """Time that stands still while the caller's clock steps back, and goes on from there.

    `time`: seconds since the first `at`, as of the last one."""

    __slots__ = ("_last", "time")

    def __init__(self) -> None:
        self._last: float | None = None
        self.time = 0.0

    def at(self, now: float) -> float:
        """The `time` when the caller's clock says `now`, never less than before."""
        if self._last is not None:
            self.time += max(0.0, now - self._last)
        self._last = now
        return self.time


class Outliers:
    """See the module's text. Constant work an outcome, but for the rare ones that eject or release an agent.

    Tell it only of agents that are members. Memory is bounded by the largest `members` of late all the same: past
    that the record heard of longest ago is dropped.
    """

    def __init__(self, limits: Limits | BalancerSettings) -> None:
        self._limits = limits if isinstance(limits, Limits) else Limits.of(limits)
        self._steady = Steady()
        self._members = 0
        self._pool = Tally()
        self._records: dict[str, Record] = {}  # those heard of last come last
        self._out: dict[str, Record] = {}
        self._next_return = math.inf  # the least `until` in `_out`

    def finished(self, agent_id: str, outcome: Outcome, members: int, now: float) -> Ejection | None:
        """An attempt ended on one of the pool's `members` agents; the ejection if this one ejects it."""
        time = self._steady.at(now)
        self._release(time)
        self._resize(members)
        if not outcome.counted or not (outcome.ok or outcome.agents_fault):
            return None
        record = self._record(agent_id, time)
        if time - max(outcome.seconds, 0.0) < record.until:
            return None
        self._forgive(record, time)
        reason = self._learn(record, not outcome.ok, time)
        if reason is None or len(self._out) >= self._allowed():
            return None
        return self._eject(agent_id, record, reason, time)

    def ejected(self, now: float) -> Mapping[str, tuple[float, str]]:
        """Agent id → (seconds until it returns, the reason in a few words)."""
        time = self._steady.at(now)
        self._release(time)
        return {agent_id: (record.until - time, record.reason) for agent_id, record in self._out.items()}

    def left(self, agent_id: str) -> None:
        """The agent is no member any more; if it returns it is new."""
        self._records.pop(agent_id, None)
        self._out.pop(agent_id, None)
        self._resize(max(self._members - 1, 0))

    def _learn(self, record: Record, failed: bool, time: float) -> str | None:
        """Count one outcome; why the agent should be ejected, if it should."""
        interval_s = self._limits.interval_s
        record.recent.add(1, failed, time, interval_s)
        self._pool.add(1, failed, time, interval_s)
        if failed:
            record.run += 1
            return self._outlying(record, self._usual(record.recent))
        record.run = 0
        if record.on_trial:
            record.on_trial, record.forgiven_at = False, time
        return None

    def _usual(self, mine: Tally) -> float:
        """The failure share of the other agents' attempts lately; 0 where there were none."""
        attempts = self._pool.attempts - mine.attempts
        return min(max(self._pool.failures - mine.failures, 0.0) / attempts, 1.0) if attempts > 1e-6 else 0.0

    def _outlying(self, record: Record, usual: float) -> str | None:
        limits, mine = self._limits, record.recent
        if record.on_trial and usual < limits.failure_share:
            return "failed again after its return"
        if record.run >= limits.consecutive and usual ** min(record.run, 10_000) <= UNLIKELY:
            return f"{record.run} failures in a row"
        share = mine.failures / mine.attempts
        enough = mine.attempts >= limits.min_requests
        if enough and share >= limits.failure_share and share - usual >= limits.excess_share:
            return f"{share:.0%} of its attempts failed lately, {usual:.0%} of the others'"
        return None

    def _eject(self, agent_id: str, record: Record, reason: str, time: float) -> Ejection:
        limits = self._limits
        record.ejections += 1
        seconds = min(limits.base_s * record.ejections, limits.max_s)
        record.until = record.forgiven_at = time + seconds
        record.run, record.reason, record.on_trial = 0, reason, True
        self._pool.add(-record.recent.attempts, -record.recent.failures, time, limits.interval_s)
        record.recent = Tally(at=time)
        self._out[agent_id] = record
        self._next_return = min(self._next_return, record.until)
        return Ejection(seconds, reason)

    def _forgive(self, record: Record, time: float) -> None:
        """One ejection less for each whole base_s in; the time on trial does not count."""
        if record.ejections and not record.on_trial:
            periods = int((time - record.forgiven_at) / self._limits.base_s)
            record.forgiven_at += periods * self._limits.base_s
            record.ejections = max(record.ejections - periods, 0)

    def _release(self, time: float) -> None:
        """Let those return whose time is up."""
        if time >= self._next_return:
            self._out = {agent_id: record for agent_id, record in self._out.items() if record.until > time}
            self._find_next_return()

    def _resize(self, members: int) -> None:
        """Take over the number of members: keep no more of them out, and no more records, than that allows."""
        self._members = members
        if len(self._out) > self._allowed():
            due = sorted(self._out, key=lambda agent_id: self._out[agent_id].until)
            for agent_id in due[: len(self._out) - self._allowed()]:
                self._out.pop(agent_id).until = self._steady.time
            self._find_next_return()
        while len(self._records) > max(members, 1):
            del self._records[next(agent_id for agent_id in self._records if agent_id not in self._out)]

    def _find_next_return(self) -> None:
        self._next_return = min((record.until for record in self._out.values()), default=math.inf)

    def _allowed(self) -> int:
        return math.floor(self._limits.max_share * self._members + 1e-9)

    def _record(self, agent_id: str, time: float) -> Record:
        record = self._records.pop(agent_id, None) or Record(Tally(at=time))
        self._records[agent_id] = record
        return record
