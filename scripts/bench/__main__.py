"""`make bench`: run the measurements and print them as a table; JSON goes to bench-results/.

python -m scripts.bench [NAME …] [--rounds N] [--quick] [--backlog N] [--history N] [--profile]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.bench import (
    backlog,
    budgeted,
    choice,
    costs,
    dispatch,
    fleet,
    latency,
    managers,
    profile,
    streams,
    submit,
    waiting,
)
from scripts.bench.targets import Target

ROUNDS = 3
RESULTS = Path("bench-results")
WIDTH = 120
"""Columns where the output is not a terminal."""

type Rounds = list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measurement in full size and in a small one that only shows that it works."""

    full: Callable[[argparse.Namespace], Rounds]
    quick: Callable[[argparse.Namespace], Rounds]
    targets: Mapping[str, Target]


FIGURES: Mapping[str, Figure] = {
    "submit": Figure(
        lambda given: submit.measure(given.rounds),
        lambda given: submit.measure(given.rounds, seconds=1.0),
        submit.TARGETS,
    ),
    "dispatch": Figure(
        lambda given: dispatch.measure(given.rounds),
        lambda given: dispatch.measure(given.rounds, count=1_000),
        dispatch.TARGETS,
    ),
    "budgets": Figure(
        lambda given: budgeted.measure(given.rounds),
        lambda given: budgeted.measure(given.rounds, count=1_000),
        budgeted.TARGETS,
    ),
    "latency": Figure(
        lambda given: latency.measure(given.rounds),
        lambda given: latency.measure(given.rounds, seconds=2),
        latency.TARGETS,
    ),
    "backlog": Figure(
        lambda given: backlog.measure(given.rounds, given.backlog or backlog.BACKLOG, given.history or backlog.HISTORY),
        lambda given: backlog.measure(given.rounds, given.backlog or 20_000, given.history or 50_000, count=1_000),
        backlog.TARGETS,
    ),
    "costs": Figure(
        lambda given: costs.measure(given.rounds),
        lambda given: costs.measure(given.rounds, count=100_000),
        costs.TARGETS,
    ),
    "fleet": Figure(
        lambda given: fleet.measure(given.rounds),
        lambda given: fleet.measure(given.rounds, agents=300, seconds=3.0),
        fleet.TARGETS,
    ),
    "choice": Figure(
        lambda given: choice.measure(given.rounds),
        lambda given: choice.measure(given.rounds, choices=200),
        choice.TARGETS,
    ),
    "streams": Figure(
        lambda given: streams.measure(given.rounds),
        lambda given: streams.measure(given.rounds, count=100, seconds=3.0),
        streams.TARGETS,
    ),
    "waiting": Figure(
        lambda given: waiting.measure(given.rounds),
        lambda given: waiting.measure(given.rounds, waiting=500, count=1_000),
        waiting.TARGETS,
    ),
    "managers": Figure(
        lambda given: managers.measure(given.rounds),
        lambda given: managers.measure(given.rounds, count=1_000),
        managers.TARGETS,
    ),
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description="See scripts/bench/README.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(FIGURES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each; the median counts (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not how fast")
    parser.add_argument("--backlog", type=int, help=f"queued tasks (default: {backlog.BACKLOG})")
    parser.add_argument("--history", type=int, help=f"finished tasks (default: {backlog.HISTORY})")
    parser.add_argument("--profile", action="store_true", help="sample the manager too (this slows it down)")
    given = parser.parse_args()
    if unknown := set(given.names) - FIGURES.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return given


def medians(rounds: Rounds) -> dict[str, float]:
    """Each number's median."""
    return {name: statistics.median(found[name] for found in rounds if name in found) for name in rounds[0]}


def _shown(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table(results: Mapping[str, Rounds]) -> Table:
    table = Table("figure", "median", "rounds", "target", "")
    for column in (table.columns[0], *table.columns[3:]):
        column.no_wrap = True
    for name, rounds in results.items():
        for number, median in medians(rounds).items():
            target = FIGURES[name].targets.get(number)
            mark = "" if target is None else "[green]✓[/]" if target.met(median) else "[red]✗[/]"
            listed = " ".join(_shown(found[number]) for found in rounds if number in found)
            table.add_row(number, _shown(median), listed, str(target or ""), mark, style="bold" if target else None)
        table.add_section()
    return table


def _write(given: argparse.Namespace, results: Mapping[str, Rounds]) -> Path:
    found = {
        "quick": given.quick,
        "machine": {"cores": len(os.sched_getaffinity(0)), "kernel": platform.release(), "load": os.getloadavg()},
        "python": platform.python_version(),
        "figures": {name: {"medians": medians(rounds), "rounds": rounds} for name, rounds in results.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    return path


def main() -> None:
    given, console = _arguments(), Console(width=None if sys.stdout.isatty() else WIDTH)
    if given.profile:
        RESULTS.mkdir(exist_ok=True)
        os.environ[profile.FOLDER] = str(RESULTS.absolute())
    results: dict[str, Rounds] = {}
    try:
        for name in given.names or FIGURES:
            busy = f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores"
            console.print(f"{name}: {given.rounds} rounds … ({busy})", highlight=False)
            figure = FIGURES[name]
            results[name] = (figure.quick if given.quick else figure.full)(given)
    finally:  # what is there is shown, whatever happened to the rest
        if results:
            console.print(_table(results))
            console.print(f"written to {_write(given, results)}")


if __name__ == "__main__":
    main()
