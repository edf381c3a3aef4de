"""Rows of what signals are about, and an evaluation whose signals say what a test tells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson

from app.alerts import state_rows
from app.alerts.evaluation import Evaluation, evaluate
from app.alerts.reader import Read, Reader
from app.alerts.reading import Reading, Sample
from app.alerts.rule import Rule
from app.alerts.rule_spec import spec_of
from app.alerts.signals.base import By, Signal
from app.alerts.signals.registry import SIGNALS
from app.alerts.state import State
from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.core.jsonbody import dump_json
from app.core.leader import Leader

HOUR_S = 3600.0


async def now_of(db: Database) -> datetime:
    async with db.read() as connection:
        return await state_rows.time(connection)


async def pools(db: Database, *names: str) -> None:
    async with db.hot() as connection:
        await connection.execute("INSERT INTO pools (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", names)


async def task(
    db: Database,
    pool: str = "p",
    status: str = "succeeded",
    *,
    tenant: str = "default",
    labels: Mapping[str, str] | None = None,
    age_s: float = 1.0,
    **columns: Any,
) -> UUID:
    """A task of a pool that is there or not. `age_s`: it was queued so long ago, and ended then if it has ended."""
    found = {
        "id": uuid4(),
        "tenant": tenant,
        "submitted_by": "k",
        "pool": pool,
        "type": "t",
        "payload": "null",
        "priority": 0,
        "tag": 0,
        "status": status,
        "max_attempts": 3,
        "labels": None if labels is None else dump_json(dict(labels)),
        **columns,
    }
    names = ", ".join(found)
    marks = ", ".join(
        f"${place}" + ("::text::jsonb" if name == "labels" else "") for place, name in enumerate(found, 1)
    )
    ended = f"now() - make_interval(secs => ${len(found) + 1})"
    finished = ended if status in ("succeeded", "failed", "cancelled", "expired") else "NULL"
    async with db.hot() as connection:
        await connection.execute(
            f"INSERT INTO tasks ({names}, queued_at, finished_at) VALUES ({marks}, {ended}, {finished})",
            *found.values(),
            age_s,
        )
        if status == "queued":
            await connection.execute(
                """INSERT INTO queue_tags (pool, priority, tenant, last_tag, added) VALUES ($1, $2, $3, 0, 1)
                ON CONFLICT DO NOTHING""",
                pool, found["priority"], tenant,
            )  # fmt: skip
    return UUID(str(found["id"]))


async def attempts(
    db: Database,
    pool: str,
    *outcomes: str,
    counted: bool = True,
    seconds: float = 1.0,
    age_s: float = 10.0,
    tenant: str = "default",
    labels: Mapping[str, str] | None = None,
) -> None:
    """Attempts that ended so long ago, each of a task of its own."""
    for outcome in outcomes:
        task_id = await task(db, pool, tenant=tenant, labels=labels)
        async with db.hot() as connection:
            await connection.execute(
                """INSERT INTO attempts (task_id, fence, attempt, pool, started_at, finished_at, outcome, counted)
                VALUES ($1, 1, 1, $2, now() - make_interval(secs => $3::float8 + $4::float8),
                  now() - make_interval(secs => $3::float8), $5, $6)""",
                task_id, pool, age_s, seconds, outcome, counted,
            )  # fmt: skip


async def read(db: Database, name: str, by: str = "pool") -> dict[tuple[tuple[str, str], ...], Reading]:
    """What the signal says, by sorted labels, read as rules have it read."""
    rule = replace(Rule("r", name, ">", 0.0), by=by)
    found = (await Reader(db, SIGNALS, 10.0).read(rule)).readings
    return {tuple(sorted(item.labels.items())): item for item in found}


async def values(db: Database, name: str, by: str = "pool") -> dict[str, float | str]:
    """The number, or why there is none, by the value of the only label ("" for no label)."""
    return {
        "/".join(value for _, value in labels): item.value if isinstance(item, Sample) else item.why
        for labels, item in (await read(db, name, by)).items()
    }


class Told:
    """A signal that says what it is told, or fails with it."""

    def __init__(self, *readings: Reading) -> None:
        self.readings: Sequence[Reading] | Exception = readings
        self.asked = 0

    async def read(self, connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
        self.asked += 1
        if isinstance(self.readings, Exception):
            raise self.readings
        return self.readings

    def says(self, *values: float | Reading, pool: str = "p") -> None:
        self.readings = [Sample({"pool": pool}, item) if isinstance(item, int | float) else item for item in values]

    @property
    def signal(self) -> Signal:
        return Signal("told", "things", "What it is told.", self.read, frozenset({"pool", "tenant"}))


class Leads(Leader):
    """Always."""

    def __init__(self) -> None:
        pass

    async def leads(self) -> bool:
        return True


class Watch:
    """One manager's evaluation of rules on the signal `told`."""

    def __init__(self, db: Database, told: Told, keep_s: float = HOUR_S) -> None:
        self.db, self.told = db, told
        self.reader = Reader(db, {"told": told.signal}, 5.0)
        self.evaluation = Evaluation(db, Leads(), Clock(), self.reader, keep_s)

    async def run(self) -> None:
        await self.evaluation.run()

    async def judge(self, name: str, at: datetime, *readings: Reading) -> bool:
        """Evaluate one rule by readings of then."""
        async with self.db.hot() as connection, connection.transaction():
            return await evaluate(connection, name, Read("told", "pool", readings, at))


