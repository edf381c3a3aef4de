"""`yard simulate scaling`: what an autoscaler would do to a pool, before it does it to a real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import durations, scaling_comparison
from app.cli.failures import INTERRUPTED, Failure, Misuse
from app.cli.output import note, now, print_json
from app.cli.pools import path as pool_path
from app.cli.session import session_of
from app.cli.simulating import check_writable, chosen_seeds, reading, run_all, suggestion, write_picture
from app.scaling.simulator import policies, recorded, traces
from app.scaling.simulator.compare import Comparison
from app.scaling.simulator.policies import BadPolicy, Builder, Contender
from app.scaling.simulator.runs import useful_processes
from app.scaling.simulator.world import Bounds, World
from app.settings import ScalingSettings

SEEDS = 9
DEFAULT_WAIT_S = 30.0
RECORDED = Bounds(min=1, max=40, slots=1, cold_start_s=30.0)
"""Of a file that says nothing about its pool."""
MOST_MINUTES = 45 * 1440

EPILOG = "\n".join(
    [
        "[bold]Traces[/] [dim]# all of them where none is named[/]",
        *(f"[bold]{name}[/]: {trace.text}" for name, trace in traces.TRACES.items()),
        "",
        "[bold]Policies[/] queue_wait, utilization, hpa, kpa, keda; parameters after a colon: "
        "queue_wait:wait_s=10,max=20 · hpa:target=0.7",
        "",
        "Baselines are compared twice: with their documented targets, and each with the one at which it spends as many "
        "replica-hours as the policy that is judged.",
    ]
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is simulated: worlds by trace and seed, a line about each trace, and `scale`, what a pool's definition says
    of our policies. `world` may be sent to other processes."""

    names: list[str]
    world: Callable[[str, int], World]
    texts: Mapping[str, str]
    scale: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that say what is simulated; None where none was given."""

    trace: Sequence[str]
    since: str | None
    pool: str | None
    hours: float | None
    least: int | None
    most: int | None
    slots: int | None
    cold_start_s: float | None

    def bounds(self, usual: Bounds) -> Bounds:
        """`usual` with what was asked for; Misuse where min is above max."""
        least, most, slots, cold_s = self.least, self.most, self.slots, self.cold_start_s
        found = Bounds(
            min=usual.min if least is None else least,
            max=usual.max if most is None else most,
            slots=usual.slots if slots is None else slots,
            cold_start_s=usual.cold_start_s if cold_s is None else cold_s,
        )
        if found.min > found.max:
            raise Misuse(f"the least number of replicas, {found.min}, is above the most, {found.max}")
        return found


def scaling(
    ctx: typer.Context,
    trace: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help='See below; or arrivals as CSV or JSON lines of "at" and "seconds".'),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="24h", help="Take what the service recorded of --pool for so long.")
    ] = None,
    pool: Annotated[str | None, typer.Option(metavar="POOL", help="Its load, its limits and its scale policy.")] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:KEY=VALUE,…]", help="May be given several times; the first is judged."),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="For our policies: --set drain_s=30")
    ] = None,
    least: Annotated[int | None, typer.Option("--min", min=0, max=10_000, help="Fewest replicas.")] = None,
    most: Annotated[int | None, typer.Option("--max", min=1, max=10_000, help="Most replicas: what if?")] = None,
    slots: Annotated[int | None, typer.Option(min=1, max=1_000, help="Of a replica.")] = None,
    wait_s: Annotated[float | None, typer.Option(min=0, help="A task should wait no longer. Default: 30.")] = None,
    wait_share: Annotated[float | None, typer.Option(help="… but for this share. Default: 0.05.")] = None,
    cold_start: Annotated[float | None, typer.Option(min=0, max=3_600, help="Seconds from launch to ready.")] = None,
    usd: Annotated[float | None, typer.Option(min=0, help="What a replica costs an hour.")] = None,
    hours: Annotated[float | None, typer.Option(min=0.25, max=48, help="Length of a generated trace.")] = None,
    seed: Annotated[
        list[int] | None, typer.Option(metavar="N", help="May be given several times. Default: 1 to 9.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=100, help="Use the seeds 1 to N: medians. Default: 9.")
    ] = None,
    defaults_only: Annotated[
        bool, typer.Option("--defaults-only", help="Leave out the baselines at equal replica-hours.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a figure (PNG).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Replay load through autoscaling policies, ours and those of Kubernetes, Knative and KEDA."""
    chosen = chosen_seeds(seed, seeds or (None if seed else SEEDS))
    check_writable(plot)
    subject = _subject(ctx, Asked(trace or (), since, pool, hours, least, most, slots, cold_start))
    contenders = _contenders(policy, setting)
    scale = _scale(subject.scale, wait_s, wait_share, usd)
    simulated_tasks = len(chosen) * len(contenders) * _checked(subject, contenders, scale, chosen[0])
    compared = Comparison(contenders, subject.names, subject.world, _builder(scale), equal_hours=not defaults_only)
    whole = run_all(compared.run(chosen, useful_processes(simulated_tasks)))
    report = scaling_comparison.Report(
        found=compared.found,
        texts=subject.texts,
        judged=contenders[0].label,
        wait_s=scale.get("wait_s", DEFAULT_WAIT_S),
        usd_per_hour=scale.get("replica_usd_per_hour"),
        seeds=chosen,
    )
    _tell(report, plot, whole=whole, as_json=as_json)


