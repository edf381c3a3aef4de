"""Which pods leave, which are drained, and how far the scale may be lowered. Pure.

    staying ── chosen, or its agent was asked to drain ──▶ leaving ── runs nothing ──▶ doomed ── scale lowered ──▶ gone

A pod that leaves never comes back: its agent was told so, and refuses tasks. One that is wanted again is a new one, so
the scale is what is wanted and those that leave besides.

The scale is lowered by no more pods than are drained, and only where these are the very first that a ReplicaSet takes:
it takes pods that are unassigned, pending or not ready before it looks at their cost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

from app.scaling.backends.kubernetes.manifest import KILL_MARGIN_S
from app.scaling.backends.kubernetes.pods import Pod

DOOMED_COST = -1000
_PHASES = {"Pending": 0, "Unknown": 1}


@dataclass(frozen=True, slots=True)
class Worker:
    """A pod with its agent, if it has one that is not gone. `running`: tasks, of the agents it had before as well.

    `works`: the agent may be given tasks. `since`: when it registered, seconds since the epoch.
    """

    pod: Pod
    agent_id: UUID | None = None
    status: str = ""
    works: bool = False
    running: int = 0
    since: float = 0.0

    @property
    def leaves(self) -> bool:
        return self.pod.leaving_since is not None or self.status == "draining"

    @property
    def fit(self) -> bool:
        return self.pod.ready and self.works

    @property
    def drained(self) -> bool:
        return self.pod.leaving_since is not None and not self.running and self.status in ("", "draining")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with a Deployment of `before` replicas, by names of pods and in this order.

    `mark`: note that they leave, and drain their agents. `evict`: their grace is over. `doom`: they are drained, and go
    first. Then `replicas` is the new scale. `short`: replicas wanted that the quota has no room for.
    """

    before: int
    replicas: int
    mark: tuple[str, ...] = ()
    evict: tuple[str, ...] = ()
    doom: tuple[str, ...] = ()
    short: int = 0


def plan(
    wanted: int,
    replicas: int,
    workers: Sequence[Worker],
    *,
    rolling: bool,
    now: float,
    grace_s: float,
    ceiling: int | None = None,
) -> Plan:
    """One pass towards `wanted` pods that stay, from a scale of `replicas`; at most `ceiling` (None: no bound).

    While the Deployment is `rolling` from one template to another its pods are in two ReplicaSets, which are lowered
    one knows not how; so nobody is chosen, unless all shall go. Pods beyond `replicas` are about to be taken.
    """
    active = [worker for worker in workers if worker.pod.active]
    leaving = [worker for worker in active if worker.leaves]
    unsettled = max(0, len(active) - replicas)
    target = wanted + max(0, len(leaving) - unsettled)
    evict = _overdue(workers, now, grace_s)
    if target > replicas:
        allowed = target if ceiling is None else max(replicas, min(target, ceiling))
        return Plan(replicas, allowed, _unmarked(leaving), evict, short=target - allowed)
    if wanted and (rolling or unsettled):
        return Plan(replicas, replicas, _unmarked(leaving), evict)
    surplus, coming = replicas - target, max(0, replicas - len(active))
    staying = [worker for worker in active if not worker.leaves]
    chosen = [worker.pod.name for worker in _first_to_leave(staying)[: max(0, surplus - coming)]]
    doomed = _safe(active, {worker.pod.name for worker in leaving if worker.drained})
    if rolling or unsettled:  # all shall go, so the order says nothing once all are drained
        doomed = doomed if len(doomed) == len(active) else ()
        lowered = 0 if len(doomed) == len(active) else replicas
    else:
        lowered = replicas - len(doomed) - min(coming, surplus)
    return Plan(replicas, lowered, (*_unmarked(leaving), *chosen), evict, doomed)


def deletion_rank(pod: Pod) -> tuple[bool, int, bool, int]:
    """What a ReplicaSet sorts by before all else when it takes pods: the lowest go first.

    As kube-controller-manager's `ActivePodsWithRanks` does; what comes after (spread, age) is left out, so that pods of
    the same rank may go in any order.
    """
    return pod.assigned, _PHASES.get(pod.phase, 2), pod.ready, pod.cost


def _safe(active: Iterable[Worker], drained: Collection[str]) -> tuple[str, ...]:
    """Those of the drained that are sure to be taken before anybody else, once their cost says so."""

    def rank(pod: Pod) -> tuple[bool, int, bool, int]:
        assigned, phase, ready, cost = deletion_rank(pod)
        return assigned, phase, ready, DOOMED_COST if pod.name in drained else cost

    safe: list[str] = []
    for _, pods in groupby(sorted((worker.pod for worker in active), key=rank), key=rank):
        names = [pod.name for pod in pods]
        if not drained or not set(names) <= set(drained):
            break
        safe += names
    return tuple(sorted(safe))


def _first_to_leave(staying: Iterable[Worker]) -> list[Worker]:
    """Those not fit to work, then idle ones, the oldest agent first, then the least busy."""
    return sorted(staying, key=lambda item: (item.pod.ready, item.fit, item.running, item.since, item.pod.name))


def _unmarked(leaving: Iterable[Worker]) -> tuple[str, ...]:
    """Those that leave without its being noted, or whose agent came back meanwhile and was not asked to drain."""
    return tuple(
        worker.pod.name
        for worker in leaving
        if worker.pod.leaving_since is None or worker.status not in ("", "draining")
    )


def _overdue(workers: Iterable[Worker], now: float, grace_s: float) -> tuple[str, ...]:
    """Those that still run something at the end of their grace: chosen by us, or told to end by Kubernetes."""
    return tuple(
        worker.pod.name
        for worker in workers
        if worker.running and (_left_at(worker.pod, grace_s) <= now) and worker.status in ("", "draining")
    )


def _left_at(pod: Pod, grace_s: float) -> float:
    """When the pod's grace ends; never, while it stays."""
    if pod.ends_at is not None:
        return pod.ends_at - KILL_MARGIN_S
    return float("inf") if pod.leaving_since is None else pod.leaving_since + grace_s
