"""What is an objective, and what is none."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given

from app.slo.objective import DAY_S, BadObjective, Kind, Objective, Scope, WindowSpec, checked_objective, faults
from tests.slo.objectives import objective, objectives


@given(objectives())
def test_valid_objectives_have_no_fault(item: Objective) -> None:
    assert list(faults(item)) == []
    assert checked_objective(item) is item
    assert item.allowed + Fraction(item.target) == 1


@pytest.mark.parametrize(
    ("kind", "fields", "path"),
    [
        ("availability", {"name": ""}, "name"),
        ("availability", {"name": "-a"}, "name"),
        ("availability", {"name": "a" * 64}, "name"),
        ("availability", {"target": Decimal(0)}, "target"),
        ("availability", {"target": Decimal(1)}, "target"),
        ("availability", {"target": Decimal("99.9")}, "target"),
        ("availability", {"target": Decimal("-0.5")}, "target"),
        ("availability", {"target": Decimal("NaN")}, "target"),
        ("availability", {"target": Decimal("Infinity")}, "target"),
        ("availability", {"target": Decimal("0.1234567891")}, "target"),
        ("availability", {"window": WindowSpec("rolling", 3_599)}, "window.seconds"),
        ("availability", {"window": WindowSpec("rolling", 3_601)}, "window.seconds"),
        ("availability", {"window": WindowSpec("rolling", 367 * DAY_S)}, "window.seconds"),
        ("availability", {"window": WindowSpec("rolling", None)}, "window.seconds"),
        ("availability", {"window": WindowSpec("rolling", 3_600, "Europe/Berlin")}, "window.zone"),
        ("availability", {"window": WindowSpec("month", 3_600)}, "window.seconds"),
        ("availability", {"window": WindowSpec("month", None, "Mars/Olympus")}, "window.zone"),
        ("availability", {"window": WindowSpec("quarter", None)}, "window.kind"),  # type: ignore[arg-type]
        ("availability", {"scope": Scope(tenant="a b")}, "scope.tenant"),
        ("availability", {"scope": Scope(pool="")}, "scope.pool"),
        ("availability", {"scope": Scope(label_key="team")}, "scope.label"),
        ("availability", {"scope": Scope(label_key="Team", label_value="x")}, "scope.label"),
        ("availability", {"threshold_s": Decimal(1)}, "threshold_s"),
        ("availability", {"queue_wait": False}, "queue_wait"),
        ("availability", {"evaluator": "rubric"}, "evaluator"),
        ("availability", {"coverage_floor": Decimal("0.5")}, "coverage_floor"),
        ("availability", {"settle_after_s": 1}, "settle_after_s"),
        ("availability", {"description": "d" * 1051}, "description"),
        ("latency", {"threshold_s": None}, "threshold_s"),
        ("latency", {"threshold_s": Decimal(0)}, "threshold_s"),
        ("latency", {"threshold_s": Decimal("NaN")}, "threshold_s"),
        ("latency", {"threshold_s": Decimal("0.0000001")}, "threshold_s"),
        ("latency", {"threshold_s": Decimal(2_592_001)}, "threshold_s"),
        ("latency", {"pass_score": Decimal(1)}, "pass_score"),
        ("accuracy", {"evaluator": None}, "evaluator"),
        ("accuracy", {"version": ""}, "version"),
        ("accuracy", {"version": "a\nb"}, "version"),
        ("accuracy", {"pass_score": Decimal("1.1")}, "pass_score"),
        ("accuracy", {"coverage_floor": Decimal("-0.1")}, "coverage_floor"),
        ("accuracy", {"settle_after_s": 90 * DAY_S + 1}, "settle_after_s"),
        ("accuracy", {"threshold_s": Decimal(1)}, "threshold_s"),
    ],
)
def test_faults_name_their_field(kind: Kind, fields: dict[str, Any], path: str) -> None:
    wrong = objective(kind, **fields)
    assert [found for found, _ in faults(wrong)] == [path]
    with pytest.raises(BadObjective) as caught:
        checked_objective(wrong)
    assert (caught.value.status, caught.value.code) == (422, "slo_invalid")
    assert [error["path"] for error in caught.value.extra["errors"]] == [path]  # type: ignore[attr-defined]


def test_all_faults_are_told() -> None:
    wrong = objective(target="1", name="", scope=Scope(pool="?"))
    assert [path for path, _ in faults(wrong)] == ["name", "target", "scope.pool"]


def test_periods_of_formulas_are_the_same_in_every_month() -> None:
    assert WindowSpec("month", None).period_s == 30 * DAY_S
    assert WindowSpec("week", None).period_s == 7 * DAY_S
    assert WindowSpec("rolling", 28 * DAY_S).period_s == 28 * DAY_S


def test_a_scope_fits_where_all_that_it_names_does() -> None:
    scope = Scope("acme", "echo", "team", "search")
    assert scope.fits("acme", "echo", {"team": "search", "more": "x"})
    assert not scope.fits("other", "echo", {"team": "search"})
    assert not scope.fits("acme", "other", {"team": "search"})
    assert not scope.fits("acme", "echo", {"team": "ads"})
    assert not scope.fits("acme", "echo", None)
    assert Scope().fits("acme", "echo", None)
