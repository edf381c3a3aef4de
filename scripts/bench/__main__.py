"""`make bench`: run the measurements and print them as a table; JSON goes to bench-results/."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.bench import latency

ROUNDS = 3
RESULTS = Path("bench-results")


def main() -> None:
    console = Console()
    rounds = []
    for number in range(ROUNDS):
        console.print(f"start latency at {latency.RATE_PER_S} tasks/s, round {number + 1} of {ROUNDS} …")
        rounds.append(latency.measure())
    medians = {name: round(statistics.median(found[name] for found in rounds), 2) for name in rounds[0]}
    table = Table("figure", "median", "rounds", "target")
    targets = {"start_p50_ms": "≤ 15"}
    for name, value in medians.items():
        table.add_row(name, f"{value}", " ".join(f"{found[name]:.2f}" for found in rounds), targets.get(name, ""))
    console.print(table)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({"medians": medians, "rounds": rounds}, indent=2) + "\n")
    console.print(f"written to {path}")


if __name__ == "__main__":
    main()