async def put(db: Database, rule: Rule, *, enabled: bool = True) -> None:
    async with db.hot() as connection:
        await connection.execute(
            """INSERT INTO alert_rules (name, spec, enabled, created_by) VALUES ($1, $2::json, $3, 'k')
            ON CONFLICT (name) DO UPDATE SET spec = EXCLUDED.spec, enabled = EXCLUDED.enabled""",
            rule.name, dump_json(spec_of(rule)), enabled,
        )  # fmt: skip


async def no_rules(db: Database) -> None:
    """Without those that are there by default."""
    async with db.hot() as connection:
        await connection.execute("DELETE FROM alert_rules")


async def states(db: Database, rule: str) -> dict[str, State]:
    """By pool."""
    async with db.read() as connection:
        found = await state_rows.seen_states(connection, rule)
    return {state.labels.get("pool", ""): state for state in found.values()}


async def moves(db: Database, rule: str) -> list[tuple[str, str, str]]:
    """(before, after, reason), in the order in which they were written."""
    async with db.read() as connection:
        rows = await connection.fetch(
            "SELECT before, after, reason FROM alert_transitions WHERE rule = $1 ORDER BY id", rule
        )
    return [tuple(row) for row in rows]


async def errors(db: Database) -> dict[str, str]:
    """By rule, what went wrong with its last evaluation."""
    async with db.read() as connection:
        return {row["name"]: row["error"] for row in await connection.fetch("SELECT name, error FROM alert_rules")}


async def age(db: Database, rule: str, seconds: float) -> None:
    """As if all that the rule remembers had happened earlier."""
    times = ("judged_at", "active_at", "fired_at", "keep_since", "resolved_at")
    async with db.hot() as connection:
        rows = await connection.fetch("SELECT fingerprint, state FROM alert_states WHERE rule = $1", rule)
        for row in rows:
            state = orjson.loads(row["state"])
            for name in times:
                if state.get(name):
                    state[name] = (datetime.fromisoformat(state[name]) - timedelta(seconds=seconds)).isoformat()
            await connection.execute(
                "UPDATE alert_states SET state = $3::json WHERE rule = $1 AND fingerprint = $2",
                rule, row["fingerprint"], dump_json(state),
            )  # fmt: skip
        await connection.execute(
            "UPDATE alert_rules SET evaluated_at = evaluated_at - make_interval(secs => $2) WHERE name = $1",
            rule, seconds,
        )  # fmt: skip
