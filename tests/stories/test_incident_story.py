"""A task waits for a person while every process there is dies and comes back, and goes on where it was.

The agent of `examples/incident_responder` mines a log and asks whether it may run a command. Then the manager, the
agent, Redis and PostgreSQL are killed and started anew. A person approves by a signed click in Slack, and the task ends
with each of its steps run once.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.alerts.question import APPROVE
from examples.pools import EXAMPLE_POOLS
from tests.support.agent_process import AgentProcess
from tests.support.ledger import Ledger
from tests.support.own_servers import OwnServers, own_servers
from tests.support.service import Backing, Fleet, Manager, fleet, free_port
from tests.support.slack_server import Posted, SlackServer
from tests.support.waiting import until, until_async

POOL = "incident_responder"
ROOT = Path(__file__).parents[2]
LOG = "\n".join(
    [f"2026-11-20T20:25:{n:02}Z INFO api request {n} served in {n} ms" for n in range(20)]
    + [f"2026-11-20T20:26:{n:02}Z ERROR store write to /tmp/{n}.seg failed: No space left on device" for n in range(5)]
)
PERSON = "U1ANN"


@pytest.fixture
def own() -> Iterator[OwnServers]:
    with own_servers() as servers:
        yield servers


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    running = await SlackServer().start()
    yield running
    await running.stop()


class Yard:
    """One manager and one agent, started and killed together; `wait` is until a condition of a task holds."""

    def __init__(self, managers: Fleet, slack: SlackServer, step_log: Path) -> None:
        self._managers, self._slack, self._step_log = managers, slack, step_log
        self._agents: list[AgentProcess] = []
        self._agent_port = free_port()
        self.manager: Manager | None = None

    @property
    def url(self) -> str:
        assert self.manager is not None
        return self.manager.url

    async def start(self) -> None:
        self.manager = await asyncio.to_thread(self._managers.manager, **self._slack.environment())

    async def start_agent(self) -> None:
        """The example as its own program, always at one address: it registers itself and sends heartbeats."""
        backing, port = self._managers.backing, self._agent_port
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("YARD_", "AGENT_"))}
        place = {"MANAGER_URL": self.url, "YARD_API_KEY": backing.admin_key, "AGENT_PORT": str(port)}
        log = self._managers.folder / f"agent-{len(self._agents)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "examples.incident_responder"],
                cwd=ROOT,
                env=kept | place | {"STEP_LOG": str(self._step_log)},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        agent = AgentProcess(process, f"http://127.0.0.1:{port}")
        self._agents.append(agent)
        await asyncio.to_thread(until, agent.answers, "the agent answers")

    def kill(self) -> None:
        """kill -9 of all that runs."""
        if self.manager is not None and self.manager.process.poll() is None:
            self.manager.kill()
        for agent in self._agents:
            agent.kill()

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        key = {"Authorization": f"Bearer {self._managers.backing.admin_key}"}
        async with httpx.AsyncClient(base_url=self.url, headers=key | headers, timeout=30.0) as client:
            answer = await client.request(method, path, json=body)
            assert answer.is_success, answer.text
            return answer.json()

    async def click(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        """What Slack sends, without any key of ours."""
        async with httpx.AsyncClient(base_url=self.url, timeout=5.0) as client:
            return await client.post("/v1/slack/interactions", content=body, headers=headers)

    async def task(self, task_id: str, fits: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """The task as soon as it `fits`."""

        async def there() -> dict[str, Any] | None:
            task: dict[str, Any] = await self.call("GET", f"/v1/tasks/{task_id}")
            return task if fits(task) else None

        return await until_async(there, what, 30.0) or {}


@asynccontextmanager
async def yard_of(backing: Backing, slack: SlackServer, folder: Path) -> AsyncIterator[Yard]:
    with fleet(backing, folder) as managers:
        yard = Yard(managers, slack, folder / "steps")
        try:
            yield yard
        finally:
            yard.kill()


async def prepared(yard: Yard) -> str:
    """A pool, and a person in Slack who may decide; the id of the person's key."""
    pool = {name: value for name, value in EXAMPLE_POOLS[POOL].items() if name not in ("launch", "scale")}
    await yard.call("PUT", f"/v1/pools/{POOL}", pool)
    await yard.call("PUT", f"/v1/slack/channels/{POOL}", {"channel": "#approvals"})
    key = await yard.call("POST", "/v1/keys", {"name": "ann", "tenant": "default", "scopes": ["approvals:decide"]})
    await yard.call("PUT", f"/v1/slack/users/{PERSON}", {"key_id": key["id"]})
    return str(key["id"])


