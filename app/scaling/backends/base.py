"""The contract of scaling backends: what keeps the replicas of the pools of one launch kind."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from app.registry.records import PoolRecord


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that keeps a pool from being as it should: a stable code (snake case) and one sentence for people."""

    code: str
    message: str


ROLLOUT_FROZEN = Condition(
    "rollout_frozen",
    "The pool's launch changed and its replicas are not replaced: an objective's error budget is exhausted. New ones "
    "have the new launch.",
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a pass saw of one pool, after what it did.

    `replicas` exist, those that leave included; `ready` of them have an agent that may be given tasks. `cold_starts_s`:
    seconds from launch to ready, of those that became ready since the pass before.
    """

    replicas: int
    ready: int
    conditions: tuple[Condition, ...] = ()
    cold_starts_s: tuple[float, ...] = ()


class Backend(Protocol):
    """Keeps as many replicas of each pool as are wanted.

    The fleet loop of a leading manager calls it, one pass at a time; but two managers may both believe to lead, and a
    pass may be cut short anywhere. So a pass is level-based: it looks at what exists, and does what is missing.

    It takes away only what runs nothing (agents are drained first, idle ones, then the oldest), or what has had its
    grace: then `eviction.evict` returns its tasks to the queue, uncounted, before it ends.

    What a pass cannot do because the pool's launch is wrong is a condition of its answer. It may raise what the
    database raises, and BackendError when its platform is away or refuses; the loop makes a condition of that too, and
    tries again later. `close` may come while a pass is under way, by its cancellation.
    """

    kind: str

    async def open(self) -> None:
        """Connect what must be connected. Called once, before the first pass."""

    async def close(self) -> None:
        """Undo `open`. Replicas stay."""

    async def owned(self) -> Collection[str]:
        """Names of the pools of which it has replicas, those included that exist no more."""

    async def converge(self, name: str, pool: PoolRecord | None) -> Fleet:
        """One pass towards `pool.desired`; None: the pool is gone or launched otherwise, so nothing may stay."""

    async def end_all(self) -> None:
        """The whole service ends on this machine, and with it what lives only here."""


class BackendError(Exception):
    """The platform is away or refuses. `code` becomes the condition's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
