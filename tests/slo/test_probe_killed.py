"""kill -9 of a manager that has made a probe's task but not committed it."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any

from tests.support.pools import define_pool
from tests.support.service import Fleet
from tests.support.waiting import until


def test_another_manager_makes_the_run_and_each_has_one_task(managers: Fleet) -> None:
    doomed = managers.manager(YARD_FAILPOINTS="probes.made=2")
    with doomed.client() as client:
        define_pool(client, "echo")
        for name in ("a", "b"):
            body = {"pool": "echo", "every_s": 10, "timeout_s": 2}
            assert client.put(f"/v1/probes/{name}", json=body).status_code == 201
    until(lambda: doomed.process.poll() is not None, "the manager dies")
    with managers.manager().client() as client:

        def runs(name: str) -> list[dict[str, Any]]:
            listed = client.get(f"/v1/probes/{name}/runs").json()["items"]
            return [run for run in listed[::-1] if run["outcome"] != "pending"]

        until(lambda: min(len(runs("a")), len(runs("b"))) >= 2, "runs of before and after")
        found = {name: runs(name) for name in ("a", "b")}
        body = {"name": "reader", "tenant": "yardmaster-probes", "scopes": ["tasks:read"]}
        key = client.post("/v1/keys", json=body).json()["key"]
        headers = {"Authorization": f"Bearer {key}"}
        for name, made in found.items():
            assert client.delete(f"/v1/probes/{name}").status_code == 204
            times = [datetime.fromisoformat(run["planned_at"]) for run in made]
            assert all((later - earlier).total_seconds() % 10 == 0 for earlier, later in pairwise(times))
            assert {run["outcome"] for run in made} == {"failed"}  # there is no agent
        tasks = client.get("/v1/tasks", params={"page_size": 500}, headers=headers).json()["items"]
    of_runs = [run["task_id"] for made in found.values() for run in made]
    assert len(set(of_runs)) == len(of_runs)
    # A run may have been made since they were read.
    assert set(of_runs) <= {task["id"] for task in tasks}
    assert len(tasks) - len(of_runs) <= 2
