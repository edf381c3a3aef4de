"""A pool whose agents the service starts itself, as processes."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import httpx
import psutil

from tests.support.agent_process import PROGRAM, Journal
from tests.support.ledger import Ledger
from tests.support.pools import define_pool, submit_many
from tests.support.service import Fleet
from tests.support.traffic import traffic
from tests.support.waiting import until


def processes(ledger: Ledger) -> set[int]:
    """Pids of living agents, as the service has noted them."""
    rows = ledger.rows("SELECT pid FROM replicas WHERE state <> 'backoff' AND pid > 0")
    return {row["pid"] for row in rows if lives(row["pid"])}


def lives(pid: int) -> bool:
    """A zombie, which nobody may ever collect in a container, does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def working_pids(ledger: Ledger) -> set[int]:
    """Pids of agents that are registered and may be given tasks."""
    query = """SELECT r.pid FROM replicas r JOIN agents a ON a.labels->>'replica' = r.id::text
        WHERE a.status IN ('idle', 'busy') AND r.state = 'running'"""
    return {row["pid"] for row in ledger.rows(query)}


def wait_for(ledger: Ledger, count: int) -> set[int]:
    def exactly() -> set[int] | None:
        pids = working_pids(ledger)
        return pids if len(pids) == count == len(processes(ledger)) else None

    return until(exactly, f"{count} agents work")


def define(client: httpx.Client, journal: Journal) -> None:
    command = [sys.executable, str(PROGRAM)]
    launch = {"kind": "process", "command": command, "env": {"AGENT_JOURNAL": str(journal.path)}}
    define_pool(client, "work", slots=4, launch=launch, scale={"min": 2, "max": 4, "policy": "manual"})


def scale(client: httpx.Client, replicas: int) -> None:
    answer = client.post("/v1/pools/work/scale", json={"replicas": replicas, "reason": "story"})
    assert (answer.status_code, answer.json()["desired"]) == (200, replicas)


def test_agents_are_started_restarted_scaled_and_ended(managers: Fleet, ledger: Ledger, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    manager = managers.manager(YARD_SCALING_ALLOW_PROCESS="true")
    with manager.client() as client:
        define(client, journal)
        two = wait_for(ledger, 2)

        victim = min(two)
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in working_pids(ledger), "its death is noticed")
        assert wait_for(ledger, 2) > two - {victim}

        with traffic([manager.url], managers.backing.admin_key, "work", lambda _: 0.3) as flowing:
            scale(client, 3)
            three = wait_for(ledger, 3)
            until(lambda: three <= {entry["pid"] for entry in journal.entries()}, "all three are given tasks")
            scale(client, 2)
            wait_for(ledger, 2)
            wanted = len(flowing.accepted) + 20
            until(lambda: len(flowing.accepted) >= wanted, "traffic goes on")
        ledger.wait_final(len(flowing.accepted), 60)
        ledger.assert_succeeded_once(flowing.accepted)
        assert set(journal.starts().values()) == {1}
        last = wait_for(ledger, 2)
    assert manager.stop() == 0
    assert {pid for pid in last | three if lives(pid)} == set()
    assert ledger.rows("SELECT id FROM replicas") == []


def test_agents_and_their_running_tasks_survive_a_kill_of_the_service(
    managers: Fleet, ledger: Ledger, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    manager = managers.manager(YARD_SCALING_ALLOW_PROCESS="true")
    with manager.client() as client:
        define(client, journal)
        before = wait_for(ledger, 2)
        ids = submit_many(client, "work", [{"seconds": 6.0}] * 6)
        until(lambda: len(journal.starts()) == 6, "all of them run")
    manager.kill()
    successor = managers.manager(YARD_SCALING_ALLOW_PROCESS="true")
    ledger.wait_final(6)
    ledger.assert_succeeded_once(ids)
    assert set(journal.starts().values()) == {1}
    assert working_pids(ledger) == before, "the agents were taken over, not started anew"
    assert successor.stop() == 0
    assert {pid for pid in before if lives(pid)} == set()
