"""The figure: cost by day, stacked by model, with the trend of the last week."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN, HEIGHT_IN, DOTS_PER_IN = 12.0, 5.6, 100
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b4c9a")
"""Told apart by colour-blind people too."""
INK, FAINT, REST = "#222222", "#d9d9d9", "#b0b0b0"
MAX_LABELS = 10


def png(
    spent: Mapping[tuple[date, str], Decimal], trend: Mapping[date, Decimal], days: Sequence[date], title: str
) -> bytes:
    """A PNG of 1200 × 560. `spent` by day and model; the models past the seventh are drawn as one. `trend` is drawn
    where it has a value. The last of `days` is today."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(WIDTH_IN, HEIGHT_IN), dpi=DOTS_PER_IN, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    )
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12, color=INK)
    axes = figure.subplots()
    _bars(axes, layers(spent, days), len(days))
    _trend(axes, trend, days)
    _plain(axes, days)
    written = io.BytesIO()
    figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()


def layers(spent: Mapping[tuple[date, str], Decimal], days: Sequence[date]) -> list[tuple[str, list[float]]]:
    """(model, USD of each day), the dearest first; models past the seventh together as the last."""
    totals: dict[str, Decimal] = {}
    for (_, model), usd in spent.items():
        totals[model] = totals.get(model, Decimal(0)) + usd
    models = sorted((model for model, usd in totals.items() if usd), key=lambda model: (-totals[model], model))
    shown, rest = models[: len(COLOURS)], models[len(COLOURS) :]
    found = [(model, [float(spent.get((day, model), 0)) for day in days]) for model in shown]
    if rest:
        others = [float(sum(spent.get((day, model), Decimal(0)) for model in rest)) for day in days]
        found.append((f"{len(rest)} other model{'s' if len(rest) > 1 else ''}", others))
    return found


def _bars(axes: Axes, found: Sequence[tuple[str, list[float]]], count: int) -> None:
    places, below = list(range(count)), [0.0] * count
    for number, (model, values) in enumerate(found):
        colour = COLOURS[number] if number < len(COLOURS) else REST
        axes.bar(places, values, bottom=below, color=colour, width=0.82, label=model or "no model")
        below = [low + value for low, value in zip(below, values, strict=True)]


def _trend(axes: Axes, trend: Mapping[date, Decimal], days: Sequence[date]) -> None:
    points = [(place, float(trend[day])) for place, day in enumerate(days) if day in trend]
    if len(points) > 1:
        axes.plot(*zip(*points, strict=True), color="white", linewidth=4.0)
        axes.plot(*zip(*points, strict=True), color=INK, linewidth=1.8, linestyle="--", label="trend of 7 full days")


def _plain(axes: Axes, days: Sequence[date]) -> None:
    step = max(1, -(-len(days) // MAX_LABELS))
    marked = list(range(len(days) - 1, -1, -step))[::-1]
    names = [f"{days[place]:%b} {days[place].day}" for place in marked]
    axes.set_xticks(marked, [*names[:-1], f"{names[-1]}\nso far"])
    axes.set_xlim(-0.6, len(days) - 0.4)
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel("USD a day (UTC)")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.grid(True, axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9, frameon=False, reverse=True)
