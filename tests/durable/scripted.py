"""Agents that suspend as their payload says, and asking what became of their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
from aiohttp import web

from tests.api.verbs import FINAL
from tests.support.stub_agent import stream

BOUND_S = 20.0


async def play(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Plays `payload["script"]`, a list of [event, data], from the first event whose step is not finished.

    Waits are skipped that were waited for. Without an end the result is all steps.
    """
    events: list[tuple[str, Any]] = []
    for name, data in (body["payload"] or {}).get("script", []):
        known = data.get("name") if name == "step" else data.get("step")
        if known is not None and known in body["steps"]:
            continue
        events.append((name, data))
        if name in ("suspend", "result", "error"):
            return await stream(request, *events)
    return await stream(request, *events, ("result", {"result": {"steps": body["steps"], "resume": body["resume"]}}))


def approval(step: str = "approve:shell", **fields: Any) -> list[Any]:
    """A suspend for an approval."""
    asked = {"step": step, "reason": "approval", "action": "shell", "args": {"command": ["ls"]}, **fields}
    return ["suspend", asked]


def calls(*called: dict[str, Any], step: str = "call") -> list[Any]:
    return ["suspend", {"step": step, "reason": "call", "calls": list(called)}]


def event(name: str = "paid", step: str = "event:paid", **fields: Any) -> list[Any]:
    return ["suspend", {"step": step, "reason": "event", "name": name, **fields}]


def timer(seconds: float, step: str = "sleep") -> list[Any]:
    return ["suspend", {"step": step, "reason": "timer", "seconds": seconds}]


def step(name: str, result: Any = None) -> list[Any]:
    return ["step", {"name": name, "result": result}]


async def until(
    client: httpx.AsyncClient, task_id: str, done: Callable[[dict[str, Any]], bool], bound_s: float = BOUND_S
) -> dict[str, Any]:
    """The task, as soon as `done(task)`."""
    task: dict[str, Any] = {}
    try:
        async with asyncio.timeout(bound_s):
            while True:
                task = (await client.get(f"/v1/tasks/{task_id}")).json()
                if done(task):
                    return task
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {bound_s} s; the task is {task}") from None


async def waiting(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    """The task once it waits."""
    return await until(client, task_id, lambda task: task["status"] == "waiting")


async def final(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    """The task once it is final."""
    return await until(client, task_id, lambda task: task["status"] in FINAL)


async def events_of(client: httpx.AsyncClient, task_id: str) -> list[dict[str, Any]]:
    answer = await client.get(f"/v1/tasks/{task_id}/events?page_size=500", headers={"Accept": "application/json"})
    return list(answer.json()["items"])


async def types_of(client: httpx.AsyncClient, task_id: str) -> list[str]:
    return [item["type"] for item in await events_of(client, task_id)]
