"""StatefulSets: numbered pods, one after the other, with their claims."""

from __future__ import annotations

import copy

from tests.fakes.kubernetes.controllers.world import World, is_ready, pod_of, template_hash
from tests.fakes.kubernetes.errors import ApiError
from tests.fakes.kubernetes.store import Body

REVISION = "controller-revision-hash"


class StatefulSets:
    def run(self, world: World) -> None:
        for body in world.all("StatefulSet"):
            if not body["metadata"].get("deletionTimestamp"):
                self._sync(world, body)

    def _sync(self, world: World, body: Body) -> None:
        name = body["metadata"]["name"]
        revision = f"{name}-{template_hash(body['spec']['template'])}"
        pods = {pod["metadata"]["name"]: pod for pod in world.owned("Pod", body)}
        wanted = [f"{name}-{number}" for number in range(body["spec"]["replicas"])]
        self._grow(world, body, wanted, pods, revision)
        self._shrink(world, wanted, pods, revision)
        self._report(world, body, revision)

    def _grow(self, world: World, body: Body, wanted: list[str], pods: dict[str, Body], revision: str) -> None:
        in_order = body["spec"]["podManagementPolicy"] == "OrderedReady"
        for number, name in enumerate(wanted):
            if name not in pods:
                self._create(world, body, number, revision)
            if in_order and (name not in pods or not is_ready(pods[name])):
                return

    def _create(self, world: World, body: Body, number: int, revision: str) -> None:
        name, where = f"{body['metadata']['name']}-{number}", body["metadata"]["namespace"]
        labels = {REVISION: revision, "statefulset.kubernetes.io/pod-name": name}
        pod = pod_of(body, labels | {"apps.kubernetes.io/pod-index": str(number)}, name=name)
        for claim in body["spec"].get("volumeClaimTemplates") or []:
            volume = claim["metadata"]["name"]
            self._claim(world, where, f"{volume}-{name}", claim)
            source = {"name": volume, "persistentVolumeClaim": {"claimName": f"{volume}-{name}"}}
            pod["spec"].setdefault("volumes", []).append(source)
        try:
            world.create("Pod", where, pod)
        except ApiError as error:
            if error.code != 403:
                raise

    def _claim(self, world: World, namespace: str, name: str, template: Body) -> None:
        if world.get("PersistentVolumeClaim", namespace, name) is None:
            body = {"metadata": {"name": name, "labels": template["metadata"].get("labels") or {}}}
            world.create("PersistentVolumeClaim", namespace, body | {"spec": copy.deepcopy(template["spec"])})

    def _shrink(self, world: World, wanted: list[str], pods: dict[str, Body], revision: str) -> None:
        """Surplus pods go; then one outdated pod at a time, the highest first, while all others are ready."""
        leaving = [pod for pod in pods.values() if pod["metadata"].get("deletionTimestamp")]
        for name in sorted(set(pods) - set(wanted)):
            if pods[name] not in leaving:
                world.delete(pods[name])
        outdated = [pod for pod in pods.values() if pod["metadata"]["labels"].get(REVISION) != revision]
        if outdated and not leaving and set(wanted) <= set(pods):
            world.delete(max(outdated, key=lambda pod: int(pod["metadata"]["name"].rpartition("-")[2])))

    def _report(self, world: World, body: Body, revision: str) -> None:
        pods = world.owned("Pod", body)
        ready = [pod for pod in pods if is_ready(pod)]
        updated = [pod for pod in pods if pod["metadata"]["labels"][REVISION] == revision]
        finished = len(updated) == len(pods) == body["spec"]["replicas"]
        before = (body.get("status") or {}).get("currentRevision", revision)
        status = {
            "observedGeneration": body["metadata"]["generation"],
            "replicas": len(pods),
            "readyReplicas": len(ready) or None,
            "availableReplicas": len(ready),
            "updatedReplicas": len(updated) or None,
            "currentReplicas": (len(updated) if finished else len(pods) - len(updated)) or None,
            "currentRevision": revision if finished else before,
            "updateRevision": revision,
            "collisionCount": 0,
        }
        world.set_status(body, status)
