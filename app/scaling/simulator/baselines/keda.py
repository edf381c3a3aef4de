"""KEDA: an HPA on the length of a queue, and zero replicas where that is empty.

Source: keda.sh, "ScaledObject specification" and "Scaling Deployments"; the HPA that it makes takes the queue as an
external metric of type AverageValue (kubernetes.io, "Algorithm details").

The length is of tasks that wait or run, as brokers count messages that are not acknowledged (and as KEDA's scalers for
SQS and RabbitMQ do by default): counted only while they wait, a pool that keeps up would be scaled to its minimum in
the middle of its work. The target is one task a slot.
"""

from __future__ import annotations

import math

from app.scaling.simulator.baselines.hpa import SYNC_S, TOLERANCE, Behaviour
from app.scaling.simulator.lens import Reading, Size
from app.scaling.simulator.world import Bounds

POLL_S = 30.0
COOLDOWN_S = 300.0
TARGET = 1.0


def recommended(length: int, current: int, per_replica: float) -> int:
    """Pods by ceil(length ÷ target), unchanged where length ÷ (target · pods) is within 0.1 of 1."""
    if current and abs(length / (per_replica * current) - 1.0) <= TOLERANCE:
        return current
    return math.ceil(length / per_replica - 1e-9)


class Keda:
    """A ScaledObject of one pool: between 1 and max its HPA decides, every 15 s; from 0 to 1 and back KEDA itself,
    every 30 s: up when there is anything in the queue, down when there was nothing for 300 s."""

    interval_s = SYNC_S

    def __init__(self, bounds: Bounds, target: float = TARGET) -> None:
        self._bounds, self._per_replica = bounds, target * bounds.slots
        self._behaviour = Behaviour([])
        self._active_s, self._polled_s = 0.0, -POLL_S

    def desired(self, seen: Reading | None, size: Size, now: float) -> int:
        if seen is None:
            return size.wanted
        length = seen.counts.queued + seen.counts.running
        if now - self._polled_s >= POLL_S:
            self._polled_s = now
            if length:
                self._active_s = now
            if size.wanted == 0:
                return 1 if length else 0
            if self._bounds.min == 0 and now - self._active_s >= COOLDOWN_S:
                return 0
        if size.wanted == 0:
            return 0
        asked = recommended(length, size.wanted, self._per_replica)
        bounded = max(1, self._bounds.min, min(self._bounds.max, asked))
        return self._behaviour.limited(bounded, size.wanted, now)
