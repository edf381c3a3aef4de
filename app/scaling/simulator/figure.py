"""The figure: what each trace needs, what each policy has ready for it, and who waits."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.scaling.simulator.compare import Found
from app.scaling.simulator.world import needed_slots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN, ROW_IN, HEAD_IN, DOTS_PER_IN = 15.0, 3.1, 1.0, 100
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b4c9a", "#7f7f7f")
"""Told apart by colour-blind people too; used again, with broken lines, past the eighth."""
LINES = ("-", "--", ":")
INK, FAINT, AREA, GAP = "#222222", "#d9d9d9", "#c8c8c8", "#f3c9a5"


def png(found: Sequence[Found], title: str, notes: Mapping[str, str]) -> bytes:
    """A PNG with a row for each trace, 1500 wide: left the slots that are needed and those that are paid for, right the
    queue, both of the first seed; the first policy is drawn in front. `notes` has a line for each trace. ValueError
    where there is none."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not found:
        raise ValueError("no trace was finished: there is nothing to draw")
    figure = Figure(
        figsize=(WIDTH_IN, HEAD_IN + ROW_IN * len(found)),
        dpi=DOTS_PER_IN,
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1),
    )
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12, color=INK)
    rows = figure.subplots(len(found), 2, width_ratios=(1.25, 1.0), squeeze=False)
    for (left, right), one in zip(rows, found, strict=True):
        _slots(left, one, notes.get(one.trace, ""))
        _queue(right, one)
    shown = {label: handle for left, _ in rows for handle, label in zip(*left.get_legend_handles_labels(), strict=True)}
    figure.legend(
        list(shown.values()), list(shown), loc="outside lower center", ncols=min(8, len(shown)), fontsize=10,
        frameon=False,
    )  # fmt: skip
    written = io.BytesIO()
    figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()


def _slots(axes: Axes, one: Found, note: str) -> None:
    """What is needed as an area, what each policy pays for as a line."""
    begin_s = one.world.count_from_s
    times = list(next(iter(one.runs.values()))[0].times_s)
    needed = needed_slots(one.world.tasks, times)
    axes.fill_between(_hours(times, begin_s), needed, step="mid", color=AREA, linewidth=0, label="slots needed")
    for place, (label, runs) in enumerate(one.runs.items()):
        paid = [count * one.world.bounds.slots for count in runs[0].replicas]
        colour, line = _look(place)
        axes.step(
            _hours(list(runs[0].times_s), begin_s), paid, where="mid", color=colour, linestyle=line,
            linewidth=1.3 if place else 2.0, zorder=3 if place else 4, label=label,
        )  # fmt: skip
    _gaps(axes, one)
    axes.set_title(f"{one.trace}: {note}" if note else one.trace, fontsize=10, loc="left", color=INK)
    axes.set_ylabel("slots")
    _plain(axes, one)


def _queue(axes: Axes, one: Found) -> None:
    for place, (_, runs) in enumerate(one.runs.items()):
        colour, line = _look(place)
        axes.plot(
            _hours(list(runs[0].times_s), one.world.count_from_s), list(runs[0].queued), color=colour, linestyle=line,
            linewidth=1.3 if place else 2.0, zorder=3 if place else 4,
        )  # fmt: skip
    _gaps(axes, one)
    axes.set_title("tasks that wait", fontsize=10, loc="left", color=INK)
    _plain(axes, one)


def _gaps(axes: Axes, one: Found) -> None:
    for number, gap in enumerate(one.world.gaps):
        begin, end = _hours([gap.start_s, gap.end_s], one.world.count_from_s)
        axes.axvspan(begin, end, color=GAP, alpha=0.5, linewidth=0, label="no or old metrics" if number == 0 else None)


def _hours(times_s: Sequence[float], begin_s: float) -> list[float]:
    return [(time_s - begin_s) / 3600.0 for time_s in times_s]


def _look(place: int) -> tuple[str, str]:
    return COLOURS[place % len(COLOURS)], LINES[place // len(COLOURS) % len(LINES)]


def _plain(axes: Axes, one: Found) -> None:
    length_s = one.world.duration_s - one.world.count_from_s
    axes.set_xlim(0.0, max(length_s, 60.0) / 3600.0)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("hours")
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
