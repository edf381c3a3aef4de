"""The autoscale loop: one leader measures every pool, decides how many replicas it needs, and keeps why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import orjson
import structlog
import uuid_utils
from prometheus_client import Gauge

from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.core.http import DATABASE_AWAY
from app.core.leader import Leader
from app.core.loop import LOOP_ERRORS
from app.registry import sizes
from app.registry.records import PoolRecord
from app.registry.view import RegistryView
from app.scaling import forecast, queries, raised
from app.scaling.decide import decide
from app.scaling.decision import Decision, Demand
from app.scaling.demand import Counts, Ended
from app.scaling.policy import ScalePolicy
from app.scaling.queries import Kept
from app.scaling.state import State, Usage
from app.settings import KubernetesSettings, ScalingSettings

log = structlog.get_logger()

FROZEN = "frozen"

REST = 20.0
"""So many times as long as counting took it rests at least: counting millions of queued tasks takes a second."""
LONGEST_GAP = timedelta(minutes=5)
"""What ended longer ago than this, while nobody measured, is not counted."""
USAGE_EVERY_S, USAGE_OF = 60.0, timedelta(hours=1)
FORGET_EVERY_S = 3600.0
HINT_EVERY_S = 1.0
NOTE_EVERY_S = 60.0
"""A decision that changes no size, but whose rule is another, is noted so often: rules alternate in a steady stream."""
QUIET_S = 15.0
"""Of a pool in which nothing happens, a pass is written so often."""

DESIRED = Gauge("yard_pool_desired_replicas", "Replicas wanted.", ["pool"])
READY = Gauge("yard_pool_ready_replicas", "Agents that may be given tasks.", ["pool"])
RECOMMENDED = Gauge("yard_pool_recommended_replicas", "Replicas that the load alone asks for.", ["pool"])
FROZEN_POOLS = Gauge("yard_scaling_frozen", "1 while a pool's size is not judged, for want of numbers.", ["pool"])
GAUGES = (DESIRED, READY, RECOMMENDED, FROZEN_POOLS)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one snapshot of the database says. `now`: its time."""

    now: datetime
    kept: Mapping[str, Kept]
    states: Mapping[str, State]
    counts: Mapping[str, Counts]
    ended: Mapping[str, Ended]
    raised: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Judged:
    """A pool, what was decided about it, from what, and the state that this leaves.

    `news`: the rule is another than before, or the size is not as it was left; `age_s`: since the pass before.
    """

    pool: PoolRecord
    version: int
    demand: Demand
    decision: Decision
    state: State
    news: bool
    ended: int
    age_s: float
    since_note_s: float

    @property
    def quiet(self) -> bool:
        """Whether nothing happened since a pass was written a moment ago: the next one covers both."""
        counts, still = self.state.measured.counts, self.decision.desired == self.demand.desired
        idle = not (counts.queued or counts.running or self.ended)
        return idle and still and not self.news and self.age_s < QUIET_S


