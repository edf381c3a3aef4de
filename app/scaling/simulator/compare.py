"""Several policies in the same worlds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from app.scaling.simulator.equal_hours import Equal, Pursuit, rivals
from app.scaling.simulator.policies import Contender
from app.scaling.simulator.runs import Build, Ground, MakeWorld, Run, carried_out
from app.scaling.simulator.tally import Measures, Tally, measures
from app.scaling.simulator.world import World


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one trace: the first seed's `world` for the figure, the runs by policy, one a seed, and the
    baselines at equal replica-hours; these are none where they were not asked for, or not found in time."""

    trace: str
    world: World
    runs: Mapping[str, Sequence[Tally]]
    equal: Sequence[Equal] = ()

    def measures(self, wait_s: float, usd_per_hour: float | None = None) -> list[Measures]:
        """One a policy."""
        return [measures(label, runs, wait_s, usd_per_hour) for label, runs in self.runs.items()]


class Comparison:
    """Runs of `contenders` in each of `traces`, whose worlds `make_world(trace, seed)` makes; with `equal_hours` also
    of the baselines among them with targets at which they spend what the first contender does. Iterating over `run`
    does the runs, and gives (trace, policy, seed) of one that is under way; `found` may be read at any time."""

    def __init__(
        self,
        contenders: Sequence[Contender],
        traces: Sequence[str],
        make_world: MakeWorld,
        build: Build,
        *,
        equal_hours: bool = False,
    ) -> None:
        self._contenders, self._traces = contenders, traces
        self._ground = Ground(make_world, build)
        self._rivals = rivals(contenders) if equal_hours else []
        self._todo: deque[Run] = deque()
        self._seeds: list[int] = []
        self._done: dict[str, dict[str, dict[int, Tally]]] = {}
        self._pursuits: dict[tuple[str, str], Pursuit] = {}
        self._worlds: dict[str, World] = {}

    @property
    def found(self) -> list[Found]:
        """The traces in which every policy finished a run, each with the seeds that all policies finished."""
        return [self._found(trace, whole) for trace in self._traces if (whole := self._whole(trace))]

    def run(self, seeds: Sequence[int], processes: int = 1) -> Iterator[tuple[str, str, int]]:
        """Do the runs, in so many processes; the same numbers come of any."""
        self._seeds = list(seeds)
        self._todo.extend(
            Run(trace, seed, contender) for trace in self._traces for seed in seeds for contender in self._contenders
        )
        for run in carried_out(self._todo, self._ground, self._keep, processes):
            yield run.trace, run.contender.label, run.seed

    def _keep(self, run: Run, tally: Tally) -> None:
        if run.rival is not None:
            self._first(self._pursuits[run.trace, run.rival].keep(run, tally))
            return
        self._done.setdefault(run.trace, {}).setdefault(run.contender.label, {})[run.seed] = tally
        if len(self._whole(run.trace)) == len(self._seeds):
            for kind in self._rivals:
                self._first(self._pursuit(run.trace, kind).following())

    def _first(self, runs: Sequence[Run]) -> None:
        """Before other traces, so that one is whole when the next begins."""
        self._todo.extendleft(reversed(runs))

    def _pursuit(self, trace: str, kind: str) -> Pursuit:
        done = self._done[trace]
        hours = median(run.replica_s for run in done[self._contenders[0].label].values()) / 3600.0
        pursuit = self._pursuits[trace, kind] = Pursuit(trace, kind, self._seeds, hours)
        for contender in self._contenders:
            if contender.kind == kind:
                pursuit.knows(contender, done[contender.label])
        return pursuit

    def _whole(self, trace: str) -> list[int]:
        """The seeds that every policy finished."""
        done = self._done.get(trace, {})
        labels = [contender.label for contender in self._contenders]
        return [seed for seed in self._seeds if all(seed in done.get(label, {}) for label in labels)]

    def _found(self, trace: str, whole: Sequence[int]) -> Found:
        if trace not in self._worlds:
            self._worlds[trace] = self._ground.make_world(trace, whole[0])
        done = self._done[trace]
        runs = {one.label: [done[one.label][seed] for seed in whole] for one in self._contenders}
        pursuits = [self._pursuits.get((trace, kind)) for kind in self._rivals]
        equal = [pursuit.equal for pursuit in pursuits if pursuit is not None]
        over = [one for one in equal if one is not None]
        return Found(trace, self._worlds[trace], runs, over if len(over) == len(self._rivals) else ())


@dataclass(frozen=True, slots=True)
class Verdict:
    """How `policy` stands against the others in one trace: `fewer` violations, `thrifty` (equal or fewer replica-hours)
    by the other policy's label."""

    trace: str
    policy: str
    fewer: Mapping[str, bool]
    thrifty: Mapping[str, bool]

    @property
    def beaten(self) -> list[str]:
        """Those that have more violations, and not fewer replica-hours."""
        return [other for other in self.fewer if self.fewer[other] and self.thrifty[other]]

    @property
    def wins(self) -> bool:
        """All others are beaten."""
        return bool(self.fewer) and len(self.beaten) == len(self.fewer)


def verdict(trace: str, policy: str, found: Sequence[Measures]) -> Verdict:
    """`policy` against all others of `found`."""
    mine = next(one for one in found if one.policy == policy)
    others = [one for one in found if one.policy != policy]
    return Verdict(
        trace=trace,
        policy=policy,
        fewer={one.policy: mine.violations < one.violations for one in others},
        thrifty={one.policy: mine.replica_hours <= one.replica_hours for one in others},
    )
