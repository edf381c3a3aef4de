"""Objectives written as OpenSLO v1 documents: `openslo.read` gives the same objectives back."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import yaml

from app.slo.objective import Objective, WindowSpec
from app.slo.openslo import VERSION
from app.slo.openslo_sli import OURS
from app.slo.openslo_window import START, duration_of


def write(objectives: Iterable[Objective]) -> str:
    """A file with one SLO document for each."""
    return yaml.safe_dump_all(
        [document(objective) for objective in objectives], sort_keys=False, allow_unicode=True, explicit_start=True
    )


def document(objective: Objective) -> dict[str, Any]:
    """One SLO document, as plain data."""
    goal: dict[str, Any] = {"target": _plain(objective.target)}
    if objective.threshold_s is not None:
        goal = {"op": "lte", "value": _plain(objective.threshold_s), **goal}
    described = {"description": objective.description} if objective.description else {}
    return {
        "apiVersion": VERSION,
        "kind": "SLO",
        "metadata": {"name": objective.name},
        "spec": {
            **described,
            "service": objective.scope.pool or "tasks",
            "indicator": {"metadata": {"name": f"{objective.name}-indicator"}, "spec": _indicator(objective)},
            "timeWindow": [_window(objective.window)],
            "budgetingMethod": "Occurrences",
            "objectives": [goal],
        },
    }


def _indicator(objective: Objective) -> dict[str, Any]:
    def source() -> dict[str, Any]:
        # A dictionary for each: the same one twice would be written as an alias.
        return {"metricSource": {"type": OURS, "spec": _spec(objective)}}

    if objective.kind == "latency":
        return {"thresholdMetric": source()}
    return {"ratioMetric": {"counter": True, "good": source(), "total": source()}}


def _spec(objective: Objective) -> dict[str, Any]:
    scope, found = objective.scope, dict[str, Any](kind=objective.kind)
    found |= {name: value for name, value in (("tenant", scope.tenant), ("pool", scope.pool)) if value is not None}
    if scope.label_key is not None:
        found["label"] = {scope.label_key: scope.label_value}
    if objective.kind == "latency":
        found["queue_wait"] = objective.queue_wait
    if objective.kind == "accuracy":
        found |= {
            "evaluator": objective.evaluator,
            "version": objective.version,
            "pass_score": _plain(objective.pass_score),
            "coverage_floor": _plain(objective.coverage_floor),
            "settle_after_s": objective.settle_after_s,
        }
    return found


def _window(window: WindowSpec) -> dict[str, Any]:
    if window.kind == "rolling":
        return {"duration": duration_of(window.period_s), "isRolling": True}
    return {
        "duration": "1M" if window.kind == "month" else "1w",
        "calendar": {"startTime": START, "timeZone": window.zone},
        "isRolling": False,
    }


def _plain(number: Decimal) -> int | float:
    """As YAML has numbers. A float of at most 15 digits is written as it was."""
    return int(number) if number == int(number) else float(number)
