"""Whether a number breaks a rule for sure, or only by the chance of few events."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from math import sqrt
from statistics import NormalDist
from typing import Literal

from app.alerts.reading import Sample
from app.alerts.rule import Comparison, Rule

type Finding = Literal["violated", "cleared", "too_few_events", "not_confident"]

COMPARE: Mapping[Comparison, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


def wilson_lower(good: int, total: int, confidence: float) -> float:
    """The least share of good events that is compatible with `good` of `total`, one-sided at `confidence` (0.5..1).

    The score interval of E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal
    of the American Statistical Association 22 (1927), 209-212. With z the normal quantile of `confidence`:
    (good + z²/2 ± z·√(good·bad/total + z²/4)) / (total + z²).
    """
    return 0.0 if good == 0 else _wilson(good, total, -_quantile(confidence))


def wilson_upper(good: int, total: int, confidence: float) -> float:
    """The greatest share that is compatible with it; see `wilson_lower`."""
    return 1.0 if good == total else _wilson(good, total, _quantile(confidence))


def violation(rule: Rule, sample: Sample) -> Finding:
    """Whether the sample breaks the rule; if not, why not.

    A number made of fewer than `min_events` events never does. A share must also break it at the end of its
    confidence interval that is the kindest to it. So one failure in three requests breaks nothing: three are fewer than
    the default minimum, and the true success rate may still be 0.92 (at 0.95), which is not below 0.9. What is not made
    of events is compared as it is; so is a share by `==`, which holds for no interval.
    """
    holds = COMPARE[rule.comparison]
    if not holds(sample.value, rule.threshold):
        return "cleared"
    if sample.total is not None and sample.total < rule.min_events:
        return "too_few_events"
    if rule.confidence is None or sample.good is None or sample.total is None or rule.comparison == "==":
        return "violated"
    low, high = _interval(sample, sample.good, sample.total, rule.confidence)
    if rule.comparison == "!=":
        return "not_confident" if low <= rule.threshold <= high else "violated"
    kindest = high if rule.comparison in ("<", "<=") else low
    return "violated" if holds(kindest, rule.threshold) else "not_confident"


def _interval(sample: Sample, good: int, total: int, confidence: float) -> tuple[float, float]:
    ends = [sample.value_of(bound(good, total, confidence)) for bound in (wilson_lower, wilson_upper)]
    return min(ends), max(ends)


def _wilson(good: int, total: int, z: float) -> float:
    spread = sqrt(good * (total - good) / total + z * z / 4)
    return min(1.0, max(0.0, (good + z * z / 2 + z * spread) / (total + z * z)))


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf(confidence)
