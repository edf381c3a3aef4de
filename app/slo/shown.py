"""Objectives and their numbers as JSON shapes. Fractions become floats here, and nowhere before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from app.limits.tightening import TightenedRecord
from app.slo import standing_wire as out
from app.slo.budget import Counts, burn_rate
from app.slo.numbers import Numbers
from app.slo.records import SloRecord
from app.slo.wire import SloScopeIn, SloWindowIn


def slo_out(found: Numbers) -> out.SloOut:
    """An objective and how it stands."""
    return out.SloOut(**_fields(found.slo), standing=_standing(found))


def whole_slo_out(found: Numbers, named: Mapping[str, int], tightened: Sequence[TightenedRecord]) -> out.WholeSloOut:
    """With its rules, its events by what they were, and what it tightens."""
    return out.WholeSloOut(
        **_fields(found.slo),
        standing=_standing(found),
        burn_rules=_burns(found),
        named=dict(named),
        tightened=[out.HeldToOut(what=item.what, pool=item.pool, since=item.since) for item in tightened],
    )


def hour_out(slo: SloRecord, start: datetime, counts: Counts) -> out.SloHourOut:
    """One hour or day of an objective."""
    rate = counts.error_rate
    return out.SloHourOut(
        start=start,
        counts=_counts(counts),
        attained=None if rate is None else float(1 - rate),
        burn_rate=_number(burn_rate(counts, slo.objective.target)),
    )


def _fields(slo: SloRecord) -> dict[str, Any]:
    objective, window = slo.objective, slo.objective.window
    return {
        "name": slo.name,
        "id": slo.id,
        "owner": slo.owner,
        "kind": objective.kind,
        "target": float(objective.target),
        "window": SloWindowIn(kind=window.kind, seconds=window.seconds, zone=window.zone),
        "scope": SloScopeIn.of(objective.scope),
        "threshold_s": None if objective.threshold_s is None else float(objective.threshold_s),
        "pass_score": float(objective.pass_score),
        "coverage_floor": float(objective.coverage_floor),
        **{name: getattr(objective, name) for name in ("queue_wait", "evaluator", "version", "settle_after_s")},
        "description": objective.description,
        "min_events": slo.min_events,
        "on_exhausted": list(slo.on_exhausted),
        **{name: getattr(slo, name) for name in ("created_by", "created_at", "updated_at")},
    }


def _standing(found: Numbers) -> out.StandingOut:
    standing, budget = found.standing, found.standing.budget
    counted = {
        "from": found.slo.counted_from,
        "until": found.slo.counted_until,
        "complete": found.complete,
        "fresh": found.fresh,
    }
    return out.StandingOut(
        state=budget.state,
        at=found.at,
        window_start=standing.window.start,
        window_end=standing.window.end,
        counts=_counts(budget.counts),
        attained=_number(budget.attained),
        allowed=float(budget.allowed),
        spent=float(budget.spent),
        remaining=float(budget.remaining),
        burn_rate=_number(standing.burn),
        exhausted_in_s=_number(standing.exhaustion.seconds),
        exhausted_why=standing.exhaustion.why,
        counted=out.CountedOut.model_validate(counted),
    )


def _burns(found: Numbers) -> list[out.BurnOut]:
    said = found.standing.alerts
    return [
        out.BurnOut(
            name=rule.name,
            severity=rule.severity,
            share=float(rule.share),
            long_s=rule.long_s,
            short_s=rule.short_s,
            factor=float(rule.factor),
            replanned=rule.replanned,
            state=said[rule.name].state,
            long_burn=_number(said[rule.name].long),
            short_burn=_number(said[rule.name].short),
        )
        for rule in found.slo.rules
    ]


def _counts(counts: Counts) -> out.SloCountsOut:
    return out.SloCountsOut(
        **{name: getattr(counts, name) for name in ("good", "bad", "unscored", "pending", "excluded")}
    )


def _number(value: Fraction | None) -> float | None:
    return None if value is None else float(value)
