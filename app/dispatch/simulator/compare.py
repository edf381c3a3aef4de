"""Several strategies in the same worlds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

from app.dispatch.balancers.base import Balancer
from app.dispatch.outliers import Limits
from app.dispatch.simulator.engine import Simulation
from app.dispatch.simulator.managers import Timer
from app.dispatch.simulator.tally import Measures, Tally, measures
from app.dispatch.simulator.world import World

type BuildNamed = Callable[[str, Random], Balancer]


class Comparison:
    """Runs of `strategies`, seed by seed, so that whenever it is stopped those it has are of the same seeds.

    `make_world(seed)` is asked once a seed. Iterating over `run` does one run a step and gives (strategy, seed) before
    each; `found` may be asked at any time.
    """

    def __init__(
        self,
        strategies: Sequence[str],
        build: BuildNamed,
        make_world: Callable[[int], World],
        *,
        managers: int,
        timer: Timer,
        limits: Limits | None = None,
    ) -> None:
        self.strategies = list(dict.fromkeys(strategies))
        self._build, self._make_world = build, make_world
        self._managers, self._timer, self._limits = managers, timer, limits
        self._runs: dict[str, list[Tally]] = {name: [] for name in self.strategies}

    def run(self, seeds: Sequence[int]) -> Iterator[tuple[str, int]]:
        """Do the runs, one a step."""
        for seed in dict.fromkeys(seeds):
            world = self._make_world(seed)
            for name in self.strategies:
                yield name, seed
                self._runs[name].append(self._one(name, world, seed))

    def found(self) -> list[Measures]:
        """The measures so far, over the seeds that every strategy finished; of the first seed, those that did."""
        whole = min(len(runs) for runs in self._runs.values())
        return [measures(name, runs[: max(1, whole)]) for name, runs in self._runs.items() if runs]

    def _one(self, name: str, world: World, seed: int) -> Tally:
        def build(rng: Random) -> Balancer:
            return self._build(name, rng)

        simulation = Simulation(
            world, build, seed=seed, managers=self._managers, timer=self._timer, limits=self._limits
        )
        return simulation.run()
