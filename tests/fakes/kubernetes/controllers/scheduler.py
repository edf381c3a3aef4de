"""Pods get a node that has room and the labels they ask for, the emptiest one first."""

from __future__ import annotations

import copy
from collections import Counter
from decimal import Decimal

from tests.fakes.kubernetes.admission import usage
from tests.fakes.kubernetes.controllers.images import Images
from tests.fakes.kubernetes.controllers.world import World, condition, is_active, with_condition
from tests.fakes.kubernetes.quantity import parse_quantity
from tests.fakes.kubernetes.store import Body

SCHEDULER = "default-scheduler"


class Scheduler:
    def __init__(self, images: Images) -> None:
        self._images = images

    def run(self, world: World) -> None:
        for pod in world.all("Pod"):
            if not pod["spec"].get("nodeName") and is_active(pod):
                self._place(world, pod)

    def _place(self, world: World, pod: Body) -> None:
        refusal = next((why for image in _images(pod) if (why := self._images.of(image).unschedulable)), "")
        reasons: Counter[str] = Counter()
        fitting = []
        for node in world.all("Node"):
            lacks = _lacks(world, node, pod)
            reasons.update(lacks)
            if not lacks:
                fitting.append(node)
        if not refusal and fitting:
            return _bind(world, pod, min(fitting, key=lambda node: _crowd(world, node)))
        words = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        total = sum(1 for _ in world.all("Node"))
        message = refusal or f"0/{total} nodes are available" + (f": {words}." if words else ".")
        conditions = (pod.get("status") or {}).get("conditions") or []
        said = with_condition(conditions, "PodScheduled", "False", "Unschedulable", message, world.now())
        world.set_status(pod, (pod.get("status") or {}) | {"conditions": said})
        return None


def _images(pod: Body) -> list[str]:
    return [container["image"] for container in pod["spec"]["containers"]]


def _bind(world: World, pod: Body, node: Body) -> None:
    bound = copy.deepcopy(pod)
    bound["spec"]["nodeName"] = node["metadata"]["name"]
    bound = world.write(bound)
    conditions = (bound.get("status") or {}).get("conditions") or []
    placed = with_condition(conditions, "PodScheduled", "True", "", "", world.now())
    world.set_status(bound, bound["status"] | {"conditions": placed})


def _on(world: World, node: Body) -> list[Body]:
    name = node["metadata"]["name"]
    return [pod for pod in world.all("Pod") if pod["spec"].get("nodeName") == name and is_active(pod)]


def _crowd(world: World, node: Body) -> int:
    return len(_on(world, node))


def _lacks(world: World, node: Body, pod: Body) -> list[str]:
    """Why this node does not take the pod."""
    labels = node["metadata"].get("labels") or {}
    if node["spec"].get("unschedulable"):
        return ["node(s) were unschedulable"]
    if condition(node, "Ready").get("status") == "False":
        return ["node(s) had untolerated taint {node.kubernetes.io/not-ready: }"]
    if any(labels.get(key) != value for key, value in (pod["spec"].get("nodeSelector") or {}).items()):
        return ["node(s) didn't match Pod's node affinity/selector"]
    kind, room = world.writes.kinds.named("Pod"), (node.get("status") or {}).get("allocatable") or {}
    others = [usage(kind, one) for one in _on(world, node)]
    asked = usage(kind, pod)
    lacks = []
    for name in ("cpu", "memory"):
        used = sum((one.get(f"requests.{name}", Decimal(0)) for one in others), Decimal(0))
        if used + asked.get(f"requests.{name}", Decimal(0)) > parse_quantity(room.get(name, "0")):
            lacks.append(f"Insufficient {name}")
    return [*lacks, *(["Too many pods"] if len(others) >= int(room.get("pods", "110")) else [])]
