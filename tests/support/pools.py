"""Defining a pool and putting agents into it, over the REST API."""

from __future__ import annotations

from typing import Any

import httpx

RETRY = {"initial_s": 0.1, "max_s": 0.5, "factor": 2.0, "jitter": 0.0}


def define_pool(client: httpx.Client, pool: str, **fields: Any) -> None:
    """A pool with quick retries."""
    answer = client.put(f"/v1/pools/{pool}", json={"retry": RETRY, **fields})
    assert answer.status_code == 200, answer.text


def register(client: httpx.Client, pool: str, url: str, slots: int) -> str:
    """Register the agent at `url`; its id."""
    answer = client.post("/v1/agents", json={"pool": pool, "url": url, "slots": slots})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def submit(client: httpx.Client, pool: str, payload: Any, **fields: Any) -> str:
    """Submit one task; its id."""
    answer = client.post("/v1/tasks", json={"pool": pool, "payload": payload, **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def submit_many(client: httpx.Client, pool: str, payloads: list[Any]) -> list[str]:
    """Submit up to 1,000 tasks in one call; their ids in order."""
    answer = client.post("/v1/tasks/batch", json={"tasks": [{"pool": pool, "payload": item} for item in payloads]})
    assert answer.status_code == 202, answer.text
    return [str(task["id"]) for task in answer.json()["tasks"]]
