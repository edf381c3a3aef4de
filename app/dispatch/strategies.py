"""One balancer a pool, and the agents that its results eject."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from app.core.clock import Clock
from app.dispatch.balancers import registry as balancers
from app.dispatch.balancers.base import AgentView, Ejector, Learner, Offer, Outcome, TaskView
from app.dispatch.balancers.guarded import Guarded
from app.dispatch.outliers import Ejection, Outliers
from app.dispatch.telemetry import BALANCER_ERRORS, DEFERRED
from app.registry.records import PoolRecord
from app.settings import BalancerSettings

log = structlog.get_logger()

FALLBACK = "least_connections"


@dataclass(slots=True, eq=False)
class Strategy:
    """A pool's balancer as it runs here. `name` is what was asked for, `runs` what was built (another where this
    release does not know the name). `outliers` is None where the balancer ejects by itself."""

    name: str
    runs: str
    guarded: Guarded
    outliers: Outliers | None
    members: set[str]
    learner: Learner | None
    deferrals: int = 0
    results: int = 0

    def ejected(self, now: float) -> Mapping[str, tuple[float, str]]:
        """Agent id → (seconds left, reason)."""
        if self.outliers is not None:
            return self.outliers.ejected(now)
        balancer = self.guarded.balancer
        return (
            self._asked(lambda: self._members_of(balancer.ejected(now)) if isinstance(balancer, Ejector) else {}) or {}
        )

    def _members_of(self, ejected: Mapping[str, tuple[float, str]]) -> Mapping[str, tuple[float, str]]:
        """What the balancer says of agents that it knows of; raises whatever nonsense leads to."""
        said = ((agent_id, float(left_s), str(reason)) for agent_id, (left_s, reason) in ejected.items())
        return {
            agent_id: (left_s, reason)
            for agent_id, left_s, reason in said
            if agent_id in self.members and math.isfinite(left_s)
        }

    def summary(self, now: float) -> bytes | None:
        """What to share, as JSON; None of a balancer that does not learn, or that failed to say."""
        learner = self.learner
        return None if learner is None else self._asked(lambda: orjson.dumps(learner.summary(now)))

    def merge(self, summaries: Sequence[Mapping[str, Any]], now: float) -> None:
        """What the other managers share."""
        learner = self.learner
        if learner is not None:
            self._asked(lambda: learner.merge(summaries, now))

    def shown(self, now: float) -> tuple[dict[str, Any], Sequence[Mapping[str, Any]]]:
        """What it has learned and its last choices, for people; nothing of a balancer that does not learn."""
        learner = self.learner
        if learner is None:
            return {}, ()
        return self._asked(lambda: _shown(learner, now)) or ({}, ())

    def _asked[T](self, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except Exception as exc:  # any code may be behind the seam; sharing and showing must not end dispatch
            self.guarded.failed("notify_raised", exc)
            return None


class Strategies:
    """Builds each pool's balancer, tells it what happens, asks it. `on_ejected(agent_id, seconds)` is called when a
    balancer that does not eject by itself must get an agent offered no more for a while, `on_readmitted(agent_id)` when
    that ends early."""

    def __init__(
        self,
        clock: Clock,
        settings: BalancerSettings,
        on_ejected: Callable[[str, float], None],
        on_readmitted: Callable[[str], None] = lambda _agent_id: None,
    ) -> None:
        self._clock, self._settings = clock, settings
        self._on_ejected, self._on_readmitted = on_ejected, on_readmitted
        self._rng = random.Random()  # noqa: S311 - a spread, not a secret
        self.pools: dict[str, Strategy] = {}

    def follow(self, pools: Mapping[str, PoolRecord]) -> None:
        """Have a balancer for each of these pools and for no other. One that is new knows no agent yet."""
        for name in self.pools.keys() - pools.keys():
            del self.pools[name]
        for pool in pools.values():
            running = self.pools.get(pool.name)
            if running is None or running.name != pool.balancer:
                self.pools[pool.name] = self._build(pool)

    def _build(self, pool: PoolRecord) -> Strategy:
        def on_error(reason: str, exc: Exception | None) -> None:
            BALANCER_ERRORS.labels(pool.name, reason).inc()
            log.warning("balancer_failed", pool=pool.name, balancer=pool.balancer, reason=reason, error=repr(exc))

        rng = random.Random(self._rng.random())  # noqa: S311
        runs = pool.balancer
        try:
            built = balancers.build(runs, rng, self._params(runs))
        except Exception as exc:  # a strategy that another release has, or whose factory fails: tasks must go on
            on_error("unknown_strategy" if isinstance(exc, balancers.UnknownBalancer) else "build_raised", exc)
            runs = FALLBACK
            built = balancers.build(runs, rng)
        outliers = None if isinstance(built, Ejector) else Outliers(self._settings)
        learner = built if isinstance(built, Learner) else None
        return Strategy(pool.balancer, runs, Guarded(built, on_error), outliers, set(), learner)

    def _params(self, name: str) -> Mapping[str, object]:
        return self._settings.score_params() if name == "weighted_score" else balancers.NO_PARAMS

    def joined(self, pool: str, agent: AgentView) -> None:
        strategy = self.pools[pool]
        strategy.members.add(agent.id)
        strategy.guarded.joined(agent, self._clock.monotonic())

    def left(self, pool: str, agent_id: str) -> None:
        strategy = self.pools.get(pool)
        if strategy is not None and agent_id in strategy.members:
            strategy.members.discard(agent_id)
            strategy.guarded.left(agent_id, self._clock.monotonic())
            if strategy.outliers is not None:
                self._shrink(strategy.outliers, agent_id)

    def _shrink(self, outliers: Outliers, agent_id: str) -> None:
        """A smaller pool may have fewer of its agents out."""
        now = self._clock.monotonic()
        out = outliers.ejected(now).keys() - {agent_id}
        outliers.left(agent_id)
        for readmitted in out - outliers.ejected(now).keys():
            self._on_readmitted(readmitted)

    def choose(self, pool: str, task: TaskView, offer: Offer) -> str | None:
        strategy = self.pools.get(pool)
        if strategy is None:
            return None
        chosen = strategy.guarded.choose(task, offer, self._clock.monotonic())
        if chosen is None:
            strategy.deferrals += 1
            DEFERRED.labels(pool).inc()
        return chosen

    def started(self, pool: str, agent_id: str, task: TaskView) -> None:
        strategy = self.pools.get(pool)
        if strategy is not None:
            strategy.guarded.started(agent_id, task, self._clock.monotonic())

    def finished(self, pool: str, agent_id: str, task: TaskView, outcome: Outcome) -> None:
        strategy = self.pools.get(pool)
        if strategy is None:
            return
        now = self._clock.monotonic()
        strategy.results += 1
        strategy.guarded.finished(agent_id, task, outcome, now)
        if strategy.outliers is not None and agent_id in strategy.members:
            ejection = strategy.outliers.finished(agent_id, outcome, len(strategy.members), now)
            if ejection is not None:
                self._eject(pool, agent_id, ejection)

    def replay(self, pool: str, agent_id: str, task: TaskView, outcome: Outcome, at: float) -> None:
        """An attempt of the past (`at`, monotonic seconds), oldest first: it teaches, and ejects nobody."""
        strategy = self.pools.get(pool)
        if strategy is not None and strategy.learner is not None and agent_id in strategy.members:
            strategy.guarded.finished(agent_id, task, outcome, at)

    def _eject(self, pool: str, agent_id: str, ejection: Ejection) -> None:
        log.warning(
            "agent_ejected", pool=pool, agent_id=agent_id, seconds=round(ejection.seconds, 1), reason=ejection.reason
        )
        self._on_ejected(agent_id, ejection.seconds)


def _shown(learner: Learner, now: float) -> tuple[dict[str, Any], Sequence[Mapping[str, Any]]]:
    learned = learner.learned(now)
    agents = {agent_id: dict(known) for agent_id, known in learned.get("agents", {}).items()}
    shown = {"agents": agents, "types": dict(learned.get("types", {}))}
    choices = [dict(choice) for choice in learner.last_choices()]
    orjson.dumps([shown, choices])  # what cannot be sent is found here, not in the answer
    return shown, choices
