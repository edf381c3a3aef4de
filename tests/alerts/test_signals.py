"""What signals say of real tables: numbers, nothing to measure, and nothing at all of what is gone."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from app.alerts.reading import Sample, Unanswered
from app.alerts.signals import attempts as attempt_signals
from app.alerts.signals import money
from app.alerts.signals import queue as queue_signals
from app.alerts.signals.base import By, Dimension
from app.alerts.signals.registry import SIGNALS
from app.alerts.signals.series import label_name
from app.auth.callers import PROBES_TENANT
from app.core.db import Database
from app.costs.records import Scope
from tests.alerts.watched import attempts, now_of, pools, read, task, values
from tests.costs.ledger_rows import account, make
from tests.costs.usage_rows import Used, write

ENDED = ("succeeded", "suspended", "failed", "timeout", "lost", "refused", "returned", "stopped")


def of(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


async def execute(db: Database, statement: str, *arguments: Any) -> None:
    async with db.hot() as connection:
        await connection.execute(statement, *arguments)


async def test_a_rate_is_of_the_attempts_that_ended_well_or_badly(db: Database) -> None:
    await pools(db, "p", "quiet")
    await attempts(db, "p", *ENDED)
    await attempts(db, "p", "suspended", counted=False)
    await attempts(db, "p", "lost", counted=False)  # its manager died
    await attempts(db, "p", "failed", age_s=301.0)
    await attempts(db, "gone", "failed")
    found = await read(db, "success_rate")
    assert set(found) == {of(pool="p"), of(pool="quiet")}
    sample = found[of(pool="p")]
    assert isinstance(sample, Sample) and (sample.good, sample.total, sample.value) == (3, 6, 0.5)
    assert found[of(pool="quiet")] == Unanswered({"pool": "quiet"}, "no_data", "no events")
    wrong = (await read(db, "error_rate"))[of(pool="p")]
    assert isinstance(wrong, Sample) and (wrong.good, wrong.total, wrong.value, wrong.worst) == (3, 6, 0.5, 1.0)


async def test_a_rate_by_tenant_and_by_label(db: Database) -> None:
    await pools(db, "p")
    await attempts(db, "p", "succeeded", "failed", tenant="acme", labels={"team.name": "search"})
    await attempts(db, "p", "succeeded", tenant="other", labels={"team.name": "", "x": "y"})
    await execute(
        db,
        "INSERT INTO api_keys (id, tenant, name, digest, scopes) VALUES ('k9', 'silent', 'k', ''::bytea, '{}')",
    )
    found = await values(db, "success_rate", "tenant")
    assert {name: found[name] for name in ("acme", "other", "silent")} == {
        "acme": 0.5,
        "other": 1.0,
        "silent": "no_data",
    }
    assert set(await read(db, "success_rate", "label:team.name")) == {of(team_name="search")}
    assert await read(db, "success_rate", "label:nobody") == {}


@pytest.mark.parametrize(("key", "name"), [("team", "team"), ("team.name", "team_name"), ("2nd/x-y", "_2nd_x_y")])
def test_the_name_of_a_label(key: str, name: str) -> None:
    assert label_name(By("label", key)) == name
    assert label_name(By("tenant")) == "tenant"


async def test_response_times(db: Database) -> None:
    await pools(db, "p", "quiet")
    for seconds in range(1, 101):
        await attempts(db, "p", "succeeded", seconds=float(seconds))
    await attempts(db, "p", "refused", seconds=900.0, counted=False)
    for name, expected in (("response_time_p50", 50.5), ("response_time_p95", 95.05), ("response_time_p99", 99.01)):
        found = await read(db, name)
        sample = found[of(pool="p")]
        assert isinstance(sample, Sample)
        assert (round(sample.value, 3), sample.total, sample.good) == (expected, 100, None)
        assert found[of(pool="quiet")] == Unanswered({"pool": "quiet"}, "no_data", "no attempt ended")


async def test_queues(db: Database) -> None:
    await pools(db, "p", "q", "empty")
    await task(db, "p", "queued", age_s=50.0)
    await task(db, "p", "queued", age_s=400.0, priority=-5, tenant="acme")
    await task(db, "p", "queued", age_s=900.0, wake_at=await now_of(db) + timedelta(hours=1))
    await task(db, "q", "queued", age_s=70.0, pinned_agent_id=uuid4())
    await task(db, "q", "running", age_s=700.0)
    await task(db, "gone", "queued", age_s=7000.0)
    assert await values(db, "queue_length") == {"p": 3, "q": 1, "empty": 0}
    oldest = await values(db, "oldest_queued_age")
    assert oldest == {"p": pytest.approx(400, abs=30), "q": pytest.approx(70, abs=30), "empty": 0}
    await execute(
        db, "INSERT INTO api_keys (id, tenant, name, digest, scopes) VALUES ('k9', 'acme', 'k', ''::bytea, '{}')"
    )
    assert (await values(db, "queue_length", "tenant"))["acme"] == 1
    assert (await values(db, "oldest_queued_age", "tenant"))["acme"] == pytest.approx(400, abs=30)


async def test_dead_letters_are_of_the_last_hour(db: Database) -> None:
    await pools(db, "p", "q")
    await task(db, "p", "failed", labels={"team": "a"}, tenant="acme")
    await task(db, "p", "failed", age_s=3700.0)
    await task(db, "p", "failed", synthetic=True)
    await task(db, "p", "cancelled")
    assert await values(db, "dead_letters") == {"p": 1, "q": 0}
    assert await values(db, "dead_letters", "label:team") == {"a": 1}
    assert (await values(db, "dead_letters", "tenant"))["acme"] == 1


async def agent(db: Database, pool: str, status: str, silent_s: float = 0.0, **columns: Any) -> None:
    more = "".join(f", {name}" for name in columns)
    marks = "".join(f", ${place}" for place in range(5, 5 + len(columns)))
    await execute(
        db,
        f"""INSERT INTO agents (id, pool, url, slots, weight, status, token_digest, last_seen_at{more})
        VALUES ($1, $2, gen_random_uuid()::text, 1, 1, $3, ''::bytea, now() - make_interval(secs => $4){marks})""",
        uuid4(), pool, status, silent_s, *columns.values(),
    )  # fmt: skip


async def test_agents_by_status(db: Database) -> None:
    await pools(db, "p", "empty")
    for status in ("idle", "idle", "failed", "gone"):
        await agent(db, "p", status)
    await agent(db, "p", "busy", ejected_until=await now_of(db) + timedelta(minutes=5))
    await agent(db, "p", "busy", ejected_until=await now_of(db) - timedelta(minutes=5))
    found = await values(db, "agents")
    assert {name: value for name, value in found.items() if value} == {
        "p/idle": 2,
        "p/failed": 1,
        "p/ejected": 1,
        "p/busy": 1,
    }
    assert "empty/idle" in found and "p/gone" not in found


async def test_silent_agents(db: Database) -> None:
    await pools(db, "p", "q")
    await agent(db, "p", "idle", 61.0)
    await agent(db, "p", "failed", 3000.0)
    await agent(db, "p", "idle", 20.0)
    await agent(db, "q", "gone", 9000.0)
    assert await values(db, "silent_agents") == {"p": 2, "q": 0}


async def test_crash_loops(db: Database) -> None:
    await pools(db, "p", "q", "r")
    conditions = '[{"code": "crash_loop", "message": "exits at once"}, {"code": "crash_loop"}, {"code": "other"}]'
    await execute(db, "UPDATE pools SET conditions = $1::text::jsonb WHERE name = 'p'", conditions)
    await execute(db, """UPDATE pools SET conditions = '[{"code": "image_pull"}]' WHERE name = 'q'""")
    assert await values(db, "crash_loops") == {"p": 1, "q": 0, "r": 0}


async def test_tokens_and_money_of_the_last_hour(db: Database) -> None:
    await pools(db, "p", "quiet")
    now = await now_of(db)
    await write(
        db,
        [
            Used(now - timedelta(minutes=59), "0.5", tokens=(1000, 10), labels={"team": "a"}),
            Used(now - timedelta(minutes=1), None, tokens=(5, 1), tenant="acme"),
            Used(now - timedelta(minutes=61), "100", tokens=(10**9, 0)),
            Used(now - timedelta(minutes=1), "9", pool="gone"),
            Used(now - timedelta(minutes=1), "7", tokens=(3, 3), tenant=PROBES_TENANT, synthetic=True),
        ],
    )
    assert await values(db, "tokens_per_hour") == {"p": 1016, "quiet": 0}
    assert await values(db, "cost_per_hour") == {"p": 0.5, "quiet": 0}
    assert await values(db, "tokens_per_hour", "label:team") == {"a": 1010}
    assert (await values(db, "tokens_per_hour", "tenant"))["acme"] == 6
    assert PROBES_TENANT not in await values(db, "tokens_per_hour", "tenant")


async def test_of_a_label_with_many_values_the_largest_are_told(db: Database) -> None:
    await pools(db, "p")
    await attempts(db, "p", "succeeded", "succeeded", "failed", labels={"user": "u-many"})
    for _ in range(2):
        await task(db, "p", "failed", labels={"user": "u-many"})
    await execute(
        db,
        """INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts,
          finished_at, labels)
        SELECT gen_random_uuid(), 'default', 'k', 'p', 't', 'null', 0, 0, 'failed', 3, now() - interval '10 s',
          jsonb_build_object('user', 'a' || n) FROM generate_series(1, 1200) n""",
    )
    await execute(
        db,
        """INSERT INTO attempts (task_id, fence, attempt, pool, started_at, finished_at, outcome, counted)
        SELECT id, 1, 1, 'p', now() - interval '20 s', now() - interval '10 s', 'failed', true FROM tasks
        WHERE labels->>'user' LIKE 'a%'""",
    )
    for signal in ("success_rate", "response_time_p95", "dead_letters"):
        found = await values(db, signal, "label:user")
        assert len(found) == 1000 and "u-many" in found, signal


async def test_the_tenant_of_probes_is_no_series(db: Database) -> None:
    await pools(db, "p")
    await attempts(db, "p", "failed", tenant=PROBES_TENANT)
    await attempts(db, "p", "failed", tenant="acme")
    found = await values(db, "error_rate", "tenant")
    assert "acme" in found and PROBES_TENANT not in found


async def test_how_full_budgets_are(db: Database) -> None:
    await pools(db, "p")
    await make(db, "untouched", "10")
    full = await make(db, "full", "100", scope=Scope(pool="p", tenant="acme"))
    await account(db, full, spent="90", reserved="20")
    threads = await make(db, "threads", "8", scope=Scope(per="thread"))
    await account(db, threads, spent="2", key="default/t1")
    found = await read(db, "budget_burn")
    assert {labels: item.value for labels, item in found.items() if isinstance(item, Sample)} == {
        of(budget="untouched"): 0.0,
        of(budget="full", pool="p", tenant="acme"): 1.1,
        of(budget="threads", key="default/t1"): 0.25,
    }


async def test_usage_without_a_price(db: Database) -> None:
    assert await values(db, "unpriced_usage") == {"": "no_data"}
    now = await now_of(db)
    await execute(db, "INSERT INTO usage_rolled (id, until, hours_from) VALUES (1, $1, $1)", now)
    assert await values(db, "unpriced_usage") == {"": 0}
    await execute(
        db,
        """INSERT INTO usage_hours (hour, tenant, pool, type, model, synthetic, labels, outcome, attempts, succeeded,
          model_attempts, model_succeeded, input_tokens, output_tokens, cost_usd, unpriced, unpriced_tokens)
        SELECT $1::timestamptz - make_interval(hours => h), 't', 'p', 't', 'm', false, '{}', '', 1, 1, 1, 1, 1, 1, $2,
          3, 1 FROM unnest(ARRAY[1, 2, 30]) h""",
        now, Decimal(0),
    )  # fmt: skip
    assert await values(db, "unpriced_usage") == {"": 6}


async def test_how_long_people_are_asked(db: Database) -> None:
    await pools(db, "p", "q")
    for pool, status, age_s in (("p", "pending", 500), ("p", "pending", 20), ("q", "approved", 9000)):
        await execute(
            db,
            """INSERT INTO approvals (id, tenant, task_id, pool, kind, step, action, args, payload_hash, submitted_by,
              status, scope, created_at) VALUES ($1, 'acme', $1, $2, 'action', 's', 'a', '{}', 'h', 'k', $3, 'x',
              now() - make_interval(secs => $4))""",
            uuid4(), pool, status, float(age_s),
        )  # fmt: skip
    assert await values(db, "approval_age") == {"p": pytest.approx(500, abs=30), "q": 0}
    assert (await values(db, "approval_age", "tenant"))["acme"] == pytest.approx(500, abs=30)


async def test_how_late_loops_are(db: Database) -> None:
    assert await read(db, "loop_lag") == {}
    for silent_s, beat_s, lags in (
        (1.0, 1.0, '{"sweep": 0.0, "stats": 7.5}'),
        (1.0, 80.0, '{"sweep": 1.0}'),  # it lives and does not tell
        (90.0, 90.0, '{"sweep": 900.0}'),  # dead
    ):
        manager = uuid4()
        await execute(
            db,
            """INSERT INTO managers (id, host, pid, heartbeat_at)
            VALUES ($1, 'h', 1, now() - make_interval(secs => $2))""",
            manager, silent_s,
        )  # fmt: skip
        await execute(
            db, "INSERT INTO loop_beats VALUES ($1, $2::json, now() - make_interval(secs => $3))", manager, lags, beat_s
        )
    assert await values(db, "loop_lag") == {"stats": 7.5, "sweep": pytest.approx(61, abs=5)}


@pytest.mark.parametrize("name", sorted(SIGNALS))
async def test_every_signal_can_be_read_of_an_empty_service(db: Database, name: str) -> None:
    for dimension in SIGNALS[name].by or {"pool"}:
        by = "label:team" if dimension == "label" else dimension
        for item in (await read(db, name, by)).values():
            assert not (isinstance(item, Unanswered) and item.why == "error"), item


def test_signals_say_what_they_are() -> None:
    for name, signal in SIGNALS.items():
        assert name == signal.name
        assert signal.unit and signal.text.endswith(".")


DIMENSIONS: tuple[Dimension, ...] = ("pool", "tenant", "label")
STATEMENTS = {
    2: [
        statement
        for dimension in DIMENSIONS
        for statement in (
            attempt_signals.outcomes_statement(dimension),
            attempt_signals.seconds_statement(dimension, 0.95),
            money.usage_statement(dimension, "cost_usd"),
        )
    ],
    1: [queue_signals.dead_statement(dimension) for dimension in DIMENSIONS],
    0: [queue_signals.LENGTH_OF_TENANTS, queue_signals.OLDEST_OF_POOLS, queue_signals.OLDEST_OF_TENANTS],
}
"""By how many times they take; those by a label take its key, too."""


async def long_history(db: Database) -> None:
    """60,000 tasks of nine days ago with their attempts and usage, and 60 of just now."""
    await execute(
        db,
        """WITH t AS (INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status,
          max_attempts, event_seq, fence, finished_at)
        SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 't', 'k', 'p', 'work', '{}', 0, n,
          CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'succeeded' END, 3, 3, 1,
          now() - CASE WHEN n > 60000 THEN interval '1 minute' ELSE interval '9 days' END
        FROM generate_series(1, 60060) n RETURNING id, finished_at),
        a AS (INSERT INTO attempts (task_id, fence, attempt, pool, outcome, counted, finished_at)
          SELECT id, 1, 1, 'p', 'succeeded', true, finished_at FROM t ORDER BY id)
        INSERT INTO usage (task_id, fence, ordinal, tenant, pool, model, input_tokens, output_tokens, quantities, at)
        SELECT id, 1, 0, 't', 'p', 'm', 1, 1, '{}', finished_at FROM t ORDER BY id""",
    )
    for table in ("tasks", "attempts", "usage"):
        await execute(db, f"VACUUM ANALYZE {table}")


async def test_no_signal_reads_the_whole_history(db: Database) -> None:
    await long_history(db)
    now = await now_of(db)
    times = {2: (now - timedelta(minutes=5), now), 1: (now - timedelta(hours=1),), 0: ()}
    async with db.hot() as connection:
        for number, statements in STATEMENTS.items():
            for statement in statements:
                key = ("team",) if "labels ->>" in statement else ()
                found = await connection.fetch(f"EXPLAIN {statement}", *times[number], *key)
                plan = "\n".join(row[0] for row in found)
                for table in ("tasks", "attempts", "usage"):
                    assert f"Seq Scan on {table}" not in plan, f"{statement}\n{plan}"
