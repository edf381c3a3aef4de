"""The registry: built-in names, entry points, and errors that name what is wrong."""

from __future__ import annotations

import random
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
from pydantic import ValidationError

from app.dispatch.balancers.ai_optimized import AiOptimized
from app.dispatch.balancers.registry import (
    BUILT_IN,
    GROUP,
    BalancerParamsError,
    UnknownBalancer,
    build,
    installed,
    load,
)
from app.dispatch.balancers.round_robin import RoundRobin
from app.dispatch.balancers.weighted_score import WeightedScore
from app.settings import BalancerSettings

RNG = random.Random(1)


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of another distribution, importable as `outside_balancers`."""
    module = ModuleType("outside_balancers")
    module.make = lambda rng, params: RoundRobin(rng)  # type: ignore[attr-defined]
    module.number = 5  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def test_the_names_pools_may_use() -> None:
    assert list(BUILT_IN) == [
        "round_robin",
        "weighted_round_robin",
        "least_connections",
        "p2c",
        "prequal",
        "weighted_score",
        "ai_optimized",
    ]


def test_every_build_is_a_new_balancer() -> None:
    first, second = build("ai_optimized", RNG), build("ai_optimized", RNG)
    assert isinstance(first, AiOptimized)
    assert first is not second


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownBalancer) as raised:
        build("fastest", RNG)
    assert raised.value.known == tuple(sorted(installed().factories))
    assert "'fastest'" in str(raised.value)
    assert "ai_optimized, least_connections, p2c, prequal, round_robin, weighted_round_robin, weighted_score" in str(
        raised.value
    )


@pytest.mark.parametrize("name", sorted(set(BUILT_IN) - {"weighted_score"}))
def test_a_built_in_without_parameters_refuses_them(name: str) -> None:
    with pytest.raises(BalancerParamsError, match="alpha"):
        build(name, RNG, {"alpha": 1})


def test_the_weighted_score_takes_its_weights() -> None:
    assert isinstance(build("weighted_score", RNG), WeightedScore)
    assert isinstance(build("weighted_score", RNG, BalancerSettings().score_params()), WeightedScore)


@pytest.mark.parametrize("params", [{"success": -1}, {"success": "1"}, {"success": float("nan")}])
def test_the_weighted_score_refuses_what_it_cannot_use_by_name(params: dict[str, object]) -> None:
    with pytest.raises(BalancerParamsError, match="success"):
        build("weighted_score", RNG, params)


def test_settings_without_any_weight_are_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="score weights"):
        BalancerSettings(score_success=0, score_response=0, score_free=0, score_compatibility=0, score_complexity=0)


def test_a_balancer_from_outside(outside: ModuleType) -> None:
    catalogue = load([point("cheapest", "outside_balancers:make")])
    assert isinstance(catalogue.build("cheapest", RNG, {"any": 1}), RoundRobin)
    assert catalogue.problems == {}


def test_a_built_in_name_cannot_be_taken_over(outside: ModuleType) -> None:
    catalogue = load([point("ai_optimized", "outside_balancers:make")])
    assert catalogue.factories == BUILT_IN
    assert "ai_optimized = outside_balancers:make: the name belongs" in catalogue.problems["ai_optimized"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no_such_module_here:make", "ModuleNotFoundError"),
        ("outside_balancers:missing", "AttributeError"),
        ("outside_balancers:number", "a int is not callable"),
    ],
)
def test_a_broken_entry_point_is_named_and_spares_the_rest(outside: ModuleType, value: str, why: str) -> None:
    catalogue = load([point("broken", value), point("fine", "outside_balancers:make")])
    assert set(catalogue.factories) == {*BUILT_IN, "fine"}
    assert f"broken = {value}" in catalogue.problems["broken"]
    with pytest.raises(UnknownBalancer, match=why):
        catalogue.build("broken", RNG)


def test_two_entry_points_of_one_name_agree_on_the_first_by_value(outside: ModuleType) -> None:
    outside.other = lambda rng, params: AiOptimized(rng)  # type: ignore[attr-defined]
    twins = [point("twin", "outside_balancers:other"), point("twin", "outside_balancers:make")]
    for order in (twins, twins[::-1]):
        catalogue = load(order)
        assert isinstance(catalogue.build("twin", RNG), RoundRobin)
        assert "taken by another" in catalogue.problems["twin"]


def test_the_environment_is_read_once() -> None:
    assert installed() is installed()
