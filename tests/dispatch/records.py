"""Pools, agents and claimed tasks as plain values, with everything a test does not care about filled in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from app.registry.records import AgentRecord, PoolRecord
from app.registry.view import RegistryView
from app.tasks.queue import Ready

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def pool_record(name: str = "p", **fields: Any) -> PoolRecord:
    values: dict[str, Any] = {
        "description": "", "skills": {}, "slots": 1, "balancer": "round_robin", "timeout_s": 60.0, "max_attempts": 3,
        "retry": {"initial_s": 0.0, "jitter": 0.0}, "scale": {"min": 0, "max": 9}, "launch": {"kind": "external"},
        "input_schema": None, "output_schema": None, "desired": 0, "created_at": EPOCH, "updated_at": EPOCH,
    }  # fmt: skip
    return PoolRecord(name, **{**values, **fields})


def agent_record(pool: str = "p", **fields: Any) -> AgentRecord:
    values: dict[str, Any] = {
        "id": uuid4(), "url": "http://127.0.0.1:1", "slots": 1, "weight": 5.0, "version": "", "labels": {},
        "status": "idle", "status_reason": "", "running": 0, "registered_at": EPOCH, "heartbeat_at": EPOCH,
        "last_seen_at": EPOCH, "updated_at": EPOCH, "token_digest": b"",
    }  # fmt: skip
    return AgentRecord(pool=pool, **{**values, **fields})


def ready_task(pool: str = "p", **fields: Any) -> Ready:
    values: dict[str, Any] = {
        "id": uuid4(), "tenant": "t", "type": "work", "attempt": 0, "max_attempts": 3, "fence": 0,
        "pinned_agent_id": None, "agent_id": None, "rejoin": False, "complexity": 0.5, "thread_id": None,
        "synthetic": False, "traceparent": None, "priority": 0, "waited_s": 0.0,
    }  # fmt: skip
    return Ready(pool=pool, **{**values, **fields})


def view_of(pools: list[PoolRecord], agents: list[AgentRecord]) -> RegistryView:
    """A view that knows these and asks no database."""
    view = RegistryView(None)  # type: ignore[arg-type]
    view.pools = {pool.name: pool for pool in pools}
    view.agents = {agent.id: agent for agent in agents}
    for agent in agents:
        view.by_pool.setdefault(agent.pool, {})[agent.id] = agent
    return view


def task_id(number: int) -> UUID:
    return UUID(int=number)
