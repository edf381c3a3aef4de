"""Pools as Deployments: one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from app.core.clock import Clock
from app.core.db import Database
from app.registry.records import PoolRecord
from app.registry.service import Registry
from app.registry.view import RegistryView
from app.scaling.backends.base import Condition, Fleet
from app.scaling.backends.kubernetes import choice, conditions, manifest, names, roster
from app.scaling.backends.kubernetes.choice import Plan, Worker
from app.scaling.backends.kubernetes.client import Api
from app.scaling.backends.kubernetes.coldstarts import ColdStarts
from app.scaling.backends.kubernetes.credentials import Credentials
from app.scaling.backends.kubernetes.faults import CONFLICT, ApiError
from app.scaling.backends.kubernetes.foreign import ForeignAutoscalers
from app.scaling.backends.kubernetes.mirrors import Mirrors
from app.scaling.backends.kubernetes.moves import Moves
from app.scaling.backends.kubernetes.roster import Evict, Occupant, Roster
from app.scaling.backends.kubernetes.upkeep import Upkeep, replicas_of
from app.scaling.backends.kubernetes.watch import FIRST_PAUSE_S, LONGEST_PAUSE_S
from app.scaling.eviction import evict as evict_from
from app.scaling.policy import ScalePolicy
from app.settings import KubernetesSettings, ScalingSettings

log = structlog.get_logger()

type Json = dict[str, Any]

UNREGISTERED_S = 60.0
CONFLICTS = 5
"""So many in a row are a condition."""


class KubernetesBackend:
    """See `backends.base.Backend`. `on_change` is called when the cluster changed: a pass may have something to do."""

    kind = "kubernetes"

    def __init__(
        self,
        db: Database,
        clock: Clock,
        registry: Registry,
        view: RegistryView,
        settings: KubernetesSettings,
        scaling: ScalingSettings,
        agent_key: str,
        *,
        evict: Evict = evict_from,
        frozen: Callable[[str], bool] = lambda pool: False,
        pauses_s: tuple[float, float] = (FIRST_PAUSE_S, LONGEST_PAUSE_S),
    ) -> None:
        """`frozen(pool)`: it keeps its launch for now. `pauses_s`: between two watches, the first and the longest."""
        self._clock, self._settings, self._scaling = clock, settings, scaling
        self.on_change: Callable[[], None] = lambda: None
        own = not settings.agent_secret
        place = manifest.Place(
            namespace=settings.namespace,
            instance=settings.instance,
            secret=names.secret_name(settings.instance) if own else settings.agent_secret,
            key_hash=manifest.short_hash(agent_key) if own else "",
            manager_url=scaling.manager_url,
        )
        self._api = Api(Credentials(settings), settings.namespace, clock, settings.request_timeout_s)
        self._roster = Roster(db, registry, view, evict)
        self._mirrors = Mirrors(
            self._api,
            clock,
            self._roster,
            settings.instance,
            watch_s=settings.watch_timeout_s,
            timeout_s=settings.request_timeout_s,
            on_change=self._hint,
            pauses_s=pauses_s,
        )
        self._moves = Moves(self._api, clock, self._mirrors, self._roster)
        self._upkeep = Upkeep(self._api, clock, place, agent_key if own else None, settings.allowed_secrets, frozen)
        self._foreign = ForeignAutoscalers(self._api, clock)
        self._cold_starts = ColdStarts()
        self._conflicts: dict[str, int] = {}

    async def open(self) -> None:
        """Raises BackendError (`api_config`) where there are no credentials; an API that is away is waited for."""
        await self._api.open()
        self._mirrors.open()

    async def close(self) -> None:
        """Pods stay."""
        await self._mirrors.close()
        await self._api.close()

    async def end_all(self) -> None:
        """Nothing of it lives on this machine."""

    def _hint(self) -> None:
        self.on_change()

    async def owned(self) -> set[str]:
        await self._mirrors.ready()
        return {_pool_of(live) for live in self._mirrors.deployments.values()}

    async def converge(self, name: str, pool: PoolRecord | None) -> Fleet:
        await self._mirrors.ready()
        occupants = await self._roster.occupants(name)
        home = names.deployment_name(self._settings.instance, name)
        stray = [
            live
            for key, live in sorted(self._mirrors.deployments.items())
            if _pool_of(live) == name and (pool is None or key != home)
        ]
        fleets = [await self._retire(live, occupants) for live in stray]
        if pool is not None:
            fleets.append(await self._keep(pool, home, occupants))
        return _sum(fleets)

    async def _keep(self, pool: PoolRecord, home: str, occupants: Sequence[Occupant]) -> Fleet:
        unkept = await self._upkeep.secret()
        await self._foreign.look()
        grace_s = self._grace_s(pool)
        found, live = [*unkept, *self._foreign.blind, *self._foreign.of(home)], self._mirrors.deployments.get(home)
        if unkept and live is None:  # pods without the key would not even start
            return Fleet(0, 0, tuple(found))
        try:
            live, wrong = await self._upkeep.deployment(pool, live, self._first_size(pool, home), grace_s)
            found += wrong
            if live is None:
                return Fleet(0, 0, tuple(found))
            live = self._mirrors.put_deployment(live)
            await self._lose(pool.name, occupants)
            workers = await self._workers(home, occupants)
            plan = self._plan(pool.desired, live, workers, grace_s, self._ceiling(home))
            if plan.replicas < plan.before - len(plan.doom):  # by pods that we do not see: are they not there?
                await self._mirrors.read_pods(pool.name)
                workers = await self._workers(home, occupants)
                plan = self._plan(pool.desired, live, workers, grace_s, self._ceiling(home))
            if self._foreign.of(home):  # it decides how many, and Kubernetes which ones
                plan = Plan(plan.before, plan.before, evict=plan.evict)
            found += self._short(plan)
            await self._moves.carry_out(plan, live, workers, occupants)
        except ApiError as exc:
            found += await self._look_again(home, exc)
        else:
            self._conflicts.pop(home, None)
        return self._fleet(home, occupants, found)

    async def _lose(self, pool: str, occupants: Sequence[Occupant]) -> None:
        """Agents whose pods went while nobody looked. That a pod is not there is asked for: the watch may be dumb."""
        if roster.missing(occupants, self._mirrors.has_pod):
            await self._mirrors.read_pods(pool)
            await self._roster.lost(roster.missing(occupants, self._mirrors.has_pod))

    async def _look_again(self, deployment: str, exc: ApiError) -> list[Condition]:
        """Somebody was quicker: the next pass judges by what there is now. Raises what is no conflict."""
        if exc.status != CONFLICT:
            raise exc
        log.debug("kubernetes_conflict", deployment=deployment, error=str(exc))
        times = self._conflicts[deployment] = self._conflicts.get(deployment, 0) + 1
        now = await self._api.get("deployments", deployment)
        if now is not None and self._upkeep.owns(now):
            self._mirrors.put_deployment(now)
        text = f"The Deployment {deployment} was changed by others before each of our last {times} writes: {exc}"
        return [Condition("conflict", text)] if times >= CONFLICTS else []

    async def _retire(self, live: Json, occupants: Sequence[Occupant]) -> Fleet:
        """Nobody wants it any more: drained first, then deleted."""
        name = live["metadata"]["name"]
        workers = await self._workers(name, occupants)
        found: list[Condition] = []
        try:
            if _all_drained(workers):  # of those that we see: are there no others?
                await self._mirrors.read_pods(_pool_of(live))
                workers = await self._workers(name, occupants)
            if _all_drained(workers):
                await self._api.delete("deployments", live)
                log.info("deployment_deleted", deployment=name)
            else:
                plan = self._plan(0, live, workers, self._scaling.drain_grace_s, None)
                await self._moves.carry_out(plan, live, workers, occupants)
            self._conflicts.pop(name, None)
        except ApiError as exc:
            if exc.status != 404:
                found = await self._look_again(name, exc)
        return self._fleet(name, occupants, found)

    async def _workers(self, deployment: str, occupants: Sequence[Occupant]) -> list[Worker]:
        found = self._roster.workers(self._mirrors.pods_of(deployment), occupants)
        await self._moves.drain_ending(found)
        return found

    def _plan(self, wanted: int, live: Json, workers: Sequence[Worker], grace_s: float, ceiling: int | None) -> Plan:
        return choice.plan(
            max(0, wanted),
            replicas_of(live),
            workers,
            rolling=_rolling(live, workers),
            now=self._clock.now().timestamp(),
            grace_s=grace_s,
            ceiling=ceiling,
        )

    def _ceiling(self, home: str) -> int | None:
        """What the other Deployments leave of the quota."""
        quota = self._settings.max_replicas
        others = [replicas_of(live) for key, live in self._mirrors.deployments.items() if key != home]
        return max(0, quota - sum(others)) if quota else None

    def _first_size(self, pool: PoolRecord, home: str) -> int:
        ceiling = self._ceiling(home)
        return pool.desired if ceiling is None else min(pool.desired, ceiling)

    def _short(self, plan: Plan) -> list[Condition]:
        if not plan.short:
            return []
        text = (
            f"{plan.short} more replicas are wanted than the quota of all pools together has room for: "
            f"{self._settings.max_replicas} (YARD_KUBERNETES_MAX_REPLICAS)."
        )
        return [Condition("quota_exceeded", text)]

    def _fleet(self, name: str, occupants: Sequence[Occupant], found: Sequence[Condition]) -> Fleet:
        """As the mirror is now, with what the pass itself did."""
        workers = self._roster.workers(self._mirrors.pods_of(name), occupants)
        there = [worker for worker in workers if not worker.pod.ended]
        ready = [worker for worker in there if worker.fit and worker.pod.active and not worker.leaves]
        now = self._clock.now().timestamp()
        lost = [worker.pod.name for worker in there if _unregistered(worker, now)]
        live = self._mirrors.deployments.get(name)
        said = [
            *found,
            *([] if live is None else conditions.of_deployment(live)),
            *conditions.of_pods(self._mirrors.raw_pods_of(name)),
            *conditions.unregistered(lost, UNREGISTERED_S),
        ]
        return Fleet(len(there), len(ready), tuple(said), self._cold_starts.of(name, workers, now))

    def _grace_s(self, pool: PoolRecord) -> float:
        return ScalePolicy.from_json(pool.scale).drain_grace_s or self._scaling.drain_grace_s


def _rolling(live: Json, workers: Sequence[Worker]) -> bool:
    """Whether its pods are, or are about to be, of more than one template."""
    status = live.get("status") or {}
    unseen = (status.get("observedGeneration") or 0) < (live["metadata"].get("generation") or 0)
    behind = (status.get("updatedReplicas") or 0) < (status.get("replicas") or 0)
    return unseen or behind or len({item.pod.template for item in workers if item.pod.active}) > 1


def _all_drained(workers: Sequence[Worker]) -> bool:
    return all(worker.drained for worker in workers if worker.pod.active)


def _unregistered(worker: Worker, now: float) -> bool:
    since = worker.pod.ready_since
    return worker.pod.active and worker.agent_id is None and since is not None and now - since >= UNREGISTERED_S


def _pool_of(live: Json) -> str:
    """By the annotation, which has the exact name."""
    metadata = live["metadata"]
    return str((metadata.get("annotations") or {}).get(manifest.POOL) or metadata["labels"].get("agent-type", ""))


def _sum(fleets: Sequence[Fleet]) -> Fleet:
    return Fleet(
        sum(item.replicas for item in fleets),
        sum(item.ready for item in fleets),
        tuple(condition for item in fleets for condition in item.conditions),
        tuple(seconds for item in fleets for seconds in item.cold_starts_s),
    )
