"""Objectives as they are kept, and as plain values again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any
from uuid import UUID

import orjson

from app.limits.tightening import Measure
from app.slo.burn_alerts import PlannedRule
from app.slo.objective import Objective, Scope, WindowSpec

_OBJECTIVE = (
    "name, kind, target, window_kind, window_s, zone, tenant, pool, label_key, label_value, threshold_s, queue_wait, "
    "evaluator, version, pass_score, coverage_floor, settle_after_s, description"
)
WRITTEN = f"id, owner, {_OBJECTIVE}, burn_rules, min_events, on_exhausted, created_by"
"""Columns of `values`, in its order."""
COLUMNS = f"{WRITTEN}, created_at, updated_at, counted_from, counted_until"


@dataclass(frozen=True, slots=True)
class SloRecord:
    """An objective of a tenant (`owner`), its burn rules as planned, and what becomes tighter once its budget is gone.

    `min_events`: fewer in the long window of a rule are no evidence. What ended from `counted_from` to `counted_until`
    is in its buckets; None: it is new.
    """

    id: UUID
    owner: str
    objective: Objective
    rules: tuple[PlannedRule, ...]
    min_events: int
    on_exhausted: tuple[Measure, ...]
    created_by: str
    created_at: datetime
    updated_at: datetime
    counted_from: datetime | None
    counted_until: datetime | None

    @property
    def name(self) -> str:
        return self.objective.name


def record(row: Any) -> SloRecord:
    """From a row that has COLUMNS."""
    objective = Objective(
        name=row["name"],
        kind=row["kind"],
        target=row["target"],
        window=WindowSpec(row["window_kind"], row["window_s"], row["zone"]),
        scope=Scope(*(row[name] for name in ("tenant", "pool", "label_key", "label_value"))),
        **{name: row[name] for name in ("threshold_s", "queue_wait", "evaluator", "version", "pass_score")},
        **{name: row[name] for name in ("coverage_floor", "settle_after_s", "description")},
    )
    kept = ("created_by", "created_at", "updated_at", "counted_from", "counted_until")
    return SloRecord(
        row["id"],
        row["owner"],
        objective,
        rules_from_json(orjson.loads(row["burn_rules"])),
        row["min_events"],
        tuple(row["on_exhausted"]),
        *(row[name] for name in kept),
    )


def values(
    slo_id: UUID,
    owner: str,
    objective: Objective,
    rules: Iterable[PlannedRule],
    min_events: int,
    on_exhausted: Iterable[Measure],
    created_by: str,
) -> tuple[Any, ...]:
    """What WRITTEN names."""
    window, scope = objective.window, objective.scope
    return (
        *(slo_id, owner, objective.name, objective.kind, objective.target),
        *(window.kind, window.seconds, window.zone),
        *(scope.tenant, scope.pool, scope.label_key, scope.label_value),
        *(objective.threshold_s, objective.queue_wait, objective.evaluator, objective.version, objective.pass_score),
        *(objective.coverage_floor, objective.settle_after_s, objective.description),
        *(orjson.dumps(rules_json(rules)).decode(), min_events, list(on_exhausted), created_by),
    )


def rules_json(rules: Iterable[PlannedRule]) -> list[dict[str, Any]]:
    """Planned rules as JSON; fractions as text, so that they stay what they are."""
    return [
        {
            **{name: getattr(rule, name) for name in ("name", "long_s", "short_s", "severity", "replanned")},
            "share": str(rule.share),
            "factor": str(rule.factor),
        }
        for rule in rules
    ]


def rules_from_json(found: Iterable[Mapping[str, Any]]) -> tuple[PlannedRule, ...]:
    """What `rules_json` wrote."""
    return tuple(
        PlannedRule(**{**rule, "share": Fraction(rule["share"]), "factor": Fraction(rule["factor"])}) for rule in found
    )


def counts_alike(one: Objective, other: Objective) -> bool:
    """Whether two objectives count the same events in the same way, so that the buckets of one are the other's too."""
    return _counted(one) == _counted(other)


def _counted(objective: Objective) -> tuple[object, ...]:
    return (
        *(objective.kind, objective.scope, objective.threshold_s, objective.queue_wait),
        *(objective.evaluator, objective.version, objective.pass_score, objective.settle_after_s),
    )
