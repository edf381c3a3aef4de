"""SIGTERM under load: a restart, or a rolling one of two managers, fails no task and counts no attempt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.support.agent_process import Agents
from tests.support.ledger import Ledger
from tests.support.pools import define_pool, register, submit_many
from tests.support.service import Fleet, Manager
from tests.support.traffic import Traffic, traffic
from tests.support.waiting import until

GRACE_S = 1.0
LEASE_S = 1.0
RUNNING = 60
QUICK = {
    "YARD_DISPATCH_GRACE_S": str(GRACE_S),
    "YARD_DISPATCH_LEASE_S": str(LEASE_S),
    "YARD_DISPATCH_HEARTBEAT_INTERVAL_S": "0.2",
}


def seconds(number: int) -> float:
    """Most tasks are short; every third outlasts the grace and must be handed over while it runs."""
    return 3.0 if number % 3 == 0 else 0.2


def load(client: httpx.Client, ledger: Ledger) -> list[str]:
    """Tasks that all run at once and outlast the grace; their ids."""
    ids = submit_many(client, "work", [{"seconds": 6.0}] * RUNNING)
    until(lambda: ledger.statuses()["running"] >= RUNNING, f"{RUNNING} tasks run at once")
    return ids


def two_agents(manager: Manager, working: Agents) -> None:
    with manager.client() as client:
        define_pool(client, "work", slots=100)
        for _ in range(2):
            register(client, "work", working.start("work", 100).url, 100)


def after(flowing: Traffic, more: int) -> None:
    """Until so many more submissions were accepted."""
    wanted = len(flowing.accepted) + more
    until(lambda: len(flowing.accepted) >= wanted, f"{more} more submissions are accepted")


def assert_nothing_happened(accepted: list[str], flowing: Traffic, ledger: Ledger, working: Agents) -> None:
    ledger.wait_final(len(accepted))
    ledger.assert_succeeded_once(accepted)
    assert ledger.outcomes()["returned", False] >= RUNNING // 4
    assert set(flowing.statuses) <= {202, 503}, [odd.text for odd in flowing.odd]
    again = {task: count for task, count in working.journal.starts().items() if count != 1}
    assert again == {}


def test_a_restart_fails_no_task_and_counts_no_attempt(managers: Fleet, working: Agents, ledger: Ledger) -> None:
    old = managers.manager(**QUICK)
    two_agents(old, working)
    urls = [old.url]
    with old.client() as client, ThreadPoolExecutor(1) as pool:
        with traffic(urls, managers.backing.admin_key, "work", seconds) as flowing:
            ids = load(client, ledger)
            body = {"pool": "work", "payload": {"seconds": 4.0}, "priority": 7}
            waiting = pool.submit(client.post, "/v1/tasks", json=body, headers={"Prefer": "wait=30"})
            until(lambda: ledger.rows("SELECT 1 FROM tasks WHERE priority = 7"), "the one who waits is accepted")
            assert old.stop() == 0
            new = managers.manager(**QUICK)
            urls[:] = [new.url]
            after(flowing, 20)
        # The caller who waited when the service stopped was told that the task is accepted.
        assert waiting.result().status_code == 202
    assert_nothing_happened([*ids, *flowing.accepted], flowing, ledger, working)


def test_a_rolling_restart_of_two_managers_fails_no_task(managers: Fleet, working: Agents, ledger: Ledger) -> None:
    olds = [managers.manager(**QUICK) for _ in range(2)]
    two_agents(olds[0], working)
    urls = [manager.url for manager in olds]
    with traffic(urls, managers.backing.admin_key, "work", seconds) as flowing:
        ledger.wait_settled(2, LEASE_S)
        with olds[1].client() as client:
            ids = load(client, ledger)
        until(lambda: len(ledger.running_by_pid()) == 2, "both managers run tasks")
        for index, old in enumerate(olds):
            urls[index] = urls[1 - index]
            assert old.stop() == 0
            urls[index] = managers.manager(**QUICK).url
            after(flowing, 20)
    assert flowing.odd == []
    assert_nothing_happened([*ids, *flowing.accepted], flowing, ledger, working)
