"""Small worlds, and autoscalers that do as they are told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.scaling.simulator.lens import Reading, Size
from app.scaling.simulator.world import Bounds, Gap, Task, World


def small(
    tasks: Iterable[tuple[float, float]],
    *,
    bounds: Bounds | None = None,
    replicas: int = 1,
    duration_s: float = 600.0,
    gaps: tuple[Gap, ...] = (),
    noise: float = 0.0,
) -> World:
    """Tasks as (at, seconds)."""
    return World(
        name="small",
        tasks=tuple(sorted((Task(at_s, service_s) for at_s, service_s in tasks), key=lambda task: task.at_s)),
        duration_s=duration_s,
        bounds=bounds or Bounds(1, 50, 2, 30.0),
        replicas=replicas,
        seed=1,
        gaps=gaps,
        noise=noise,
    )


class Scripted:
    """Wants what `numbers` say, one a tick, and the last of them from then on; keeps what it saw."""

    def __init__(self, numbers: Sequence[int], interval_s: float = 10.0) -> None:
        self.interval_s = interval_s
        self._numbers = list(numbers)
        self.seen: list[tuple[float, Reading | None, Size]] = []

    def desired(self, seen: Reading | None, size: Size, now: float) -> int:
        self.seen.append((now, seen, size))
        return self._numbers.pop(0) if len(self._numbers) > 1 else self._numbers[0]
