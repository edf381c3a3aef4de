"""The numbers by which autoscalers are compared, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.text import Text

from app.cli.listing import Column, listing
from app.cli.simulating import listed
from app.scaling.simulator.tally import Measures


@dataclass(frozen=True, slots=True)
class Figure:
    """One column: its title, what it is called in a sentence, the number, and its form. Less is better."""

    title: str
    name: str
    of: Callable[[Measures], float | None]
    form: str
    scale: float = 1.0

    def text(self, measure: Measures) -> str:
        """The number as it is shown."""
        value = self.of(measure)
        return "" if value is None else format(self.scale * value, self.form)


FIGURES = (
    Figure("long waits", "long waits", lambda m: m.violations, ",.0f"),
    Figure("share %", "", lambda m: m.share, ".2f", 100.0),
    Figure("p50 s", "p50 wait", lambda m: m.p50_s, ".1f"),
    Figure("p95 s", "p95 wait", lambda m: m.p95_s, ".1f"),
    Figure("max s", "longest wait", lambda m: m.max_s, ".1f"),
    Figure("replica-h", "replica-hours", lambda m: m.replica_hours, ".1f"),
    Figure("USD", "cost", lambda m: m.usd, ".2f"),
    Figure("changes/h", "changes an hour", lambda m: m.changes_per_hour, ".1f"),
)


def losses(mine: Measures, others: Sequence[Measures]) -> list[str]:
    """A line for each number in which one of the `others` is better, as shown."""
    lines = []
    for figure in FIGURES:
        value = figure.of(mine)
        if value is None or not figure.name:
            continue
        better = [
            f"{other.policy} {figure.text(other)}"
            for other in others
            if (figure.of(other) or 0.0) < value and figure.text(other) != figure.text(mine)
        ]
        if better:
            lines.append(f"  loses in {figure.name}: {figure.text(mine)}, {listed(better)}")
    return lines


def table(found: Sequence[Measures]) -> RenderableType:
    """A row a policy, the best number of each column marked where they are not all the same."""
    columns = [Column("policy", whole=True)]
    columns += [Column(figure.title, whole=True, right=True) for figure in FIGURES]
    best = [_best(figure, found) for figure in FIGURES]
    rows = [
        [Text(one.policy), *(_cell(figure.text(one), mark) for figure, mark in zip(FIGURES, best, strict=True))]
        for one in found
    ]
    return listing(columns, rows)


def _best(figure: Figure, found: Sequence[Measures]) -> str | None:
    """The best number of the column as it is shown; None where all are shown alike."""
    shown = {figure.text(measure) for measure in found}
    return figure.text(min(found, key=lambda one: figure.of(one) or 0.0)) if len(shown) > 1 else None


def _cell(text: str, best: str | None) -> Text:
    if not text:
        return Text("")
    return Text(f"{text} *", style="bold green") if text == best else Text(f"{text}  ")
