"""An executor that dies mid-task: the task is tried again, elsewhere."""

from __future__ import annotations

from tests.support.agent_process import Agents
from tests.support.ledger import Ledger
from tests.support.pools import define_pool, register, submit
from tests.support.service import Fleet
from tests.support.waiting import until


def test_a_task_whose_executor_is_killed_is_retried_on_another(
    managers: Fleet, working: Agents, ledger: Ledger
) -> None:
    with managers.manager().client() as client:
        define_pool(client, "work", slots=1, max_attempts=2)
        agents = {}
        for _ in range(2):
            agent = working.start("work", 1)
            agents[register(client, "work", agent.url, 1)] = agent
        task_id = submit(client, "work", {"seconds": 1.5})
        until(working.journal.starts, "an agent works on it")
        first = client.get(f"/v1/tasks/{task_id}").json()["agent_id"]
        agents[first].kill()
        ledger.wait_final(1)
        task = client.get(f"/v1/tasks/{task_id}").json()
    assert (task["status"], task["attempt"], task["result"]) == ("succeeded", 2, {"seconds": 1.5})
    assert task["agent_id"] != first
    assert task["agent_id"] in agents
    tries = ledger.rows("SELECT agent_id, attempt, outcome, counted, error_code FROM attempts ORDER BY fence")
    assert [(str(row["agent_id"]), *tuple(row)[1:]) for row in tries] == [
        (first, 1, "failed", True, "executor_disconnected"),
        (task["agent_id"], 2, "succeeded", True, None),
    ]
    assert working.journal.starts() == {task_id: 2}
