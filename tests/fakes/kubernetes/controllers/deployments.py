"""Deployments: a ReplicaSet for each template, rolled over by the strategy, and a status that says how far it is."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.kubernetes.controllers.progress import conditions_of
from tests.fakes.kubernetes.controllers.rollout import Set, bounds, new_size, old_sizes
from tests.fakes.kubernetes.controllers.world import World, owner_reference, template_hash
from tests.fakes.kubernetes.errors import ApiError
from tests.fakes.kubernetes.store import Body

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"


@dataclass
class Deployments:
    """`overdue`: uids of Deployments whose progress deadline a test declared exceeded."""

    overdue: set[str] = field(default_factory=set)

    def run(self, world: World) -> None:
        for body in world.all("Deployment"):
            if not body["metadata"].get("deletionTimestamp"):
                self._sync(world, body)

    def _sync(self, world: World, body: Body) -> None:
        wanted = template_hash(body["spec"]["template"])
        sets = sorted(world.owned("ReplicaSet", body), key=_revision)
        new = next((one for one in sets if one["metadata"]["labels"].get(HASH) == wanted), None)
        if new is None and not body["spec"].get("paused"):
            new = self._create_set(world, body, wanted, sets)
        old = [one for one in sets if new is None or one["metadata"]["uid"] != new["metadata"]["uid"]]
        if new is not None:
            new = self._number(world, new, old)
            self._scale(world, body, new, old)
        self._report(world, body)
        if new is not None:
            self._forget(world, body, old)

    def _create_set(self, world: World, body: Body, name: str, sets: list[Body]) -> Body | None:
        meta, template = body["metadata"], copy.deepcopy(body["spec"]["template"])
        labels = {**(template["metadata"].get("labels") or {}), HASH: name}
        template["metadata"]["labels"] = labels
        selector = copy.deepcopy(body["spec"]["selector"])
        selector.setdefault("matchLabels", {})[HASH] = name
        metadata = {
            "name": f"{meta['name']}-{name}",
            "labels": labels,
            "annotations": {REVISION: str(_next_revision(sets))},
            "ownerReferences": [owner_reference(body)],
        }
        spec = {"replicas": 0, "selector": selector, "template": template}
        try:
            return world.create("ReplicaSet", meta["namespace"], {"metadata": metadata, "spec": spec})
        except ApiError as error:
            if error.code not in (403, 409):
                raise
            return None

    def _number(self, world: World, new: Body, old: list[Body]) -> Body:
        """A template that is used again gets the newest revision."""
        if not old or _revision(new) > max(map(_revision, old)):
            return new
        again = copy.deepcopy(new)
        again["metadata"].setdefault("annotations", {})[REVISION] = str(_next_revision(old))
        return world.write(again)

    def _scale(self, world: World, body: Body, new: Body, old: list[Body]) -> None:
        desired, strategy = body["spec"]["replicas"], body["spec"]["strategy"]
        surge, unavailable = bounds(strategy, desired)
        active = [one for one in old if one["spec"]["replicas"]]
        if strategy["type"] == "Recreate":
            for one in active:
                world.change(one, replicas=0)
            if not any(world.owned("Pod", one) for one in old):
                _set_size(world, new, desired)
            return
        size = new_size(desired, surge, _counts(new), [_counts(one) for one in active])
        new = _set_size(world, new, size)
        sizes = old_sizes(desired, unavailable, _counts(new), [_counts(one) for one in active])
        for one, left in zip(active, sizes, strict=True):
            _set_size(world, one, left)

    def _report(self, world: World, body: Body) -> None:
        sets = sorted(world.owned("ReplicaSet", body), key=_revision)
        wanted = template_hash(body["spec"]["template"])
        new = next((one for one in sets if one["metadata"]["labels"].get(HASH) == wanted), None)
        reports = [one.get("status") or {} for one in sets]
        available = sum(one.get("availableReplicas", 0) for one in reports)
        spec_total = sum(one["spec"]["replicas"] for one in sets)
        status: dict[str, Any] = {
            "observedGeneration": body["metadata"]["generation"],
            "replicas": sum(one.get("replicas", 0) for one in reports) or None,
            "updatedReplicas": ((new or {}).get("status") or {}).get("replicas", 0) or None,
            "readyReplicas": sum(one.get("readyReplicas", 0) for one in reports) or None,
            "availableReplicas": available or None,
            "unavailableReplicas": max(0, spec_total - available) or None,
        }
        overdue = body["metadata"]["uid"] in self.overdue
        status["conditions"] = conditions_of(body, status, new, sets, world.writes.now(), overdue=overdue)
        if any(one["reason"] == "NewReplicaSetAvailable" for one in status["conditions"]):
            self.overdue.discard(body["metadata"]["uid"])
        if new is not None:
            body = self._annotate(world, body, new)
        world.set_status(body, status)

    def _annotate(self, world: World, body: Body, new: Body) -> Body:
        revision = new["metadata"]["annotations"][REVISION]
        if (body["metadata"].get("annotations") or {}).get(REVISION) == revision:
            return body
        named = copy.deepcopy(body)
        named["metadata"].setdefault("annotations", {})[REVISION] = revision
        return world.write(named)

    def _forget(self, world: World, body: Body, old: list[Body]) -> None:
        """Old ReplicaSets without pods beyond the history limit go."""
        empty = [one for one in old if not one["spec"]["replicas"] and not (one.get("status") or {}).get("replicas")]
        for one in empty[: max(0, len(empty) - body["spec"]["revisionHistoryLimit"])]:
            world.delete(one)


def _set_size(world: World, body: Body, size: int) -> Body:
    return body if body["spec"]["replicas"] == size else world.change(body, replicas=size)


def _counts(body: Body) -> Set:
    return Set(body["spec"]["replicas"], (body.get("status") or {}).get("availableReplicas", 0))


def _revision(body: Body) -> int:
    return int((body["metadata"].get("annotations") or {}).get(REVISION, "0"))


def _next_revision(sets: list[Body]) -> int:
    return max(map(_revision, sets), default=0) + 1
