"""Where the manager spends its time while something is measured: py-spy's samples, and a summary of them.

    python -m scripts.bench dispatch --rounds 1 --profile      samples go to bench-results/profile-dispatch.txt
    python -m scripts.bench.profile bench-results/profile-dispatch.txt

A file holds one line a stack, `outermost;…;innermost count`, which flame graph tools read too.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.bench.rig import Rig

FOLDER = "BENCH_PROFILE"
"""Environment variable: where samples go. Nothing is sampled without it."""
RATE_PER_S = 200
SHOWN = 30


@contextlib.contextmanager
def profiled(rig: Rig, name: str) -> Iterator[None]:
    """Sample the (first) manager while the block runs, if that is asked for."""
    folder = os.environ.get(FOLDER)
    if not folder:
        yield
        return
    path = Path(folder) / f"profile-{name}.txt"
    program = Path(sys.executable).parent / "py-spy"
    command = [str(program), "record", "--pid", str(rig.manager_pids()[0]), "--rate", str(RATE_PER_S)]
    command += ["--format", "raw", "--nonblocking", "--duration", "3600", "--output", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@dataclass(frozen=True, slots=True)
class Summary:
    """Samples by package and by function that was innermost, and by function of ours anywhere in the stack."""

    samples: int
    packages: Counter[str]
    innermost: Counter[str]
    ours: Counter[str]


def summary(path: Path) -> Summary:
    """Of a file that `profiled` wrote."""
    found = Summary(0, Counter(), Counter(), Counter())
    samples = 0
    for line in path.read_text().splitlines():
        stack, _, text = line.rpartition(" ")
        frames, count = [_short(frame) for frame in stack.split(";")], int(text)
        samples += count
        found.innermost[frames[-1]] += count
        found.packages[_package(frames[-1])] += count
        found.ours.update(dict.fromkeys((frame for frame in frames if "(app/" in frame), count))
    return replace(found, samples=samples)


def _short(frame: str) -> str:
    """`run (…/site-packages/asyncpg/pool.py:12)` → `run (asyncpg/pool.py)`."""
    name, _, place = frame.partition(" (")
    place = re.sub(r":\d+\)?$", "", place.rstrip(")")).removeprefix(str(Path.cwd()) + "/")
    for mark in ("site-packages/", "python3.12/"):
        place = place.rpartition(mark)[2]
    return f"{name} ({place})"


def _package(frame: str) -> str:
    return frame.rpartition(" (")[2].partition("/")[0].rstrip(")")


def main(path: Path) -> None:
    found = summary(path)
    lists = {"package of the innermost function": found.packages, "innermost function": found.innermost}
    for title, counts in {**lists, "function of ours, with all it calls": found.ours}.items():
        print(f"\n{title}, % of {found.samples} samples")
        for name, count in counts.most_common(SHOWN):
            print(f"{100 * count / found.samples:6.1f}  {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
