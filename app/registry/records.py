"""Pools and agents as plain values, the way every other domain sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from app.registry.contract import Schema

WORKING = frozenset({"idle", "busy"})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delay before try n+1: initial_s · factor^(n−1), at most max_s, spread by ±jitter (a share, 0..1)."""

    initial_s: float = 1.0
    max_s: float = 60.0
    factor: float = 2.0
    jitter: float = 0.2


@dataclass(frozen=True)
class PoolRecord:
    """One pool."""

    name: str
    description: str
    skills: dict[str, float]
    slots: int
    balancer: str
    timeout_s: float
    max_attempts: int
    retry: dict[str, Any]
    scale: dict[str, Any]
    launch: dict[str, Any]
    input_schema: dict[str, Any] | None
    output_schema: dict[str, Any] | None
    desired: int
    created_at: datetime
    updated_at: datetime
    approvals: dict[str, Any] = field(default_factory=dict)
    conditions: list[dict[str, str]] = field(default_factory=list)

    @cached_property
    def retry_policy(self) -> RetryPolicy:
        return RetryPolicy(**self.retry)

    @cached_property
    def input_contract(self) -> Schema:
        return Schema(self.input_schema, "input_schema")

    @cached_property
    def output_contract(self) -> Schema:
        return Schema(self.output_schema, "output_schema")


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """One agent."""

    id: UUID
    pool: str
    url: str
    slots: int
    weight: float
    version: str
    labels: dict[str, str]
    status: str
    status_reason: str
    running: int
    registered_at: datetime
    heartbeat_at: datetime | None
    last_seen_at: datetime
    updated_at: datetime
    token_digest: bytes = field(repr=False)
    ejected_until: datetime | None = None
    ejected_reason: str = ""
    stopped: bool = False
    key: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", str(self.id))

    @property
    def works(self) -> bool:
        """Whether it may be given tasks: it is well, and no stop is of it."""
        return self.status in WORKING and not self.stopped

    def is_ejected(self, now: datetime) -> bool:
        """Whether a manager found it to be an outlier and gives it nothing for now."""
        return self.ejected_until is not None and self.ejected_until > now
