"""What a balancer learned outlives the manager that learned it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.agent_process import Agents
from tests.support.ledger import Ledger
from tests.support.pools import define_pool, register, submit_many
from tests.support.service import Fleet, Manager
from tests.support.waiting import until

TASKS = 60


def known(manager: Manager) -> dict[str, Any]:
    with manager.client() as client:
        answer = client.get("/v1/pools/work/balancer")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def test_after_a_kill_the_next_manager_knows_what_the_dead_one_learned(
    managers: Fleet, working: Agents, ledger: Ledger
) -> None:
    first = managers.manager()
    with first.client() as client:
        define_pool(client, "work", balancer="ai_optimized")
        ids = {register(client, "work", working.start("work", 4).url, 4) for _ in range(2)}
        submit_many(client, "work", [{"n": n, "seconds": 0.05} for n in range(TASKS)])
    ledger.wait_final(TASKS, 60)
    learned = known(first)
    assert learned["last_choices"] != []
    samples = {version: cell["samples"] for version, cell in learned["types"]["work"].items()}
    assert sum(samples.values()) == TASKS
    first.kill()

    second = managers.manager()
    again = known(second)
    assert again["manager_id"] != learned["manager_id"]
    assert again["last_choices"] == [], "it has placed nothing yet"
    assert {version: cell["samples"] for version, cell in again["types"]["work"].items()} == samples
    for version, cell in again["types"]["work"].items():
        assert cell["seconds"] == pytest.approx(learned["types"]["work"][version]["seconds"], rel=0.5)
        assert cell["failure_rate"] == pytest.approx(learned["types"]["work"][version]["failure_rate"], abs=0.01)
    assert {agent["id"] for agent in again["agents"]} == ids
    attempts = {agent["id"]: agent["learned"]["attempts"] for agent in again["agents"]}
    assert all(count > 1 for count in attempts.values()), attempts
    assert ledger.outcomes() == {("succeeded", True): TASKS}, "nothing ran in between"
    with second.client() as client:
        submit_many(client, "work", [{"n": 0, "seconds": 0.0}])
    until(lambda: ledger.statuses()["succeeded"] == TASKS + 1, "and the next task goes on from there")
