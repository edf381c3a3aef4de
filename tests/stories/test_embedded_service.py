"""The bare machine: one command brings servers, manager and agents; a real log gives a real analysis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from tests.support.embedded_service import EmbeddedService, embedded_service
from tests.support.waiting import until


@pytest.fixture
def service() -> Iterator[EmbeddedService]:
    with embedded_service() as embedded:
        yield embedded


def analyse(client: httpx.Client, log: str) -> dict[str, Any]:
    """The finished task that analysed `log`."""
    body = {"pool": "log_analyzer", "payload": {"log": log}}
    answer = client.post("/v1/tasks", json=body, headers={"Prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    task: dict[str, Any] = answer.json()
    assert (task["status"], task["attempt"]) == ("succeeded", 1), task["error"]
    return task


def assert_is_analysis(result: dict[str, Any], log: str) -> None:
    lines = [line for line in log.splitlines() if line.strip()]
    assert result["lines"] == len(lines) > 3
    assert 2 <= result["template_count"] <= len(lines)
    assert sum(template["count"] for template in result["templates"]) == len(lines)
    assert any("ready to accept connections" in template["template"] for template in result["templates"])


def test_a_real_log_is_analysed_and_the_result_outlives_restarts_and_a_kill(service: EmbeddedService) -> None:
    running = service.start()
    log = (service.data / "logs" / "postgres.log").read_text()  # a real one, there on every machine
    with running.client() as client:
        first = analyse(client, log)
    assert_is_analysis(first["result"], log)
    assert running.stop() == 0
    assert [process.cmdline() for process in service.processes()] == []

    running = service.start()
    with running.client() as client:
        assert client.get(f"/v1/tasks/{first['id']}").json() == first
        second = analyse(client, log)
        until(lambda: len(client.get("/v1/agents").json()["items"]) == 4, "the examples' four agents are there")
    left = {process.pid for process in agents_of(service)}
    running.kill()

    running = service.start()
    with running.client() as client:
        assert client.get(f"/v1/tasks/{first['id']}").json() == first
        assert client.get(f"/v1/tasks/{second['id']}").json() == second
        assert_is_analysis(analyse(client, log)["result"], log)
        assert {process.pid for process in agents_of(service)} == left, "the agents were taken over"
    assert running.stop() == 0
    assert [process.cmdline() for process in service.processes()] == []


def agents_of(service: EmbeddedService) -> list[psutil.Process]:
    return [process for process in service.processes() if any("examples." in word for word in process.cmdline())]