class AutoscaleLoop:
    """A pass measures, decides, and writes for each pool in one transaction: its state, its size, and the decision.

    Two that believe to lead measure the same tables; of each pool's state one writes (`pool_scaling.version`).
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        leader: Leader,
        view: RegistryView,
        settings: ScalingSettings,
        kubernetes: KubernetesSettings,
    ) -> None:
        self._db, self._clock, self._leader, self._view = db, clock, leader, view
        self._settings, self._kubernetes = settings, kubernetes
        self._forgot_at: float | None = None
        self._shown: set[str] = set()
        self._expectations: dict[str, tuple[datetime | None, float | None]] = {}
        self._hinted_at = -HINT_EVERY_S

    async def tick(self) -> float | None:
        if not await self._leader.leads():
            self._show({})
            return None
        began = self._clock.monotonic()
        pools = dict(self._view.pools)
        reading = await self._read(pools)
        counted_s = self._clock.monotonic() - began
        judged: dict[str, Judged] = {}
        wanted = {name: pool.desired for name, pool in pools.items() if pool.launch["kind"] == "kubernetes"}
        for name, pool in sorted(pools.items()):
            item = await self._pool(pool, reading, wanted)
            if item is not None:
                judged[name] = item
        self._show(judged)
        await self._forget(reading.now)
        return max(self._settings.decide_interval_s, REST * counted_s)

    async def _pool(self, pool: PoolRecord, reading: Reading, wanted: dict[str, int]) -> Judged | None:
        """One that cannot be judged holds up no other."""
        try:
            item = await self._judge(pool, reading, wanted)
            written = await self._write(item, reading)
        except asyncpg.ForeignKeyViolationError:  # it was deleted since the view was read
            return None
        except DATABASE_AWAY:
            raise
        except Exception:
            log.exception("pool_not_judged", pool=pool.name)
            LOOP_ERRORS.labels("autoscale").inc()
            return None
        if written and pool.name in wanted:
            wanted[pool.name] = item.decision.desired
        return item

    def due(self, pool: str) -> bool:
        """Whether a pool that has just been given a task should be judged at once: nobody works in it."""
        found, now = self._view.pools.get(pool), self._clock.monotonic()
        if found is None or found.desired or found.launch["kind"] == "external" or not found.scale["max"]:
            return False
        if found.scale.get("policy") == "manual" or now - self._hinted_at < HINT_EVERY_S:
            return False
        self._hinted_at = now
        return True

    async def _read(self, pools: Mapping[str, PoolRecord]) -> Reading:
        """In one snapshot: what is queued, what runs and what ended agree."""
        async with self._db.read() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
            kept = await queries.kept(connection)
            counts = await queries.counts(connection, pools)
            states = {name: State.from_json(kept[name].state) for name in pools if name in kept}
            after = {name: _measured_at(state, now) for name, state in states.items()}
            ended = await queries.ended(connection, after)
            return Reading(now, kept, states, counts, ended, await raised.standing(connection))

    async def _judge(self, pool: PoolRecord, reading: Reading, wanted: Mapping[str, int]) -> Judged:
        kept = reading.kept.get(pool.name, Kept())
        state, now = reading.states.get(pool.name, State()), reading.now.timestamp()
        ended = reading.ended.get(pool.name, Ended())
        measured = state.measured.after(now, reading.counts[pool.name], ended)
        policy = ScalePolicy.from_json(pool.scale)
        usage = await self._usage(pool.name, policy, state.usage, reading.now)
        applies = applied(pool)
        ready = self._view.working(pool.name)
        demand = replace(
            measured.demand(
                slots=pool.slots,
                desired=pool.desired if applies else ready,
                ready=ready,
                cold_start_s=kept.cold_start_s,
            ),
            tokens_per_task=usage.tokens,
            requests_per_task=usage.requests,
            quota=self._quota(pool, measured.counts.running, wanted),
            raised=reading.raised.get(pool.name, 0),
        )
        if policy.forecast:
            demand = replace(demand, forecast_per_s=await self._expected(pool.name, demand, reading.now))
        history = state.history
        if applies and state.desired is not None and pool.desired != state.desired:  # people scaled it
            history = replace(history, recommended=(*history.recommended, (now, pool.desired)), busy_at=now)
        if ended.count:  # perhaps it came and went since the last look
            history = replace(history, busy_at=now)
        decision = decide(policy, demand, history, now)
        since_note_s = now - state.noted_at
        changes = decision.desired != demand.desired and applies
        noted_at = now if changes or (decision.code != state.code and since_note_s >= NOTE_EVERY_S) else state.noted_at
        left = State(measured, decision.history, usage, decision.desired, decision.code, noted_at)
        age_s = now - state.measured.at if state.measured.at is not None else QUIET_S
        news = decision.code != state.code or (applies and pool.desired != state.desired)
        return Judged(pool, kept.version, demand, decision, left, news, ended.count, age_s, since_note_s)

    async def _write(self, item: Judged, reading: Reading) -> bool:
        """Whether the pass counted; False where another one was faster, or where there is nothing to say."""
        pool, decision = item.pool, item.decision
        if item.quiet:
            return False
        shown = shown_decision(item, reading.now)
        async with self._db.hot() as connection, connection.transaction():
            state = orjson.dumps(item.state.to_json())
            if not await queries.keep(connection, pool.name, item.version, state, orjson.dumps(shown)):
                return False
            changed = False
            if applied(pool) and decision.desired != pool.desired:
                changed = await sizes.resize(connection, pool.name, pool.desired, decision.desired)
                if not changed:  # scaled by hand meanwhile: the next pass sees that
                    return await self._retract(connection, item)
            if changed or (item.news and item.since_note_s >= NOTE_EVERY_S):
                await self._note(connection, item, orjson.dumps(shown["inputs"]))
            await self._note_minute(connection, item, reading)
        if changed:
            log.info("pool_resized", pool=pool.name, before=pool.desired, after=decision.desired, why=decision.reason)
        return True

    async def _retract(self, connection: HotConnection, item: Judged) -> bool:
        """The size was not changed: the state must not say that we left it so."""
        state = replace(item.state, desired=item.pool.desired)
        await queries.keep_state(connection, item.pool.name, orjson.dumps(state.to_json()))
        return True

    @staticmethod
    async def _note(connection: HotConnection, item: Judged, inputs: bytes) -> None:
        decision, made_id = item.decision, UUID(bytes=uuid_utils.uuid7().bytes)
        await queries.note_decision(
            connection,
            made_id,
            item.pool.name,
            item.demand.desired,
            decision.desired,
            decision.recommended,
            decision.code,
            decision.reason,
            inputs,
        )

    @staticmethod
    async def _note_minute(connection: HotConnection, item: Judged, reading: Reading) -> None:
        name, samples = item.pool.name, item.state.measured.samples
        if not samples or samples[-1].at != reading.now.timestamp():
            return
        counts, ended = reading.counts[name], reading.ended.get(name, Ended())
        if samples[-1].arrivals or ended.count or counts.queued or counts.running:
            arrivals = samples[-1].arrivals
            await queries.note_minute(connection, name, reading.now, arrivals, ended, counts, item.demand.ready)

    async def _usage(self, pool: str, policy: ScalePolicy, usage: Usage, now: datetime) -> Usage:
        """Asked for only where a provider's limit is set, and now and then."""
        asked = policy.tokens_per_min is not None or policy.requests_per_min is not None
        if not asked or now.timestamp() - usage.at < USAGE_EVERY_S:
            return usage
        async with self._db.read() as connection:
            found = await queries.usage(connection, [pool], _first_id(now - USAGE_OF))
        tokens, requests = found.get(pool, (usage.tokens, usage.requests))
        return Usage(now.timestamp(), tokens, requests)

    async def _expected(self, pool: str, demand: Demand, now: datetime) -> float | None:
        """Arrivals once a replica that starts now is ready. What earlier days say is looked up once a minute."""
        at = now + timedelta(seconds=demand.cold_start_s or 0.0)
        minute, known = self._expectations.get(pool, (None, None))
        if minute == at.replace(second=0, microsecond=0):
            return known
        async with self._db.read() as connection:
            minutes = await queries.season(connection, pool, at, forecast.AROUND)
        expected = forecast.expected(minutes, at.timestamp())
        self._expectations[pool] = (at.replace(second=0, microsecond=0), expected)
        return expected

    def _quota(self, pool: PoolRecord, running: int, wanted: Mapping[str, int]) -> int | None:
        """Most replicas of this pool, with what all others want; where they want more than there is, its share.

        Never less than its min, or than hold what runs: a quota that was lowered takes nothing from running tasks.
        """
        most = self._kubernetes.max_replicas
        if pool.name not in wanted or not most:
            return None
        total = sum(wanted.values())
        rest = most - (total - wanted[pool.name])
        share = most * wanted[pool.name] // total if total > most else rest
        return max(rest, share, int(pool.scale["min"]), math.ceil(running / pool.slots))

    def _show(self, judged: Mapping[str, Judged]) -> None:
        for name, item in judged.items():
            values = (
                item.decision.desired,
                item.demand.ready,
                item.decision.recommended,
                item.decision.code == FROZEN,
            )
            for gauge, value in zip(GAUGES, values, strict=True):
                gauge.labels(name).set(value)
        for name in self._shown - judged.keys():
            for gauge in GAUGES:
                gauge.remove(name)
        self._shown = set(judged)

    async def _forget(self, now: datetime) -> None:
        at = self._clock.monotonic()
        if self._forgot_at is not None and at - self._forgot_at < FORGET_EVERY_S:
            return
        load, decisions = self._settings.sample_retention_s, self._settings.decision_retention_s
        await queries.forget(self._db, now - timedelta(seconds=load), now - timedelta(seconds=decisions))
        self._forgot_at = at


def applied(pool: PoolRecord) -> bool:
    """Whether the pool's size is ours to change; else decisions are advice."""
    foreign = any(item["code"] == "foreign_autoscaler" for item in pool.conditions)
    return bool(pool.launch["kind"] != "external") and not foreign


def shown_decision(item: Judged, now: datetime) -> dict[str, object]:
    """A decision as it is kept and shown: `inputs` are the demand's numbers and the workings."""
    decision = item.decision
    return {
        "at": now.isoformat(),
        "before": item.demand.desired,
        "desired": decision.desired,
        "recommended": decision.recommended,
        "code": decision.code,
        "reason": decision.reason,
        "applied": applied(item.pool),
        "inputs": {**asdict(item.demand), "workings": dict(decision.workings)},
    }


def _measured_at(state: State, now: datetime) -> datetime:
    at = state.measured.at
    earliest = now - LONGEST_GAP
    return now if at is None else max(earliest, datetime.fromtimestamp(at, UTC))


def _first_id(at: datetime) -> UUID:
    """The least UUIDv7 of a time."""
    return UUID(int=(int(at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62))
