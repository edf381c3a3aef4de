"""Counting into buckets: back-fill, catching up, verdicts that come late, two managers, passes that are cut short."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import uuid4

import orjson
import pytest

from app.core.db import Database
from app.slo import buckets, counts
from app.slo.budget import Counts
from app.slo.objective import DAY_S, Objective, WindowSpec
from app.slo.verdicts import Series, Verdict
from app.slo.windows import Span
from tests.slo.ended_tasks import NOON, Ended, say, write
from tests.slo.kept import Kept
from tests.slo.objectives import objective

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SERIES = Series("rubric", "3")
JUDGED = {"evaluator": "rubric", "version": "3", "settle_after_s": 3600}


async def counted(db: Database, asked: Objective, span: Span, now: datetime) -> Counts:
    """What the tasks themselves say."""
    async with db.hot() as connection:
        return (await counts.totals(connection, asked, span, now)).counts


def verdict(task: Ended, label: str, at: datetime, *, human: bool = False, version: str = "3") -> Verdict:
    return Verdict(uuid4(), task.id, Series("rubric", version), "human" if human else "judge", at, None, label)


async def test_a_new_objective_counts_the_last_hour_first_and_then_its_whole_window(db: Database) -> None:
    tasks = [Ended(NOON - timedelta(hours=hours), "failed" if hours % 5 == 0 else "succeeded") for hours in range(900)]
    await write(db, tasks)
    kept = Kept(db)
    await kept.put(objective())
    (new,) = await kept.all()
    assert (new.counted_from, new.counted_until) == (None, None)
    await kept.loop._counting.forward(new, NOON)
    (begun,) = await kept.all()
    assert (begun.counted_from, begun.counted_until) == (NOON - HOUR, NOON)
    assert not (await kept.numbers(NOON)).judged
    await kept.count(NOON)
    found = await kept.numbers(NOON)
    assert found.judged
    assert found.slo.counted_from == NOON - timedelta(days=30)
    assert found.standing.budget.counts == await counted(db, found.slo.objective, found.standing.window, NOON)
    assert found.standing.budget.counts == Counts(good=576, bad=144)
    before = await kept.buckets()
    await kept.count(NOON)
    assert await kept.buckets() == before


async def test_an_outage_of_the_loop_is_made_up_for(db: Database) -> None:
    kept = Kept(db)
    await kept.put(objective(window=WindowSpec("rolling", DAY_S)))
    await kept.count(NOON)
    await write(db, [Ended(NOON + timedelta(minutes=7 * number)) for number in range(500)])
    late = NOON + timedelta(minutes=7 * 500)
    assert not (await kept.numbers(late)).fresh
    await kept.count(late)
    found = await kept.numbers(late)
    assert found.judged
    assert found.standing.budget.counts == Counts(good=205)
    assert len(await kept.buckets()) == 500


async def test_a_clock_that_is_set_back_is_followed(db: Database) -> None:
    kept = Kept(db)
    await kept.put(objective())
    await kept.count(NOON)
    ahead = NOON + timedelta(days=10)
    await kept.count(ahead)
    assert not (await kept.numbers(NOON)).fresh
    await write(db, [Ended(NOON + MINUTE, "failed")])
    await kept.count(NOON + 2 * MINUTE)
    found = await kept.numbers(NOON + 2 * MINUTE)
    assert found.slo.counted_until == NOON + 2 * MINUTE
    assert found.judged and found.standing.budget.counts == Counts(bad=1)


async def test_what_commits_late_is_counted_too(db: Database) -> None:
    kept = Kept(db)
    await kept.put(objective())
    await kept.count(NOON)
    await write(db, [Ended(NOON - timedelta(seconds=50))])
    await kept.count(NOON + timedelta(seconds=10))
    assert (await kept.numbers(NOON + timedelta(seconds=10))).standing.budget.counts.good == 1


async def test_a_window_that_grows_is_filled_and_another_target_counts_nothing_anew(db: Database) -> None:
    await write(db, [Ended(NOON - timedelta(days=20)), Ended(NOON - HOUR, "failed")])
    kept = Kept(db)
    first = await kept.put(objective(window=WindowSpec("rolling", DAY_S)))
    await kept.count(NOON)
    assert (await kept.numbers(NOON)).standing.budget.counts == Counts(bad=1)
    grown = await kept.put(objective(target="0.5"))
    assert grown.id == first.id
    assert not (await kept.numbers(NOON)).judged
    await kept.count(NOON)
    found = await kept.numbers(NOON)
    assert found.judged
    assert found.standing.budget.counts == Counts(good=1, bad=1)


async def test_another_scope_begins_anew(db: Database) -> None:
    await write(db, [Ended(NOON - HOUR), Ended(NOON - HOUR, tenant="acme")])
    kept = Kept(db)
    first = await kept.put(objective())
    await kept.count(NOON)
    second = await kept.put(replace(objective(), scope=replace(objective().scope, tenant="acme")))
    assert second.id != first.id
    assert await kept.buckets() == []
    await kept.count(NOON)
    assert (await kept.numbers(NOON)).standing.budget.counts == Counts(good=1)


async def test_tasks_that_are_deleted_leave_their_counts(db: Database) -> None:
    await write(db, [Ended(NOON - timedelta(days=3)), Ended(NOON - HOUR, "failed")])
    kept = Kept(db, kept_s=10 * DAY_S)
    await kept.put(objective())
    await kept.count(NOON)
    found = await kept.numbers(NOON)
    assert found.complete, "there is nothing older than ten days to count"
    await kept.sql("DELETE FROM tasks")
    later = NOON + timedelta(days=8)
    await kept.count(later)
    assert (await kept.numbers(later)).standing.budget.counts == Counts(good=1, bad=1)


async def test_a_late_verdict_opens_its_minute_again_until_it_settles(db: Database) -> None:
    task, other = Ended(NOON), Ended(NOON)
    await write(db, [task, other])
    kept = Kept(db)
    await kept.put(objective("accuracy", "0.9", **JUDGED))
    now = NOON + 5 * MINUTE
    await kept.count(now)
    assert (await kept.numbers(now)).standing.budget.counts == Counts(pending=2)
    await say(db, [verdict(task, "bad", now + MINUTE), verdict(task, "good", now + MINUTE, version="4")])
    now += 2 * MINUTE
    await kept.count(now)
    assert (await kept.numbers(now)).standing.budget.counts == Counts(bad=1, pending=1)
    await say(db, [verdict(task, "good", now, human=True)])
    now += MINUTE
    await kept.count(now)
    assert (await kept.numbers(now)).standing.budget.counts == Counts(good=1, pending=1)
    settled = NOON + HOUR + 2 * MINUTE
    await kept.count(settled)
    assert (await kept.numbers(settled)).standing.budget.counts == Counts(good=1, unscored=1)
    assert [orjson.loads(row["named"]) for row in await kept.buckets()] == [{"good": 1, "unscored": 1}]
    await say(db, [verdict(other, "bad", settled)])
    await kept.count(settled + MINUTE)
    assert (await kept.numbers(settled + MINUTE)).standing.budget.counts == Counts(good=1, unscored=1)


async def test_two_managers_at_once_count_as_one(db: Database) -> None:
    rng = Random(3)
    tasks = [
        Ended(NOON - timedelta(seconds=rng.uniform(0, 3 * 3600)), rng.choice(["succeeded", "failed", "cancelled"]))
        for _ in range(400)
    ]
    await write(db, tasks[:200])
    kept = Kept(db)
    for name in ("one", "two", "three"):
        await kept.put(objective(name=name, window=WindowSpec("rolling", DAY_S)))
    passes = [kept.loop, kept.another(), kept.another()]

    async def run(turns: int) -> None:
        for number in range(turns):
            await asyncio.gather(*(each.run_once(NOON - (turns - number) * MINUTE) for each in passes))

    await asyncio.gather(run(4), write(db, tasks[200:]))
    await kept.sql("UPDATE slos SET counted_until = $1", NOON - 3 * HOUR)  # what was written late ended long ago
    await kept.count(NOON)
    for slo in await kept.all():
        span = Span(NOON - timedelta(days=1), NOON + MINUTE)
        async with db.hot() as connection:
            (kept_counts,) = await buckets.sums(connection, slo.id, [span])
        assert kept_counts == await counted(db, slo.objective, span, NOON)
        assert kept_counts.valid + kept_counts.excluded == 400


@pytest.mark.parametrize("cut_s", [0.0, 0.005, 0.01, 0.02, 0.05])
async def test_a_pass_that_is_cut_short_anywhere_is_made_up_for(db: Database, cut_s: float) -> None:
    await write(db, [Ended(NOON - timedelta(minutes=11 * number)) for number in range(300)])
    kept = Kept(db)
    for name in ("one", "two"):
        await kept.put(objective(name=name, window=WindowSpec("rolling", DAY_S)))
    counting = asyncio.create_task(kept.count(NOON))
    await asyncio.wait({counting}, timeout=cut_s)
    counting.cancel()
    await asyncio.wait({counting})
    await kept.count(NOON)
    for slo in await kept.all():
        span = Span(NOON - timedelta(days=1), NOON + MINUTE)
        async with db.hot() as connection:
            (found,) = await buckets.sums(connection, slo.id, [span])
        assert found == Counts(good=131)


async def test_an_objective_that_goes_while_it_is_counted_leaves_nothing(db: Database) -> None:
    await write(db, [Ended()])
    kept = Kept(db)
    made = await kept.put(objective())
    await kept.sql("DELETE FROM slos")
    await kept.loop._counting.forward(made, NOON)
    assert await kept.buckets() == []


async def test_what_no_window_needs_is_dropped(db: Database) -> None:
    await write(db, [Ended(NOON - timedelta(hours=hours)) for hours in range(24)])
    kept = Kept(db)
    await kept.put(objective(window=WindowSpec("rolling", 6 * 3600)))
    await kept.sql("INSERT INTO slo_buckets SELECT id, $1, 1, 0, 0, 0, 0, '{}' FROM slos", NOON - timedelta(days=9))
    await kept.count(NOON)
    assert min(row["start"] for row in await kept.buckets()) >= NOON - timedelta(days=2)


async def test_what_one_batch_does_not_drop_goes_at_the_next_pass(db: Database) -> None:
    gone = [Ended(NOON - timedelta(days=12)) for _ in range(5)]
    await say(db, [verdict(task, "bad", NOON - timedelta(days=12)) for task in gone])
    kept = Kept(db, kept_s=10 * DAY_S)
    kept.loop._prune_batch = 2
    await kept.put(objective(window=WindowSpec("rolling", 6 * 3600)))
    await kept.sql(
        """INSERT INTO slo_buckets SELECT id, $1::timestamptz + n * interval '1 min', 1, 0, 0, 0, 0, '{}'
        FROM slos, generate_series(1, 5) n""", NOON - timedelta(days=9)
    )  # fmt: skip
    left = list[tuple[int, int]]()
    for _ in range(3):
        await kept.loop._prune(await kept.all(), NOON)
        async with db.hot() as connection:
            left.append((await connection.fetchval("SELECT count(*) FROM slo_buckets"),
                         await connection.fetchval("SELECT count(*) FROM feedback")))  # fmt: skip
    assert left == [(3, 3), (1, 1), (0, 0)]


async def test_an_objective_that_somebody_holds_keeps_no_other_waiting(db: Database) -> None:
    kept = Kept(db)
    for name in ("one", "two"):
        await kept.put(objective(name=name))
    first, second = await kept.all()
    async with db.hot() as connection, connection.transaction():
        await connection.execute("SELECT FROM slos WHERE id = $1 FOR UPDATE", first.id)
        await kept.loop._forward(first, NOON)
        await kept.loop._forward(second, NOON)
    counted_until = {slo.id: slo.counted_until for slo in await kept.all()}
    assert counted_until == {first.id: None, second.id: NOON}


async def test_verdicts_go_with_their_tasks(db: Database) -> None:
    task, gone = Ended(NOON - timedelta(days=1)), Ended(NOON - timedelta(days=12))
    await write(db, [task])
    await say(db, [verdict(task, "good", NOON), verdict(gone, "bad", NOON - timedelta(days=12))])
    kept = Kept(db, kept_s=10 * DAY_S)
    await kept.count(NOON)
    async with db.hot() as connection:
        assert [row["task_id"] for row in await connection.fetch("SELECT task_id FROM feedback")] == [task.id]


async def test_latency_and_accuracy_stand_by_their_buckets(db: Database) -> None:
    slow = Ended(NOON, created=NOON - MINUTE, attempts=((5.0, "succeeded", True),))
    await write(db, [slow, Ended(NOON, "failed"), Ended(NOON, synthetic=True), Ended(NOON, "cancelled")])
    now = NOON + MINUTE
    for queue_wait, expected in ((True, Counts(bad=1, excluded=3)), (False, Counts(good=1, excluded=3))):
        kept = Kept(db)
        await kept.put(objective("latency", threshold_s=Decimal(30), queue_wait=queue_wait))
        await kept.count(now)
        assert (await kept.numbers(now)).standing.budget.counts == expected
