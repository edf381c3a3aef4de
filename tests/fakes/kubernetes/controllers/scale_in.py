"""In which order a ReplicaSet takes pods away (`ActivePodsWithRanks` of Kubernetes' controller utilities)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.fakes.kubernetes.controllers.world import condition, is_ready, parse_time
from tests.fakes.kubernetes.store import Body

COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def victims(pods: list[Body], count: int, related: Iterable[Body]) -> list[Body]:
    """The pods that go first. `related`: the active pods of the same Deployment, for the spread over nodes."""
    crowds = Counter(pod["spec"].get("nodeName") for pod in related)
    return sorted(pods, key=lambda pod: _rank(pod, crowds))[:count]


def _rank(pod: Body, crowds: Counter[str | None]) -> tuple[Any, ...]:
    node, status = pod["spec"].get("nodeName"), pod.get("status") or {}
    ready = is_ready(pod)
    since = parse_time(condition(pod, "Ready")["lastTransitionTime"]).timestamp() if ready else 0.0
    restarts = max((one.get("restartCount", 0) for one in status.get("containerStatuses") or []), default=0)
    return (
        # Unassigned before assigned, pending before running, not ready before ready.
        bool(node),
        _PHASES.get(status.get("phase", "Unknown"), 1),
        ready,
        deletion_cost(pod),
        # Then where more of them share a node, ready for a shorter time, more restarts, younger.
        -crowds[node],
        -since,
        -restarts,
        -parse_time(pod["metadata"]["creationTimestamp"]).timestamp(),
    )


def deletion_cost(pod: Body) -> int:
    """The annotation's value; 0 where it is absent or not an integer of 32 bits."""
    text = str((pod["metadata"].get("annotations") or {}).get(COST, "0"))
    digits = text.removeprefix("-")
    if not digits.isdecimal() or (len(digits) > 1 and digits[0] == "0"):
        return 0
    return int(text) if abs(int(text)) < 2**31 else 0
