"""kill -9 of a manager that has made a tick's task but not committed it."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any

from tests.support.pools import define_pool
from tests.support.service import Fleet
from tests.support.waiting import until


def test_another_manager_makes_the_tick_and_each_has_one_task(managers: Fleet) -> None:
    doomed = managers.manager(YARD_FAILPOINTS="schedules.made=4")
    with doomed.client() as client:
        define_pool(client, "echo")
        for name in ("a", "b"):
            body = {"task": {"pool": "echo"}, "interval_s": 1, "misfire": "run_all", "max_catch_up": 1000}
            assert client.put(f"/v1/schedules/{name}", json=body).status_code == 200
    until(lambda: doomed.process.poll() is not None, "the manager dies")
    with managers.manager().client() as client:

        def runs(name: str) -> list[dict[str, Any]]:
            listed = client.get(f"/v1/schedules/{name}/runs", params={"page_size": 500}).json()["items"]
            return list(listed[::-1])

        until(lambda: min(len(runs("a")), len(runs("b"))) >= 6, "ticks of before and after")
        for name in ("a", "b"):
            found = runs(name)
            assert {run["outcome"] for run in found} == {"submitted"}
            ticks = [datetime.fromisoformat(run["tick_at"]) for run in found]
            assert all((later - earlier).total_seconds() == 1 for earlier, later in pairwise(ticks))
            client.post(f"/v1/schedules/{name}/pause")
        made = [run["task_id"] for name in ("a", "b") for run in runs(name)]
        tasks = client.get("/v1/tasks", params={"page_size": 500}).json()["items"]
        assert sorted(made) == sorted(task["id"] for task in tasks)
