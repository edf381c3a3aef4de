"""Pools as processes of this host: rows say what was launched, `converge.py` what to do about it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import asyncpg
import structlog

from app.core.clock import Clock
from app.core.db import Database
from app.registry.records import AgentRecord, PoolRecord
from app.registry.service import ALIVE, Registry
from app.registry.view import RegistryView
from app.scaling.backends.base import ROLLOUT_FROZEN, Condition, Fleet
from app.scaling.backends.launcher import LABEL, CannotLaunch, Launcher
from app.scaling.converge import Actions, Seen, backoff_s, decide, launch_hash
from app.scaling.eviction import evict
from app.scaling.policy import ScalePolicy
from app.settings import ScalingSettings

log = structlog.get_logger()

END_S = 8.0
CRASH_LOOP = 2
"""So many ends in a row are a condition of the pool: one may happen to anybody."""

_ROWS = """
SELECT r.*, extract(epoch FROM clock_timestamp() - state_since)::float8 AS since_s,
  start_after IS NULL OR start_after <= clock_timestamp() AS due
FROM replicas r WHERE host = $1
"""
_RUNNING = "SELECT agent_id, count(*) AS n FROM tasks WHERE status = 'running' AND agent_id = ANY($1) GROUP BY 1"
_CREATE = """
INSERT INTO replicas (id, pool, host, pid, pid_started, launch_hash, state) VALUES ($1, $2, $3, 0, 0, $4, 'running')
"""
_RESTART = """
UPDATE replicas SET pid = 0, pid_started = 0, launch_hash = $2, state = 'running', state_since = clock_timestamp()
WHERE id = $1
"""
_LAUNCHED = """
UPDATE replicas SET pid = $2, pid_started = $3, state = 'running', state_since = clock_timestamp() WHERE id = $1
"""
_CRASHED = """
UPDATE replicas SET state = 'backoff', state_since = clock_timestamp(), crashes = crashes + 1, last_exit = $2,
  start_after = clock_timestamp() + make_interval(secs => $3) WHERE id = $1
