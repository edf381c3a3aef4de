"""`yard serve --workers 2`: two managers behind one port, one set of metrics, and a dead one is replaced."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.agent_process import Agents
from tests.support.ledger import Ledger
from tests.support.pools import define_pool, register
from tests.support.service import Backing, Fleet, Manager
from tests.support.waiting import until

TASKS = 24
SCRAPES = 12
LEASE_S = 1.0
QUICK = {"YARD_DISPATCH_LEASE_S": str(LEASE_S), "YARD_DISPATCH_HEARTBEAT_INTERVAL_S": "0.2"}


def live_pids(ledger: Ledger) -> set[int]:
    """Managers whose newest heartbeat is less than a lease old."""
    rows = ledger.rows("SELECT pid FROM managers WHERE heartbeat_at > clock_timestamp() - interval '1 s'")
    return {row["pid"] for row in rows}


def submit_together(manager: Manager, backing: Backing) -> list[str]:
    """More at once than one of the two may run, so that both must."""
    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(lambda _: submit_afresh(manager, backing, 0.1), range(TASKS)))


def submit_afresh(manager: Manager, backing: Backing, seconds: float) -> str:
    """On a new connection each time, which either worker may take; with a held answer."""
    answer = httpx.post(
        f"{manager.url}/v1/tasks",
        json={"pool": "work", "payload": {"seconds": seconds}},
        headers={"Authorization": f"Bearer {backing.admin_key}", "Prefer": "wait=20"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "succeeded"
    return str(answer.json()["id"])


def totals(url: str) -> tuple[float, float]:
    """(finished tasks, answered POSTs of tasks) as one scrape tells them."""
    samples = [s for family in text_string_to_metric_families(httpx.get(url + "/metrics").text) for s in family.samples]
    done = sum(s.value for s in samples if s.name == "ai_task_duration_seconds_count")
    posts = sum(
        s.value
        for s in samples
        if s.name == "http_requests_total" and s.labels["handler"] == "/v1/tasks" and s.labels["method"] == "POST"
    )
    return done, posts


def test_two_workers_serve_measure_together_and_replace_the_dead(
    managers: Fleet, working: Agents, ledger: Ledger
) -> None:
    service = managers.manager("--workers", "2", **QUICK)
    workers = until(lambda: pids if len(pids := live_pids(ledger)) == 2 else None, "two managers live")
    with service.client() as client:
        define_pool(client, "work")
        register(client, "work", working.start("work", 2).url, 2)
    ledger.wait_settled(2, LEASE_S)
    ids = submit_together(service, managers.backing)
    # Their numbers are told together, whichever worker answers.
    until(lambda: totals(service.url) == (TASKS, TASKS), "the last task is counted")
    assert {totals(service.url) for _ in range(SCRAPES)} == {(TASKS, TASKS)}
    ran = ledger.rows("SELECT DISTINCT m.pid FROM attempts a JOIN managers m ON m.id = a.manager_id")
    assert {row["pid"] for row in ran} == workers, "both took part"

    victim = min(workers)
    os.kill(victim, signal.SIGKILL)
    fresh = until(lambda: pids if len(pids := live_pids(ledger) - {victim}) == 2 else None, "a new worker lives")
    assert fresh > workers - {victim}
    ids += submit_together(service, managers.backing)
    ledger.assert_succeeded_once(ids)
    # What the dead worker counted is not lost.
    until(lambda: totals(service.url) == (2 * TASKS, 2 * TASKS), "counters never go back")
    assert service.process.poll() is None
    assert service.stop() == 0
    assert [pid for pid in workers | fresh if is_running(pid)] == []


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
