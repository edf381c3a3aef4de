"""Runs of simulations, in several processes where there is much to do."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import active_children, get_context

from app.scaling.simulator.engine import Simulation
from app.scaling.simulator.lens import Autoscaler
from app.scaling.simulator.policies import Contender
from app.scaling.simulator.tally import Tally
from app.scaling.simulator.world import World

WORLDS_KEPT = 4
"""In a process: a world may have millions of tasks."""
MOST_PROCESSES = 8
WORTH_PROCESSES = 200_000
"""Simulated tasks, of all runs together; with fewer, starting processes takes longer than they save."""

type MakeWorld = Callable[[str, int], World]
type Build = Callable[[Contender, World], Autoscaler]
type Do = Callable[[Run], Tally]


@dataclass(frozen=True, slots=True)
class Run:
    """One simulation that is to be done; `rival` is the kind of baseline whose target it looks for, if it does."""

    trace: str
    seed: int
    contender: Contender
    rival: str | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """How a run gets its world and its autoscaler. Several processes need callables that can be pickled."""

    make_world: MakeWorld
    build: Build

    def runner(self) -> Do:
        """Does runs, and keeps the last worlds for the next one."""
        worlds = lru_cache(maxsize=WORLDS_KEPT)(self.make_world)

        def do(run: Run) -> Tally:
            world = worlds(run.trace, run.seed)
            return Simulation(world, self.build(run.contender, world)).run()

        return do


def useful_processes(simulated_tasks: int) -> int:
    """How many to use for so much work: one for each processor that this one may use, or just this one."""
    if simulated_tasks < WORTH_PROCESSES:
        return 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_PROCESSES, usable)


def carried_out(
    todo: deque[Run], ground: Ground, keep: Callable[[Run, Tally], None], processes: int = 1
) -> Iterator[Run]:
    """Do what is in `todo`, in which `keep` may put more; gives a run that is under way before each is kept.

    Where processes cannot be had or one of them dies, what is left is done in this one.
    """
    if processes > 1:
        yield from _shared(todo, ground, keep, processes)
    do = ground.runner()
    while todo:
        run = todo.popleft()
        yield run
        keep(run, do(run))


def _shared(todo: deque[Run], ground: Ground, keep: Callable[[Run, Tally], None], processes: int) -> Iterator[Run]:
    others = set(active_children())
    try:
        crew = ProcessPoolExecutor(processes, get_context("spawn"), _prepare, (ground,))
    except (OSError, NotImplementedError):  # no semaphores here
        return
    under_way: dict[Future[Tally], Run] = {}
    try:
        while todo or under_way:
            _submit(crew, todo, under_way, 2 * processes)
            yield next(iter(under_way.values()))
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                tally = future.result()
                keep(under_way.pop(future), tally)
    except BrokenProcessPool:
        todo.extendleft(reversed(under_way.values()))
    finally:
        if under_way:  # nobody waits for these any more
            for child in set(active_children()) - others:
                child.terminate()
        crew.shutdown(cancel_futures=True)


def _submit(crew: ProcessPoolExecutor, todo: deque[Run], under_way: dict[Future[Tally], Run], most: int) -> None:
    """As many as keep the processes busy. BrokenProcessPool where none can be started either."""
    with _deaf():
        while todo and len(under_way) < most:
            try:
                future = crew.submit(_do, todo[0])
            except OSError as error:
                raise BrokenProcessPool(str(error)) from error
            under_way[future] = todo.popleft()


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that are started in here do not hear Ctrl-C, which a terminal sends to all; this one hears it after."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_ready: list[Do] = []
"""In a started process: its runner."""


def _prepare(ground: Ground) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _ready.append(ground.runner())


def _do(run: Run) -> Tally:
    return _ready[0](run)