"""


class ProcessBackend:
    """See `backends.base.Backend`. A pass compares rows, processes and wishes, and does what is missing."""

    kind = "process"

    def __init__(
        self,
        db: Database,
        clock: Clock,
        registry: Registry,
        view: RegistryView,
        launcher: Launcher,
        settings: ScalingSettings,
        *,
        frozen: Callable[[str], bool] = lambda pool: False,
    ) -> None:
        """`frozen(pool)`: its replicas are not replaced for a newer launch at present."""
        self._frozen = frozen
        self._db, self._clock = db, clock
        self._registry, self._view, self._launcher, self._settings = registry, view, launcher, settings
        self._host = socket.gethostname()
        self._logs_pruned = False
        self._starting: set[UUID] = set()
        self._worked: set[UUID] = set()
        self._asked: dict[UUID, float] = {}

    async def open(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Replicas stay, for the next manager of this host."""

    async def owned(self) -> set[str]:
        rows = await self._rows()
        living = {row["id"] for row in rows}
        self._starting &= living
        self._worked &= living
        self._asked = {replica_id: at for replica_id, at in self._asked.items() if replica_id in living}
        if not self._logs_pruned:  # after replicas were forgotten, and once at the start
            await asyncio.to_thread(self._launcher.prune_logs, living)
            self._logs_pruned = True
        return {row["pool"] for row in rows}

    async def converge(self, name: str, pool: PoolRecord | None) -> Fleet:
        rows = [row for row in await self._rows() if row["pool"] == name]
        policy = ScalePolicy.from_json({} if pool is None else pool.scale)
        grace_s = policy.drain_grace_s or self._settings.drain_grace_s
        seen = await self._seen(name, rows, None if pool is None else launch_hash(pool.launch))
        frozen = self._frozen(name)
        actions = decide(0 if pool is None else pool.desired, seen, grace_s, frozen=frozen)
        by_id = {row["id"]: row for row in rows}
        await self._take_down(actions, by_id, {item.id: item.running for item in seen})
        if pool is not None:
            for _ in range(actions.create):
                await self._create(pool)
            for replica_id in actions.restart:
                await self._restart(pool, by_id[replica_id])
        fleet = self._fleet(rows, seen, {*actions.drain, *actions.replace})
        if frozen and any(item.state == "running" and not item.current for item in seen):
            return replace(fleet, conditions=(*fleet.conditions, ROLLOUT_FROZEN))
        return fleet

    def _fleet(self, rows: Sequence[asyncpg.Record], seen: Sequence[Seen], drained: set[UUID]) -> Fleet:
        since = {row["id"]: row["since_s"] for row in rows}
        working = {item.id for item in seen if item.ready and item.state == "running"}
        colds = tuple(since[replica_id] for replica_id in working & self._starting)
        self._starting -= since.keys()  # those of other pools stay
        self._worked = (self._worked | working) - {item.id for item in seen if not item.alive}
        launched = {item.id for item in seen if item.state == "running" and item.alive and not item.ready}
        self._starting |= launched - self._worked  # one that fails and recovers does not start
        return Fleet(len(seen), len(working - drained), conditions_of(rows), colds)

    async def end_all(self) -> None:
        """The service ends: stop every replica of this host and what they started, then forget them."""
        rows = await self._rows()
        for row in rows:
            self._launcher.terminate(row["pid"], row["pid_started"])
        until = self._clock.monotonic() + END_S
        while self._clock.monotonic() < until and any(self._alive(row) for row in rows):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        for row in rows:
            self._launcher.kill(row["pid"], row["pid_started"])
        for row in rows:
            await self._forget(row["id"])

    async def _take_down(self, actions: Actions, by_id: dict[UUID, asyncpg.Record], running: dict[UUID, int]) -> None:
        for replica_id in actions.crashed:
            await self._crashed(by_id[replica_id])
        for replica_id in actions.drain:
            await self._drain(replica_id, "scaled down")
        for replica_id in actions.replace:
            await self._drain(replica_id, "the pool's launch changed")
        for replica_id in (*actions.terminate, *actions.kill):
            if running[replica_id]:
                await self._evict(replica_id)
        for replica_id in actions.terminate:
            self._asked[replica_id] = self._clock.monotonic()
            self._launcher.terminate(by_id[replica_id]["pid"], by_id[replica_id]["pid_started"])
        for replica_id in actions.kill:
            self._launcher.kill(by_id[replica_id]["pid"], by_id[replica_id]["pid_started"])
        for replica_id in actions.forget:
            self._launcher.kill(by_id[replica_id]["pid"], by_id[replica_id]["pid_started"])
            await self._forget(replica_id)
        if actions.stable:
            async with self._db.hot() as connection:
                await connection.execute("UPDATE replicas SET crashes = 0 WHERE id = ANY($1)", list(actions.stable))

    async def _seen(self, pool: str, rows: list[asyncpg.Record], current: str | None) -> list[Seen]:
        agents = {row["id"]: agent for row in rows if (agent := self._agent_of(pool, row["id"])) is not None}
        async with self._db.hot() as connection:
            found = await connection.fetch(_RUNNING, [agent.id for agent in agents.values()])
        running = {item["agent_id"]: item["n"] for item in found}
        now = self._clock.monotonic()
        return [
            Seen(
                row["id"],
                row["state"],
                self._alive(row),
                running.get(agents[row["id"]].id, 0) if row["id"] in agents else 0,
                row["since_s"],
                row["crashes"],
                row["due"],
                current is None or row["launch_hash"] == current,
                row["id"] in agents and agents[row["id"]].works,
                now - self._asked[row["id"]] if row["id"] in self._asked else None,
            )
            for row in rows
        ]

    def _alive(self, row: asyncpg.Record) -> bool:
        return row["pid"] > 0 and self._launcher.alive(row["pid"], row["pid_started"])

    async def _rows(self) -> list[asyncpg.Record]:
        async with self._db.hot() as connection:
            rows = await connection.fetch(_ROWS, self._host)
            unwritten = [row for row in rows if row["pid"] == 0 and row["state"] == "running"]
            for row in unwritten:  # we died between the launch and the note of it
                found = await asyncio.to_thread(self._launcher.find, row["id"])
                if found is not None:
                    await connection.execute(_LAUNCHED, row["id"], *found)
            return await connection.fetch(_ROWS, self._host) if unwritten else rows

    async def _create(self, pool: PoolRecord) -> None:
        replica_id = uuid4()
        async with self._db.hot() as connection:
            await connection.execute(_CREATE, replica_id, pool.name, self._host, launch_hash(pool.launch))
        await self._launch(pool, replica_id, 0)

    async def _restart(self, pool: PoolRecord, row: asyncpg.Record) -> None:
        self._launcher.kill(row["pid"], row["pid_started"])
        async with self._db.hot() as connection:  # as with a new one: a launch that is never noted is found again
            await connection.execute(_RESTART, row["id"], launch_hash(pool.launch))
        await self._launch(pool, row["id"], row["crashes"])

    async def _launch(self, pool: PoolRecord, replica_id: UUID, crashes: int) -> None:
        try:
            pid, started = self._launcher.launch(replica_id, pool.name, pool.launch, pool.slots)
        except CannotLaunch as exc:
            log.error("replica_cannot_launch", pool=pool.name, error=str(exc))
            await self._back_off(replica_id, str(exc), crashes)
            return
        async with self._db.hot() as connection:
            await connection.execute(_LAUNCHED, replica_id, pid, started)
        log.info("replica_started", pool=pool.name, replica=str(replica_id), pid=pid)

    async def _crashed(self, row: asyncpg.Record) -> None:
        self._launcher.kill(row["pid"], row["pid_started"])  # what it left behind
        how = self._launcher.exit_text(row["pid"]) if row["pid"] else "never started"
        log.warning("replica_ended", pool=row["pool"], replica=str(row["id"]), how=how, crashes=row["crashes"] + 1)
        await self._back_off(row["id"], how, row["crashes"])
        await self._remove_agent(row["id"])

    async def _back_off(self, replica_id: UUID, how: str, crashes: int) -> None:
        async with self._db.hot() as connection:
            await connection.execute(_CRASHED, replica_id, how, backoff_s(crashes + 1))

    async def _drain(self, replica_id: UUID, why: str) -> None:
        agent = self._find_agent(replica_id)
        if agent is not None:
            await self._registry.set_status([agent.id], "draining", why, only_from=ALIVE)
        async with self._db.hot() as connection:
            await connection.execute(
                "UPDATE replicas SET state = 'draining', state_since = clock_timestamp() WHERE id = $1", replica_id
            )
        log.info("replica_draining", replica=str(replica_id), why=why)

    async def _evict(self, replica_id: UUID) -> None:
        agent = self._find_agent(replica_id)
        if agent is not None:
            await evict(self._db, [agent.id], "its grace to finish is over")

    async def _forget(self, replica_id: UUID) -> None:
        await self._remove_agent(replica_id)
        async with self._db.hot() as connection:
            await connection.execute("DELETE FROM replicas WHERE id = $1", replica_id)
        self._logs_pruned = False

    async def _remove_agent(self, replica_id: UUID) -> None:
        agent = self._find_agent(replica_id)
        if agent is not None:
            await self._registry.set_status([agent.id], "gone", "process ended", only_from=(*ALIVE, "draining"))

    def _agent_of(self, pool: str, replica_id: UUID) -> AgentRecord | None:
        for agent in self._view.agents_of(pool).values():
            if agent.labels.get(LABEL) == str(replica_id):
                return agent
        return None

    def _find_agent(self, replica_id: UUID) -> AgentRecord | None:
        for pool in self._view.pools:
            agent = self._agent_of(pool, replica_id)
            if agent is not None:
                return agent
        return None


def conditions_of(rows: Sequence[asyncpg.Record]) -> tuple[Condition, ...]:
    """What keeps replicas from running: those that wait before they are started again, by how they ended."""
    ended = [row for row in rows if row["state"] == "backoff"]
    if not ended:
        return ()
    worst = max(ended, key=lambda row: (row["crashes"], str(row["id"])))
    never = not worst["pid"] and worst["last_exit"] != "never started"
    if not never and worst["crashes"] < CRASH_LOOP:
        return ()
    many = f"{len(ended)} of {len(rows)} replicas"
    if never:
        return (Condition("cannot_launch", f"{many} cannot be started: {worst['last_exit']}"),)
    times = f"ended {worst['crashes']} times in a row, lastly {worst['last_exit']}"
    return (Condition("crash_loop", f"{many} {times}."),)