def _tell(report: scaling_comparison.Report, plot: Path | None, *, whole: bool, as_json: bool) -> None:
    """The numbers and the figure; `whole` False: the run was interrupted."""
    if as_json:
        print_json(report.as_json() | {"complete": whole})
    elif report.found:
        report.show()
    if plot is not None and report.found:
        from app.scaling.simulator.figure import png  # matplotlib takes a second to import

        write_picture(plot, png(report.found, report.title(), report.notes()))
    if not whole:
        raise Failure("interrupted: what is shown is only what was finished", INTERRUPTED)


def _builder(scale: Mapping[str, Any]) -> Builder:
    return Builder(scale, ScalingSettings().decide_interval_s)


def _checked(subject: Subject, contenders: Sequence[Contender], scale: Mapping[str, Any], seed: int) -> int:
    """How many tasks there are with one seed; Misuse for a policy whose parameters do not fit together, before anything
    runs."""
    build, tasks = _builder(scale), 0
    try:
        for name in subject.names:
            world = subject.world(name, seed)
            tasks += len(world.tasks)
            for contender in contenders:
                build(contender, world)
    except BadPolicy as error:
        raise Misuse(str(error)) from None
    return tasks


def _contenders(asked: Sequence[str] | None, settings: Sequence[str] | None) -> list[Contender]:
    try:
        given = dict(policies.setting(text) for text in settings or ())
        found = [policies.with_settings(policies.parsed(text), given) for text in asked or policies.DEFAULT]
    except BadPolicy as error:
        raise Misuse(str(error)) from None
    if len({contender.label for contender in found}) < len(found):
        raise Misuse("a policy is given twice")
    return found


def _scale(known: Mapping[str, Any], wait_s: float | None, share: float | None, usd: float | None) -> dict[str, Any]:
    """A pool's `scale` with what was asked for."""
    asked = {"wait_s": wait_s, "wait_share": share, "replica_usd_per_hour": usd or None}
    return {**known, **{name: value for name, value in asked.items() if value is not None}}


def _subject(ctx: typer.Context, asked: Asked) -> Subject:
    if asked.since is not None or asked.pool is not None:
        return _from_service(ctx, asked)
    files = [name for name in asked.trace if name not in traces.TRACES]
    if not files:
        return _generated(asked)
    if len(asked.trace) > 1:
        raise Misuse("a file is replayed alone")
    return _from_file(Path(files[0]), asked)


def _generated(asked: Asked) -> Subject:
    names = list(dict.fromkeys(asked.trace or traces.TRACES))
    usual = traces.Limits()
    bounds = asked.bounds(Bounds(usual.min, usual.max, 1, 0.0))
    limits = traces.Limits(bounds.min, bounds.max, asked.slots, asked.cold_start_s)
    return Subject(
        names,
        traces.Generated(limits, asked.hours),
        {name: traces.TRACES[name].text for name in names},
    )


def _from_file(source: Path, asked: Asked) -> Subject:
    _no_hours(asked)
    if not source.exists():
        likely = suggestion(str(source), list(traces.TRACES))
        raise Misuse(f"{source} is neither a file nor a trace{likely}; there are {', '.join(traces.TRACES)}")
    with reading(source, recorded.BadTrace), source.open(encoding="utf-8", newline="") as lines:
        tasks = recorded.read(lines)
    bounds = asked.bounds(RECORDED)
    return Subject([source.name], recorded.Replayed(tasks, bounds), {source.name: "recorded arrivals"})


def _from_service(ctx: typer.Context, asked: Asked) -> Subject:
    if asked.since is None or asked.pool is None:
        raise Misuse("--from and --pool go together: how far back, and whose load?")
    if asked.trace:
        raise Misuse("give --trace or --from, not both")
    _no_hours(asked)
    try:
        begin = now() - timedelta(seconds=durations.seconds(asked.since))
    except (ValueError, OverflowError) as error:
        raise Misuse(f"--from: {error}") from None
    api, place = session_of(ctx).api, pool_path(asked.pool)
    known = api.get(place)
    page = api.page(f"{place}/load", {"from": begin.isoformat()}, limit=MOST_MINUTES)
    if page["next_page_token"] is not None:
        note(f"there are more: {MOST_MINUTES:,} minutes were read")
    try:
        minutes = recorded.minutes(page["items"])
    except recorded.BadTrace as error:
        raise Failure(f"pool {asked.pool}, last {asked.since}: {error}") from None
    cold_s = api.get(f"{place}/scaling").get("cold_start_s") or RECORDED.cold_start_s
    scale = known["scale"]
    bounds = asked.bounds(Bounds(scale["min"], scale["max"], known["slots"], cold_s))
    name = f"pool {asked.pool}"
    return Subject(
        [name],
        recorded.Spread(minutes, bounds),
        {name: f"recorded in the last {asked.since}"},
        scale,
    )


def _no_hours(asked: Asked) -> None:
    if asked.hours is not None:
        raise Misuse("--hours is for generated traces")
