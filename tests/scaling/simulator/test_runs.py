"""Runs in several processes: what happens when these cannot be had, die, or are not wanted any more."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from dataclasses import dataclass

import pytest

from app.scaling.simulator import runs, traces
from app.scaling.simulator.lens import Autoscaler
from app.scaling.simulator.policies import Builder, Contender, parsed
from app.scaling.simulator.runs import Ground, Run, carried_out, useful_processes
from app.scaling.simulator.world import World

HERE = os.getpid()


@dataclass(frozen=True)
class Deadly:
    """Ends every process but `survivor`."""

    survivor: int

    def __call__(self, contender: Contender, world: World) -> Autoscaler:
        if os.getpid() != self.survivor:
            os.kill(os.getpid(), signal.SIGKILL)
        return Builder({}, 5.0)(contender, world)


WORLDS = traces.Generated(traces.Limits(), 0.25)


def todo() -> deque[Run]:
    return deque(Run(trace, 1, parsed("keda")) for trace in ("step", "spike", "burst"))


def test_what_a_dead_process_left_is_done_here() -> None:
    kept: list[str] = []
    for _ in carried_out(todo(), Ground(WORLDS, Deadly(HERE)), lambda run, _: kept.append(run.trace), 2):
        pass
    assert kept == ["step", "spike", "burst"]


def test_no_processes_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no semaphores")

    monkeypatch.setattr(runs, "ProcessPoolExecutor", refuse)
    kept: list[str] = []
    for _ in carried_out(todo(), Ground(WORLDS, Builder({}, 5.0)), lambda run, _: kept.append(run.trace), 2):
        pass
    assert kept == ["step", "spike", "burst"]


def test_processes_end_with_the_one_who_asked() -> None:
    before = set(multiprocessing.active_children())
    steps = carried_out(todo(), Ground(WORLDS, Builder({}, 5.0)), lambda *_: None, 2)
    next(steps)
    assert set(multiprocessing.active_children()) - before
    steps.close()  # type: ignore[attr-defined]
    assert set(multiprocessing.active_children()) == before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_little_is_done_in_one_process() -> None:
    assert useful_processes(runs.WORTH_PROCESSES - 1) == 1
    assert 1 <= useful_processes(runs.WORTH_PROCESSES) <= runs.MOST_PROCESSES
