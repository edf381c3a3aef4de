"""Agents that this manager offers nothing of for a while, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Why = Literal["busy", "unreachable", "ejected"]


@dataclass(frozen=True, slots=True)
class _Pause:
    timer: asyncio.TimerHandle
    why: Why


class Pauses:
    """At most one pause of a kind an agent; `on_over(agent_id)` is called when its last one has run out.

    `ejected` is one kind; `busy` and `unreachable` are one other: a refusal of either sort.
    """

    def __init__(self, on_over: Callable[[str], None]) -> None:
        self._on_over = on_over
        self._running: dict[tuple[str, bool], _Pause] = {}

    def __contains__(self, agent_id: str) -> bool:
        return (agent_id, False) in self._running or (agent_id, True) in self._running

    def why(self, agent_id: str) -> Why | None:
        """Why the agent refused; None if it did not, or only long ago."""
        pause = self._running.get((agent_id, False))
        return None if pause is None else pause.why

    def begin(self, agent_id: str, why: Why, seconds: float) -> None:
        """Start a pause, in place of one of that kind."""
        key = (agent_id, why == "ejected")
        self._cancel(key)
        timer = asyncio.get_running_loop().call_later(seconds, self._over, key)
        self._running[key] = _Pause(timer, why)

    def end_refusal(self, agent_id: str) -> None:
        """The agent takes calls again: it need not wait for the end of its pause."""
        if self._cancel((agent_id, False)) and agent_id not in self:
            self._on_over(agent_id)

    def end_ejection(self, agent_id: str) -> None:
        """The agent may get tasks before its time: it is an outlier no more."""
        if self._cancel((agent_id, True)) and agent_id not in self:
            self._on_over(agent_id)

    def forget(self, agent_id: str) -> None:
        """The agent is gone or has started anew: all is forgotten, without a call of `on_over`."""
        self._cancel((agent_id, False))
        self._cancel((agent_id, True))

    def close(self) -> None:
        """Forget everything."""
        for pause in self._running.values():
            pause.timer.cancel()
        self._running.clear()

    def _over(self, key: tuple[str, bool]) -> None:
        self._running.pop(key, None)
        if key[0] not in self:
            self._on_over(key[0])

    def _cancel(self, key: tuple[str, bool]) -> bool:
        pause = self._running.pop(key, None)
        if pause is not None:
            pause.timer.cancel()
        return pause is not None
