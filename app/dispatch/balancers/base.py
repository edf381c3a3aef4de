"""The balancer seam: who gets the next task.

A balancer belongs to one pool in one manager. The dispatch loop calls it from one coroutine, never concurrently:

    choose(task, offer, now)   before each attempt. `offer` are only agents in which this manager has a free slot,
                               that are fit to work, and that the task may go to; it is never empty. Returns the id
                               of one of them, or None to keep the task queued for now (late binding).
    started(agent_id, task, now)
    finished(agent_id, task, outcome, now)   once for every `started`, whatever happened to the attempt
    joined(agent, now)         the agent came, or its facts (version, weight, skills) changed
    left(agent_id, now)

`now` is monotonic seconds of the caller's clock. A balancer does no I/O, reads no clock, takes its randomness from the
`random.Random` it was built with, and holds only what it learned: a new one with no memory is always correct. A
balancer that raises, or names an agent that was not offered, does not lose the task: the caller counts it, logs it
and falls back to the least loaded of some agents offered.

A pool may have 10,000 agents: `choose` does bounded work, by drawing from the offer instead of reading all of it.

Two further abilities are optional, each a Protocol here: a `Learner` shares what it learned with the other managers
and shows it to people, an `Ejector` handles outliers itself (for all others the caller does: `dispatch.outliers`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

MAX_SCAN = 64
"""How many agents a strategy that compares agents looks at: all of them in a pool with up to so many free ones, a
random draw of so many in a larger one."""


@dataclass(slots=True)
class TaskView:
    """What a balancer may know of a task. `complexity` is 0..1; `waited_s` seconds since it could have run."""

    id: str
    type: str
    complexity: float = 0.5
    waited_s: float = 0.0
    thread_id: str | None = None


@dataclass(slots=True)
class AgentView:
    """One agent as offered for a choice: read it during the call, never change it, do not keep it.

    `slots` and `in_flight` are this manager's own: the slots it owns in the agent and the attempts it has there, so
    `in_flight < slots` always holds for an offered agent. `weight` is the operator's 1..10 (5 is normal).
    `skills` maps task type to compatibility 0..1. `version` names the agent's class within the pool.
    """

    id: str
    slots: int
    in_flight: int
    weight: float = 5.0
    version: str = ""
    skills: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """How an attempt ended. `seconds` from call to answer; `ok` True only for a result.

    `counted` False: a refusal (429, 503) or a cancelled attempt, which says nothing about the agent's quality.
    `agents_fault` False: a failure of the task itself, which would have been the same on any agent.
    """

    ok: bool
    seconds: float
    counted: bool = True
    agents_fault: bool = True


class Offer(Protocol):
    """The agents a task may go to now, valid during one `choose`. Everything but iterating costs the same however many
    there are (`draw`: in proportion to `count`)."""

    def __len__(self) -> int: ...

    def __contains__(self, agent_id: object) -> bool: ...

    def __iter__(self) -> Iterator[AgentView]: ...

    def get(self, agent_id: str) -> AgentView | None:
        """The agent, or None if it is not offered."""
        ...

    def draw(self, rng: random.Random, count: int, version: str | None = None) -> Sequence[AgentView]:
        """`count` different agents drawn evenly at random (of one version), or all there are, in no useful order."""
        ...


class Balancer(Protocol):
    """See the module's text for who calls and what may be raised."""

    def choose(self, task: TaskView, offer: Offer, now: float) -> str | None: ...

    def started(self, agent_id: str, task: TaskView, now: float) -> None: ...

    def finished(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> None: ...

    def joined(self, agent: AgentView, now: float) -> None: ...

    def left(self, agent_id: str, now: float) -> None: ...


@runtime_checkable
class Learner(Protocol):
    """A balancer whose knowledge can be shared and shown.

    After a restart the caller replays recent attempts as `finished` calls, oldest first, with `now` in the past.
    """

    def summary(self, now: float) -> dict[str, Any]:
        """What this manager itself observed (nothing merged), as a JSON object of bounded size."""
        ...

    def merge(self, summaries: Sequence[Mapping[str, Any]], now: float) -> None:
        """The other managers' latest summaries: all of them each time, in place of those merged before. Whatever is
        not understood in them (another release wrote it) is ignored."""
        ...

    def learned(self, now: float) -> dict[str, Any]:
        """What is known now, for people: {"agents": {id: {...}}, ...}, a JSON object."""
        ...

    def last_choices(self) -> Sequence[Mapping[str, Any]]:
        """The last choices, newest first: task, agent chosen or none, why, and the score of each agent considered."""
        ...


@runtime_checkable
class Ejector(Protocol):
    """A balancer that keeps tasks from outliers itself, never from more than 30 % of the pool."""

    def ejected(self, now: float) -> Mapping[str, tuple[float, str]]:
        """Agent id → (seconds for which it still gets nothing but a trial, the reason in a few words)."""
        ...
