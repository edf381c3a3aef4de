"""Objectives come back from their rows as they were."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given

from app.slo.burn_alerts import BurnRuleNeverFires, standard
from app.slo.objective import Objective, Scope, WindowSpec
from app.slo.records import WRITTEN, counts_alike, record, rules_from_json, rules_json, values
from tests.slo.ended_tasks import NOON
from tests.slo.objectives import objective, objectives


@given(asked=objectives())
def test_a_row_is_the_objective_again(asked: Objective) -> None:
    try:
        rules = standard(asked.target, asked.window.period_s)
    except BurnRuleNeverFires:
        rules = ()
    written = values(UUID(int=7), "acme", asked, rules, 5, ("freeze_rollouts",), "k1")
    row = dict(zip(WRITTEN.split(", "), written, strict=True))
    found = record({**row, "created_at": NOON, "updated_at": NOON, "counted_from": None, "counted_until": None})
    assert (found.objective, found.rules, found.min_events, found.on_exhausted) == (
        asked,
        rules,
        5,
        ("freeze_rollouts",),
    )
    assert (found.id, found.owner, found.name, found.created_by) == (UUID(int=7), "acme", asked.name, "k1")


@given(asked=objectives())
def test_rules_are_exact_in_json(asked: Objective) -> None:
    rules = standard(Decimal("0.999"), max(asked.window.period_s, 3600))
    assert rules_from_json(rules_json(rules)) == rules


@pytest.mark.parametrize(
    ("kind", "change", "alike"),
    [
        ("availability", {"target": Decimal("0.5")}, True),
        ("availability", {"window": WindowSpec("month", None)}, True),
        ("availability", {"description": "other"}, True),
        ("accuracy", {"coverage_floor": Decimal("0.5")}, True),
        ("availability", {"scope": Scope(pool="q")}, False),
        ("latency", {"threshold_s": Decimal(31)}, False),
        ("latency", {"queue_wait": False}, False),
        ("accuracy", {"version": "4"}, False),
        ("accuracy", {"pass_score": Decimal("0.6")}, False),
        ("accuracy", {"settle_after_s": 60}, False),
    ],
)
def test_what_counts_alike(kind: str, change: dict[str, object], alike: bool) -> None:
    asked = objective(kind)  # type: ignore[arg-type]
    assert counts_alike(asked, replace(asked, **change)) is alike  # type: ignore[arg-type]
