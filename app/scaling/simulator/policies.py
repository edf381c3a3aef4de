"""Who is compared: our policies with their parameters, and the baselines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from app.registry.fleet_wire import ScaleIn
from app.scaling.policy import ScalePolicy
from app.scaling.simulator.baselines import hpa, keda, kpa
from app.scaling.simulator.lens import Autoscaler
from app.scaling.simulator.ours import Ours
from app.scaling.simulator.world import Bounds, World

OURS = ("queue_wait", "utilization")
BASELINES: Mapping[str, Callable[..., Autoscaler]] = MappingProxyType(
    {"hpa": hpa.Hpa, "kpa": kpa.Kpa, "keda": keda.Keda}
)
TARGETS: Mapping[str, float] = MappingProxyType({"hpa": hpa.TARGET, "kpa": kpa.TARGET, "keda": keda.TARGET})
"""The documented defaults: shares of the slots that are busy, of concurrency, and tasks a slot."""
DEFAULT = ("queue_wait", *BASELINES)
NOT_SIMULATED = {"policy", "forecast", "provider"}
"""`policy` is the name itself; the others need a history or a usage that no trace has."""


class BadPolicy(ValueError):
    """The policy or one of its parameters is none; the message says which are."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy as it was asked for: `kind` is one of OURS or BASELINES, `params` what differs from its defaults."""

    label: str
    kind: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return self.kind in OURS


def parsed(text: str) -> Contender:
    """`queue_wait`, `hpa:target=0.7`, `queue_wait:wait_s=10,max=20`. Raises BadPolicy."""
    kind, _, rest = text.partition(":")
    if kind not in OURS and kind not in BASELINES:
        raise BadPolicy(f"there is no policy {kind!r}; there are {', '.join((*OURS, *BASELINES))}")
    params = dict(setting(part) for part in rest.split(",")) if rest else {}
    known = _ours_known() if kind in OURS else {"target"}
    for name in params:
        if name not in known:
            raise BadPolicy(f"{kind} has no parameter {name!r}; it has {', '.join(sorted(known))}")
    if kind in BASELINES and not _is_target(params.get("target", 1.0)):
        raise BadPolicy(f"{kind}: target is a share of the slots above 0")
    return Contender(text, kind, params)


def setting(text: str) -> tuple[str, Any]:
    """`wait_s=10` → ("wait_s", 10). Raises BadPolicy."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise BadPolicy(f"{text!r} is not like wait_s=10")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value.strip()


def scale_policy(contender: Contender, base: Mapping[str, Any], bounds: Bounds) -> ScalePolicy:
    """One of ours with `base` (a pool's `scale`) under its own parameters, checked as the API checks a pool's; its
    limits are the pool's where it names none. Raises BadPolicy."""
    limits = {"min": bounds.min, "max": bounds.max}
    try:
        scale = ScaleIn.model_validate({**base, **limits, **contender.params, "policy": contender.kind})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise BadPolicy(f"{contender.label}: {place + ': ' if place else ''}{first['msg']}") from None
    return ScalePolicy.from_json(scale.model_dump(exclude={"provider"}) | {"forecast": False})


def build(contender: Contender, base: Mapping[str, Any], world: World, interval_s: float) -> Autoscaler:
    """The contender for one run in `world`; ours decide every `interval_s`."""
    if contender.ours:
        return Ours(scale_policy(contender, base, world.bounds), world, interval_s)
    return BASELINES[contender.kind](world.bounds, **contender.params)


@dataclass(frozen=True, slots=True)
class Builder:
    """`build` for a pool's `scale`; may be sent to other processes."""

    scale: Mapping[str, Any]
    interval_s: float

    def __call__(self, contender: Contender, world: World) -> Autoscaler:
        return build(contender, self.scale, world, self.interval_s)


def with_settings(contender: Contender, settings: Mapping[str, Any]) -> Contender:
    """Ours with further parameters; those it was named with win. Raises BadPolicy."""
    unknown = sorted(settings.keys() - _ours_known())
    if unknown:
        raise BadPolicy(f"a scale policy has no parameter {unknown[0]!r}; it has {', '.join(sorted(_ours_known()))}")
    return replace(contender, params={**settings, **contender.params}) if contender.ours else contender


def _ours_known() -> set[str]:
    return {one.name for one in fields(ScalePolicy)} & ScaleIn.model_fields.keys() - NOT_SIMULATED


def _is_target(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value <= 10.0
