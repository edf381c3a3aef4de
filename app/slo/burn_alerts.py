"""Alerts on how fast an error budget burns: several windows, several rates. Pure.

After the Site Reliability Workbook (Google, 2018), chapter 5, "Multiwindow, Multi-Burn-Rate Alerts". A rule is about a
share of the budget: it is to be told when that much is spent within its long window, which is so at a burn rate of

    factor = share x period / long window

for a period of 30 days 14.4 (2 % in 1 h), 6 (5 % in 6 h), 3 (10 % in 1 d) and 1 (10 % in 3 d). The short window, a
twelfth of the long one, lets go soon after the end. Both must burn faster than the factor.

An error rate is at most 1, so a burn rate is at most 1 / (1 - target), and a rule whose factor x (1 - target) is 1 or
more never fires: 14.4 for every target up to 93.05 %. A total outage spends a share of the budget within share x period
x (1 - target), whatever the window is, so such a rule gets the next longer window in which that has room. And a factor
below 1 would fire on a rate that the objective allows: the rule gets the larger share that makes it 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from app.core.errors import Invalid
from app.slo.budget import Counts, burn_rate, evidence

type RuleSeverity = Literal["critical", "warning"]
type Replanned = Literal["", "longer_window", "larger_share", "longer_window_and_larger_share"]
type BurnState = Literal["burning", "quiet", "no_data", "insufficient_evidence"]

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
WINDOWS_S = (HOUR_S, 2 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S, DAY_S, 2 * DAY_S, 3 * DAY_S)
"""Long windows that a rule may be given. Longer than three days is no alert: it stays for days after the end."""
_CHANGES: dict[tuple[bool, bool], Replanned] = {
    (False, False): "",
    (True, False): "longer_window",
    (False, True): "larger_share",
    (True, True): "longer_window_and_larger_share",
}


class BurnRuleRefused(Invalid):
    """A burn rule that makes no sense for its objective."""

    code, title = "burn_rule_invalid", "Invalid burn rule"


class BurnRuleNeverFires(BurnRuleRefused):
    """Even a total outage would not fire it, and no longer window helps."""

    code, title = "burn_rule_never_fires", "Burn rule never fires"


@dataclass(frozen=True, slots=True)
class BurnRule:
    """What is asked: to be told when `share` (0..1) of the budget burns within `long_s`, as long as `short_s` burns."""

    name: str
    share: Fraction
    long_s: int
    short_s: int
    severity: RuleSeverity


@dataclass(frozen=True, slots=True)
class PlannedRule:
    """A rule that can fire: with its factor, and what was changed about it (`replanned`, '' for nothing)."""

    name: str
    share: Fraction
    long_s: int
    short_s: int
    severity: RuleSeverity
    factor: Fraction
    replanned: Replanned = ""

    def error_rate(self, target: Decimal) -> Fraction:
        """The share of events above which it fires."""
        return self.factor * (1 - Fraction(target))

    def outage_s(self, target: Decimal) -> Fraction:
        """After how many seconds of a total outage it fires, with steady traffic and nothing bad before."""
        return self.long_s * self.error_rate(target)


STANDARD = (
    BurnRule("quick_page", Fraction(2, 100), HOUR_S, 5 * MINUTE_S, "critical"),
    BurnRule("slow_page", Fraction(5, 100), 6 * HOUR_S, 30 * MINUTE_S, "critical"),
    BurnRule("quick_ticket", Fraction(10, 100), DAY_S, 2 * HOUR_S, "warning"),
    BurnRule("slow_ticket", Fraction(10, 100), 3 * DAY_S, 6 * HOUR_S, "warning"),
)


@dataclass(frozen=True, slots=True)
class Burning:
    """What a rule says now, with the burn rates of both windows (None: without a valid event)."""

    state: BurnState
    long: Fraction | None
    short: Fraction | None


def factor_of(share: Fraction, period_s: int, long_s: int) -> Fraction:
    """The burn rate at which `share` of the budget of `period_s` is spent within `long_s`."""
    return share * period_s / long_s


def plan(target: Decimal, period_s: int, rules: Sequence[BurnRule] = STANDARD) -> tuple[PlannedRule, ...]:
    """The rules for an objective, changed where they must be. Of rules that have become the same the first is kept.

    Raises BurnRuleRefused, or BurnRuleNeverFires, for one that cannot be planned.
    """
    found: dict[tuple[int, int, Fraction], PlannedRule] = {}
    for rule in rules:
        planned = plan_rule(target, period_s, rule)
        found.setdefault((planned.long_s, planned.short_s, planned.factor), planned)
    return tuple(found.values())


def standard(target: Decimal, period_s: int) -> tuple[PlannedRule, ...]:
    """The standard rules whose windows fit into the period, planned."""
    return plan(target, period_s, [rule for rule in STANDARD if rule.long_s <= period_s])


def plan_rule(target: Decimal, period_s: int, rule: BurnRule) -> PlannedRule:
    """One rule. Raises as `plan` does."""
    _check(rule, period_s)
    allowed = 1 - Fraction(target)
    windows = (rule.long_s, *(window for window in WINDOWS_S if rule.long_s < window <= period_s))
    for long_s in windows:
        factor = max(Fraction(1), factor_of(rule.share, period_s, long_s))
        if factor * allowed < 1:
            return _planned(rule, period_s, long_s, factor)
    needed_s = rule.share * period_s * allowed
    raise BurnRuleNeverFires(
        f"{rule.name}: a total outage takes {float(needed_s / HOUR_S):g} h to spend {float(rule.share):.4g} of the "
        f"budget, and there is no longer window, up to {WINDOWS_S[-1] // DAY_S} days and the objective's own. Ask for "
        "a smaller share, or for a higher target.",
        extra={"rule": rule.name},
    )


def judge(
    rule: PlannedRule, long: Counts, short: Counts, target: Decimal, *, floor: Decimal | int = 0, min_events: int = 1
) -> Burning:
    """Whether the rule fires, by the counts of its two windows.

    Both must burn faster than the factor. One without a valid event says nothing, so the rule does not either; neither
    does it where less than the share `floor` is scored, or with fewer than `min_events` valid events in the long
    window: one failure among three is no 33 %. What is pending counts as not scored here: in a window that is younger
    than most verdicts, the few that came first are not the rest.
    """
    rates = burn_rate(long, target), burn_rate(short, target)
    found = {evidence(_so_far(counts), floor) for counts in (long, short)}
    if "no_data" in found:
        return Burning("no_data", *rates)
    if "insufficient_evidence" in found or long.valid < min_events:
        return Burning("insufficient_evidence", *rates)
    fires = all(rate is not None and rate > rule.factor for rate in rates)
    return Burning("burning" if fires else "quiet", *rates)


def _so_far(counts: Counts) -> Counts:
    return Counts(counts.good, counts.bad, counts.unscored + counts.pending)


def _check(rule: BurnRule, period_s: int) -> None:
    if not 0 < rule.share <= 1:
        raise BurnRuleRefused(f"{rule.name}: the share of the budget is more than 0 and at most 1.")
    if not MINUTE_S <= rule.short_s < rule.long_s:
        raise BurnRuleRefused(f"{rule.name}: the short window lasts a minute at least, and less than the long one.")
    if rule.long_s > min(period_s, WINDOWS_S[-1]):
        raise BurnRuleRefused(
            f"{rule.name}: the long window lasts no longer than the objective's own and than {WINDOWS_S[-1]} seconds."
        )


def _planned(rule: BurnRule, period_s: int, long_s: int, factor: Fraction) -> PlannedRule:
    share = factor * long_s / period_s
    # Whole minutes, as counts are kept; never fewer than one.
    short_s = rule.short_s * long_s // rule.long_s // MINUTE_S * MINUTE_S if long_s != rule.long_s else rule.short_s
    why = _CHANGES[long_s != rule.long_s, share > rule.share]
    return PlannedRule(rule.name, share, long_s, max(MINUTE_S, short_s), rule.severity, factor, why)
