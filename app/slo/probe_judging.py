"""Runs whose task has ended are judged, and tasks whose time has run out are cancelled. It looks at the tasks as they
are: whoever looks finds the same, and a run is judged once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
import structlog

from app.auth.callers import PROBES_TENANT
from app.core.db import Database
from app.core.jsonbody import dump_json
from app.limits import restraint_service
from app.registry import stops
from app.slo import probe_sql as sql
from app.slo import probe_verdict
from app.slo.declared_checks import BadCheck, read_checks
from app.slo.probe_checks import Check
from app.slo.probe_firing import RUNS
from app.slo.probe_verdict import Ended, Verdict

log = structlog.get_logger()

AT_ONCE = 100

type Cancel = Callable[[str, Sequence[UUID], str, str], Awaitable[object]]
"""Cancels tasks of a tenant that are not final: (tenant, ids, reason, code)."""


async def cancel_late(db: Database, cancel: Cancel) -> int:
    """Cancel the tasks of runs that had no answer in time, by what kept them; how many."""
    by_code: dict[str, list[UUID]] = defaultdict(list)
    async with db.read() as connection:
        rows = await connection.fetch(sql.LATE, AT_ONCE)
        pools = {row["pool"] for row in rows}
        holds = await restraint_service.holds(connection, pools)
        stopped = {pool for pool in pools if await stops.standing_of(connection, PROBES_TENANT, pool) is not None}
    for row in rows:
        hold = holds[row["pool"]]
        code = probe_verdict.why_late(
            row["status"],
            parked=row["parked"],
            stopped=row["pool"] in stopped,
            restrained=hold is not None and hold.keeps(row["priority"]),
        )
        by_code[code].append(row["id"])
    for code, ids in by_code.items():
        await cancel(PROBES_TENANT, ids, probe_verdict.LATE[code], code)
    return len(rows)


async def judge_ended(db: Database) -> int:
    """Judge the runs whose task has ended; how many there were."""
    async with db.read() as connection:
        rows = await connection.fetch(sql.ENDED, AT_ONCE)
    for row in rows:
        # A result may be large: nobody waits while it is looked at.
        found = await asyncio.to_thread(verdict_of, row)
        checks = [{"check": item.check, "passed": item.passed, "why": item.why} for item in found.checks]
        values = (found.outcome, found.reason, dump_json(checks) if checks else None, found.latency_s)
        async with db.hot() as connection:
            done = await connection.execute(sql.JUDGE, row["probe_id"], row["planned_at"], *values)
        if done == "UPDATE 1":
            RUNS.labels(found.outcome).inc()
    return len(rows)


def verdict_of(row: Any) -> Verdict:
    """What a row of ENDED comes to. One that cannot be checked holds up no other."""
    try:
        result = None if row["result"] is None else orjson.loads(row["result"])
        ended = Ended(row["status"], result, row["seconds"], row["error_code"], row["error_message"])
        return probe_verdict.verdict(_checks(row["checks"]), row["timeout_s"], ended)
    except BadCheck as exc:  # the rules have changed since it was stored
        return Verdict("error", f"Its checks are none any more: {exc.detail}")
    except Exception as exc:
        log.error("probe_not_judged", probe_id=str(row["probe_id"]), exc_info=exc)
        return Verdict("error", f"Its answer could not be checked: {type(exc).__name__}.")


@lru_cache(maxsize=256)
def _checks(declared: str) -> tuple[Check, ...]:
    return read_checks(orjson.loads(declared))
