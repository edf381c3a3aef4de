"""What autoscalers came to in a simulation: tables, verdicts, or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from app.cli import scaling_equal
from app.cli.durations import span
from app.cli.output import show
from app.cli.scaling_equal import EqualHours
from app.cli.scaling_figures import losses, table
from app.cli.simulating import counted, listed
from app.scaling.simulator.compare import Found, Verdict, verdict
from app.scaling.simulator.tally import Measures

LEGEND = (
    "* best of the column. Long waits: tasks that waited longer from their submission to the start of work. "
    "Replica-hours are paid from launch until the last task of a leaving replica is done. Changes: decisions an hour "
    "that altered the number of replicas."
)


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found. `judged` is the policy that verdicts are about; a wait is long above `wait_s`."""

    found: Sequence[Found]
    texts: Mapping[str, str]
    judged: str
    wait_s: float
    usd_per_hour: float | None
    seeds: Sequence[int]

    def show(self) -> None:
        """On stdout, for people."""
        parts: list[RenderableType] = []
        for one in self.found:
            measures = self._measures(one)
            parts += [Text(f"{self._headline(one)}\n"), table(measures), Text("")]
            if len(measures) > 1:
                parts += [Text(self.sentence(one)), *map(Text, losses(self._mine(one), measures))]
            parts.append(Text(""))
        if self.equal:
            parts += [*scaling_equal.section(self.equal, self.judged), Text("")]
        lines = [*self.summary(), ""] if len(self.found) > 1 else []
        show(*parts, *map(Text, lines), Text(LEGEND, style="dim"))

    @property
    def equal(self) -> list[EqualHours]:
        """The traces of which the baselines at equal replica-hours are known."""
        return [
            EqualHours.of(one.trace, self._mine(one), one.equal, self.wait_s, self.usd_per_hour)
            for one in self.found
            if one.equal
        ]

    def verdicts(self) -> list[Verdict]:
        """One a trace."""
        return [verdict(one.trace, self.judged, self._measures(one)) for one in self.found]

    def sentence(self, one: Found) -> str:
        """Who is beaten in this trace, and who is not and why."""
        found = verdict(one.trace, self.judged, self._measures(one))
        parts = [f"fewer long waits than {listed(found.beaten)} at no more replica-hours"] if found.beaten else []
        for other in found.fewer:
            if other not in found.beaten:
                parts.append(_unbeaten(other, fewer=found.fewer[other], thrifty=found.thrifty[other]))
        return f"{'wins' if found.wins else 'does not win'}: {self.judged} has {'; '.join(parts)}."

    def summary(self) -> list[str]:
        """Over all traces."""
        verdicts = self.verdicts()
        won = [one.trace for one in verdicts if one.wins]
        lines = [
            f"{self.judged} has fewer long waits than every other policy, at equal or fewer replica-hours, on "
            f"{scaling_equal.of_all(won, len(verdicts))}, with the targets as given or documented."
        ]
        if equal := self.equal:
            lines += [scaling_equal.summary(equal, self.judged), "With the targets as given or documented:"]
        for other in verdicts[0].fewer:
            beaten = sum(other in one.beaten for one in verdicts)
            fewer = sum(one.fewer[other] for one in verdicts)
            thrifty = sum(one.thrifty[other] for one in verdicts)
            lines.append(f"  than {other}: both on {beaten}, fewer long waits on {fewer}, no more hours on {thrifty}")
        return lines

    def title(self) -> str:
        """Of the figure."""
        names = [one.trace for one in self.found]
        return f"{self.judged} and others: {', '.join(names)} (seed {self.seeds[0]})"

    def notes(self) -> dict[str, str]:
        """By trace, its line in the figure."""
        return {one.trace: self.texts[one.trace] for one in self.found}

    def as_json(self) -> dict[str, Any]:
        """Every number and verdict."""
        return {
            "wait_s": self.wait_s,
            "replica_usd_per_hour": self.usd_per_hour,
            "seeds": list(self.seeds),
            "judged": self.judged,
            "traces": [self._trace(one) for one in self.found],
            "won": [one.trace for one in self.verdicts() if one.wins],
            "won_at_equal_hours": [one.verdict.trace for one in self.equal if one.verdict.wins],
        }

    def _trace(self, one: Found) -> dict[str, Any]:
        found = verdict(one.trace, self.judged, self._measures(one))
        equal = next((each for each in self.equal if each.verdict.trace == one.trace), None)
        return {
            "trace": one.trace,
            "text": self.texts[one.trace],
            "hours": (one.world.duration_s - one.world.count_from_s) / 3600.0,
            "pool": asdict(one.world.bounds),
            "policies": [asdict(measure) for measure in self._measures(one)],
            "wins": found.wins,
            "fewer_long_waits": dict(found.fewer),
            "no_more_replica_hours": dict(found.thrifty),
            "equal_hours": None if equal is None else equal.as_json(),
        }

    def _measures(self, one: Found) -> list[Measures]:
        return one.measures(self.wait_s, self.usd_per_hour)

    def _mine(self, one: Found) -> Measures:
        return next(measure for measure in self._measures(one) if measure.policy == self.judged)

    def _headline(self, one: Found) -> str:
        world = one.world
        bounds = world.bounds
        tasks = self._measures(one)[0].tasks
        length = _hours(world.duration_s - world.count_from_s)
        pool = f"{bounds.min}–{bounds.max} replicas × {counted(bounds.slots, 'slot')}"
        return (
            f"{one.trace}, {self.texts[one.trace]}: {tasks:,} tasks in {length}, {pool}, cold start "
            f"{span(bounds.cold_start_s)}, {counted(len(self.seeds), 'seed')}; long is over {span(self.wait_s)}"
        )


def _unbeaten(other: str, *, fewer: bool, thrifty: bool) -> str:
    if fewer:
        return f"fewer than {other}, for more replica-hours"
    return f"not fewer than {other}{', though no more replica-hours' if thrifty else ''}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600.0:.3g} h" if seconds >= 3600 else span(seconds)
