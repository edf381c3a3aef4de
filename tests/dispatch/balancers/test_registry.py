"""The registry: built-in names, entry points, and errors that name what is wrong."""

from __future__ import annotations

import random
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

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
    assert set(BUILT_IN) == {"round_robin", "weighted_round_robin", "least_connections", "ai_optimized"}


def test_every_build_is_a_new_balancer() -> None:
    first, second = build("ai_optimized", RNG), build("ai_optimized", RNG)
    assert isinstance(first, AiOptimized)
    assert first is not second


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownBalancer) as raised:
        build("fastest", RNG)
    assert raised.value.known == tuple(sorted(installed().factories))
    assert "'fastest'" in str(raised.value)
    assert "ai_optimized, least_connections, round_robin, weighted_round_robin" in str(raised.value)


def test_a_built_in_refuses_parameters() -> None:
    with pytest.raises(BalancerParamsError, match="alpha"):
        build("round_robin", RNG, {"alpha": 1})


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
