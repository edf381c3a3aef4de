"""Burning budgets as signals, over tasks in a real database, tick by tick at times of the test's own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction

import pytest

from app.alerts.reading import Reading, Sample, Unanswered
from app.alerts.signals.base import By
from app.alerts.signals.objectives import SIGNALS
from app.core.db import Database
from app.slo.burn_alerts import BurnRule
from app.slo.objective import DAY_S, Objective, Scope, WindowSpec
from tests.slo.ended_tasks import NOON, Ended, write
from tests.slo.kept import Kept
from tests.slo.objectives import objective

STANDARD_SHARE = Fraction(2, 100)
TICK = timedelta(seconds=10)
MINUTE = timedelta(minutes=1)


async def readings(kept: Kept, now: datetime, signal: str = "slo_burn_page") -> Sequence[Reading]:
    (found,) = [item for item in SIGNALS if item.name == signal]
    async with kept.db.read() as connection, connection.transaction(readonly=True):
        return await found.read(connection, By(), now)


async def value(kept: Kept, now: datetime, signal: str = "slo_burn_page") -> float:
    (reading,) = await readings(kept, now, signal)
    assert isinstance(reading, Sample), reading
    return reading.value


async def traffic(db: Database, since: datetime, until: datetime, every_s: float, status: str = "succeeded") -> None:
    number = int((until - since).total_seconds() / every_s)
    await write(db, [Ended(since + timedelta(seconds=every_s * each), status) for each in range(number)])


async def test_a_total_outage_pages_after_54_seconds_and_lets_go_within_five_minutes(db: Database) -> None:
    """14.4 times 0.1 % of an hour is 52 s of failures only: 2 % of the budget of 30 days. An outage of 100 s is over
    before the slow page, which takes 130 s of it."""
    kept = Kept(db)
    await kept.put(objective(target="0.999"))
    down, up = NOON, NOON + timedelta(seconds=100)
    await traffic(db, down - timedelta(days=3), down - timedelta(hours=7), 600)
    await traffic(db, down - timedelta(hours=7), down, 2)
    await kept.count(down)
    assert await value(kept, down) == 0
    at, burning = down, dict[datetime, bool]()
    while at < up + 7 * MINUTE:
        await traffic(db, at, at + TICK, 2, "failed" if at < up else "succeeded")
        at += TICK
        await kept.loop.run_once(at)
        burning[at] = await value(kept, at) >= 1
    fired, ended = (edge(burning, state) for state in (True, False))
    assert timedelta(seconds=51) < fired - down <= timedelta(seconds=54) + TICK
    assert timedelta(0) < ended - up <= 5 * MINUTE


def edge(burning: dict[datetime, bool], state: bool) -> datetime:
    """When it began, and when it had ended; it did so once."""
    times = [at for at, burns in burning.items() if burns]
    span = [at for at in burning if times[0] <= at <= times[-1]]
    assert times == span
    return times[0] if state else times[-1] + TICK


async def test_series_are_labelled_by_what_they_are_about(db: Database) -> None:
    kept = Kept(db)
    await write(db, [Ended(NOON - MINUTE, pool="p")])
    scope = Scope("acme", "p", "team", "search")
    await kept.put(objective(name="narrow", scope=scope))
    await kept.put(objective(name="wide"))
    await kept.count(NOON)
    found = {reading.labels["slo"]: reading for reading in await readings(kept, NOON)}
    assert found["narrow"].labels == {
        "slo": "narrow", "owner": "default", "tenant": "acme", "pool": "p", "label": "team=search",
    }  # fmt: skip
    assert found["wide"].labels == {"slo": "wide", "owner": "default"}


async def test_without_events_or_counts_there_is_no_data(db: Database) -> None:
    kept = Kept(db)
    await kept.put(objective())
    for signal in ("slo_burn_page", "slo_burn_ticket", "slo_budget_remaining"):
        (reading,) = await readings(kept, NOON, signal)
        assert isinstance(reading, Unanswered)
        assert "not counted" in reading.detail
    await kept.count(NOON)
    for signal in ("slo_burn_page", "slo_burn_ticket", "slo_budget_remaining"):
        (reading,) = await readings(kept, NOON, signal)
        assert isinstance(reading, Unanswered)
        assert reading.why == "no_data"
        assert "not counted" not in reading.detail
    await write(db, [Ended(NOON - MINUTE, "failed")])
    await kept.count(NOON + MINUTE)
    assert await value(kept, NOON + MINUTE) > 1
    late = NOON + timedelta(minutes=10)
    (reading,) = await readings(kept, late)
    assert isinstance(reading, Unanswered), "nobody counts: nothing is known"


async def test_signals_of_one_pass_judge_objectives_once(db: Database) -> None:
    kept = Kept(db)
    await kept.put(objective())
    await write(db, [Ended(NOON - MINUTE)])
    await kept.count(NOON)
    by, found = By(), list[Sequence[Reading]]()
    for second, signal in enumerate(SIGNALS):
        async with db.read() as connection:
            found.append(await signal.read(connection, by, NOON + timedelta(seconds=second)))
        await kept.sql("DELETE FROM slos")
    assert [len(readings) for readings in found] == [1, 1, 1]
    async with db.read() as connection:
        assert await SIGNALS[0].read(connection, by, NOON + MINUTE) == [], "it is too old by then"


async def test_an_overspent_budget_is_negative(db: Database) -> None:
    kept = Kept(db)
    await kept.put(objective(target="0.9", window=WindowSpec("rolling", DAY_S)))
    await write(db, [Ended(NOON - timedelta(hours=2), "failed" if n < 2 else "succeeded") for n in range(10)])
    await kept.count(NOON)
    assert await value(kept, NOON, "slo_budget_remaining") == -1


@pytest.mark.parametrize(("min_events", "evidence"), [(3, True), (4, False)])
async def test_few_events_are_no_evidence(db: Database, min_events: int, evidence: bool) -> None:
    kept = Kept(db)
    await kept.put(objective(), min_events=min_events)
    await write(db, [Ended(NOON - MINUTE, status) for status in ("failed", "succeeded", "succeeded")])
    await kept.count(NOON)
    (reading,) = await readings(kept, NOON)
    assert isinstance(reading, Sample) is evidence


@pytest.mark.parametrize(("severity", "there"), [("critical", "slo_burn_page"), ("warning", "slo_burn_ticket")])
async def test_a_severity_without_rules_has_no_series(db: Database, severity: str, there: str) -> None:
    kept = Kept(db)
    rule = BurnRule("only", STANDARD_SHARE, 3600, 300, severity)  # type: ignore[arg-type]
    await kept.put(objective(), rules=(rule,))
    await write(db, [Ended(NOON - MINUTE)])
    await kept.count(NOON)
    for signal in ("slo_burn_page", "slo_burn_ticket"):
        assert len(await readings(kept, NOON, signal)) == (signal == there)


async def test_at_the_factor_itself_it_does_not_burn_yet(db: Database) -> None:
    """A factor of 1 and a target of 50 %: half of the events are bad."""
    kept = Kept(db)
    asked: Objective = objective(target="0.5", window=WindowSpec("rolling", 7 * DAY_S))
    rule = BurnRule("only", Fraction(1, 7), DAY_S, 3600, "critical")
    made = await kept.put(asked, rules=(rule,))
    assert made.rules[0].factor == 1
    await write(db, [Ended(NOON - MINUTE), Ended(NOON - MINUTE, "failed")])
    await kept.count(NOON)
    assert 0.99 < await value(kept, NOON) < 1
    await write(db, [Ended(NOON - MINUTE, "failed")])
    await kept.count(NOON)
    assert await value(kept, NOON) > 1
