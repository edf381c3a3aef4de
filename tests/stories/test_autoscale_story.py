"""Load comes and goes, and the pool's agents with it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.stories.test_process_pool import lives, processes, working_pids
from tests.support.agent_process import PROGRAM, Journal
from tests.support.ledger import Ledger
from tests.support.pools import define_pool, submit_many
from tests.support.service import Fleet, Manager
from tests.support.waiting import until

TICK_S = 2.0
TASK_S = 1.5
PATIENCE_S = 90.0


def start(managers: Fleet) -> Manager:
    return managers.manager(
        YARD_SCALING_ALLOW_PROCESS="true",
        YARD_SCALING_DECIDE_INTERVAL_S=str(TICK_S),
        YARD_SCALING_DRAIN_GRACE_S="20",
    )


def define(client: httpx.Client, journal: Journal, **scale: Any) -> None:
    launch = {
        "kind": "process",
        "command": [sys.executable, str(PROGRAM)],
        "env": {"AGENT_JOURNAL": str(journal.path)},
    }
    bounds = {"min": 1, "max": 5, "wait_s": 1, "drain_s": 5, "down_window_s": 6, **scale}
    define_pool(client, "work", slots=2, launch=launch, scale=bounds)


def passes(ledger: Ledger) -> int:
    """How often the pool was judged."""
    return sum(row["version"] for row in ledger.rows("SELECT version FROM pool_scaling WHERE pool = 'work'"))


def desired(ledger: Ledger) -> int:
    return int(ledger.rows("SELECT desired FROM pools WHERE name = 'work'")[0]["desired"])


def test_it_grows_with_the_load_and_shrinks_after_it_and_no_task_fails(
    managers: Fleet, ledger: Ledger, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    manager = start(managers)
    with manager.client() as client:
        define(client, journal)
        until(lambda: len(working_pids(ledger)) == 1 and passes(ledger), "the first agent works")
        ids = submit_many(client, "work", [{"seconds": TASK_S}] * 40)
        before = passes(ledger)
        until(lambda: desired(ledger) > 1, "it grows")
        assert passes(ledger) - before <= 1 + 1, "in the pass after the load came (one more may have been under way)"
        until(lambda: len(working_pids(ledger)) >= 3, "they work")
        shown = client.get("/v1/pools/work/scaling").json()
        assert shown["decision"]["inputs"]["slots"] == 2 and shown["decision"]["reason"]
        victim = max(working_pids(ledger))
        until(lambda: victim in {entry["pid"] for entry in journal.entries()}, "it was given work")
        ledger.wait_final(len(ids), PATIENCE_S)
        until(lambda: desired(ledger) == 1, "it shrinks", PATIENCE_S)
        until(lambda: len(processes(ledger)) == 1, "the others are gone", PATIENCE_S)
        ledger.assert_succeeded_once(ids)
        past = client.get("/v1/pools/work/scaling/decisions").json()["items"]
    changes = [(item["before"], item["desired"]) for item in reversed(past) if item["before"] != item["desired"]]
    assert changes[0][0] == changes[-1][1] == 1 and max(after for _, after in changes) > 1
    assert set(journal.starts().values()) == {1}
    assert manager.stop() == 0


def test_to_zero_and_back_on_the_first_task(managers: Fleet, ledger: Ledger, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    manager = start(managers)
    with manager.client() as client:
        define(client, journal, min=0, idle_s=1, down_window_s=6)
        for number in (1, 2):
            submit_many(client, "work", [{"seconds": 0.1}])
            ledger.wait_final(number, PATIENCE_S)
            until(lambda: desired(ledger) == 0 and not processes(ledger), "it rests", PATIENCE_S)
    assert set(ledger.statuses()) == {"succeeded"}
    assert manager.stop() == 0


def test_what_outlasts_its_grace_goes_back_uncounted(managers: Fleet, ledger: Ledger, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    manager = managers.manager(YARD_SCALING_ALLOW_PROCESS="true")
    with manager.client() as client:
        define(client, journal, min=1, policy="manual", drain_grace_s=1)
        assert client.post("/v1/pools/work/scale", json={"replicas": 2}).status_code == 200
        until(lambda: len(working_pids(ledger)) == 2, "two agents work")
        ids = submit_many(client, "work", [{"seconds": 8.0}] * 4)
        until(lambda: len(journal.starts()) == 4, "all of them run")
        assert client.post("/v1/pools/work/scale", json={"replicas": 1}).status_code == 200
        until(lambda: len(processes(ledger)) == 1, "one is ended", PATIENCE_S)
        ledger.wait_final(4, PATIENCE_S)
    assert set(ledger.statuses()) == {"succeeded"}
    rows = ledger.rows("SELECT outcome, counted, error_code FROM attempts WHERE outcome <> 'succeeded'")
    assert {tuple(row) for row in rows} == {("returned", False, "agent_taken_away")} and len(rows) == 2
    assert {row["attempt"] for row in ledger.rows("SELECT attempt FROM tasks")} == {1}
    events = ledger.rows("SELECT data FROM events WHERE type = 'task.returned'")
    assert {orjson.loads(row["data"])["code"] for row in events} == {"agent_taken_away"}
    assert len(ids) == 4


def test_what_cannot_start_is_a_condition_of_the_pool(managers: Fleet, ledger: Ledger, tmp_path: Path) -> None:
    manager = start(managers)
    with manager.client() as client:
        launch = {"kind": "process", "command": ["no-such-program-anywhere"]}
        define_pool(client, "work", launch=launch, scale={"min": 1, "max": 3})

        def condition() -> dict[str, Any] | None:
            found = client.get("/v1/pools/work").json()["conditions"]
            return found[0] if found else None

        until(condition, "it says what is wrong")
        shown = condition()
        assert shown is not None and shown["code"] == "cannot_launch"
        assert "no-such-program-anywhere" in shown["message"]
        define(client, Journal(tmp_path / "journal.jsonl"))
        until(lambda: client.get("/v1/pools/work").json()["conditions"] == [], "mended")
    for pid in processes(ledger):
        if lives(pid):
            os.kill(pid, signal.SIGKILL)
