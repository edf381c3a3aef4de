"""The last choices, for people. A choice adds one tuple; words are made when somebody reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

KEPT = 50
"""Choices kept."""

Considered = tuple[str, float, float, float, float, float, float]
"""One agent: id, cost, and what makes it: usual seconds, slowness, warm-up factor, load share, failure rate."""

Choice = tuple[float, str, str, float, str, str, float, list[Considered]]
"""When, task id, type, seconds waited, agent ("" for none), why, usual cost, agents considered."""

CHEAPEST, THREAD = "cheapest", "served the thread last"
WAIT_HOME = "a better class of agent is worth waiting for"
WAIT_SLOW = "a normal agent is worth waiting for"
WAIT_WANTED = "left to another task type that waits for this class"
NONE_FIT = "all agents considered are ejected"


class Journal:
    """A ring of the last choices."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: deque[Choice] = deque(maxlen=KEPT)

    def add(
        self,
        now: float,
        task_id: str,
        task_type: str,
        waited_s: float,
        chosen: str | None,
        why: str,
        home_cost: float,
        considered: list[Considered],
    ) -> None:
        self._choices.append((now, task_id, task_type, waited_s, chosen or "", why, home_cost, considered))

    def forget(self, agent_id: str) -> None:
        """Drop the choices of an agent that is gone, and it from the others."""
        kept = [
            (*choice[:7], [one for one in choice[7] if one[0] != agent_id])
            for choice in self._choices
            if choice[4] != agent_id
        ]
        self._choices = deque(kept, maxlen=KEPT)

    def read(self) -> Sequence[Mapping[str, Any]]:
        """Newest first, each a JSON object; costs in seconds."""
        return [_words(*choice) for choice in reversed(self._choices)]


def _words(
    now: float,
    task_id: str,
    task_type: str,
    waited_s: float,
    chosen: str,
    why: str,
    home_cost: float,
    considered: list[Considered],
) -> dict[str, Any]:
    names = ("agent", "cost_s", "usual_s", "slowness", "warm_up", "load", "failure_rate")
    return {
        "at": now,
        "task": {"id": task_id, "type": task_type, "waited_s": waited_s},
        "agent": chosen or None,
        "why": why,
        "usual_cost_s": home_cost,
        "considered": [dict(zip(names, one)) for one in sorted(considered, key=lambda one: one[1])],  # noqa: B905
    }
