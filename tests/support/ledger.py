"""What the database says happened: the truth that stories are checked against."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import asyncpg

from app.core.db import plain_url
from tests.support.waiting import until

FINAL = {"succeeded", "failed", "cancelled", "expired"}


@dataclass(frozen=True)
class Ledger:
    """Reads one database, outside an event loop. Task ids are text, as the API gives them."""

    database_url: str

    def rows(self, query: str, *values: Any) -> list[asyncpg.Record]:
        return asyncio.run(self._fetch(query, values))

    async def _fetch(self, query: str, values: tuple[Any, ...]) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(plain_url(self.database_url))
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    def statuses(self) -> Counter[str]:
        """How many tasks have each status."""
        query = "SELECT status, count(*) AS n FROM tasks GROUP BY 1"
        return Counter({row["status"]: row["n"] for row in self.rows(query)})

    def running_by_pid(self) -> Counter[int]:
        """Running tasks by the pid of their manager."""
        query = """SELECT m.pid, count(*) AS n FROM tasks t JOIN managers m ON m.id = t.manager_id
            WHERE t.status = 'running' GROUP BY 1"""
        return Counter({row["pid"]: row["n"] for row in self.rows(query)})

    def outcomes(self) -> Counter[tuple[str, bool]]:
        """Attempts by (outcome, counted)."""
        query = "SELECT outcome, counted, count(*) AS n FROM attempts GROUP BY 1, 2"
        return Counter({(row["outcome"], row["counted"]): row["n"] for row in self.rows(query)})

    def seconds_since_end(self, task_id: str) -> float:
        """How long ago a final task ended, by clocks of this machine."""
        (row,) = self.rows("SELECT finished_at FROM tasks WHERE id = $1", task_id)
        return time.time() - float(row["finished_at"].timestamp())

    def wait_settled(self, managers: int, lease_s: float) -> None:
        """Until so many managers live and the newest has waited its lease: each uses its share of the slots."""
        query = """SELECT 1 FROM managers
            HAVING count(*) = $1 AND min(clock_timestamp() - started_at) > make_interval(secs => $2)"""
        until(lambda: self.rows(query, managers, lease_s + 1.0), f"{managers} managers have settled")

    def wait_final(self, count: int, timeout_s: float = 30.0) -> None:
        """Until `count` tasks are final and no other is left."""
        until(lambda: self._all_final(count), f"{count} tasks are final ({self.statuses()})", timeout_s)

    def _all_final(self, count: int) -> bool:
        statuses = self.statuses()
        return set(statuses) <= FINAL and statuses.total() >= count

    def assert_succeeded_once(self, accepted: Collection[str]) -> None:
        """Every task succeeded on its first counted attempt, with one result written; none of `accepted` is missing."""
        tasks = self.rows("SELECT id, status, attempt, error_code FROM tasks")
        bad = [dict(row) for row in tasks if (row["status"], row["attempt"]) != ("succeeded", 1)]
        assert bad == []
        assert set(accepted) <= {str(row["id"]) for row in tasks}
        written = "SELECT task_id, count(*) AS n FROM attempts WHERE outcome = 'succeeded' GROUP BY 1"
        results = {str(row["task_id"]): row["n"] for row in self.rows(written)}
        assert results == {str(row["id"]): 1 for row in tasks}
        events = "SELECT task_id FROM events WHERE type = 'task.succeeded'"
        assert Counter(str(row["task_id"]) for row in self.rows(events)) == Counter(results)
        failed = "SELECT task_id, outcome, error_code FROM attempts WHERE counted AND outcome <> 'succeeded'"
        assert [dict(row) for row in self.rows(failed)] == []
