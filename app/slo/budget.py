"""Error budgets: how much may go wrong, how much did, and how long the rest lasts. Pure; exact, in fractions.

Formulas are those of the Site Reliability Workbook (Google, 2018), chapters 2 and 5: the error budget is 1 - target;
the burn rate is the error rate divided by it, so that a burn rate of 1 spends exactly the budget of one window.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

type Evidence = Literal["ok", "no_data", "insufficient_evidence"]
type State = Literal["healthy", "exhausted", "no_data", "insufficient_evidence"]

ZERO, ONE = Fraction(0), Fraction(1)


@dataclass(frozen=True, slots=True)
class Counts:
    """Events by what became of them, each in one of the five. They add up."""

    good: int = 0
    bad: int = 0
    unscored: int = 0
    pending: int = 0
    excluded: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.good + other.good,
            self.bad + other.bad,
            self.unscored + other.unscored,
            self.pending + other.pending,
            self.excluded + other.excluded,
        )

    @property
    def valid(self) -> int:
        """Those that are in the ratio."""
        return self.good + self.bad

    @property
    def coverage(self) -> Fraction | None:
        """The share that is judged of those that could be; what is pending is asked later. None of none."""
        asked = self.valid + self.unscored
        return Fraction(self.valid, asked) if asked else None

    @property
    def error_rate(self) -> Fraction | None:
        """Bad among valid ones; None of none."""
        return Fraction(self.bad, self.valid) if self.valid else None


@dataclass(frozen=True, slots=True)
class Budget:
    """The error budget of a window.

    `attained` is the share that was good, None without a valid event. `allowed` is how many events of the window may be
    bad, with those that are expected in what is left of a calendar window if traffic goes on as it did. `spent` is the
    share of it that is gone and may be above 1; `remaining` is what is left and stays from 0 to 1; `overspent` is what
    `spent` is above 1. Without a valid event nothing is spent. `state` says whether these figures mean anything.
    """

    state: State
    counts: Counts
    attained: Fraction | None
    allowed: Fraction
    spent: Fraction

    @property
    def remaining(self) -> Fraction:
        return max(ZERO, ONE - self.spent)

    @property
    def overspent(self) -> Fraction:
        return max(ZERO, self.spent - ONE)


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """When the budget is gone: in `seconds` from now, 0 if it is; None: not as things are, for the reason in `why`."""

    seconds: Fraction | None
    why: str


def evidence(counts: Counts, floor: Decimal | Fraction | int = 0) -> Evidence:
    """Whether counts can be judged: at least the share `floor` of what could be scored is.

    Unscored or pending events alone are no evidence either way, but they are not "no data": there was traffic.
    """
    if counts.valid == 0:
        return "insufficient_evidence" if counts.unscored or counts.pending else "no_data"
    coverage = counts.coverage
    assert coverage is not None
    return "insufficient_evidence" if coverage < Fraction(floor) else "ok"


def budget_of(
    target: Decimal, counts: Counts, *, floor: Decimal | Fraction | int = 0, elapsed: Fraction = ONE
) -> Budget:
    """The budget of a window whose events are `counts`. `elapsed`: the share of a calendar window that is over, 1 for a
    rolling one; then one failure on the first of the month is not a whole month's budget.

    The budget is exhausted when all of it is spent: `bad` may be as many as `allowed`, and not one more, so a budget
    that is exactly spent is exhausted and its objective is met.
    """
    judged = evidence(counts, floor)
    allowed = ZERO if elapsed == 0 else (1 - Fraction(target)) * counts.valid / elapsed
    spent = counts.bad / allowed if allowed else ZERO
    state: State = judged if judged != "ok" else "exhausted" if spent >= 1 else "healthy"
    attained = Fraction(counts.good, counts.valid) if counts.valid else None
    return Budget(state, counts, attained, allowed, spent)


def burn_rate(counts: Counts, target: Decimal) -> Fraction | None:
    """How many times as fast as would spend the budget exactly in one window; None without a valid event."""
    rate = counts.error_rate
    return None if rate is None else rate / (1 - Fraction(target))


def exhaustion(budget: Budget, burn: Fraction | None, period_s: int, left_s: Fraction | None = None) -> Exhaustion:
    """When the rest is gone at the present burn rate: remaining x period / burn.

    `period_s` is the window's length; `left_s` is how long a calendar window still lasts, None for a rolling one. A
    rolling window leaves the past behind, so at a burn rate of 1 or less it gives back what is spent.
    """
    if budget.state in ("no_data", "insufficient_evidence"):
        return Exhaustion(None, budget.state)
    if budget.state == "exhausted":
        return Exhaustion(ZERO, "spent")
    if not burn:
        return Exhaustion(None, "no_data" if burn is None else "nothing is spent")
    seconds = budget.remaining * period_s / burn
    if left_s is None and burn <= 1:
        return Exhaustion(None, "a rolling window gives back what leaves it")
    if left_s is not None and seconds >= left_s:
        return Exhaustion(None, "not before the window ends")
    return Exhaustion(seconds, "at this rate")
