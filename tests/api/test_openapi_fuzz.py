"""Schemathesis against a running manager: no 500, no answer that `/openapi.json` does not announce."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.verbs import new_key, put_pool, register, run, submit
from tests.support.service import Fleet, Manager

EXAMPLES = 20
BUDGET_S = 300.0
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@dataclass(frozen=True)
class There:
    """What exists, by the name of the path parameter that it can be put into."""

    values: dict[str, list[str]]

    def put_into(self, case: Any, choice: int) -> None:
        """Make a case about something that exists, two times of three."""
        for name in case.path_parameters or {}:
            known = self.values.get(name, [])
            if known and choice % 3:
                case.path_parameters[name] = known[choice % len(known)]


async def prepare(client: httpx.AsyncClient, agent_url: str) -> There:
    """A pool that works, and one of everything else: tasks of each end, an agent to lose, a key to revoke."""
    await put_pool(client, "log_analyzer", skills={"log_analysis": 1.0})
    await put_pool(client, "idle")
    worker = await register(client, agent_url, "log_analyzer", slots=50)
    spare = await register(client, agent_url + "/spare", "idle")
    done = await run(client, {"log": "x"}, pool="log_analyzer")
    failed = await run(client, {"fail": True}, pool="log_analyzer", max_attempts=1)
    assert (done["status"], failed["status"]) == ("succeeded", "failed")
    assert (await client.put("/v1/probes/golden", json={"pool": "log_analyzer"})).status_code == 201
    queued = [await submit(client, pool="idle", run_at="2100-01-01T00:00:00Z") for _ in range(3)]
    key = await new_key(client, "tasks:read")
    return There(
        {
            "task_id": [done["id"], failed["id"], *queued],
            "agent_id": [spare["id"], worker["id"]],
            "pool": ["log_analyzer", "idle"],
            "name": ["golden"],
            "key_id": [key.split("_")[1]],
        }
    )


async def work(_: Any, body: dict[str, Any]) -> Any:
    from aiohttp import web

    wrong = isinstance(body["payload"], dict) and body["payload"].get("fail")
    return web.json_response({"result": body["payload"]}, status=400 if wrong else 200)


def fuzz(manager: Manager, there: There) -> Counter[str]:
    """Every operation with valid and with invalid data; how many answers came, by operation."""
    schema = schemathesis.openapi.from_url(manager.url + "/openapi.json")
    # A stream of a task that is not final has no end: the page of its events is asked for instead.
    headers = {"Authorization": f"Bearer {manager.backing.admin_key}", "Accept": "application/json"}
    answers: Counter[str] = Counter()
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            cases = operation.as_strategy(generation_mode=mode)

            @seed(7)
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=cases, choice=st.integers(0, 30))
            def check(case: Any, choice: int) -> None:
                there.put_into(case, choice)
                response = case.call(headers=headers, timeout=20)
                case.validate_response(response, checks=CHECKS)
                answers[case.operation.label] += 1

            try:
                check()
            except Exception as exc:
                unsatisfiable = mode is GenerationMode.NEGATIVE and "Unsatisfiable" in type(exc).__name__
                if not unsatisfiable:  # an operation without input cannot be given a wrong one
                    raise
    return answers


async def test_no_500_and_no_undocumented_answer(managers: Fleet, agents: Any) -> None:
    agent = await agents(handler=work)
    manager = await asyncio.to_thread(managers.manager)
    headers = {"Authorization": f"Bearer {manager.backing.admin_key}"}
    async with httpx.AsyncClient(base_url=manager.url, headers=headers, timeout=30, trust_env=False) as client:
        there = await prepare(client, agent.url)
        began = time.monotonic()
        answers = await asyncio.to_thread(fuzz, manager, there)
        assert time.monotonic() - began < BUDGET_S
        documented = (await client.get("/openapi.json")).json()["paths"]
        assert len(answers) == sum(len(methods) for methods in documented.values())
        assert min(answers.values()) >= 1
        print(f"{sum(answers.values())} answers from {len(answers)} operations")
        assert (await client.get("/readyz")).status_code == 200
    assert '"event": "request_failed"' not in manager.log.read_text()
