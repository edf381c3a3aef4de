"""Which balancers there are: the built-in ones and those other distributions bring as entry points.

A distribution outside the tree adds a strategy with

    [project.entry-points."yardmaster.balancers"]
    cheapest = "acme_balancers:make_cheapest"

where `make_cheapest(rng, params)` is a `Factory`. A built-in name cannot be taken over: what a pool's
`balancer` means must not depend on what else is installed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from types import MappingProxyType

from app.dispatch.balancers.ai_optimized import AiOptimized
from app.dispatch.balancers.base import Balancer
from app.dispatch.balancers.least_connections import LeastConnections
from app.dispatch.balancers.p2c import P2C
from app.dispatch.balancers.prequal import Prequal
from app.dispatch.balancers.round_robin import RoundRobin
from app.dispatch.balancers.weighted_round_robin import WeightedRoundRobin
from app.dispatch.balancers.weighted_score import Formula, WeightedScore

GROUP = "yardmaster.balancers"
NO_PARAMS: Mapping[str, object] = MappingProxyType({})

type Factory = Callable[[random.Random, Mapping[str, object]], Balancer]


class UnknownBalancer(LookupError):
    """No balancer of that name. `known`: the names there are; `problem`: why an installed one is unusable."""

    def __init__(self, name: str, known: Iterable[str], problem: str | None = None) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        self.problem = problem
        why = f" ({problem})" if problem else ""
        super().__init__(f"unknown balancer {name!r}{why}; known are {', '.join(self.known)}")


class BalancerParamsError(ValueError):
    """The balancer does not take these parameters."""


def _without_params(make: Callable[[random.Random], Balancer]) -> Factory:
    def factory(rng: random.Random, params: Mapping[str, object]) -> Balancer:
        if params:
            raise BalancerParamsError(f"takes no parameters, got {', '.join(sorted(params))}")
        return make(rng)

    return factory


def _weighted_score(rng: random.Random, params: Mapping[str, object]) -> Balancer:
    try:
        return WeightedScore(rng, Formula.of(params))
    except ValueError as error:
        raise BalancerParamsError(str(error)) from error


BUILT_IN: Mapping[str, Factory] = MappingProxyType(
    {
        "round_robin": _without_params(RoundRobin),
        "weighted_round_robin": _without_params(WeightedRoundRobin),
        "least_connections": _without_params(LeastConnections),
        "p2c": _without_params(P2C),
        "prequal": _without_params(Prequal),
        "weighted_score": _weighted_score,
        "ai_optimized": _without_params(AiOptimized),
    }
)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Factories by name, and by its name why an entry point was left out, in words that name it."""

    factories: Mapping[str, Factory]
    problems: Mapping[str, str]

    def build(self, name: str, rng: random.Random, params: Mapping[str, object] = NO_PARAMS) -> Balancer:
        """A new balancer without memory. Raises UnknownBalancer, BalancerParamsError or its factory's own."""
        factory = self.factories.get(name)
        if factory is None:
            raise UnknownBalancer(name, self.factories, self.problems.get(name))
        return factory(rng, params)


def load(points: Iterable[metadata.EntryPoint]) -> Catalogue:
    """The built-in factories and those of `points`. One that is broken is left out and named, never raised.

    Of two points with one name the first by value wins, so that every manager of the same image agrees.
    """
    factories, problems = dict(BUILT_IN), dict[str, str]()
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        problem = _add(factories, point)
        if problem is not None:
            named = f"entry point {point.name} = {point.value}: {problem}"
            problems[point.name] = "; ".join(filter(None, (problems.get(point.name), named)))
    return Catalogue(MappingProxyType(factories), MappingProxyType(problems))


def _add(factories: dict[str, Factory], point: metadata.EntryPoint) -> str | None:
    """Load `point` into `factories`; the problem if it cannot be used."""
    if point.name in BUILT_IN:
        return "the name belongs to a built-in balancer"
    if point.name in factories:
        return "the name is taken by another entry point"
    try:
        factory = point.load()
    except Exception as error:  # any code may run on import; a broken plug-in must not stop the managers
        return f"{type(error).__name__}: {error}"
    if not callable(factory):
        return f"a {type(factory).__name__} is not callable"
    factories[point.name] = factory
    return None


@cache
def installed() -> Catalogue:
    """The catalogue of this environment, loaded once. Call it at start-up and log its `problems`."""
    return load(metadata.entry_points(group=GROUP))


def build(name: str, rng: random.Random, params: Mapping[str, object] = NO_PARAMS) -> Balancer:
    """A new balancer of that name from the installed catalogue; see `Catalogue.build` for errors."""
    return installed().build(name, rng, params)
