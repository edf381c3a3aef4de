"""ReplicaSets: as many pods as wanted, the right ones taken away, failures to create said."""

from __future__ import annotations

from typing import Any

from tests.fakes.kubernetes.controllers.scale_in import victims
from tests.fakes.kubernetes.controllers.world import (
    World,
    controller_of,
    is_active,
    is_ready,
    pod_of,
    with_condition,
    without_condition,
)
from tests.fakes.kubernetes.errors import ApiError
from tests.fakes.kubernetes.store import Body


class ReplicaSets:
    def run(self, world: World) -> None:
        for body in world.all("ReplicaSet"):
            self._sync(world, body)

    def _sync(self, world: World, body: Body) -> None:
        error: ApiError | None = None
        pods = [pod for pod in world.owned("Pod", body) if is_active(pod)]
        missing = body["spec"]["replicas"] - len(pods)
        if not body["metadata"].get("deletionTimestamp"):
            error = self._create(world, body, missing)
            for pod in victims(pods, max(0, -missing), self._related(world, body)):
                world.delete(pod)
        current = world.fresh(body)
        if current is not None:
            self._report(world, current, error)

    def _create(self, world: World, body: Body, count: int) -> ApiError | None:
        for _ in range(count):
            try:
                name = f"{body['metadata']['name']}-"
                world.create("Pod", body["metadata"]["namespace"], pod_of(body, generateName=name))
            except ApiError as error:
                return error
        return None

    def _related(self, world: World, body: Body) -> list[Body]:
        deployment = controller_of(body)
        siblings = [body]
        if deployment:
            where = body["metadata"]["namespace"]
            siblings = [one for one in world.all("ReplicaSet", where) if controller_of(one) == deployment]
        return [pod for one in siblings for pod in world.owned("Pod", one) if is_active(pod)]

    def _report(self, world: World, body: Body, error: ApiError | None) -> None:
        pods = [pod for pod in world.owned("Pod", body) if is_active(pod)]
        ready = sum(is_ready(pod) for pod in pods)
        conditions: list[dict[str, Any]] = (body.get("status") or {}).get("conditions") or []
        if error is None:
            conditions = without_condition(conditions, "ReplicaFailure")
        elif not any(one["type"] == "ReplicaFailure" for one in conditions):
            # The first failure's words stay: they name a pod that never was, another one each time.
            conditions = with_condition(
                conditions, "ReplicaFailure", "True", "FailedCreate", error.message, world.now()
            )
        status: dict[str, Any] = {
            "replicas": len(pods),
            "fullyLabeledReplicas": len(pods) or None,
            "readyReplicas": ready or None,
            "availableReplicas": ready or None,
            "observedGeneration": body["metadata"]["generation"],
            "conditions": conditions,
        }
        world.set_status(body, status)
