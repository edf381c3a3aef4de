"""A parent with 50 children on two pools, the manager killed ten times: each child is done once, the result right."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.support.agent_process import AgentProcess, Agents
from tests.support.ledger import Ledger
from tests.support.pools import define_pool, register, submit
from tests.support.service import Fleet, free_port
from tests.support.waiting import until

PROGRAM = Path(__file__).parents[1] / "chaos" / "children_program.py"
CHILDREN, KILLS = 50, 10
NOTES = 4 * CHILDREN
"""Lines that the children write. The kills are spread over them: each waits for a count that is surely reached."""
SLOTS = 4
QUICK = {
    "YARD_DISPATCH_LEASE_S": "1",
    "YARD_DISPATCH_HEARTBEAT_INTERVAL_S": "0.2",
    "YARD_DISPATCH_REJOIN_PATIENCE_S": "10",
}
"""An agent that runs a task is waited for: it is alive all the time."""
POOLS = ("parent", "odd", "even")


def start(working: Agents, pool: str) -> AgentProcess:
    """An agent of that pool, which ends with the others."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("YARD_", "AGENT_"))}
    place = {"AGENT_POOL": pool, "AGENT_SLOTS": str(SLOTS), "AGENT_PORT": str(port)}
    with (working.folder / f"{pool}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            env=kept | place | {"AGENT_JOURNAL": str(working.journal.path)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    agent = AgentProcess(process, f"http://127.0.0.1:{port}")
    working.running.append(agent)
    until(agent.answers, "the agent answers")
    return agent


def test_no_child_runs_twice_to_completion(managers: Fleet, working: Agents, ledger: Ledger) -> None:
    rng = random.Random(20261120)
    manager = managers.manager(**QUICK)
    with manager.client() as client:
        for pool in POOLS:
            define_pool(client, pool, slots=SLOTS)
            register(client, pool, start(working, pool).url, SLOTS)
        parent = submit(client, "parent", {"pools": ["even", "odd"], "children": CHILDREN})
    until(lambda: ledger.statuses().total() == 1 + CHILDREN, "the children are there")
    killed = 0
    while killed < KILLS:
        wanted = killed * NOTES // (KILLS + 1) + rng.randrange(0, 5)
        until(lambda wanted=wanted: len(working.journal.entries()) >= wanted, f"{wanted} notes", 90)  # type: ignore[misc]
        manager.kill()
        killed += 1
        manager = managers.manager(**QUICK)
    ledger.wait_final(1 + CHILDREN, 120.0)
    with manager.client() as client:
        task = client.get(f"/v1/tasks/{parent}").json()
    assert task["status"] == "succeeded"
    assert task["result"]["squares"] == [n * n for n in range(CHILDREN)]
    assert task["children"] == {"succeeded": CHILDREN}
    once = Counter({str(row["id"]): 1 for row in ledger.rows("SELECT id FROM tasks WHERE parent_id IS NOT NULL")})
    said = working.journal.entries()
    for event in ("think", "square", "end"):
        counts = Counter(entry["task"] for entry in said if entry["event"] == event)
        assert {task: counts[task] for task in once} == dict(once), f"{event!r} of a child twice, or never"
    successes = "SELECT task_id, count(*) AS n FROM attempts WHERE outcome = 'succeeded' GROUP BY 1"
    assert {str(row["task_id"]): row["n"] for row in ledger.rows(successes)} == {**once, parent: 1}
    assert ledger.outcomes()["lost", False] >= 1, "some attempts were lost with their managers"
