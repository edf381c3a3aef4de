"""How long pods take from their creation until their agents work."""

from __future__ import annotations

from collections.abc import Sequence

from app.scaling.backends.kubernetes.choice import Worker


class ColdStarts:
    """Each pod is told once, and only one whose start was seen: not those that worked before we came."""

    def __init__(self) -> None:
        self._starting: dict[str, set[str]] = {}

    def of(self, deployment: str, workers: Sequence[Worker], now: float) -> tuple[float, ...]:
        """Seconds, of those that began to work since the last time."""
        starting = self._starting.pop(deployment, set())
        there = {worker.pod.uid: worker for worker in workers if worker.pod.active}
        started = [uid for uid in starting & there.keys() if there[uid].fit]
        new = {uid for uid, worker in there.items() if not worker.fit and worker.status in ("", "starting")}
        left = (starting & there.keys() | new) - set(started)
        if left:
            self._starting[deployment] = left
        return tuple(sorted(max(0.0, now - there[uid].pod.created) for uid in started))
