"""A stop switch over two managers and three agents: one manager dies, one agent does not answer, nothing slips by."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import httpx

from tests.support.agent_process import Agents
from tests.support.ledger import Ledger
from tests.support.pools import define_pool, register, submit, submit_many
from tests.support.service import Fleet, Manager
from tests.support.waiting import until

LEASE_S = 1.0
QUICK = {"YARD_DISPATCH_LEASE_S": str(LEASE_S), "YARD_DISPATCH_HEARTBEAT_INTERVAL_S": "0.2"}


def yard(manager: Manager, *arguments: str) -> str:
    """What a `yard` command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env=manager.backing.environment(YARD_URL=manager.url, YARD_API_KEY=manager.backing.admin_key),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_stop_reaches_every_agent_whatever_dies_and_lifting_finishes_the_work(
    managers: Fleet, working: Agents, ledger: Ledger
) -> None:
    first, second = managers.manager(**QUICK), managers.manager(**QUICK)
    ledger.wait_settled(2, LEASE_S)
    agents = [working.start("work", 4) for _ in range(3)]
    with first.client() as client:
        define_pool(client, "work", balancer="round_robin", timeout_s=600)
        define_pool(client, "calm")
        ids = {register(client, "work", agent.url, 4): agent for agent in agents}
        register(client, "calm", working.start("calm", 2).url, 2)
        long = submit_many(client, "work", [{"seconds": 600.0}] * 12)
        until(lambda: ledger.statuses()["running"] == 12, "all slots are in use")
        until(lambda: len(working.journal.starts()) == 12, "the agents work")
        assert len(ledger.running_by_pid()) == 2, "both managers run some of them"

        frozen_id, frozen = next(iter(ids.items()))
        frozen.process.send_signal(signal.SIGSTOP)
        try:
            stop = json.loads(yard(first, "stops", "make", "it deletes files", "--pool", "work", "--json"))
            second.kill()
            assert ledger.statuses()["running"] == 0, "nothing runs from the stop's commit on"

            def heard() -> dict[str, object] | None:
                report = client.get(f"/v1/stops/{stop['id']}").json()["report"]
                return dict(report) if report["asked"] == 0 else None

            report = until(heard, "every agent was asked, those of the dead manager too")
        finally:
            frozen.process.send_signal(signal.SIGCONT)
        assert (report["stopped"], report["no_answer"], report["held"]) == (8, 4, 12)
        silent = [item for item in report["attempts"] if item["state"] == "no_answer"]  # type: ignore[attr-defined]
        assert {item["agent_id"] for item in silent} == {frozen_id}
        for agent in agents:
            if agent is not frozen:
                assert httpx.get(agent.url + "/health").json()["running"] == 0, "an agent that answered works on"

        held = submit(client, "work", {"seconds": 0.0})
        calm = submit(client, "calm", {"seconds": 0.0})
        until(lambda: client.get(f"/v1/tasks/{calm}").json()["status"] == "succeeded", "other pools go on")
        explained = client.get(f"/v1/tasks/{held}/explain").json()
        assert explained["blockers"][0]["code"] == "stopped"
        assert explained["blockers"][0]["ids"] == [stop["id"]]
        shown = yard(first, "explain", held)
        assert "stopped" in shown
        assert "it deletes files" in " ".join(shown.split())
        assert "stands" in yard(first, "stops", "list")
        assert ledger.statuses() == {"queued": 13, "succeeded": 1}
        starts = working.journal.starts()
        assert {starts[task] for task in long} == {1}

        cancelled = long[1:]
        for task in cancelled:
            assert client.post(f"/v1/tasks/{task}/cancel").status_code == 200
        yard(first, "stops", "lift", stop["id"])
        until(lambda: client.get(f"/v1/tasks/{held}").json()["status"] == "succeeded", "the held task runs")
        until(lambda: working.journal.starts()[long[0]] == 2, "what was stopped starts again")
        task = client.get(f"/v1/tasks/{long[0]}").json()
        assert (task["status"], task["attempt"]) == ("running", 1)
    outcomes = ledger.outcomes()
    assert outcomes["stopped", False] == 12
