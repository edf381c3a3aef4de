"""The figure: how latencies are distributed under each strategy, and what that comes to."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.dispatch.simulator.tally import Measures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN, HEIGHT_IN, DOTS_PER_IN = 12.0, 6.0, 100
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b4c9a", "#7f7f7f")
"""Told apart by colour-blind people too; used again, with broken lines, past the eighth."""
LINES = ("-", "--", ":")
SHARES = (0.0, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999)
"""Where the left axis is marked: it is drawn by -log10 of the share not yet done, as the tail is what differs."""
INK, FAINT = "#222222", "#d9d9d9"


def png(found: Sequence[Measures], title: str, best: str | None = None) -> bytes:
    """A PNG of 1200 × 600: left the share of tasks done by latency, right the p99 of each strategy with its goodput.
    `best` is set in bold. At least one strategy with a finished task, else ValueError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = [measure for measure in found if measure.curve_s]
    if not shown:
        raise ValueError("no task finished: there is nothing to draw")
    figure = Figure(
        figsize=(WIDTH_IN, HEIGHT_IN), dpi=DOTS_PER_IN, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    )
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12, color=INK)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1.0))
    _curves(left, shown)
    _bars(right, shown, best)
    written = io.BytesIO()
    figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()


def _curves(axes: Axes, shown: Sequence[Measures]) -> None:
    heights = [-math.log10(1.0 - step / 999) for step in range(999)]
    for place, measure in enumerate(shown):
        style = LINES[place // len(COLOURS) % len(LINES)]
        axes.plot(
            measure.curve_s[:-1], heights, color=_colour(place), linestyle=style, linewidth=1.8, label=measure.strategy
        )
    axes.set_xscale("log")
    slowest = max(measure.curve_s[-2] for measure in shown)
    axes.set_xlim(max(1e-3, min(measure.curve_s[100] for measure in shown)), slowest * 1.1)
    axes.set_ylim(0.0, 3.0)
    axes.set_yticks([-math.log10(1.0 - share) for share in SHARES], [f"{100 * share:g} %" for share in SHARES])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("seconds from arrival to result")
    axes.set_ylabel("tasks done by then (scale stretched toward the tail)")
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.legend(loc="upper left", fontsize=9, framealpha=0.9)
    _plain(axes)


def _bars(axes: Axes, shown: Sequence[Measures], best: str | None) -> None:
    values = [measure.p99_s for measure in shown]
    places = list(range(len(shown)))
    axes.barh(places, values, color=[_colour(place) for place in places], height=0.62)
    for place, measure in zip(places, shown, strict=True):
        text = f" {measure.p99_s:.1f} s   goodput {100 * measure.goodput:.2f} %"
        axes.text(measure.p99_s, place, text, va="center", fontsize=9, color=INK)
    axes.set_yticks(places, [measure.strategy for measure in shown])
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == best else "normal")
    axes.invert_yaxis()
    axes.set_xlim(0.0, max(values) * 1.75)
    axes.set_xlabel("p99 in seconds (lower is better)")
    axes.grid(True, axis="x", color=FAINT, linewidth=0.6)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]
