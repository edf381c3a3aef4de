"""Pools that are Deployments, for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.registry.records import PoolRecord
from app.scaling.backends.kubernetes.manifest import Place

AT = datetime(2026, 1, 1, tzinfo=UTC)
LAUNCH: dict[str, Any] = {
    "kind": "kubernetes",
    "image": "ghcr.io/acme/agents:1.4.2",
    "command": [],
    "args": [],
    "env": {},
    "env_from_secrets": [],
    "port": 8080,
    "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
    "service_account": None,
    "image_pull_secrets": [],
    "node_selector": {},
}
PLACE = Place("agents", "yardmaster", "yardmaster-agent-key", "k1", "http://yard.yard-system:8080")


def pool(
    name: str = "log_analyzer", *, desired: int = 1, scale: dict[str, Any] | None = None, **launch: Any
) -> PoolRecord:
    """A pool record; `launch` changes its launch spec."""
    return PoolRecord(
        name=name,
        description="",
        skills={},
        slots=4,
        balancer="round_robin",
        timeout_s=60.0,
        max_attempts=3,
        retry={},
        scale=scale or {"min": 0, "max": 10},
        launch={**LAUNCH, **launch},
        input_schema=None,
        output_schema=None,
        desired=desired,
        created_at=AT,
        updated_at=AT,
    )