async def asked(slack: SlackServer) -> Posted:
    """The message that asks."""

    async def posted() -> Posted | None:
        return slack.posted[-1] if slack.posted and slack.posted[-1].buttons() else None

    return await until_async(posted, "the question is in Slack") or slack.posted[-1]


async def test_a_task_waits_for_a_person_while_everything_dies(
    own: OwnServers, slack: SlackServer, tmp_path: Path
) -> None:
    async with yard_of(own.backing, slack, tmp_path) as yard:
        await yard.start()
        ann = await prepared(yard)
        await yard.start_agent()
        task_id = (await yard.call("POST", "/v1/tasks", {"pool": POOL, "payload": {"log": LOG}}))["id"]
        before = await yard.task(task_id, lambda task: task["status"] == "waiting", "the task waits")
        message = await asked(slack)
        assert all(word in message.seen() for word in ('"df"', '"-h"', '"/tmp"')), "it shows the exact arguments"

        yard.kill()
        for server in ("redis-server", "postgres"):
            await asyncio.to_thread(own.kill, server)
        await asyncio.to_thread(own.restart)
        await yard.start()
        await yard.start_agent()

        now = await yard.task(task_id, lambda _: True, "the task is there")
        assert (now["status"], now["waiting"]) == ("waiting", before["waiting"])
        assert [step["name"] for step in now["steps"]] == ["mine", "propose"]
        assert (await yard.click(b"payload=%7B%7D", {"X-Slack-Signature": "v0=forged"})).status_code == 401
        assert (await yard.click(*slack.press(message, APPROVE, PERSON))).status_code == 200
        done = await yard.task(task_id, lambda task: task["status"] == "succeeded", "the task has succeeded")
        await until_async(lambda: _outcome_shown(message), "Slack shows the outcome")
        page = await yard.call("GET", f"/v1/tasks/{task_id}/events?page_size=500", Accept="application/json")

    assert done["result"]["decision"]["status"] == "approved"
    assert done["result"]["decision"]["by"] == ann
    assert done["result"]["run"]["command"] == ["df", "-h", "/tmp"]
    assert done["result"]["run"]["exit_code"] == 0
    assert done["attempt"] == 1, f"waiting cost no try: {page}"
    assert (tmp_path / "steps").read_text().splitlines() == [f"{step} {task_id}" for step in ("mine", "propose", "run")]
    check_events(page["items"], done["result"]["run"]["command"], ann)
    ledger = Ledger(own.backing.database_url)
    assert await asyncio.to_thread(ledger.outcomes) == {("suspended", False): 1, ("succeeded", True): 1}
    assert await asyncio.to_thread(ledger.rows, "SELECT FROM waits") == []
    assert len(slack.posted) == 1, "nobody was asked twice"


async def _outcome_shown(message: Posted) -> bool:
    return not message.buttons() and "pproved" in message.seen() + message.text


def check_events(events: list[dict[str, Any]], command: list[str], ann: str) -> None:
    """All of it in one line, with who decided what, and from where."""
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events if event["type"] != "task.progress"] == [
        "task.queued",
        "task.running",
        "task.step",
        "task.step",
        "task.waiting",
        "approval.requested",
        "approval.decided",
        "task.resumed",
        "task.running",
        "task.step",
        "task.succeeded",
    ]
    by_type = {event["type"]: event["data"] for event in events}
    asked, decided = by_type["approval.requested"], by_type["approval.decided"]
    assert decided["payload_hash"] == asked["payload_hash"], f"what was shown is what ran: {command}"
    assert (decided["status"], decided["decided_by"]) == ("approved", ann)
    assert decided["source"] == f"slack:{PERSON}"
