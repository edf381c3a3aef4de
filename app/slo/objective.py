"""An objective: what share of which events is to be good, over which window. Plain values and what makes them valid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from app.core.errors import Invalid
from app.costs.windows import zone_of
from app.tasks.labels import checked

type Kind = Literal["availability", "latency", "accuracy"]
type WindowKind = Literal["rolling", "month", "week"]
type Fault = tuple[str, str]
"""(path, what is wrong): the path is the field's, with dots."""

KINDS: tuple[Kind, ...] = ("availability", "latency", "accuracy")
DAY_S = 86_400
MIN_ROLLING_S, MAX_ROLLING_S = 3_600, 366 * DAY_S
MAX_THRESHOLD_S = 30 * DAY_S
MAX_SETTLE_S = 90 * DAY_S
MAX_PLACES = 9
MAX_DESCRIPTION = 1050
PERIODS = {"month": 30 * DAY_S, "week": 7 * DAY_S}
"""What a calendar window lasts in the formulas of burn rates, in seconds; so that a rule is the same in every month."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,100}")


class BadObjective(Invalid):
    """An objective that cannot be kept as it was asked for."""

    code, title = "slo_invalid", "Invalid objective"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose tasks: all that is named must fit; nothing named is everything."""

    tenant: str | None = None
    pool: str | None = None
    label_key: str | None = None
    label_value: str | None = None

    def fits(self, tenant: str, pool: str, labels: Mapping[str, str] | None) -> bool:
        """Whether a task belongs to it."""
        return (
            (self.tenant is None or self.tenant == tenant)
            and (self.pool is None or self.pool == pool)
            and (self.label_key is None or (labels or {}).get(self.label_key) == self.label_value)
        )


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """The last `seconds` (rolling), or a calendar month or week (from Monday, ISO 8601) of the wall clock in `zone`."""

    kind: WindowKind = "rolling"
    seconds: int | None = 30 * DAY_S
    zone: str = "UTC"

    @property
    def period_s(self) -> int:
        """Its length in seconds: of a calendar window the nominal one (`PERIODS`)."""
        return PERIODS.get(self.kind, self.seconds or 0)


@dataclass(frozen=True, slots=True)
class Objective:
    """`target`: the share of valid events that is to be good, between 0 and 1.

    - availability: a task that ends is good if it succeeded.
    - latency: one that succeeded is good if it took at most `threshold_s`: from when it could start, or without
      `queue_wait` the time that agents worked on it.
    - accuracy: one that succeeded is good or bad by its verdict in the series (`evaluator`, `version`). A verdict with
      a score is good from `pass_score` up. Verdicts count until `settle_after_s` behind the task's bucket; if fewer
      than `coverage_floor` (a share) of the settled tasks have one, there is no judgement.
    """

    name: str
    kind: Kind
    target: Decimal
    window: WindowSpec = field(default_factory=WindowSpec)
    scope: Scope = field(default_factory=Scope)
    threshold_s: Decimal | None = None
    queue_wait: bool = True
    evaluator: str | None = None
    version: str | None = None
    pass_score: Decimal = Decimal("0.5")
    coverage_floor: Decimal = Decimal(0)
    settle_after_s: int = 0
    description: str = ""

    @property
    def allowed(self) -> Fraction:
        """The share of valid events that may be bad."""
        return 1 - Fraction(self.target)


def checked_objective(objective: Objective) -> Objective:
    """The same objective; raises BadObjective with every fault, in `extra["errors"]`."""
    found = [{"path": path, "message": message} for path, message in faults(objective)]
    if found:
        first = found[0]
        raise BadObjective(f"{first['path']}: {first['message']}", extra={"errors": found})
    return objective


