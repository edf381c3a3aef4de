"""A real agent process against a small real manager: register, heartbeat, drain, leave, exit."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

AGENT = textwrap.dedent("""
    import asyncio
    from yardmaster import Agent, Context

    agent = Agent("echo", slots=4)

    @agent.task
    async def handle(ctx: Context, payload: dict) -> dict:
        await asyncio.sleep(payload.get("for_s", 0))
        return {"echo": payload}

    if __name__ == "__main__":
        agent.run()
""")


class FakeManager:
    """Remembers every call; can be told to fail, to forget, and to give directives."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str, Any]] = []
        self.directives: list[Any] = []
        self.known = False
        self.failing = 0
        self.app = Starlette(routes=[Route("/{path:path}", self.answer, methods=["POST", "DELETE"])])

    async def answer(self, request: Request) -> Response:
        body = await request.json() if await request.body() else None
        self.calls.append((request.method, request.url.path, request.headers.get("authorization", ""), body))
        if self.failing:
            self.failing -= 1
            return JSONResponse({"code": "down"}, 500)
        if request.url.path == "/v1/agents":
            self.known = True
            return JSONResponse({"id": "a1", "token": "tok", "heartbeat_interval_s": 0.1}, 201)
        if not self.known:
            return JSONResponse({"code": "unknown_agent"}, 404)
        return JSONResponse({"directives": self.directives})

    def seen(self, method: str, path: str) -> list[Any]:
        return [body for called, where, _, body in self.calls if (called, where) == (method, path)]

    async def until(self, method: str, path: str, times: int = 1) -> list[Any]:
        async with asyncio.timeout(60):
            while len(found := self.seen(method, path)) < times:
                await asyncio.sleep(0.02)
        return found


BEAT = "/v1/agents/a1/heartbeat"


@pytest.fixture
async def manager(serve_app: Any) -> AsyncIterator[FakeManager]:
    fake = FakeManager()
    async with serve_app(fake.app) as url:
        fake.url = url  # type: ignore[attr-defined]
        yield fake


@pytest.fixture
def start(tmp_path: Path, manager: FakeManager) -> Any:
    script = tmp_path / "echo_agent.py"
    script.write_text(AGENT)
    started: list[subprocess.Popen[bytes]] = []

    def run(**env: str) -> subprocess.Popen[bytes]:
        settings = {"MANAGER_URL": manager.url, "YARD_API_KEY": "key", "AGENT_LABELS": '{"zone":"a"}'}  # type: ignore[attr-defined]
        started.append(
            subprocess.Popen(
                [sys.executable, str(script)], env={**os.environ, **settings, **env}, stderr=subprocess.PIPE
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


async def exit_code(process: subprocess.Popen[bytes]) -> int:
    return await asyncio.wait_for(asyncio.to_thread(process.wait), 20)


async def test_registers_works_and_drains_on_sigterm(manager: FakeManager, start: Any) -> None:
    process = start(AGENT_VERSION="1.2", AGENT_WEIGHT="2")
    facts = (await manager.until("POST", "/v1/agents"))[0]
    url = facts.pop("url")
    assert facts == {"pool": "echo", "slots": 4, "version": "1.2", "weight": 2.0, "labels": {"zone": "a"}}
    assert (await manager.until("POST", BEAT, 3))[0] == {"running": 0, "status": "idle"}
    assert {(path, key) for _, path, key, _ in manager.calls} == {
        ("/v1/agents", "Bearer key"),
        (BEAT, "Bearer tok"),
    }
    async with httpx.AsyncClient(base_url=url, timeout=10) as agent:
        call = {"task_id": "t1", "attempt": 1, "fence": 1, "type": "x", "payload": {"for_s": 1}}
        running = asyncio.create_task(agent.post("/execute", json=call))
        async with asyncio.timeout(5):
            while (await agent.get("/health")).json()["running"] != 1:
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        await manager.until("POST", "/v1/agents/a1/drain")
        assert (await agent.post("/execute", json=call | {"task_id": "t2"})).status_code == 503
        assert manager.seen("DELETE", "/v1/agents/a1") == []
        assert (await running).json()["result"] == {"echo": {"for_s": 1}}
    assert await exit_code(process) == 0
    assert manager.calls[-1][:3] == ("DELETE", "/v1/agents/a1", "Bearer tok")
    assert {"running": 1, "status": "draining"} in manager.seen("POST", BEAT)


async def test_work_past_the_grace_ends_as_retryable_shutdown(manager: FakeManager, start: Any) -> None:
    process = start(AGENT_DRAIN_GRACE_S="0.2")
    url = (await manager.until("POST", "/v1/agents"))[0]["url"]
    async with httpx.AsyncClient(base_url=url, timeout=10) as agent:
        call = {"task_id": "t1", "attempt": 1, "payload": {"for_s": 60}}
        running = asyncio.create_task(agent.post("/execute", json=call))
        async with asyncio.timeout(5):
            while (await agent.get("/health")).json()["running"] != 1:
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        answer = await running
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutdown")
    assert await exit_code(process) == 0


async def test_survives_an_outage_and_registers_again_when_forgotten(manager: FakeManager, start: Any) -> None:
    manager.failing = 3
    process = start()
    await manager.until("POST", BEAT, 2)
    manager.known = False
    await manager.until("POST", "/v1/agents", 5)
    await manager.until("POST", BEAT, 4)
    process.send_signal(signal.SIGTERM)
    assert await exit_code(process) == 0
    log = process.stderr.read().decode()
    assert log.count("can't be reached or refuses") == 1
    assert log.count("the manager answers again") == 1
    assert "Traceback" not in log


async def test_obeys_a_drain_directive_and_ignores_unknown_ones(manager: FakeManager, start: Any) -> None:
    manager.directives = ["dance", {"type": "sing"}, {"type": "drain"}]
    process = start()
    async with asyncio.timeout(60):
        while {"running": 0, "status": "draining"} not in manager.seen("POST", BEAT):
            await asyncio.sleep(0.02)
    assert process.poll() is None


async def test_a_second_signal_exits_at_once(manager: FakeManager, start: Any) -> None:
    process = start()
    url = (await manager.until("POST", "/v1/agents"))[0]["url"]
    async with httpx.AsyncClient(base_url=url, timeout=10) as agent:
        call = {"task_id": "t1", "attempt": 1, "payload": {"for_s": 60}}
        running = asyncio.create_task(agent.post("/execute", json=call))
        async with asyncio.timeout(5):
            while (await agent.get("/health")).json()["running"] != 1:
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        await manager.until("POST", "/v1/agents/a1/drain")
        process.send_signal(signal.SIGTERM)
        assert await exit_code(process) == 1
        with pytest.raises(httpx.HTTPError):
            await running
