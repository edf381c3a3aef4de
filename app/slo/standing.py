"""How an objective stands: its budget, how fast it burns and when it is gone, and which alerts fire. Pure.

Which spans are to be counted is said first (`spans_of`), so that one statement reads them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from app.slo.budget import ONE, Budget, Counts, Exhaustion, budget_of, burn_rate, exhaustion
from app.slo.burn_alerts import HOUR_S, Burning, PlannedRule, judge
from app.slo.objective import Objective
from app.slo.windows import Span, last, span_of


@dataclass(frozen=True, slots=True)
class Standing:
    """`burn` is the rate of the last hour (None: nothing valid in it), which `exhaustion` goes by. `alerts`: what each
    rule says, by its name."""

    window: Span
    budget: Budget
    burn: Fraction | None
    exhaustion: Exhaustion
    alerts: Mapping[str, Burning]


def spans_of(objective: Objective, rules: Sequence[PlannedRule], now: datetime) -> tuple[Span, ...]:
    """What `stand` needs counted, each span once: the window so far, the last hour, and both windows of each rule."""
    seconds = [HOUR_S, *(each for rule in rules for each in (rule.long_s, rule.short_s))]
    return tuple(dict.fromkeys([_so_far(objective, now), *(last(each, now) for each in seconds)]))


def stand(
    objective: Objective,
    rules: Sequence[PlannedRule],
    now: datetime,
    counts: Mapping[Span, Counts],
    *,
    min_events: int = 1,
) -> Standing:
    """Judge an objective by the counts of `spans_of` the same moment. KeyError where one is missing."""
    window, rolling = span_of(objective.window, now), objective.window.kind == "rolling"
    elapsed = ONE if rolling else window.elapsed(now)
    budget = budget_of(
        objective.target, counts[_so_far(objective, now)], floor=objective.coverage_floor, elapsed=elapsed
    )
    burn = burn_rate(counts[last(HOUR_S, now)], objective.target)
    period_s, left_s = (objective.window.period_s, None) if rolling else (int(window.seconds), window.left_s(now))
    alerts = {
        rule.name: judge(
            rule,
            counts[last(rule.long_s, now)],
            counts[last(rule.short_s, now)],
            objective.target,
            floor=objective.coverage_floor,
            min_events=min_events,
        )
        for rule in rules
    }
    return Standing(window, budget, burn, exhaustion(budget, burn, period_s, left_s), alerts)


def _so_far(objective: Objective, now: datetime) -> Span:
    return Span(span_of(objective.window, now).start, now)