def faults(objective: Objective) -> Iterator[Fault]:
    """Everything that is wrong with it; nothing for a valid one."""
    if _NAME.fullmatch(objective.name) is None:
        yield "name", "1 to 63 letters, digits, '_', '.' and '-', a letter or digit first"
    if objective.kind not in KINDS:
        yield "kind", f"one of {', '.join(KINDS)}"
    if not _within(objective.target, 0, 1) or objective.target in (0, 1):
        yield "target", "more than 0 and less than 1, as 0.999 for 99.9 %"
    elif _places(objective.target) > MAX_PLACES:
        yield "target", f"at most {MAX_PLACES} digits behind the point"
    if len(objective.description) > MAX_DESCRIPTION:
        yield "description", f"at most {MAX_DESCRIPTION} characters"
    yield from _window_faults(objective.window)
    yield from _scope_faults(objective.scope)
    yield from _latency_faults(objective)
    yield from _accuracy_faults(objective)


def _window_faults(window: WindowSpec) -> Iterator[Fault]:
    if window.kind == "rolling":
        if window.seconds is None or not MIN_ROLLING_S <= window.seconds <= MAX_ROLLING_S:
            yield "window.seconds", f"a rolling window lasts {MIN_ROLLING_S} to {MAX_ROLLING_S} seconds"
        elif window.seconds % 60:
            yield "window.seconds", "a rolling window lasts whole minutes"
        if window.zone != "UTC":
            yield "window.zone", "a rolling window is the same in every zone: it has none"
    elif window.kind in PERIODS:
        if window.seconds is not None:
            yield "window.seconds", "a calendar window has no length of its own"
        try:
            zone_of(window.zone)
        except ValueError as exc:
            yield "window.zone", str(exc)
    else:
        yield "window.kind", "rolling, month or week"


def _scope_faults(scope: Scope) -> Iterator[Fault]:
    for name, value in (("tenant", scope.tenant), ("pool", scope.pool)):
        if value is not None and _NAME.fullmatch(value) is None:
            yield f"scope.{name}", f"no name of a {name}"
    if (scope.label_key is None) != (scope.label_value is None):
        yield "scope.label", "a label is a key and a value"
    elif scope.label_key is not None:
        try:
            checked({scope.label_key: scope.label_value or ""})
        except ValueError as exc:
            yield "scope.label", str(exc)


def _latency_faults(objective: Objective) -> Iterator[Fault]:
    if objective.kind == "latency":
        if objective.threshold_s is None:
            yield "threshold_s", "a latency objective needs its threshold, in seconds"
        elif not _within(objective.threshold_s, 0, MAX_THRESHOLD_S) or objective.threshold_s == 0:
            yield "threshold_s", f"more than 0 and at most {MAX_THRESHOLD_S} seconds"
        elif _places(objective.threshold_s) > 6:
            yield "threshold_s", "whole microseconds"
        return
    if objective.threshold_s is not None:
        yield "threshold_s", "only a latency objective has a threshold"
    if not objective.queue_wait:
        yield "queue_wait", "only a latency objective can leave out the wait"


def _accuracy_faults(objective: Objective) -> Iterator[Fault]:
    if objective.kind != "accuracy":
        for name in ("evaluator", "version"):
            if getattr(objective, name) is not None:
                yield name, "only an accuracy objective has verdicts"
        for name, default in (("pass_score", Decimal("0.5")), ("coverage_floor", 0), ("settle_after_s", 0)):
            if getattr(objective, name) != default:
                yield name, "only an accuracy objective has verdicts"
        return
    for name in ("evaluator", "version"):
        value = getattr(objective, name)
        if value is None:
            yield name, "an accuracy objective names its evaluator and the evaluator's version"
        elif _TEXT.fullmatch(value) is None:
            yield name, "1 to 100 characters, none of them a control character"
    for name in ("pass_score", "coverage_floor"):
        if not _within(getattr(objective, name), 0, 1):
            yield name, "from 0 to 1"
    if not 0 <= objective.settle_after_s <= MAX_SETTLE_S:
        yield "settle_after_s", f"from 0 to {MAX_SETTLE_S} seconds"


def _within(value: Decimal, low: int, high: int) -> bool:
    return value.is_finite() and low <= value <= high


def _places(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
