"""The fake's pure judgements: how far a rollout may go at once, and which pods leave first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.kubernetes.controllers.rollout import Set, bounds, new_size, old_sizes
from tests.fakes.kubernetes.controllers.scale_in import COST, deletion_cost, victims
from tests.fakes.workloads import pod


@given(
    desired=st.integers(0, 20),
    surge=st.integers(0, 5),
    unavailable=st.integers(0, 5),
    new=st.integers(0, 20),
    old=st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), max_size=3),
)
def test_rollout_bounds(desired: int, surge: int, unavailable: int, new: int, old: list[tuple[int, int]]) -> None:
    sets = [Set(max(pair), min(pair)) for pair in old]
    newest = Set(new, new)
    size = new_size(desired, surge, newest, sets)
    assert size <= max(new, desired)
    assert size <= new or size + sum(one.wanted for one in sets) <= desired + surge
    left = old_sizes(desired, unavailable, newest, sets)
    assert all(0 <= after <= one.wanted for after, one in zip(left, sets, strict=True))
    available = new + sum(one.available for one in sets)
    lost = sum(max(0, one.available - after) for one, after in zip(sets, left, strict=True))
    assert lost <= max(0, available - (desired - unavailable))


@pytest.mark.parametrize(
    ("strategy", "desired", "expected"),
    [
        ({"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}, 5, (2, 1)),
        ({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, 5, (1, 0)),
        ({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}, 5, (0, 1)),
        ({"type": "Recreate"}, 5, (0, 5)),
    ],
)
def test_bounds_of_a_strategy(strategy: dict[str, Any], desired: int, expected: tuple[int, int]) -> None:
    assert bounds(strategy, desired) == expected


def placed(name: str, **facts: Any) -> dict[str, Any]:
    """A pod with what decides over its removal; by default running, ready for long, and old."""
    at = {"since": "2026-01-01T00:00:00Z", "made": "2026-01-01T00:00:00Z", "node": "n", "phase": "Running"} | facts
    body = pod(name, creationTimestamp=at["made"], annotations={COST: str(at.get("cost", 0))})
    ready = {"type": "Ready", "status": str(at.get("ready", True)), "lastTransitionTime": at["since"]}
    restarts = [{"restartCount": at.get("restarts", 0)}]
    body["status"] = {"phase": at["phase"], "conditions": [ready], "containerStatuses": restarts}
    body["spec"]["nodeName"] = at["node"]
    return body


def test_scale_in_goes_by_the_server_s_order() -> None:
    ordered = [
        placed("unassigned", node=None),
        placed("pending", phase="Pending", cost=500),
        placed("unready", ready=False, cost=500),
        placed("cheap", cost=-1000),
        placed("crowded-1", node="m"),
        placed("crowded-2", node="m", since="2025-12-01T00:00:00Z"),
        placed("newly-ready", node="o", since="2026-01-02T00:00:00Z"),
        placed("restarted", node="p", restarts=3),
        placed("young", node="q", made="2026-01-03T00:00:00Z"),
        placed("old", node="r"),
        placed("dear", node="s", cost=7),
    ]
    shuffled = sorted(ordered, key=lambda one: one["metadata"]["name"])
    assert [one["metadata"]["name"] for one in victims(shuffled, 99, ordered)] == [
        one["metadata"]["name"] for one in ordered
    ]


@pytest.mark.parametrize(
    ("text", "cost"), [("-1000", -1000), ("7", 7), ("x", 0), ("1.5", 0), ("007", 0), ("9" * 11, 0)]
)
def test_deletion_cost(text: str, cost: int) -> None:
    assert deletion_cost(pod("a", annotations={COST: text})) == cost
