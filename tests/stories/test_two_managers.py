"""Two managers, one service: whichever is asked, the answer is the same."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import _ADMIN, PEPPER, TEMPLATE, run_sql, with_database
from tests.support.agent_process import Agents
from tests.support.events import followed
from tests.support.ledger import Ledger
from tests.support.pools import define_pool, register, submit, submit_many
from tests.support.service import Backing, Fleet, Manager, fleet
from tests.support.waiting import until

DATABASE = "story_two_managers"
LEASE_S = 1.0
QUICK = {"YARD_DISPATCH_LEASE_S": str(LEASE_S), "YARD_DISPATCH_HEARTBEAT_INTERVAL_S": "0.2"}
PROMPT_S = 1.0
"""Across managers an event takes milliseconds; the poll that replaces a lost hint takes up to 5 s."""


class Pair:
    """Two managers on a database of their own, for all tests here; each test has its own pool."""

    def __init__(self, managers: Fleet) -> None:
        self.managers = (managers.manager(**QUICK), managers.manager(**QUICK))
        self.ledger = Ledger(managers.backing.database_url)
        self.ledger.wait_settled(2, LEASE_S)

    def other(self, pool: str, agent_url: str) -> Manager:
        """Register an agent of one slot; the manager that does not own that slot."""
        with self.managers[0].client() as client:
            define_pool(client, pool)
            register(client, pool, agent_url, 1)
            submit(client, pool, {"seconds": 0.0})
        self.ledger.wait_final(1)
        query = "SELECT m.pid FROM attempts a JOIN managers m ON m.id = a.manager_id WHERE a.pool = $1"
        (row,) = self.ledger.rows(query, pool)
        (other,) = (manager for manager in self.managers if manager.process.pid != row["pid"])
        return other


@pytest.fixture(scope="module")
def pair(servers: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    run_sql(servers[0], f"CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE}")
    backing = Backing(with_database(servers[0], DATABASE), servers[1], _ADMIN[0], PEPPER)
    with fleet(backing, tmp_path_factory.mktemp("pair")) as managers:
        yield Pair(managers)
    run_sql(servers[0], f"DROP DATABASE {DATABASE} WITH (FORCE)")


def test_a_stream_and_a_held_answer_work_through_the_other_manager(pair: Pair, working: Agents) -> None:
    with pair.other("watched", working.start("watched", 1).url).client() as client:
        task_id = submit(client, "watched", {"seconds": 1.0})
        kinds = [event.name for event in followed(client, task_id)]
        assert pair.ledger.seconds_since_end(task_id) < PROMPT_S
        assert kinds[0] == "snapshot"
        assert kinds[-1] == "task.succeeded"
        everything = [event.name for event in followed(client, task_id, **{"Last-Event-ID": "0"})]
        assert everything == ["task.queued", "task.running", "task.succeeded"]
        body = {"pool": "watched", "payload": {"seconds": 0.5}}
        answer = client.post("/v1/tasks", json=body, headers={"Prefer": "wait=10"})
        assert pair.ledger.seconds_since_end(answer.json()["id"]) < PROMPT_S
        assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    ran = "SELECT DISTINCT manager_id FROM attempts WHERE pool = 'watched'"
    assert len(pair.ledger.rows(ran)) == 1, "the other manager ran all of them"


def test_a_cancel_through_one_manager_stops_the_executor_called_by_the_other(pair: Pair, working: Agents) -> None:
    agent = working.start("stopped", 1)
    with pair.other("stopped", agent.url).client() as client:
        task_id = submit(client, "stopped", {"seconds": 100.0})
        until(lambda: working.journal.starts()[task_id], "the executor works on it")
        answer = client.post(f"/v1/tasks/{task_id}/cancel", json={"reason": "not needed"})
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        until(lambda: httpx.get(agent.url + "/health").json()["running"] == 0, "the executor has stopped", 5)
        after = submit(client, "stopped", {"seconds": 0.0})
        until(lambda: client.get(f"/v1/tasks/{after}").json()["status"] == "succeeded", "the slot is free again")
        assert client.get(f"/v1/tasks/{task_id}").json()["status"] == "cancelled"
    assert task_id not in {entry["task"] for entry in working.journal.entries() if entry["event"] == "end"}
    (attempt,) = pair.ledger.rows("SELECT outcome FROM attempts WHERE task_id = $1", task_id)
    assert attempt["outcome"] == "cancelled"


def test_higher_priorities_go_first_whichever_manager_took_them(pair: Pair, working: Agents) -> None:
    pair.other("ranked", working.start("ranked", 1).url)
    with pair.managers[0].client() as one, pair.managers[1].client() as two:
        blocking = submit(one, "ranked", {"seconds": 1.5})
        until(lambda: working.journal.starts()[blocking], "the only slot is taken")
        priorities = [0, 5, -3, 9, 5, 0]
        tasks = {}
        for index, priority in enumerate(priorities):
            task_id = submit((one, two)[index % 2], "ranked", {"seconds": 0.0}, priority=priority)
            tasks[task_id] = (-priority, index)
        assert pair.ledger.statuses()["queued"] == len(priorities)
    pair.ledger.wait_final(1)
    order = [entry["task"] for entry in working.journal.entries() if entry["event"] == "start"]
    assert order[1:] == [blocking, *sorted(tasks, key=lambda task: tasks[task])]


def test_two_managers_together_never_exceed_an_agents_slots(pair: Pair, working: Agents) -> None:
    roomy = working.start("bounded", 20)  # it would take more, so that nothing but the managers bounds it
    with pair.managers[0].client() as client:
        define_pool(client, "bounded")
        register(client, "bounded", roomy.url, 3)
        ids = submit_many(client, "bounded", [{"seconds": 0.05}] * 120)
    pair.ledger.wait_final(len(ids))
    assert working.journal.most_at_once() == 3, "no more than its slots, and no slot left empty"
    query = "SELECT outcome, count(*) AS n FROM attempts WHERE pool = 'bounded' GROUP BY manager_id, outcome"
    shares = {(row["outcome"], row["n"]) for row in pair.ledger.rows(query)}
    assert {outcome for outcome, _ in shares} == {"succeeded"}
    assert len(shares) == 2
    assert min(count for _, count in shares) >= 20


def test_a_full_agent_costs_no_attempt_while_managers_come_and_go(
    managers: Fleet, working: Agents, ledger: Ledger
) -> None:
    """Right after a change of membership two managers may both use a slot: the agent answers 429, nothing is lost."""
    first = managers.manager(**QUICK)
    with first.client() as client:
        define_pool(client, "work")
        register(client, "work", working.start("work", 3).url, 3)
        ids = submit_many(client, "work", [{"seconds": 0.25}] * 60)
        second = managers.manager(**QUICK)

        def both_run() -> bool:
            if ledger.statuses()["queued"] < 20:  # the second may take its time to start
                ids.extend(submit_many(client, "work", [{"seconds": 0.25}] * 20))
            return len(ledger.running_by_pid()) == 2

        until(both_run, "both managers run tasks")
    second.kill()
    ledger.wait_final(len(ids))
    ledger.assert_succeeded_once(ids)
    assert working.journal.most_at_once() == 3
    assert set(working.journal.starts().values()) == {1}
    assert set(ledger.outcomes()) <= {("succeeded", True), ("lost", False), ("refused", False)}
