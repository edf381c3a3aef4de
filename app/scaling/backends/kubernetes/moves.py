"""Carrying a plan out: each step may fail, and the next pass goes on from what it finds."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from app.core.clock import Clock
from app.scaling.backends.kubernetes.choice import DOOMED_COST, Plan, Worker
from app.scaling.backends.kubernetes.client import Api
from app.scaling.backends.kubernetes.mirrors import Mirrors
from app.scaling.backends.kubernetes.pods import COST, LEAVING_SINCE
from app.scaling.backends.kubernetes.roster import Occupant, Roster

log = structlog.get_logger()

type Json = dict[str, Any]


class Moves:
    """Marks, drains, evicts, dooms and scales."""

    def __init__(self, api: Api, clock: Clock, mirrors: Mirrors, roster: Roster) -> None:
        self._api, self._clock, self._mirrors, self._roster = api, clock, mirrors, roster

    async def carry_out(self, plan: Plan, live: Json, workers: Sequence[Worker], occupants: Sequence[Occupant]) -> None:
        """Raises ApiError; 409: the Deployment is another by now.

        The scale is lowered in a later pass than the costs are written, once a watch tells of them: the ReplicaSet
        controller learns of them by a watch of its own, and goes by what it knows.
        """
        by_name = {worker.pod.name: worker for worker in workers}
        await self._mark([by_name[name] for name in plan.mark])
        overdue = [by_name[name].pod for name in plan.evict]
        await self._roster.evict(overdue, occupants, "its grace to finish is over")
        dear = [name for name in plan.doom if by_name[name].pod.cost != DOOMED_COST]
        for name in dear:
            await self._annotate(name, COST, str(DOOMED_COST))
        if plan.replicas > plan.before or (
            plan.replicas < plan.before and not dear and self._mirrors.told_of(plan.doom)
        ):
            await self._scale(live, plan)

    async def drain_ending(self, workers: Sequence[Worker]) -> None:
        """Agents of pods that were told to end get nothing new."""
        ending = [item for item in workers if item.pod.ends_at is not None and item.status != "draining"]
        ids = [item.agent_id for item in ending if item.agent_id is not None]
        await self._roster.drain(ids, "its pod was told to end")

    async def _mark(self, leaving: Sequence[Worker]) -> None:
        """First on the pod: from then on every manager knows that it leaves, and since when."""
        for worker in leaving:
            if worker.pod.leaving_since is None:
                since = datetime.fromtimestamp(self._clock.now().timestamp(), UTC).isoformat()
                await self._annotate(worker.pod.name, LEAVING_SINCE, since)
                log.info("pod_leaves", pod=worker.pod.name, running=worker.running)
        await self._roster.drain([item.agent_id for item in leaving if item.agent_id is not None], "scaled down")

    async def _annotate(self, pod: str, key: str, value: str) -> None:
        changed = await self._api.annotate(pod, {key: value})
        if changed is not None:
            self._mirrors.put_pod(changed)

    async def _scale(self, live: Json, plan: Plan) -> None:
        name = live["metadata"]["name"]
        scale = await self._api.scale(name, plan.replicas, live["metadata"]["resourceVersion"])
        log.info("deployment_scaled", deployment=name, before=plan.before, replicas=plan.replicas, of=list(plan.doom))
        known = copy.deepcopy(live)  # the watch will say the same; a pass before that must not count from the old scale
        known["metadata"]["resourceVersion"] = scale["metadata"]["resourceVersion"]
        known["spec"]["replicas"] = plan.replicas
        self._mirrors.put_deployment(known)
