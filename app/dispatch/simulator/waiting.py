"""The pool's queue: in order of submission; a task that comes back goes to the front, as in the product."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from app.dispatch.balancers.base import TaskView

TRIED_BEHIND = 4
"""Of one type so many tasks that a strategy keeps queued are offered in one pass: those behind them have waited less,
so that they would be kept as well, and a pass stays short however long the queue is."""


class Waiting:
    """Tasks that could run now; `serve` is one pass over them."""

    __slots__ = ("_back", "_by_type", "_front", "_length")

    def __init__(self) -> None:
        self._by_type: dict[str, deque[tuple[int, TaskView, int]]] = {}
        self._front, self._back, self._length = 0, 0, 0

    def __len__(self) -> int:
        return self._length

    def add(self, number: int, view: TaskView, *, first: bool = False) -> None:
        """Queue task `number` behind all others, or before them."""
        queue = self._by_type.get(view.type)
        if queue is None:
            queue = self._by_type[view.type] = deque()
        if first:
            self._front -= 1
            queue.appendleft((self._front, view, number))
        else:
            self._back += 1
            queue.append((self._back, view, number))
        self._length += 1

    def serve(self, take: Callable[[int, TaskView], bool | None]) -> bool:
        """Offer tasks in order to `take`, which answers True: taken, False: it stays queued, None: no slot is free.
        Whether any was left though a slot was free."""
        kept: dict[str, int] = {}
        while True:
            queue, skip = self._next(kept)
            if queue is None:
                return bool(kept)
            _, view, number = queue[skip]
            taken = take(number, view)
            if taken is None:
                return bool(kept)
            if taken:
                del queue[skip]
                self._length -= 1
            else:
                kept[view.type] = skip + 1

    def _next(self, kept: dict[str, int]) -> tuple[deque[tuple[int, TaskView, int]] | None, int]:
        best, skip, place = None, 0, 0
        for name, queue in self._by_type.items():
            behind = kept.get(name, 0)
            if len(queue) > behind and behind < TRIED_BEHIND and (best is None or queue[behind][0] < place):
                best, skip, place = queue, behind, queue[behind][0]
        return best, skip
