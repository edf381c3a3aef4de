"""kill -9 of one of two managers with 500 tasks running: every task succeeds, once."""

from __future__ import annotations

import time
from collections import Counter

from tests.support.agent_process import Agents
from tests.support.ledger import Ledger
from tests.support.pools import define_pool, register, submit_many
from tests.support.service import Fleet
from tests.support.waiting import until

TASKS = 500
DEADLINE_S = 15.0
LEASE_S = 5.0
"""The default."""


def test_500_running_tasks_survive_the_kill_of_one_of_two_managers(
    managers: Fleet, working: Agents, ledger: Ledger
) -> None:
    first, second = managers.manager(), managers.manager()
    with second.client() as client:
        define_pool(client, "work", slots=300)
        for _ in range(2):
            register(client, "work", working.start("work", 300).url, 300)
        ledger.wait_settled(2, LEASE_S)
        # Half end while nobody listens, before the rescue; half still run when the other manager calls again.
        ids = submit_many(client, "work", [{"n": n, "seconds": 4.0 if n % 2 else 9.0} for n in range(TASKS)])

        def all_run_by_both() -> Counter[int] | None:
            running = ledger.running_by_pid()
            whole = running.total() == TASKS and len(working.journal.starts()) == TASKS
            return running if whole and len(running) == 2 else None

        running = until(all_run_by_both, "500 tasks run, some by each manager", 15)
        killed_at = time.time()
        first.kill()
        ledger.wait_final(TASKS, DEADLINE_S)
        lost = running[first.process.pid]
        ledger.assert_succeeded_once(ids)
        (last,) = ledger.rows("SELECT max(finished_at) AS at, sum(rescues) AS rescues FROM tasks")
        assert last["at"].timestamp() - killed_at < DEADLINE_S
        assert last["rescues"] == lost >= 100
        assert ledger.outcomes() == {("succeeded", True): TASKS, ("lost", False): lost}
        assert working.journal.starts() == Counter(dict.fromkeys(ids, 1))
        results = [client.get(f"/v1/tasks/{task_id}").json()["result"]["n"] for task_id in ids[::50]]
        assert results == list(range(0, TASKS, 50))
