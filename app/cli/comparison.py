"""What strategies came to in a simulation: a table, one sentence, or JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from app.cli.listing import Column, listing
from app.dispatch.simulator.tally import NEAR_BEST_GOODPUT, Measures, recommended

NEARLY = 0.02
"""Strategies whose p99 differs by less are named as equals."""
OVERLOADED = 0.03
"""With a larger share of the tasks still queued when the last one arrived the pool did not keep up."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One column: its title, the number, its form, and whether less is better."""

    title: str
    of: Callable[[Measures], float]
    form: str
    least: bool = True
    scale: float = 1.0

    def text(self, measure: Measures) -> str:
        """The number as it is shown."""
        return format(self.scale * self.of(measure), self.form)


FIGURES = (
    Figure("p50 s", lambda m: m.p50_s, ".2f"),
    Figure("p90 s", lambda m: m.p90_s, ".2f"),
    Figure("p99 s", lambda m: m.p99_s, ".1f"),
    Figure("goodput %", lambda m: m.goodput, ".2f", least=False, scale=100.0),
    Figure("wasted %", lambda m: m.wasted, ".2f", scale=100.0),
    Figure("wait s", lambda m: m.wait_s, ".2f"),
    Figure("max/mean load", lambda m: m.unevenness, ".2f"),
    Figure("choice µs", lambda m: m.choice_us, ".1f"),
)
LEGEND = (
    "* best of the column. Latency is from arrival to result, waiting included; wasted: failed attempts; "
    "max/mean load: the busiest agent's share of busy slots by the mean one's; choice: processor time here."
)


def table(found: Sequence[Measures]) -> RenderableType:
    """A row a strategy, the best number of each column marked where they are not all the same."""
    columns = [Column("strategy", whole=True)]
    columns += [Column(figure.title, whole=True, right=True) for figure in FIGURES]
    best = [_best(figure, found) for figure in FIGURES]
    rows = [
        [
            Text(measure.strategy),
            *(_cell(figure.text(measure), mark) for figure, mark in zip(FIGURES, best, strict=True)),
        ]
        for measure in found
    ]
    return listing(columns, rows)


def _best(figure: Figure, found: Sequence[Measures]) -> str | None:
    """The best number of the column as it is shown; None where all are shown alike."""
    pick = min if figure.least else max
    shown = {figure.text(measure) for measure in found}
    return figure.text(pick(found, key=figure.of)) if len(shown) > 1 else None


def _cell(text: str, best: str | None) -> Text:
    return Text(f"{text} *", style="bold green") if text == best else Text(f"{text}  ")


def sentence(found: Sequence[Measures]) -> str:
    """Which strategy to take, and why, in one sentence."""
    best = recommended(found)
    if best is None:
        return "No task finished, so that no strategy can be recommended."
    near = [m for m in found if m.curve_s and m.goodput >= max(o.goodput for o in found) - NEAR_BEST_GOODPUT]
    equals = [m.strategy for m in near if m is not best and m.p99_s <= best.p99_s * (1 + NEARLY)]
    others = [m for m in found if m is not best and m.strategy not in equals]
    text = f"{best.strategy}: the lowest p99, {best.p99_s:.1f} s, among those within 0.2 % of the best goodput"
    if equals:
        named = "all others" if 1 < len(equals) == len(found) - 1 else _listed(equals)
        text += f"; {named} differ{'' if len(equals) > 1 else 's'} by less than {100 * NEARLY:g} %"
    dearer = [m for m in others if m in near and m.p99_s > best.p99_s]
    if dearer:
        worst = max(dearer, key=lambda m: m.p99_s)
        text += f"; {worst.strategy} is the slowest with {worst.p99_s:.1f} s"
    lossy = [m.strategy for m in others if m not in near]
    return f"{text}{f'; {_listed(lossy)} lose{"" if len(lossy) > 1 else "s"} more tasks' if lossy else ''}."


def remarks(found: Sequence[Measures]) -> list[str]:
    """What the numbers alone do not say."""
    behind = [measure.strategy for measure in found if measure.backlog > OVERLOADED]
    lines = [
        f"{measure.strategy} broke its contract {measure.errors:,} times; another agent stood in for its choice."
        for measure in found
        if measure.errors
    ]
    if behind:
        lines.append(
            f"With {_listed(behind)} the queue grew to the end: the longer the time, the larger these latencies."
        )
    return lines


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def as_json(found: Sequence[Measures], about: dict[str, Any]) -> dict[str, Any]:
    """What was simulated and every number; the curves are left out."""
    best = recommended(found)
    strategies = [{name: value for name, value in asdict(m).items() if name != "curve_s"} for m in found]
    return {**about, "strategies": strategies, "recommended": best.strategy if best else None}
