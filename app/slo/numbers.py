"""How objectives stand, by the buckets that are kept: a statement an objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from app.core.db import HotConnection
from app.slo import buckets, progress
from app.slo import statements as sql
from app.slo.budget import Counts
from app.slo.burn_alerts import PlannedRule
from app.slo.records import SloRecord, record
from app.slo.standing import Standing, spans_of, stand
from app.slo.windows import Span, last, whole_buckets

STALE_S = 180.0
"""What was not counted for so long says nothing about now: the newest minutes would look as if nothing had happened."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """An objective at `at`. `counts` are of the spans of `standing`.

    `complete`: all that its window and its rules look at was counted; `fresh`: and not long ago, nor by a clock that
    was far ahead. Where one of them is not so, its figures are of less than they speak of.
    """

    slo: SloRecord
    at: datetime
    standing: Standing
    counts: Mapping[Span, Counts]
    complete: bool
    fresh: bool

    @property
    def judged(self) -> bool:
        """Whether somebody may be told, or held to it."""
        return self.complete and self.fresh

    def of_rule(self, rule: PlannedRule) -> Counts:
        """What is in its long window."""
        return self.counts[last(rule.long_s, self.at)]


async def numbers(connection: HotConnection, slo: SloRecord, now: datetime) -> Numbers:
    """Judge one objective at `now`."""
    spans = spans_of(slo.objective, slo.rules, now)
    found = dict(zip(spans, await buckets.sums(connection, slo.id, spans), strict=True))
    needed = progress.needed_from(slo.objective, slo.rules, now)
    complete = slo.counted_from is not None and slo.counted_from <= needed
    fresh = slo.counted_until is not None and abs(now - slo.counted_until) <= timedelta(seconds=STALE_S)
    standing = stand(slo.objective, slo.rules, now, found, min_events=slo.min_events)
    return Numbers(slo, now, standing, found, complete, fresh)


async def all_numbers(connection: HotConnection, now: datetime) -> list[Numbers]:
    """Judge every objective at `now`."""
    slos = [record(row) for row in await connection.fetch(sql.ALL)]
    return [await numbers(connection, slo, now) for slo in slos]


async def named(connection: HotConnection, slo: SloRecord, span: Span) -> dict[str, int]:
    """What was counted in a span, by what it was."""
    whole = whole_buckets(span)
    rows = await connection.fetch(sql.NAMED, slo.id, whole.start, whole.end)
    return {row["key"]: row["n"] for row in rows}


def severity_burn(found: Numbers, severity: str) -> tuple[Fraction, int] | None:
    """How near its rules of one severity are to burning: the largest of min(long, short) ÷ factor, which is 1 or more
    exactly where one burns, and the events in that rule's long window. None: no rule can say."""
    ratios = [ratio for rule in found.slo.rules if rule.severity == severity and (ratio := _ratio(found, rule))]
    return max(ratios, key=lambda ratio: ratio[0], default=None)


_JUST_BELOW = Fraction(999_999_999, 1_000_000_000)


def _ratio(found: Numbers, rule: PlannedRule) -> tuple[Fraction, int] | None:
    said = found.standing.alerts[rule.name]
    if said.state not in ("burning", "quiet") or said.long is None or said.short is None:
        return None
    ratio = min(said.long, said.short) / rule.factor
    # At the factor itself it does not burn yet.
    return (min(ratio, _JUST_BELOW) if said.state == "quiet" else ratio), found.of_rule(rule).valid


def severities(rules: Sequence[PlannedRule]) -> frozenset[str]:
    """Those that the rules have."""
    return frozenset(rule.severity for rule in rules)
