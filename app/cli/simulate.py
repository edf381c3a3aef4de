"""`yard simulate balancer`: compare strategies in a simulated pool before a real one depends on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import comparison, durations
from app.cli.failures import INTERRUPTED, Failure, Misuse
from app.cli.output import facts, note, now, print_json, show
from app.cli.pools import path as pool_path
from app.cli.session import session_of
from app.cli.simulate_scaling import EPILOG as SCALING_EPILOG
from app.cli.simulate_scaling import scaling
from app.cli.simulating import check_writable, chosen_seeds, counted, reading, run_all, suggestion, write_picture
from app.dispatch.balancers.base import Balancer
from app.dispatch.balancers.registry import BUILT_IN, NO_PARAMS, installed
from app.dispatch.outliers import Limits
from app.dispatch.simulator import recorded, scenarios, trace
from app.dispatch.simulator.compare import Comparison
from app.dispatch.simulator.tally import Measures, recommended
from app.dispatch.simulator.world import PoolTerms, World
from app.registry.records import RetryPolicy
from app.settings import BalancerSettings

MAX_ATTEMPTS_READ = 200_000
MAX_TASKS = 5_000_000
LISTING = ("list", "help", "?")

simulate_app = typer.Typer(help="Try a decision before production.", no_args_is_help=True)
simulate_app.command("scaling", epilog=SCALING_EPILOG, no_args_is_help=False)(scaling)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is simulated: the world of a seed, one line about it, and the same for programs."""

    world: Callable[[int], World]
    line: str
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that say what is simulated; None where none was given."""

    scenario: str | None
    agents: int | None
    slots: int | None
    load: float | None
    minutes: float | None
    timeout_s: float | None
    trace: Path | None
    since: str | None
    pool: str | None


def _epilog() -> str:
    lines = [f"[bold]{name}[/]: {scenario.text}" for name, scenario in scenarios.SCENARIOS.items()]
    return "\n".join(["[bold]Scenarios[/] [dim]# several at once: uneven+dead[/]", *lines])


@simulate_app.command("balancer", epilog=_epilog(), no_args_is_help=False)
def balancer(
    ctx: typer.Context,
    scenario: Annotated[
        str | None, typer.Option(metavar="NAME[+NAME…]", help="See below; `list` lists them. Default: uniform.")
    ] = None,
    strategy: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="May be given several times. Default: all built-in ones.")
    ] = None,
    agents: Annotated[int | None, typer.Option(min=1, max=10_000, help="Default: 100, or as recorded.")] = None,
    slots: Annotated[int | None, typer.Option(min=1, max=1_000, help="An agent. Default: 10, or as recorded.")] = None,
    load: Annotated[float | None, typer.Option(min=0.01, max=2.0, help="Work ÷ capacity. Default: 0.85.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.1, max=1_440, help="Simulated time. Default: 10.")] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, max=86_400, help="Seconds an attempt may take. Default: 300.")
    ] = None,
    managers: Annotated[int, typer.Option(min=1, max=64, help="They split the slots between them.")] = 1,
    seed: Annotated[list[int] | None, typer.Option(metavar="N", help="May be given several times. Default: 1.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, max=100, help="Use the seeds 1 to N.")] = None,
    trace_file: Annotated[
        Path | None,
        typer.Option("--trace", metavar="FILE", help='Recorded tasks, a line {"at","type","seconds","ok",…} each.'),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="24h", help="Take the service's own attempts of this long.")
    ] = None,
    pool: Annotated[str | None, typer.Option(metavar="POOL", help="The pool whose attempts these are.")] = None,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a figure.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Compare balancers on the same simulated tasks, agents and faults."""
    if scenario in LISTING:
        show(facts((name, entry.text) for name, entry in scenarios.SCENARIOS.items()))
        return
    strategies = _strategies(strategy)
    chosen = chosen_seeds(seed, seeds)
    check_writable(png)
    subject = _subject(ctx, Asked(scenario, agents, slots, load, minutes, timeout, trace_file, since, pool))
    limits = Limits.of(BalancerSettings())
    compared = Comparison(strategies, _build, subject.world, managers=managers, timer=time.thread_time, limits=limits)
    whole = run_all(compared.run(chosen))
    found = compared.found()
    line = f"{subject.line}, {counted(managers, 'manager')}, {counted(len(chosen), 'seed')}"
    about = subject.about | {"managers": managers, "seeds": chosen, "complete": whole}
    if as_json:
        print_json(comparison.as_json(found, about))
    elif found:
        _print(found, line)
    if png is not None and found:
        _draw(png, found, line)
    if not whole:
        raise Failure("interrupted: what is shown is only what was finished", INTERRUPTED)


def _print(found: Sequence[Measures], line: str) -> None:
    tasks = f"{found[0].tasks:,} tasks counted after the first tenth of the time"
    show(
        Text(f"{line}: {tasks}\n"),
        comparison.table(found),
        Text(f"\n{comparison.sentence(found)}"),
        *map(Text, comparison.remarks(found)),
        Text(comparison.LEGEND, style="dim"),
    )


def _draw(target: Path, found: Sequence[Measures], line: str) -> None:
    from app.dispatch.simulator.figure import png  # matplotlib takes a second to import

    best = recommended(found)
    if best is None:
        raise Failure("no task finished: there is nothing to draw")
    write_picture(target, png(found, line, best.strategy))


def _build(name: str, rng: Random) -> Balancer:
    params = BalancerSettings().score_params() if name == "weighted_score" else NO_PARAMS
    try:
        return installed().build(name, rng, params)
    except Exception as error:  # a strategy from outside the tree
        raise Failure(f"strategy {name} cannot be built: {error}") from None


