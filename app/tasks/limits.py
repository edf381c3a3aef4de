"""What submitting asks of the limits; `app.limits` answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from app.auth.callers import Caller


@dataclass(frozen=True, slots=True)
class KeyLimit:
    """How many tasks run at once under one concurrency key, and what becomes of one more: queue, reject or
    cancel_older."""

    limit: int
    policy: str


class TaskLimits(Protocol):
    """`admit` is asked before anything is written, and raises RateLimited; the others answer from memory.

    `shed` raises EmergencyMode for a submission of too low a priority; `asks_people`: whether people decide in the pool
    what its policies would let pass.
    """

    async def admit(self, caller: Caller, counts: Mapping[str, int]) -> None: ...

    def of_key(self, tenant: str, pool: str) -> KeyLimit | None: ...

    def shed(self, pool: str, priority: int) -> None: ...

    def asks_people(self, pool: str) -> bool: ...
