"""Making one run of a probe, in a transaction with its row locked: the task and the run commit together, so that each
planned time has one task, however many managers look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import orjson
from prometheus_client import Counter

from app.auth.callers import PROBES_TENANT, Caller
from app.core.db import HotConnection
from app.core.errors import Conflict, Problem
from app.core.failpoints import reach
from app.registry import stops
from app.slo import probe_queries
from app.slo import probe_sql as sql
from app.slo.probe_records import SUBMITTER, ProbeRecord, RunRecord, submission
from app.tasks.submission import Accepted, Submission

RUNS = Counter("yard_probe_runs", "Runs of probes, by what came of them.", ["outcome"])

type Committed = Callable[[], None]


class PoolStopped(Conflict):
    code, title = "pool_stopped", "A stop keeps the pool from working"


class Submit(Protocol):
    """Inserts tasks in the caller's transaction; call what is returned besides after its commit. Raises Problems for
    what cannot be accepted; a task whose idempotency key is in use is left out."""

    async def __call__(
        self, connection: HotConnection, caller: Caller, submissions: Sequence[Submission], keys: Sequence[str | None]
    ) -> tuple[list[Accepted], Committed]: ...


@dataclass(frozen=True, slots=True)
class Fired:
    """The run, None where its planned time has one already. Call `committed` after the commit."""

    run: RunRecord | None
    committed: Committed


async def fire(
    connection: HotConnection, submit: Submit, probe: ProbeRecord, planned_at: datetime, *, by_hand: bool
) -> Fired:
    """Make the run of a planned time. Raises the Problem for which no task can be made."""
    stop = await stops.standing_of(connection, PROBES_TENANT, probe.pool)
    if stop is not None:
        raise PoolStopped(f"A stop keeps {stop.selector} from working: {stop.reason}")
    key = probe.key(planned_at)
    item = submission(probe.name, probe.pool, probe.type, orjson.loads(probe.payload), probe.timeout_s, probe.labels)
    async with connection.transaction():
        _, committed = await submit(connection, SUBMITTER, [item], [key])
    task_id = await connection.fetchval(sql.TASK_OF_KEY, PROBES_TENANT, key)
    made = await _record(connection, probe, planned_at, by_hand, "pending", "", task_id)
    reach("probes.made")
    return Fired(made, committed)


async def refuse(connection: HotConnection, probe: ProbeRecord, planned_at: datetime, problem: Problem) -> None:
    """The run of a planned time for which no task can be made."""
    made = await _record(connection, probe, planned_at, False, "error", f"{problem.code}: {problem.detail}", None)
    if made is not None:
        RUNS.labels("error").inc()


async def _record(
    connection: HotConnection,
    probe: ProbeRecord,
    planned_at: datetime,
    by_hand: bool,
    outcome: str,
    reason: str,
    task_id: UUID | None,
) -> RunRecord | None:
    row = await connection.fetchrow(sql.RUN, probe.id, planned_at, by_hand, outcome, reason, task_id)
    return None if row is None else probe_queries.run_record(row)
