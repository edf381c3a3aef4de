"""What one pass of the autoscaler leaves for the next, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from app.scaling.decision import History
from app.scaling.demand import Counts, Measured, Sample, Service


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and requests of the model's provider per attempt that used any, as read at `at` (epoch seconds)."""

    at: float = 0.0
    tokens: float = 0.0
    requests: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """`desired`: what the pass left wanted (None: nothing yet); where something else is wanted now, people scaled.
    `noted_at`: when a decision was last noted (epoch seconds)."""

    measured: Measured = field(default_factory=Measured)
    history: History = field(default_factory=History)
    usage: Usage = field(default_factory=Usage)
    desired: int | None = None
    code: str = ""
    noted_at: float = 0.0

    def to_json(self) -> dict[str, Any]:
        measured = self.measured
        return {
            "at": measured.at,
            "counts": asdict(measured.counts),
            "samples": [[sample.at, sample.seconds, sample.arrivals] for sample in measured.samples],
            "service": {**asdict(measured.service), "bins": sorted(measured.service.bins.items())},
            "recommended": self.history.recommended,
            "busy_at": self.history.busy_at,
            "usage": asdict(self.usage),
            "desired": self.desired,
            "code": self.code,
            "noted_at": self.noted_at,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> State:
        """A state of another version of this program, or a damaged one, is as none: it is measured anew."""
        try:
            return cls() if not value else _read(value)
        except (KeyError, TypeError, ValueError):
            return cls()


def _read(value: Mapping[str, Any]) -> State:
    service = {**value["service"], "bins": {int(index): float(weight) for index, weight in value["service"]["bins"]}}
    samples = tuple(Sample(*map(float, sample)) for sample in value["samples"])
    return State(
        Measured(value["at"], Counts(**value["counts"]), samples, Service(**service)),
        History(tuple((float(at), int(count)) for at, count in value["recommended"]), value["busy_at"]),
        Usage(**value["usage"]),
        value["desired"],
        value["code"],
        value["noted_at"],
    )
