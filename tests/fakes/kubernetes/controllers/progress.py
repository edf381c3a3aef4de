"""A Deployment's conditions: Available, Progressing, ReplicaFailure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.fakes.kubernetes.controllers.rollout import bounds
from tests.fakes.kubernetes.controllers.world import (
    condition,
    parse_time,
    with_condition,
    without_condition,
)
from tests.fakes.kubernetes.revision import timestamp
from tests.fakes.kubernetes.store import Body

_COUNTS = ("updatedReplicas", "readyReplicas", "availableReplicas")


def conditions_of(
    body: Body, status: dict[str, Any], new: Body | None, sets: list[Body], when: datetime, *, overdue: bool
) -> list[dict[str, Any]]:
    """The conditions that go with this new status."""
    desired, now = body["spec"]["replicas"], timestamp(when)
    conditions: list[dict[str, Any]] = list((body.get("status") or {}).get("conditions") or [])
    _, unavailable = bounds(body["spec"]["strategy"], desired)
    conditions = _available(conditions, (status["availableReplicas"] or 0) >= desired - unavailable, now)
    if new is not None:
        conditions = _progressing(conditions, body, status, new, when, overdue=overdue)
    failed = next((found for one in sets if (found := condition(one, "ReplicaFailure"))), None)
    if failed is None:
        return without_condition(conditions, "ReplicaFailure")
    words = failed["reason"], failed["message"]
    return with_condition(conditions, "ReplicaFailure", "True", *words, now, updated=True)


def _available(conditions: list[dict[str, Any]], enough: bool, now: str) -> list[dict[str, Any]]:
    if enough:
        words = "MinimumReplicasAvailable", "Deployment has minimum availability."
        return with_condition(conditions, "Available", "True", *words, now, updated=True)
    words = "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
    return with_condition(conditions, "Available", "False", *words, now, updated=True)


def _progressing(
    conditions: list[dict[str, Any]], body: Body, status: dict[str, Any], new: Body, when: datetime, *, overdue: bool
) -> list[dict[str, Any]]:
    name, now = new["metadata"]["name"], timestamp(when)
    old = next((one for one in conditions if one["type"] == "Progressing"), {})
    if _complete(body, status):
        words = "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'
        return with_condition(conditions, "Progressing", "True", *words, now, updated=True)
    if not old:
        words = "NewReplicaSetCreated", f'Created new replica set "{name}"'
        return with_condition(conditions, "Progressing", "True", *words, now, updated=True)
    # A finished rollout that only lost pods has no deadline.
    if old["reason"] == "NewReplicaSetAvailable" and status["replicas"] == status["updatedReplicas"] and not overdue:
        return conditions
    if not overdue and _moved(body, status):
        moved = with_condition(without_condition(conditions, "Progressing"), *_updated(name), now, updated=True)
        moved[-1]["lastTransitionTime"] = old["lastTransitionTime"] if old["status"] == "True" else now
        return moved
    late = (when - parse_time(old["lastUpdateTime"])).total_seconds() > body["spec"]["progressDeadlineSeconds"]
    if overdue or late or old["reason"] == "ProgressDeadlineExceeded":
        words = "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.'
        return with_condition(conditions, "Progressing", "False", *words, now, updated=True)
    return conditions


def _updated(name: str) -> tuple[str, str, str, str]:
    return "Progressing", "True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.'


def _complete(body: Body, status: dict[str, Any]) -> bool:
    desired = body["spec"]["replicas"]
    counts = [status[key] or 0 for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return all(count == desired for count in counts)


def _moved(body: Body, status: dict[str, Any]) -> bool:
    """More new, ready or available pods than before, or fewer old ones."""
    before = body.get("status") or {}
    old_before = before.get("replicas", 0) - before.get("updatedReplicas", 0)
    old_now = (status["replicas"] or 0) - (status["updatedReplicas"] or 0)
    return old_now < old_before or any((status[key] or 0) > before.get(key, 0) for key in _COUNTS)
