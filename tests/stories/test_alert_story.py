"""An agent starts to fail, people are called, the service defends itself, the agent is mended, and people are told.

The alert goes pending, firing, recovering, resolved; Slack has one message of it from the first to the last, PagerDuty
one incident; emergency mode sheds low priority while it fires, and is over when it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.fakes.pagerduty import Incident, PagerDuty
from tests.support.service import Fleet, Manager
from tests.support.slack_server import Posted, SlackServer
from tests.support.stub_agent import StubAgent, echo
from tests.support.waiting import until_async

KEY = "R0" + "a1" * 15
RULE = {
    "signal": "success_rate",
    "comparison": "<",
    "threshold": 0.8,
    "for_s": 2,
    "keep_firing_for_s": 4,
    "severity": "critical",
    "action": "immediate_intervention",
    "matchers": [{"name": "pool", "op": "=", "value": "echo"}],
    "annotations": {"summary": "Only {{ $value | humanizePercentage }} of {{ $labels.pool }} succeed."},
}
ROUTE = {"group_wait_s": 0, "group_interval_s": 1, "repeat_interval_s": 3600}


async def broken(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
    return web.json_response({"detail": "out of order"}, status=400)


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    running = await SlackServer().start()
    yield running
    await running.stop()


@pytest.fixture
async def pagerduty() -> AsyncIterator[PagerDuty]:
    running = PagerDuty(keys={KEY})
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def agent() -> AsyncIterator[StubAgent]:
    running = await StubAgent().start()
    yield running
    await running.stop()


class Story:
    """One manager as its users see it; `seen` are the phases that its alert had, in order."""

    def __init__(self, manager: Manager) -> None:
        self._client = httpx.AsyncClient(
            base_url=manager.url, headers={"Authorization": f"Bearer {manager.backing.admin_key}"}, timeout=60.0
        )
        self.seen: list[str] = []

    async def __aenter__(self) -> Story:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self._client.request(method, path, json=body)

    async def done(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.call(method, path, body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def work(self, count: int) -> None:
        """So many tasks, submitted and ended."""
        tasks = [{"pool": "echo", "priority": 5, "max_attempts": 1} for _ in range(count)]
        made = await self.done("POST", "/v1/tasks/batch", {"tasks": tasks})
        for task in made["tasks"]:
            await until_async(lambda at=task["id"]: self._ended(at), "a task has ended")

    async def _ended(self, task_id: str) -> bool:
        task = await self.done("GET", f"/v1/tasks/{task_id}")
        return task["status"] in ("succeeded", "failed")

    async def reach(self, phase: str) -> dict[str, Any]:
        """Wait until the alert is in this phase; phases on the way are seen too."""

        async def look() -> dict[str, Any] | None:
            found = (await self.done("GET", "/v1/alerts?rule=echo_failing"))["items"]
            if found and (not self.seen or self.seen[-1] != found[0]["phase"]):
                self.seen.append(found[0]["phase"])
            return found[0] if found and found[0]["phase"] == phase else None

        try:
            return await until_async(look, f"the alert is {phase}", 120.0)
        except AssertionError as exc:
            said = (await self.call("GET", "/v1/alert-rules/echo_failing/explain")).text
            raise AssertionError(f"{exc}; seen: {self.seen}; {said}") from None


async def test_an_agent_fails_and_recovers(
    managers: Fleet, slack: SlackServer, pagerduty: PagerDuty, agent: StubAgent
) -> None:
    agent.handler = broken
    manager = await asyncio.to_thread(
        managers.manager,
        **slack.environment("C0OPS"),
        YARD_ALERTS_PAGERDUTY_URL=pagerduty.url,
        YARD_ALERTS_INTERVAL_S="0.5",
        YARD_ALERTS_FLUSH_INTERVAL_S="0.2",
        YARD_WEBHOOKS_ALLOWED_NETWORKS='["127.0.0.0/8"]',
    )
    async with Story(manager) as story:
        await story.done("PUT", "/v1/pools/echo", {"skills": {"echo": 1.0}, "slots": 8})
        await story.done("POST", "/v1/agents", {"pool": "echo", "url": agent.url, "slots": 8})
        await story.done("PUT", "/v1/receivers/ops", {"kind": "slack", "config": {"channel": "C0OPS"}, **ROUTE})
        await story.done("PUT", "/v1/receivers/oncall", {"kind": "pagerduty", "config": {"routing_key": KEY}, **ROUTE})
        await story.done("PUT", "/v1/alert-rules/echo_failing", RULE)

        await story.work(20)
        await story.reach("pending")
        assert not slack.posted, "a pending alert calls nobody"
        await story.reach("firing")
        message = await until_async(lambda: _message(slack), "Slack has the alert")
        incident = await until_async(lambda: _incident(pagerduty, "open"), "PagerDuty has an incident")
        assert "Only 0% of echo succeed." in message.seen()
        assert incident.severity == "critical"

        await until_async(lambda: _emergency(story), "emergency mode is on")
        shed = await story.call("POST", "/v1/tasks", {"pool": "echo", "priority": -5})
        assert (shed.status_code, shed.json()["code"]) == (503, "emergency_mode")
        assert "Retry-After" in shed.headers
        await story.work(1)  # what matters still goes through

        agent.handler = echo
        await story.work(120)
        await story.reach("recovering")
        assert incident.state == "open", "still firing for people"
        await story.reach("resolved")
        assert story.seen == ["pending", "firing", "recovering", "resolved"]
        await until_async(lambda: _incident(pagerduty, "resolved"), "PagerDuty's incident is resolved")
        await until_async(lambda: _shows_the_end(message), "Slack's message shows the end")
        await until_async(lambda: _calm(story), "emergency mode is over")
        assert (await story.call("POST", "/v1/tasks", {"pool": "echo", "priority": -5})).status_code == 202

        assert [posted.ts for posted in slack.posted if not posted.thread_ts] == [message.ts], "one message"
        assert len(pagerduty.incidents) == 1
        assert [event["event_action"] for event in incident.events] == ["trigger", "resolve"]
        assert not pagerduty.refused
        sent = (await story.done("GET", "/v1/notifications?page_size=200"))["items"]
        reasons = sorted((item["receiver"], item["reason"]) for item in sent if item["sent"])
        assert reasons == [("oncall", "first"), ("oncall", "resolved"), ("ops", "first"), ("ops", "resolved")]


async def _message(slack: SlackServer) -> Posted | None:
    return slack.posted[0] if slack.posted else None


async def _incident(pagerduty: PagerDuty, state: str) -> Incident | None:
    return next((item for item in pagerduty.incidents.values() if item.state == state), None)


async def _shows_the_end(message: Posted) -> bool:
    return message.versions > 1 and "resolved" in message.seen().lower()


async def _emergency(story: Story) -> bool:
    return bool((await story.done("GET", "/v1/emergency-mode"))["on"])


async def _calm(story: Story) -> bool:
    return not await _emergency(story)
