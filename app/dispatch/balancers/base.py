"""The balancer seam: who gets the next task.

A balancer belongs to one pool in one manager. The dispatch loop calls it from one coroutine, never concurrently:

    choose(task, agents, now)  before each attempt. `agents` are only those in which this manager has a free slot,
                               that are fit to work, and that the task may go to; it is never empty. Returns the id
                               of one of them, or None to keep the task queued for now (late binding).
    started(agent_id, task, now)
    finished(agent_id, task, outcome, now)   once for every `started`, whatever happened to the attempt
    joined / left(agent_id, now)             membership of the pool

`now` is monotonic seconds of the caller's clock. A balancer does no I/O, reads no clock, takes its randomness from the
`random.Random` it was built with, and holds only what it learned: a new one with no memory is always correct. A
balancer that raises, or names an agent that was not offered, does not lose the task: the caller counts it, logs it
and falls back to the least loaded agent offered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TaskView:
    """What a balancer may know of a task. `complexity` is 0..1; `waited_s` seconds since it could have run."""

    id: str
    type: str
    complexity: float = 0.5
    waited_s: float = 0.0
    thread_id: str | None = None


@dataclass(frozen=True, slots=True)
class AgentView:
    """One agent as offered for a choice.

    `slots` and `in_flight` are this manager's own: the slots it owns in the agent and the attempts it has there, so
    `in_flight < slots` always holds for an offered agent. `weight` is the operator's 1..10 (5 is normal).
    `skills` maps task type to compatibility 0..1 (the pool's). `version` names the agent's class within the pool.
    """

    id: str
    slots: int
    in_flight: int
    weight: float = 5.0
    version: str = ""
    skills: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. `seconds` from call to answer; `counted` False for a refusal (429, 503) or a cancelled
    attempt, which says nothing about the agent's quality; `ok` True only for a result."""

    ok: bool
    seconds: float
    counted: bool = True


class Balancer(Protocol):
    """See the module's text for who calls and what may be raised."""

    def choose(self, task: TaskView, agents: Sequence[AgentView], now: float) -> str | None: ...

    def started(self, agent_id: str, task: TaskView, now: float) -> None: ...

    def finished(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> None: ...

    def joined(self, agent_id: str, now: float) -> None: ...

    def left(self, agent_id: str, now: float) -> None: ...
