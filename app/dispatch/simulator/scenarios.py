"""The scenarios: what can be wrong with a pool, each one a change to a draft, so that they combine."""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from types import MappingProxyType

from app.dispatch.simulator import sizes
from app.dispatch.simulator.world import Arrival, Fault, PoolTerms, SimAgent, Spell, World, dice

WARM_UP = 0.1
"""Share of the time whose arrivals are not counted: the strategies learn."""
BASE_FAILURE = 0.005
BUSY, QUIET = 1.6, 0.7


class UnknownScenario(LookupError):
    """No scenario of that name; `near`: names that are like it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.near = difflib.get_close_matches(name, SCENARIOS, n=3, cutoff=0.5)
        super().__init__(f"unknown scenario {name!r}")


@dataclass(frozen=True, slots=True)
class Size:
    """How large the pool is, for how long it is watched, and how busy it is.

    `load`: work that arrives, as a share of what the agents can do in that time, each task on an agent that suits it;
    agents that are slow, fail or are not there can do less.
    """

    agents: int = 100
    slots: int = 10
    load: float = 0.85
    minutes: float = 10.0

    @property
    def duration_s(self) -> float:
        return 60.0 * self.minutes


@dataclass(frozen=True, slots=True)
class TaskType:
    """One kind of task: its share of all, its mean seconds, and the agent version that suits it ("": all)."""

    name: str
    share: float
    mean_s: float
    suits: str = ""


@dataclass(slots=True)
class Draft:
    """A world in the making."""

    agents: list[SimAgent]
    duration_s: float
    rng: random.Random
    types: Sequence[TaskType] = (TaskType("task", 1.0, 5.0),)
    slower: dict[tuple[str, str], float] = field(default_factory=dict)
    failing: dict[tuple[str, str], float] = field(default_factory=dict)
    contention: float = 0.0
    bursts: bool = False

    def some(self, share: float) -> list[int]:
        """Places of a random share of the agents, at least one."""
        return self.rng.sample(range(len(self.agents)), max(1, round(share * len(self.agents))))

    def change(self, place: int, **facts: object) -> None:
        """Give one agent other facts."""
        self.agents[place] = replace(self.agents[place], **facts)  # type: ignore[arg-type]

    def add_spell(self, place: int, spell: Spell) -> None:
        """Let one agent be slow for a while."""
        self.change(place, spells=(*self.agents[place].spells, spell))


def _uniform(draft: Draft) -> None:
    pass


def _bursty(draft: Draft) -> None:
    draft.bursts = True


def _uneven(draft: Draft) -> None:
    for place in draft.some(0.3):
        draft.change(place, slower=2.0, weight=2.5)


def _skills(draft: Draft) -> None:
    draft.types = (
        TaskType("chat", 0.50, 2.0, "chat-v1"),
        TaskType("code", 0.35, 5.0, "code-v1"),
        TaskType("research", 0.15, 15.0, "research-v1"),
    )
    for kind, home in product(draft.types, draft.types):
        if kind is not home:
            draft.slower[kind.name, home.suits] = 2.0
            draft.failing[kind.name, home.suits] = 0.10
    order = draft.some(1.0)
    work = sum(kind.share * kind.mean_s for kind in draft.types)
    done = 0.0
    for kind in draft.types:  # as many agents of a version as its type brings work
        begin, done = done, done + kind.share * kind.mean_s / work
        for place in order[round(begin * len(order)) : round(done * len(order))]:
            draft.change(place, version=kind.suits)


def _black_hole(draft: Draft) -> None:
    for place in draft.some(0.01):
        draft.change(place, fault=Fault(0.25 * draft.duration_s, share=1.0, after=0.0))


def _grey(draft: Draft) -> None:
    for place in draft.some(0.03):
        if draft.agents[place].fault is None:
            draft.change(place, fault=Fault(0.2 * draft.duration_s, share=0.3))


def _slow_spells(draft: Draft) -> None:
    start_s = 0.15 * draft.duration_s
    while start_s < draft.duration_s:
        for place in draft.some(0.03):
            draft.add_spell(place, Spell(start_s, start_s + 60.0, 10.0))
        start_s += 120.0


def _dead(draft: Draft) -> None:
    for turn in (0.25, 0.5, 0.75):
        for place in draft.some(0.02):
            draft.add_spell(place, Spell(turn * draft.duration_s, math.inf, math.inf))


def _rollout(draft: Draft) -> None:
    count = len(draft.agents)
    places = draft.some(1.0)
    pause_s = 600.0 / count  # a tenth of the pool a minute
    for turn, place in enumerate(places):
        at_s = 0.1 * draft.duration_s + turn * pause_s
        if at_s > 0.9 * draft.duration_s:
            break
        leaving = draft.agents[place]
        draft.change(place, leaves_s=at_s)
        cold = Spell(at_s, at_s + 60.0, 4.0)
        newcomer = replace(leaving, id=f"{leaving.id}-new", joins_s=at_s, spells=(*leaving.spells, cold))
        draft.agents.append(newcomer)


def _contention(draft: Draft) -> None:
    draft.contention = 1.0


def _everything(draft: Draft) -> None:
    for name, scenario in SCENARIOS.items():
        if name != "everything":
            scenario.apply(draft)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One line for people, and the change it makes."""

    text: str
    apply: Callable[[Draft], None]


SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "uniform": Scenario("equal agents, steady arrivals", _uniform),
        "bursty": Scenario("arrivals come in bursts: about 15 s with 2.3 times as many as in the 30 s before", _bursty),
        "uneven": Scenario("30 % of the agents are half as fast; the operator gave them half the weight", _uneven),
        "skills": Scenario(
            "three task types, three agent versions; on another version than its own a task takes twice as long and "
            "fails in 10 %",
            _skills,
        ),
        "black_hole": Scenario("1 % of the agents begin to fail every task within 50 ms", _black_hole),
        "grey": Scenario("3 % of the agents begin to lose 30 % of their tasks, at normal speed", _grey),
        "slow_spells": Scenario(
            "3 % of the agents are 10 × slower for a minute, others every two minutes", _slow_spells
        ),
        "dead": Scenario("three times, 2 % of the agents hang for good: calls end by the pool's timeout", _dead),
        "rollout": Scenario("10 % of the agents a minute are replaced; the new are 4 × slower for a minute", _rollout),
        "contention": Scenario("agents slow down as they fill, to half their speed", _contention),
        "everything": Scenario("all of these at once", _everything),
    }
)


def parts(name: str) -> list[str]:
    """The names in `NAME+NAME`; UnknownScenario for one that is none."""
    names = [part.strip() for part in name.split("+")]
    for part in names:
        if part not in SCENARIOS:
            raise UnknownScenario(part)
    return names


def world(name: str, size: Size, seed: int, terms: PoolTerms | None = None) -> World:
    """The world of a scenario, or of several as `NAME+NAME`: always the same for the same arguments."""
    width = len(str(size.agents))
    agents = [SimAgent(f"a{number:0{width}}", size.slots) for number in range(1, size.agents + 1)]
    draft = Draft(agents, size.duration_s, dice("scenario", name, size.agents, seed))
    chosen = parts(name)
    for part in SCENARIOS:  # in a fixed order: newcomers of a rollout are what those they replace were
        if part in chosen:
            SCENARIOS[part].apply(draft)
    return World(
        agents=tuple(draft.agents),
        arrivals=tuple(_arrivals(draft, size.load * tasks_per_s(draft), dice("arrivals", seed))),
        duration_s=size.duration_s,
        count_from_s=WARM_UP * size.duration_s,
        slower=draft.slower,
        failing=draft.failing,
        base_failure=BASE_FAILURE,
        contention=draft.contention,
        terms=terms or PoolTerms(),
    )


def tasks_per_s(draft: Draft) -> float:
    """What the agents can finish on average over the time, each task on an agent that suits it."""
    mean_s = sum(kind.share * sizes.true_mean_s(kind.mean_s) for kind in draft.types)
    slots = sum(agent.slots * useful_s(agent, draft.duration_s) for agent in draft.agents) / draft.duration_s
    return slots / (1.0 + draft.contention) / mean_s


def useful_s(agent: SimAgent, duration_s: float) -> float:
    """Seconds of normal work that one slot of the agent gets done until `duration_s`."""
    fault = agent.fault
    marks = {agent.joins_s, min(agent.leaves_s, duration_s)}
    marks |= {edge for spell in agent.spells for edge in (spell.start_s, spell.end_s)}
    marks |= {fault.start_s} if fault else set()
    edges = sorted(mark for mark in marks if agent.joins_s <= mark <= min(agent.leaves_s, duration_s))
    total_s = 0.0
    for begin, end in pairwise(edges):
        speed = 1.0 / agent.slower
        for spell in agent.spells:
            if spell.start_s <= begin < spell.end_s:
                speed /= spell.slower
        if fault and fault.start_s <= begin:
            speed *= 1.0 - fault.share
        total_s += speed * (end - begin)
    return total_s


def _arrivals(draft: Draft, per_s: float, rng: random.Random) -> list[Arrival]:
    names = [kind.name for kind in draft.types]
    shares = [kind.share for kind in draft.types]
    means = {kind.name: kind.mean_s for kind in draft.types}
    found = []
    for at_s in _moments(draft, per_s, rng):
        kind = names[0] if len(names) == 1 else rng.choices(names, shares)[0]
        size_s, complexity = sizes.drawn(means[kind], rng)
        found.append(Arrival(at_s, kind, size_s, complexity, rng.random()))
    return found


def _moments(draft: Draft, per_s: float, rng: random.Random) -> list[float]:
    """A Poisson process; in bursts its rate alternates, with the mean `per_s` all the same."""
    if per_s <= 0.0:
        return []
    if not draft.bursts:
        return _poisson(0.0, draft.duration_s, per_s, rng)
    phases = _phases(draft.duration_s, rng)
    scale = per_s * draft.duration_s / sum(level * (end_s - begin_s) for begin_s, end_s, level in phases)
    return [at_s for begin_s, end_s, level in phases for at_s in _poisson(begin_s, end_s, level * scale, rng)]


def _phases(duration_s: float, rng: random.Random) -> list[tuple[float, float, float]]:
    """Quiet and busy times in turn: (begin, end, rate)."""
    phases: list[tuple[float, float, float]] = []
    begin_s, busy = 0.0, False
    while begin_s < duration_s:
        end_s = min(duration_s, begin_s + rng.expovariate(1.0 / (15.0 if busy else 30.0)))
        phases.append((begin_s, end_s, BUSY if busy else QUIET))
        begin_s, busy = end_s, not busy
    return phases


def _poisson(begin_s: float, end_s: float, per_s: float, rng: random.Random) -> list[float]:
    moments = []
    at_s = begin_s + rng.expovariate(per_s)
    while at_s < end_s:
        moments.append(at_s)
        at_s += rng.expovariate(per_s)
    return moments
