"""A new launch of a running pool: the real service replaces its real agents one by one, and no task notices."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.stories.test_process_pool import wait_for
from tests.support.agent_process import PROGRAM, Journal
from tests.support.ledger import Ledger
from tests.support.pools import define_pool
from tests.support.service import Fleet
from tests.support.traffic import traffic
from tests.support.waiting import until


def define(client: httpx.Client, journal: Journal, **env: str) -> None:
    launch: dict[str, Any] = {"kind": "process", "command": [sys.executable, str(PROGRAM)]}
    launch["env"] = {"AGENT_JOURNAL": str(journal.path), **env}
    define_pool(client, "work", slots=4, launch=launch, scale={"min": 2, "max": 4, "policy": "manual"})


def test_a_new_launch_reaches_every_replica_and_fails_no_task(managers: Fleet, tmp_path: Path) -> None:
    journal, ledger = Journal(tmp_path / "journal.jsonl"), Ledger(managers.backing.database_url)
    manager = managers.manager(YARD_SCALING_ALLOW_PROCESS="true")
    with manager.client() as client:
        define(client, journal)
        before = wait_for(ledger, 2)
        with traffic([manager.url], managers.backing.admin_key, "work", lambda _: 0.2) as flowing:
            define(client, journal, MODEL="new")
            until(lambda: not wait_for(ledger, 2) & before, "both were replaced", 60)
            wanted = len(flowing.accepted) + 20
            until(lambda: len(flowing.accepted) >= wanted, "traffic goes on")
        ledger.wait_final(len(flowing.accepted), 60)
        ledger.assert_succeeded_once(flowing.accepted)
        assert [psutil.Process(pid).environ().get("MODEL") for pid in wait_for(ledger, 2)] == ["new", "new"]
    assert {path.suffix for path in (tmp_path / "data" / "logs" / "agents").iterdir()} == {".log"}
