"""What autoscalers came to at equal replica-hours: a table for all traces, verdicts, or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from app.cli.listing import Column, listing
from app.cli.scaling_figures import losses
from app.cli.simulating import counted, listed
from app.scaling.simulator.equal_hours import HIGHEST, LOWEST, STEP, Equal, EqualVerdict, equal_verdict
from app.scaling.simulator.tally import Measures

BOUNDS = f"{LOWEST / STEP:g} to {HIGHEST / STEP:g}"


@dataclass(frozen=True, slots=True)
class Rival:
    """A baseline with the target found for it; None and None where there is none."""

    kind: str
    target: float | None
    measures: Measures | None


@dataclass(frozen=True, slots=True)
class EqualHours:
    """One trace: the judged policy's numbers, those of the baselines, and the verdict."""

    mine: Measures
    rivals: Sequence[Rival]
    verdict: EqualVerdict

    @classmethod
    def of(
        cls, trace: str, mine: Measures, found: Sequence[Equal], wait_s: float, usd_per_hour: float | None
    ) -> EqualHours:
        """From what was found; a wait is long above `wait_s`."""
        rivals = [Rival(one.kind, one.target, one.measures(wait_s, usd_per_hour)) for one in found]
        return cls(mine, rivals, equal_verdict(trace, mine, found, wait_s))

    def sentence(self) -> str:
        """The verdict, and why."""
        verdict, parts = self.verdict, []
        for standing, text in (("fewer", "fewer long waits than"), ("tie", "as many as"), ("more", "more than")):
            if kinds := [kind for kind, found in verdict.standings.items() if found == standing]:
                parts.append(f"{text} {listed([self._with_number(kind) for kind in kinds])}")
        if unmatched := verdict.those("unmatched"):
            parts.append(f"no target from {BOUNDS} lets {listed(unmatched)} spend as much")
        word = "wins" if verdict.wins else "ties" if self.ties else "does not win"
        return f"{verdict.trace}: {word}: {self.mine.policy} has {self.mine.violations:,.0f}, {'; '.join(parts)}."

    @property
    def ties(self) -> bool:
        """Nobody is better, somebody as good."""
        return bool(self.verdict.those("tie")) and not self.verdict.those("more") + self.verdict.those("unmatched")

    def losses(self) -> list[str]:
        """A line for each number in which a baseline is better."""
        return losses(self.mine, [rival.measures for rival in self.rivals if rival.measures is not None])

    def rows(self) -> list[list[Text]]:
        """Of the table."""
        rows = [_row(self.verdict.trace, self.mine.policy, "", self.mine)]
        for rival in self.rivals:
            rows.append(_row("", rival.kind, "none" if rival.target is None else f"{rival.target:.2f}", rival.measures))
        return rows

    def as_json(self) -> dict[str, Any]:
        """Every number, the targets, and the verdict."""
        return {
            "policies": [
                {"policy": rival.kind, "target": rival.target}
                | {"measures": None if rival.measures is None else asdict(rival.measures)}
                for rival in self.rivals
            ],
            "long_waits": dict(self.verdict.standings),
            "wins": self.verdict.wins,
        }

    def _with_number(self, kind: str) -> str:
        number = next(one.measures.violations for one in self.rivals if one.kind == kind and one.measures is not None)
        return f"{kind} ({number:,.0f})"


def section(found: Sequence[EqualHours], judged: str) -> list[RenderableType]:
    """For people: the table, and for each trace the verdict and where it loses."""
    columns = [Column("trace", whole=True), Column("policy", whole=True)]
    columns += [Column(title, whole=True, right=True) for title in ("target", "long waits", "replica-h")]
    parts: list[RenderableType] = [
        Text(
            f"At equal replica-hours: each baseline with its highest target, from {BOUNDS}, with which it still "
            f"spends at least what {judged} does\n"
        ),
        listing(columns, [row for one in found for row in one.rows()]),
        Text(""),
    ]
    for one in found:
        parts += [Text(one.sentence()), *map(Text, one.losses())]
    return parts


def summary(found: Sequence[EqualHours], judged: str) -> str:
    """Over all traces."""
    won = [one.verdict.trace for one in found if one.verdict.wins]
    tied = [one.verdict.trace for one in found if one.ties]
    rest = [one.verdict.trace for one in found if one.verdict.trace not in (*won, *tied)]
    parts = [f"{judged} has fewer long waits than every baseline at equal replica-hours on {of_all(won, len(found))}"]
    parts += [f"ties on {listed(tied)}"] if tied else []
    parts += [f"does not win on {listed(rest)}"] if rest else []
    return f"{'; '.join(parts)}."


def of_all(won: Sequence[str], count: int) -> str:
    """`2 of 5 traces (step, spike)`."""
    return f"{len(won)} of {counted(count, 'trace')}{f' ({", ".join(won)})' if won else ''}"


def _row(trace: str, policy: str, target: str, numbers: Measures | None) -> list[Text]:
    waits = "" if numbers is None else f"{numbers.violations:,.0f}"
    hours = "" if numbers is None else f"{numbers.replica_hours:.1f}"
    return [Text(cell) for cell in (trace, policy, target, waits, hours)]