def _strategies(asked: Sequence[str] | None) -> list[str]:
    for name in asked or ():
        if name not in installed().factories:
            problem = installed().problems.get(name)
            known = ", ".join(sorted(installed().factories))
            near = suggestion(name, list(installed().factories))
            raise Misuse(f"unknown strategy {name!r}{f' ({problem})' if problem else ''}{near}; there are {known}")
    return list(asked or BUILT_IN)


def _subject(ctx: typer.Context, asked: Asked) -> Subject:
    if asked.trace is None and asked.since is None:
        if asked.pool is not None:
            raise Misuse("--pool goes with --from, which says how far back its attempts are read")
        return _generated(asked)
    if asked.trace is not None and asked.since is not None:
        raise Misuse("give --trace or --from, not both")
    if any(value is not None for value in (asked.scenario, asked.load, asked.minutes)):
        raise Misuse("--scenario, --load and --minutes make up tasks; --trace and --from bring recorded ones")
    return _from_file(asked.trace, asked) if asked.trace is not None else _from_service(ctx, asked)


def _generated(asked: Asked) -> Subject:
    name = "uniform" if asked.scenario is None else asked.scenario
    try:
        names = scenarios.parts(name)
    except scenarios.UnknownScenario as error:
        near = suggestion(error.name, list(scenarios.SCENARIOS))
        raise Misuse(f"{error}{near}; there are {', '.join(scenarios.SCENARIOS)}") from None
    usual = scenarios.Size()
    size = scenarios.Size(
        agents=asked.agents or usual.agents,
        slots=asked.slots or usual.slots,
        load=asked.load or usual.load,
        minutes=asked.minutes or usual.minutes,
    )
    if size.agents * size.slots * size.load * size.minutes * 12 > MAX_TASKS:  # a task takes 5 s
        raise Misuse(f"that is more than {MAX_TASKS:,} tasks: take fewer agents, slots or minutes")
    terms = _terms(asked, PoolTerms())
    line = (
        f"{' + '.join(names)}: {counted(size.agents, 'agent')} × {counted(size.slots, 'slot')}, "
        f"{100 * size.load:g} % load, {size.minutes:g} min"
    )
    about = {"scenario": "+".join(names), "agents": size.agents, "slots": size.slots}
    about |= {"load": size.load, "minutes": size.minutes, "timeout_s": terms.timeout_s}
    return Subject(lambda seed: scenarios.world(name, size, seed, terms), line, about)


def _from_file(source: Path, asked: Asked) -> Subject:
    if asked.pool is not None:
        raise Misuse("--pool goes with --from; a file has the tasks of one pool")
    with reading(source, trace.BadTrace), source.open(encoding="utf-8") as lines:
        attempts = trace.read(lines)
    return _replayed(attempts, asked, source.name, _terms(asked, PoolTerms()), asked.slots)


def _from_service(ctx: typer.Context, asked: Asked) -> Subject:
    if asked.pool is None:
        raise Misuse("--from needs --pool: whose attempts?")
    assert asked.since is not None
    try:
        begin = now() - timedelta(seconds=durations.seconds(asked.since))
    except (ValueError, OverflowError) as error:
        raise Misuse(f"--from: {error}") from None
    api, place = session_of(ctx).api, pool_path(asked.pool)
    known = api.get(place)
    page = api.page(f"{place}/attempts", {"since": begin.isoformat()}, limit=MAX_ATTEMPTS_READ)
    if page["next_page_token"] is not None:
        note(f"there are more: {MAX_ATTEMPTS_READ:,} attempts were read")
    try:
        attempts = trace.listed(page["items"])
    except trace.BadTrace as error:
        raise Failure(f"pool {asked.pool}, last {asked.since}: {error}") from None
    retry = {name: value for name, value in known["retry"].items() if name in RetryPolicy.__slots__}
    terms = PoolTerms(known["timeout_s"], known["max_attempts"], RetryPolicy(**retry))
    line = f"pool {asked.pool}, last {asked.since}"
    return _replayed(attempts, asked, line, _terms(asked, terms), asked.slots or known["slots"])


def _replayed(
    attempts: Sequence[trace.Recorded], asked: Asked, name: str, terms: PoolTerms, slots: int | None
) -> Subject:
    named = any(attempt.agent for attempt in attempts)
    usual = scenarios.Size()
    agents = asked.agents or (None if named else usual.agents)
    fleet = recorded.Fleet(agents, slots or (None if named else usual.slots))
    world = recorded.world(attempts, 1, fleet, terms)
    count, each = len(world.agents), world.agents[0].slots
    at_once = recorded.most_overlapping((agent.joins_s, agent.leaves_s) for agent in world.agents)
    if slots is None and named and all(attempt.started_s is None for attempt in attempts):
        note(f'no line says when its attempt "started": {counted(each, "slot")} an agent, as if no task had waited')
    line = (
        f"{name}: {len(world.arrivals):,} recorded tasks in {durations.span(world.duration_s)}, "
        f"{counted(count, 'agent')}{f' (at most {at_once:,} at once)' if at_once < count else ''} × "
        f"{counted(each, 'slot')}"
    )
    about = {"recorded": name, "attempts": len(attempts), "agents": count, "agents_at_once": at_once, "slots": each}
    about |= {"minutes": world.duration_s / 60.0, "timeout_s": terms.timeout_s}
    return Subject(lambda seed: recorded.world(attempts, seed, fleet, terms), line, about)


def _terms(asked: Asked, terms: PoolTerms) -> PoolTerms:
    timeout_s = asked.timeout_s or terms.timeout_s
    return PoolTerms(timeout_s, terms.max_attempts, terms.retry)
