"""Without Redis the service is slower, not wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.agent_process import Agents
from tests.support.events import followed
from tests.support.ledger import Ledger
from tests.support.own_servers import OwnServers, own_servers
from tests.support.pools import define_pool
from tests.support.service import Backing, Fleet, Manager, fleet
from tests.support.waiting import until

SILENT_AFTER_S = 2.0
TOLD_WITHIN_S = 7.0
"""Watched tasks are looked at every 5 s while Redis seems to work, every second once it is known to be away."""
QUICK = {
    "YARD_DISPATCH_LEASE_S": "2",
    "YARD_DISPATCH_HEARTBEAT_INTERVAL_S": "0.4",
    "YARD_REGISTRY_HEARTBEAT_INTERVAL_S": "0.5",
    "YARD_REGISTRY_FLUSH_INTERVAL_S": "0.5",
    "YARD_REGISTRY_SILENT_AFTER_S": str(SILENT_AFTER_S),
}
"""Probes keep their 15 s, so that only heartbeats can keep an agent alive during a test."""


def start(managers: Fleet, working: Agents) -> tuple[Manager, Manager, Ledger]:
    """Two managers, each with an agent that sends it heartbeats. The only slot of "work" belongs to one of them."""
    first, second = managers.manager(**QUICK), managers.manager(**QUICK)
    ledger = Ledger(managers.backing.database_url)
    with first.client() as client:
        define_pool(client, "work")
        define_pool(client, "spare")
    for manager, pool in ((first, "work"), (second, "spare")):
        working.start(pool, 1, MANAGER_URL=manager.url, YARD_API_KEY=managers.backing.admin_key)
    until(lambda: len(beats(ledger)) == 2, "both agents have reported")
    return first, second, ledger


def beats(ledger: Ledger) -> dict[str, datetime]:
    rows = ledger.rows("SELECT id, heartbeat_at FROM agents WHERE heartbeat_at IS NOT NULL AND status <> 'gone'")
    return {str(row["id"]): row["heartbeat_at"] for row in rows}


def outlive_the_silence_limit(ledger: Ledger) -> None:
    """Heartbeats go on reaching PostgreSQL for longer than a silent agent would be kept."""
    goal = {agent: at + timedelta(seconds=SILENT_AFTER_S + 1) for agent, at in beats(ledger).items()}
    until(lambda: all(beats(ledger)[agent] > at for agent, at in goal.items()), "heartbeats go on")
    statuses = {row["status"] for row in ledger.rows("SELECT status FROM agents")}
    assert statuses <= {"idle", "busy"}


def works_from_both_sides(first: Manager, second: Manager, ledger: Ledger) -> None:
    """A held answer and a stream tell the end of a task, asked of the manager that runs it and of the other one."""
    for manager in (first, second):
        with manager.client() as client:
            body = {"pool": "work", "payload": {"seconds": 0.3}}
            answer = client.post("/v1/tasks", json=body, headers={"Prefer": "wait=15"})
            assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
            assert ledger.seconds_since_end(answer.json()["id"]) < TOLD_WITHIN_S
            task_id = client.post("/v1/tasks", json={"pool": "work", "payload": {"seconds": 0.5}}).json()["id"]
            names = [event.name for event in followed(client, task_id)]
            assert names[0] == "snapshot"
            assert names[-1] == "task.succeeded"
            assert ledger.seconds_since_end(task_id) < TOLD_WITHIN_S
    ran = ledger.rows("SELECT DISTINCT manager_id FROM attempts")
    assert len(ran) == 1, "the owner of the slot ran all of them, so the other one told of another's tasks"


def redis_up(manager: Manager) -> float:
    lines = httpx.get(manager.url + "/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("yard_redis_up")))


def test_it_works_without_redis_from_the_start(backing: Backing, working: Agents, tmp_path: Path) -> None:
    missing = Backing(backing.database_url, f"unix://{tmp_path}/no-redis.sock", backing.admin_key, backing.pepper)
    with fleet(missing, tmp_path) as managers:
        first, second, ledger = start(managers, working)
        assert redis_up(first) == redis_up(second) == 0.0
        works_from_both_sides(first, second, ledger)
        outlive_the_silence_limit(ledger)
    ledger.assert_succeeded_once([])


@pytest.fixture
def own() -> Iterator[OwnServers]:
    with own_servers() as servers:
        yield servers


def test_it_works_on_when_redis_is_killed(own: OwnServers, working: Agents, tmp_path: Path) -> None:
    with fleet(own.backing, tmp_path) as managers:
        first, second, ledger = start(managers, working)
        works_from_both_sides(first, second, ledger)
        assert redis_up(first) == redis_up(second) == 1.0
        own.kill("redis-server")
        works_from_both_sides(first, second, ledger)
        until(lambda: redis_up(first) == redis_up(second) == 0.0, "both managers have noticed")
        outlive_the_silence_limit(ledger)
        own.restart()
        until(lambda: redis_up(first) == redis_up(second) == 1.0, "both managers are back on Redis")
        works_from_both_sides(first, second, ledger)
    ledger.assert_succeeded_once([])
