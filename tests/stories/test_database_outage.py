"""PostgreSQL dies under load and comes back: 503 meanwhile, never 500, and nothing accepted is lost."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.agent_process import Agents
from tests.support.ledger import Ledger
from tests.support.own_servers import OwnServers, own_servers
from tests.support.pools import define_pool, register
from tests.support.service import Manager, fleet
from tests.support.traffic import traffic
from tests.support.waiting import until

REFUSALS = 3


@pytest.fixture
def own() -> Iterator[OwnServers]:
    with own_servers() as servers:
        yield servers


class Prober(threading.Thread):
    """Asks each route again and again; keeps every answer."""

    def __init__(self, manager: Manager, requests: dict[str, tuple[str, Any]]) -> None:
        super().__init__(name="prober")
        self._manager, self._requests = manager, requests
        self.answers: dict[str, list[httpx.Response]] = defaultdict(list)
        self.done = threading.Event()

    def run(self) -> None:
        with self._manager.client() as client:
            while not self.done.wait(0.05):
                for path, (method, body) in self._requests.items():
                    self.answers[path].append(client.request(method, path, json=body))

    def statuses(self, path: str) -> Counter[int]:
        return Counter(answer.status_code for answer in list(self.answers[path]))


def is_polite_refusal(answer: httpx.Response) -> bool:
    body = answer.json()
    return (
        answer.headers["content-type"] == "application/problem+json"
        and int(answer.headers["retry-after"]) >= 1
        and (body["status"], body["code"]) == (503, "unavailable")
    )


def test_requests_get_503_and_nothing_accepted_is_lost(own: OwnServers, working: Agents, tmp_path: Path) -> None:
    ledger = Ledger(own.backing.database_url)
    with fleet(own.backing, tmp_path) as managers:
        manager = managers.manager()
        with manager.client() as client:
            define_pool(client, "work", slots=50)
            register(client, "work", working.start("work", 50).url, 50)
            known = client.post("/v1/tasks", json={"pool": "work", "payload": {"seconds": 0.0}}).json()["id"]
        requests: dict[str, tuple[str, Any]] = {
            f"/v1/tasks/{known}": ("GET", None),
            "/v1/tasks": ("GET", None),
            f"/v1/tasks/{known}/retry": ("POST", None),
            "/v1/tasks/batch": ("POST", {"tasks": [{"pool": "work", "payload": {"seconds": 0.0}}]}),
            "/v1/pools": ("GET", None),
            "/v1/pools/spare": ("PUT", {}),
            "/v1/agents": ("GET", None),
            f"/v1/tasks/{known}/events": ("GET", None),
            "/readyz": ("GET", None),
        }
        prober = Prober(manager, requests)
        with traffic([manager.url], own.backing.admin_key, "work", lambda n: 1.0 if n % 5 else 0.05) as flowing:
            until(lambda: ledger.statuses()["running"] >= 20, "20 tasks run")
            prober.start()
            try:
                until(lambda: all(prober.answers[path] for path in requests), "every route was asked")
                own.kill("postgres")
                until(lambda: all(prober.statuses(path)[503] >= REFUSALS for path in requests), "every route refuses")
                assert httpx.get(manager.url + "/livez").status_code == 200
                own.restart()
                wanted = len(flowing.accepted) + 30
                until(lambda: len(flowing.accepted) >= wanted, "submissions are accepted again")
            finally:
                prober.done.set()
                prober.join()
        ledger.wait_final(len(flowing.accepted))
        log = manager.log.read_text()
    batches = [a.json()["tasks"][0]["id"] for a in prober.answers["/v1/tasks/batch"] if a.status_code == 202]
    ledger.assert_succeeded_once([*flowing.accepted, *batches, known])
    again = {task: count for task, count in working.journal.starts().items() if count != 1}
    assert again == {}, "an agent did a task twice"
    answers = [*flowing.odd, *(answer for path in requests for answer in prober.answers[path])]
    assert {answer.status_code for answer in answers} <= {200, 202, 409, 503}
    assert flowing.broken == []
    assert flowing.statuses[503] >= 1
    assert [a.text for a in answers if a.status_code == 503 and not is_polite_refusal(a)] == []
    assert "request_failed" not in log
