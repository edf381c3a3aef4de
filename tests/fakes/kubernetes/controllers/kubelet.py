"""The nodes' side of pods: containers start, get ready, crash, end; a deleted pod goes when its processes ended."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fakes.kubernetes.controllers.containers import Place, status_of
from tests.fakes.kubernetes.controllers.images import Images
from tests.fakes.kubernetes.controllers.world import World
from tests.fakes.kubernetes.store import Body


@dataclass(frozen=True)
class PodReport:
    """What a pod's processes are like. `ip` empty: the cluster gives one. `exit_code`: they ended."""

    ready: bool = True
    ip: str = ""
    exit_code: int | None = None
    message: str = ""


class Kubelet:
    """The test's hook: subclass it to run something real for each pod. Called with a copy of the pod, no lock held.

    The methods run on the loop that runs the pass: the test's with `await cluster.reconcile()`, the cluster's own
    thread with `cluster.run()`. Pods of Jobs, and pods whose image misbehaves (`cluster.images`), are never started.
    """

    async def start(self, pod: Body) -> PodReport:
        """The containers start; called once a pod."""
        return PodReport()

    async def look(self, pod: Body) -> PodReport | None:
        """How a started pod is now; called every pass. None: as before."""
        return None

    async def stop(self, pod: Body) -> bool:
        """The pod is being deleted; called every pass until it says True: its processes have ended."""
        return True


@dataclass
class _Running:
    report: PodReport
    pod: Body


class Nodes:
    """All nodes' kubelets."""

    def __init__(self, images: Images, hook: Callable[[], Kubelet]) -> None:
        self._images = images
        self._hook = hook
        self._started: dict[str, _Running] = {}
        # Passes since a pod was placed, and its address.
        self._ages: dict[str, int] = {}
        self._places: dict[str, Place] = {}

    async def run(self, world: World) -> None:
        """One pass over all pods that have a node."""
        with world.writes.store.lock:
            pods = [copy.deepcopy(pod) for pod in world.all("Pod") if pod["spec"].get("nodeName")]
        for pod in pods:
            if pod["metadata"].get("deletionTimestamp"):
                await self._stop(world, pod)
            elif pod["status"]["phase"] not in ("Succeeded", "Failed"):
                await self._keep(world, pod)
        await self._sweep({pod["metadata"]["uid"] for pod in pods})

    async def _keep(self, world: World, pod: Body) -> None:
        uid = pod["metadata"]["uid"]
        self._ages[uid] = self._ages.get(uid, -1) + 1
        with world.writes.store.lock:
            place = self._place(world, pod)
        report = await self._report(pod) if place.starts(pod) else None
        with world.writes.store.lock:
            current = world.fresh(pod)
            if current is None:
                return
            status = status_of(current, place, report, self._ages[uid], world.now())
            world.set_status(current, status)
            if status.get("phase") == "Running" and report is not None:
                self._started[uid].pod = copy.deepcopy(current)

    async def _report(self, pod: Body) -> PodReport:
        uid, hook = pod["metadata"]["uid"], self._hook()
        if uid not in self._started:
            self._started[uid] = _Running(await hook.start(pod), pod)
        elif (seen := await hook.look(pod)) is not None:
            self._started[uid].report = seen
        return self._started[uid].report

    def _place(self, world: World, pod: Body) -> Place:
        """Everything outside the pod that decides how its containers do."""
        uid = pod["metadata"]["uid"]
        number = len(self._places) + 2
        fresh = Place({}, "", f"10.244.{number // 250}.{number % 250}", "")
        known = self._places.setdefault(uid, fresh)
        behaviours = {one["image"]: self._images.of(one["image"]) for one in pod["spec"]["containers"]}
        return Place(behaviours, _missing(world, pod), known.ip, _host(world, pod))

    async def _stop(self, world: World, pod: Body) -> None:
        uid = pod["metadata"]["uid"]
        if uid in self._started and not await self._hook().stop(pod):
            return
        self._forget(uid)
        with world.writes.store.lock:
            current = world.fresh(pod)
            if current is not None:
                world.delete(current, gracePeriodSeconds=0)
                left = world.fresh(pod)
                if left is not None and not left["metadata"].get("finalizers"):
                    world.writes.store.remove(world.writes.kinds.named("Pod"), left)

    async def _sweep(self, there: set[str]) -> None:
        """Pods that were removed by force are stopped all the same."""
        for uid in [uid for uid in self._started if uid not in there]:
            if await self._hook().stop(self._started[uid].pod):
                self._forget(uid)

    def _forget(self, uid: str) -> None:
        self._started.pop(uid, None)
        self._ages.pop(uid, None)


def _host(world: World, pod: Body) -> str:
    node = world.get("Node", "", pod["spec"]["nodeName"])
    addresses: list[dict[str, Any]] = ((node or {}).get("status") or {}).get("addresses") or []
    return next((one["address"] for one in addresses if one["type"] == "InternalIP"), "192.0.2.1")


def _missing(world: World, pod: Body) -> str:
    """The kubelet's words for the first Secret or ConfigMap a container needs and that is not there."""
    where = pod["metadata"]["namespace"]
    for container in [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]:
        sources = list(container.get("envFrom") or [])
        values = [one["valueFrom"] for one in container.get("env") or [] if one.get("valueFrom")]
        for kind, source, key in _references(sources, values):
            if source.get("optional"):
                continue
            found = world.get(kind, where, source.get("name", ""))
            if found is None:
                return f'{kind.lower()} "{source.get("name")}" not found'
            if key and key not in {**(found.get("data") or {}), **(found.get("binaryData") or {})}:
                return f"couldn't find key {key} in {kind} {where}/{source['name']}"
    return ""


def _references(sources: list[Body], values: list[Body]) -> list[tuple[str, Body, str]]:
    found = []
    forms = (("Secret", "secretRef", "secretKeyRef"), ("ConfigMap", "configMapRef", "configMapKeyRef"))
    for kind, whole, single in forms:
        found += [(kind, one[whole], "") for one in sources if whole in one]
        found += [(kind, one[single], one[single]["key"]) for one in values if single in one]
    return found
