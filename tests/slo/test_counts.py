"""What objectives count, in a real database, against an oracle over the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.core.db import Database
from app.slo import buckets
from app.slo.budget import Counts
from app.slo.counts import NAMES, Bucket, counts_of, read, settled_before, statement, total, totals
from app.slo.objective import KINDS, Objective, Scope
from app.slo.verdicts import Series, Settling, Source, Verdict, mark
from app.slo.windows import Span, bucket_of, buckets_in, last, whole_buckets
from tests.slo.ended_tasks import NOON, Ended, create_tables, say, write
from tests.slo.objectives import objective

FINAL = ("succeeded", "failed", "cancelled", "expired")
MINUTE = timedelta(minutes=1)
DAY = Span(NOON - timedelta(hours=12), NOON + timedelta(hours=12))
LATER = NOON + timedelta(days=30)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


async def named(db: Database, asked: Objective, span: Span = DAY, now: datetime = LATER) -> dict[str, int]:
    async with db.read() as connection:
        return dict((await totals(connection, asked, span, now)).named)


async def test_what_is_bad_has_a_name_and_what_is_excluded_too(db: Database) -> None:
    tasks = [
        *(Ended(status=status) for status in ("succeeded", "succeeded", "failed", "expired", "cancelled")),
        *(Ended(status=status, synthetic=True) for status in FINAL),
        *(Ended(None, status) for status in ("queued", "running", "waiting", "held")),
    ]
    await write(db, tasks)
    async with db.read() as connection:
        found = await totals(connection, objective(), DAY, LATER)
    assert found.named == {"succeeded": 2, "failed": 1, "expired": 1, "cancelled": 1, "synthetic": 4}
    assert found.counts == Counts(good=2, bad=2, excluded=5)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope(), 5),
        (Scope(tenant="acme"), 2),
        (Scope(pool="q"), 2),
        (Scope(tenant="acme", pool="q"), 1),
        (Scope(label_key="team", label_value="search"), 2),
        (Scope(label_key="team", label_value=""), 1),
        (Scope(tenant="acme", label_key="team", label_value="search"), 1),
        (Scope(tenant="nobody"), 0),
    ],
)
async def test_a_scope_counts_its_own_tasks(db: Database, scope: Scope, expected: int) -> None:
    tasks = [
        Ended(),
        Ended(tenant="acme", labels={"team": "search", "more": "x"}),
        Ended(tenant="acme", pool="q", labels={"team": "ads"}),
        Ended(pool="q", labels={"team": "search"}),
        Ended(labels={"team": ""}),
    ]
    assert expected == sum(scope.fits(task.tenant, task.pool, task.labels) for task in tasks)
    await write(db, tasks)
    assert await named(db, objective(scope=scope)) == ({"succeeded": expected} if expected else {})


async def test_a_task_is_in_the_minute_in_which_it_ended(db: Database) -> None:
    tick = timedelta.resolution
    await write(db, [Ended(NOON - tick), Ended(NOON), Ended(NOON + MINUTE - tick, "failed"), Ended(NOON + MINUTE)])
    async with db.read() as connection:
        found = await read(connection, objective(), Span(NOON, NOON + MINUTE), LATER)
        assert found == [Bucket(NOON, Counts(good=1, bad=1), {"succeeded": 1, "failed": 1})]
        # A minute that began in the window is counted whole, one that began before it not at all.
        shifted = await read(connection, objective(), Span(NOON - seconds(59), NOON + seconds(1)), LATER)
        assert shifted == found
        hours = await read(connection, objective(), DAY, LATER, width_s=3_600)
        assert [(bucket.start, bucket.counts.valid) for bucket in hours] == [(NOON - timedelta(hours=1), 1), (NOON, 3)]
        assert await read(connection, objective(), Span(NOON, NOON), LATER) == []


async def test_a_failed_task_that_is_replayed_counts_when_it_ends_again(db: Database) -> None:
    task = Ended(status="failed")
    await write(db, [task])
    assert await named(db, objective()) == {"failed": 1}
    async with db.hot() as connection:
        await connection.execute("UPDATE tasks SET status = 'queued', finished_at = NULL WHERE id = $1", task.id)
    assert await named(db, objective()) == {}
    async with db.hot() as connection:
        await connection.execute(
            "UPDATE tasks SET status = 'succeeded', finished_at = $2 WHERE id = $1", task.id, NOON + MINUTE
        )
    async with db.read() as connection:
        assert [bucket.start for bucket in await read(connection, objective(), DAY, LATER)] == [NOON + MINUTE]


@pytest.mark.parametrize(
    ("task", "with_wait", "without"),
    [
        (Ended(created=NOON - seconds(30)), "fast", "fast"),
        (Ended(created=NOON - seconds(30.000001)), "slow", "fast"),
        # What it had to wait for its `run_at` was asked for.
        (Ended(created=NOON - seconds(500), run_at=NOON - seconds(20)), "fast", "fast"),
        (Ended(created=NOON - seconds(40), run_at=NOON - seconds(900)), "slow", "fast"),
        (Ended(attempts=((30.0, "succeeded", True),)), "fast", "fast"),
        (Ended(attempts=((30.000001, "succeeded", True),)), "fast", "slow"),
        # All that agents worked on it: retries, and what came before a suspension; not what was refused or returned.
        (Ended(attempts=((20.0, "failed", True), (11.0, "succeeded", True))), "fast", "slow"),
        (Ended(attempts=((20.0, "suspended", False), (11.0, "succeeded", True))), "fast", "slow"),
        (Ended(attempts=((20.0, "returned", False), (11.0, "succeeded", True))), "fast", "fast"),
        (Ended(attempts=((None, "refused", False), (30.0, "succeeded", True))), "fast", "fast"),
        (Ended(status="failed", created=NOON - seconds(900)), "failed", "failed"),
        (Ended(status="expired"), "expired", "expired"),
        (Ended(status="cancelled"), "cancelled", "cancelled"),
        (Ended(synthetic=True, created=NOON - seconds(900)), "synthetic", "synthetic"),
    ],
)
async def test_latency(db: Database, task: Ended, with_wait: str, without: str) -> None:
    await write(db, [task])
    assert await named(db, objective("latency")) == {with_wait: 1}
    assert await named(db, objective("latency", queue_wait=False)) == {without: 1}


def some_tasks(rng: Random, count: int) -> list[Ended]:
    found = []
    for _ in range(count):
        finished = NOON + seconds(rng.randrange(0, 7_200_000) / 1_000)
        created = finished - seconds(rng.choice([0.001, 5, 29.999, 30, 31, 400]))
        found.append(
            Ended(
                finished,
                rng.choice([*FINAL, "succeeded", "succeeded", "succeeded"]),
                created,
                rng.choice([None, None, finished - seconds(10)]),
                rng.choice(["default", "acme"]),
                rng.choice(["p", "q"]),
                rng.random() < 0.1,
                rng.choice([None, {"team": "search"}, {"team": "ads", "b": "1"}]),
                error_code=rng.choice([None, "approval_expired"]),
            )
        )
    return found


def some_verdicts(rng: Random, tasks: Sequence[Ended]) -> list[Verdict]:
    found = []
    for task in tasks:
        assert task.finished is not None
        for _ in range(rng.choice([0, 1, 1, 2, 4])):
            source: Source = rng.choice(["human", "judge", "judge"])
            said_at = task.finished + seconds(rng.choice([0, 1, 59, 60, 600, 3_600, 3_661, 90_000]))
            score = rng.choice([None, Decimal("0.2"), Decimal("0.7"), Decimal("0.69")])
            label = rng.choice([None, None, "good", "bad", "correct", "fail", "odd"])
            series = Series(rng.choice(["rubric", "rubric", "style"]), rng.choice(["3", "3", "2"]))
            found.append(Verdict(uuid4(), task.id, series, source, said_at, score, label))
    return found


def oracle(asked: Objective, task: Ended, heard: Sequence[Verdict], now: datetime) -> str:
    """The name of one task, without SQL."""
    if task.synthetic:
        return "synthetic"
    if (task.status, task.error_code) == ("expired", "approval_expired"):
        return "unapproved"
    if asked.kind == "availability" or task.status != "succeeded":
        return task.status
    if asked.kind == "latency":
        return "fast" if task.since_ready <= seconds(float(asked.threshold_s or 0)) else "slow"
    assert task.finished is not None
    series, settling = Series(asked.evaluator or "", asked.version or ""), Settling(asked.settle_after_s)
    return mark(heard, series, finished_at=task.finished, now=now, settling=settling, pass_score=asked.pass_score)


@pytest.mark.parametrize("seed", range(3))
async def test_every_kind_counts_as_the_oracle_does(db: Database, seed: int) -> None:
    rng = Random(seed)
    tasks = some_tasks(rng, 400)
    verdicts = some_verdicts(rng, tasks)
    await create_tables(db)
    await write(db, tasks)
    await say(db, verdicts)
    heard: dict[UUID, list[Verdict]] = {task.id: [] for task in tasks}
    for verdict in verdicts:
        heard[verdict.task_id].append(verdict)
    scopes = [Scope(), Scope(tenant="acme", pool="q"), Scope(label_key="team", label_value="search")]
    fields: dict[str, dict[str, Any]] = {"accuracy": {"pass_score": Decimal("0.7"), "settle_after_s": 3_600}}
    seen = Counter[str]()
    for kind in KINDS:
        for scope in scopes:
            asked = objective(kind, scope=scope, **fields.get(kind, {}))
            now = NOON + seconds(7_200)
            begin = NOON + seconds(rng.randrange(3_000))
            span = Span(begin, begin + seconds(rng.randrange(60, 5_000)))
            expected: dict[datetime, Counter[str]] = {}
            for task in tasks:
                assert task.finished is not None
                start = bucket_of(task.finished)
                if start in set(buckets_in(span)) and scope.fits(task.tenant, task.pool, task.labels):
                    expected.setdefault(start, Counter())[oracle(asked, task, heard[task.id], now)] += 1
            async with db.read() as connection:
                found = await read(connection, asked, span, now)
            assert {bucket.start: dict(bucket.named) for bucket in found} == expected
            assert [bucket.start for bucket in found] == sorted(expected)
            for bucket in found:
                assert bucket.counts == counts_of(kind, bucket.named)
                seen.update({f"{kind} {name}": n for name, n in bucket.named.items()})
    # The rows have everything that has a name.
    assert set(seen) == {f"{kind} {name}" for kind in KINDS for name in NAMES[kind]}


async def test_a_late_verdict_changes_its_bucket_until_that_settles(db: Database) -> None:
    await create_tables(db)
    task = Ended()
    await write(db, [task])
    asked = objective("accuracy", settle_after_s=3_600)
    settles_at = NOON + MINUTE + seconds(3_600)
    assert await named(db, asked, now=NOON) == {"pending": 1}
    assert await named(db, asked, now=settles_at) == {"unscored": 1}

    def said(label: str, at: datetime, version: str = "3", source: Source = "judge") -> Verdict:
        return Verdict(uuid4(), task.id, Series("rubric", version), source, at, None, label)

    await say(db, [said("good", settles_at - seconds(1), version="4")])
    assert await named(db, asked, now=settles_at) == {"unscored": 1}
    assert await named(db, objective("accuracy", version="4", settle_after_s=3_600)) == {"good": 1}
    await say(db, [said("good", settles_at - seconds(1))])
    assert await named(db, asked, now=settles_at) == {"good": 1}
    await say(db, [said("bad", settles_at)])
    assert await named(db, asked, now=settles_at) == {"good": 1}
    await say(db, [said("bad", NOON, "by hand", "human")])
    assert await named(db, asked, now=settles_at) == {"bad": 1}
    assert settled_before(asked, settles_at) == NOON


async def test_kept_buckets_give_the_sums_of_what_was_read(db: Database) -> None:
    await create_tables(db)
    rng = Random(7)
    tasks = some_tasks(rng, 300)
    await write(db, tasks)
    slo_id, other = uuid4(), uuid4()
    asked, now = objective(), NOON + seconds(7_200)
    async with db.hot() as connection:
        for each in (slo_id, other):
            await connection.execute(
                """INSERT INTO slos (id, owner, name, kind, target, window_kind, burn_rules, created_by)
                VALUES ($1, 'default', $2, 'availability', 0.99, 'rolling', '[]', 'k1')""",
                each, str(each),
            )  # fmt: skip
        whole = Span(NOON, now)
        found = await read(connection, asked, whole, now)
        for _ in range(2):  # twice is as once
            async with connection.transaction():
                await buckets.replace(connection, slo_id, whole, found)
        spans = [last(number, now) for number in (300, 3_600, 7_200)]
        spans.append(Span(NOON - timedelta(days=2), NOON - timedelta(days=1)))
        sums = await buckets.sums(connection, slo_id, spans)
        for span, counts in zip(spans, sums, strict=True):
            part = whole_buckets(span)
            assert counts == total((b for b in found if part.start <= b.start < part.end), span.start).counts
            assert counts == (await totals(connection, asked, span, now)).counts
        assert sums[0] != sums[1] != sums[2]
        assert sums[3] == Counts()
        assert await buckets.sums(connection, other, spans) == [Counts()] * 4
        # A part is replaced as a whole, and nothing beside it.
        middle = Span(NOON + seconds(1_800), NOON + seconds(3_600))
        async with connection.transaction():
            await buckets.replace(connection, slo_id, middle, [])
        left = await buckets.sums(connection, slo_id, [Span(NOON, middle.start), middle, Span(middle.end, now)])
        assert left[1] == Counts()
        assert left[0] + left[2] == total((b for b in found if not middle.start <= b.start < middle.end), NOON).counts


@pytest.mark.parametrize(
    "asked",
    [objective(), objective("latency"), objective("latency", queue_wait=False), objective("accuracy")],
    ids=["availability", "latency", "work", "accuracy"],
)
async def test_ended_tasks_are_found_by_a_block_range_index(db: Database, asked: Objective) -> None:
    """So that counting the last minutes does not read the history."""
    await create_tables(db)
    hour = Span(NOON - timedelta(hours=1), NOON)
    async with db.hot() as connection:
        await connection.execute("INSERT INTO pools (name) VALUES ('p')")
        await connection.execute(
            """INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts,
              created_at, finished_at)
            SELECT gen_random_uuid(), 'default', 'k1', 'p', 't', 'null', 0, 0, 'succeeded', 1, at, at
            FROM (SELECT $1::timestamptz + n * interval '30 seconds' AS at FROM generate_series(1, 28900) n) s""",
            NOON - timedelta(days=10),
        )
        await connection.execute(
            """CREATE INDEX IF NOT EXISTS ix_tasks_finished_at ON tasks USING brin (finished_at)
            WITH (pages_per_range = 32, autosummarize = on)"""
        )
        await connection.execute("ANALYZE tasks")
        sql, values = statement(asked, hour)
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {sql}", *values))
        assert "ix_tasks_finished_at" in plan
        assert "Seq Scan on tasks" not in plan
        found = await totals(connection, asked, hour, LATER)
    assert found.counts.valid + found.counts.unscored == 120
