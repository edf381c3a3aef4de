"""A rule driven minute by minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from app.alerts.decide import Transition, judge
from app.alerts.reading import Reading, Sample
from app.alerts.records import Labels
from app.alerts.rule import Rule
from app.alerts.state import State

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
BAD, GOOD = 9.0, 1.0
POOL = {"pool": "p"}


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def reads(value: float, labels: Labels = POOL) -> Sample:
    return Sample(labels, value)


class Drive:
    """A rule and its states so far."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.states: Mapping[str, State] = {}

    def run(self, now: datetime, *readings: Reading) -> list[Transition]:
        self.states, transitions = judge(self.rule, readings, self.states, now)
        return transitions

    def moves(self, now: datetime, *readings: Reading) -> list[tuple[str, str, str]]:
        """Before, after and reason of every change."""
        return [(item.before, item.after, item.reason) for item in self.run(now, *readings)]

    def phases(self, times: Sequence[float], *readings: Reading) -> list[str]:
        """The phase of its one instance after each of these minutes, the readings being the same."""
        found: list[str] = []
        for minutes in times:
            self.run(at(minutes), *readings)
            found.append(self.only.phase if self.states else "ok")
        return found

    @property
    def only(self) -> State:
        (state,) = self.states.values()
        return state
