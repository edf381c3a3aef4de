"""Which task types wait for a better agent: those deferred lately, or placed after a wait, as more of them may follow.

Only for types, and only for a moment: a strategy is not told of the queue behind the task it is offered.
"""

from __future__ import annotations

LATELY_S = 1.0
LATELY_SHARE = 0.5
"""How long a sign of waiting counts: LATELY_S, as a task left in the queue is offered again sooner, or so large a share
of the time the task had waited, as there are likely others behind it."""

MAX_SIGNS = 64
"""Classes waited for, and types that wait for each, of which the latest sign is kept."""


class Queueing:
    """The types that wait, by the class they wait for."""

    __slots__ = ("_signs",)

    def __init__(self) -> None:
        self._signs: dict[str, dict[str, tuple[float, float]]] = {}  # class -> type -> when, and for how long it counts

    def waits(self, task_type: str, cls: str, waited_s: float, now: float) -> None:
        """A task of the type is waiting for an agent of the class, or got one, after so long."""
        types = self._signs.pop(cls, {})
        types.pop(task_type, None)
        types[task_type] = (now, max(LATELY_S, LATELY_SHARE * waited_s))
        self._signs[cls] = types  # the latest comes last
        if len(types) > MAX_SIGNS:
            del types[next(iter(types))]
        if len(self._signs) > MAX_SIGNS:
            del self._signs[next(iter(self._signs))]

    def at_once(self, task_type: str, cls: str) -> None:
        """A task of the type was placed without a wait: none of it waits for the class."""
        types = self._signs.get(cls)
        if types is not None:
            types.pop(task_type, None)
            if not types:
                del self._signs[cls]

    def wanted(self, cls: str, by_other_than: str, now: float) -> bool:
        """Whether another type waits for the class."""
        types = self._signs.get(cls)
        if not types:
            return False
        return any(
            task_type != by_other_than and 0.0 <= now - since <= lasts for task_type, (since, lasts) in types.items()
        )
