"""Small statuses clients wait for: claims are bound, budgets and quotas counted."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.fakes.kubernetes.controllers.rollout import count_of
from tests.fakes.kubernetes.controllers.world import World, is_active, is_ready, with_condition
from tests.fakes.kubernetes.quantity import parse_quantity, show_quantity
from tests.fakes.kubernetes.selectors import selector_match
from tests.fakes.kubernetes.store import Body


class Upkeep:
    def run(self, world: World) -> None:
        for claim in world.all("PersistentVolumeClaim"):
            capacity = claim["spec"].get("resources", {}).get("requests", {})
            modes = claim["spec"].get("accessModes") or []
            world.set_status(claim, {"phase": "Bound", "accessModes": modes, "capacity": capacity})
        for budget in world.all("PodDisruptionBudget"):
            world.set_status(budget, _budget(world, budget))
        for quota in world.all("ResourceQuota"):
            world.set_status(quota, _quota(world, quota))


def _budget(world: World, body: Body) -> dict[str, Any]:
    spec, match = body["spec"], selector_match(body["spec"].get("selector"))
    pods = [pod for pod in world.all("Pod", body["metadata"]["namespace"]) if is_active(pod)]
    chosen = [pod for pod in pods if match(pod["metadata"].get("labels") or {})]
    healthy, expected = sum(is_ready(pod) for pod in chosen), len(chosen)
    if "minAvailable" in spec:
        desired = count_of(spec["minAvailable"], expected, up=True)
    else:
        desired = expected - count_of(spec.get("maxUnavailable", 1), expected, up=True)
    allowed = max(0, healthy - desired) if expected else 0
    status, reason = ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
    conditions = (body.get("status") or {}).get("conditions") or []
    return {
        "observedGeneration": body["metadata"]["generation"],
        "currentHealthy": healthy,
        "desiredHealthy": max(0, desired),
        "expectedPods": expected,
        "disruptionsAllowed": allowed,
        "conditions": with_condition(conditions, "DisruptionAllowed", status, reason, "", world.now()),
    }


def _quota(world: World, body: Body) -> dict[str, Any]:
    hard, where = body["spec"].get("hard") or {}, body["metadata"]["namespace"]
    used: dict[str, Decimal] = {}
    for kind in world.writes.kinds.all():
        if kind.namespaced:
            used |= world.writes.admission.used(kind, where)
    shown = {key: show_quantity(used.get(key, parse_quantity(0))) for key in hard}
    return {"hard": hard, "used": shown}
