"""`yard schedules`: tasks by the clock."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer
from rich.console import RenderableType
from rich.text import Text

from app.cli import cells, durations, payload
from app.cli.client import encoded
from app.cli.failures import Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, facts, now, print_json, show
from app.cli.session import session_of

PATH = "/v1/schedules"
STYLES = {"submitted": "green", "waiting": "blue", "skipped": "yellow", "failed": "red"}

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
Cron = Annotated[str | None, typer.Option(help="Five fields: minute hour day month weekday.")]
Timezone = Annotated[str, typer.Option(help="IANA time zone of the cron, e.g. Europe/Berlin.")]
Every = Annotated[str | None, typer.Option(metavar="5m", help="An interval: 30s, 5m, 1d.")]
At = Annotated[str | None, typer.Option(metavar="TIME", help="Once: 2026-11-20T20:25:00Z or +10m.")]
Misfire = Literal["skip", "run_once", "run_all"]
Overlap = Literal["allow", "skip", "queue", "cancel_previous"]

schedule_app = typer.Typer(help="Submit tasks by the clock.", no_args_is_help=True)


def path(name: str) -> str:
    """The schedule's place in the API."""
    return f"{PATH}/{quote(name, safe='')}"


@schedule_app.command("list")
def list_schedules(ctx: typer.Context, as_json: Json = False) -> None:
    """List the schedules and their next ticks."""
    page = session_of(ctx).api.page(PATH)
    if as_json:
        print_json(page)
        return
    columns = [Column("name", whole=True), *map(Column, ("when", "next", "task")), Column("overlap", spare=True)]
    show(listing(columns, map(_row, page["items"])))


def _row(found: dict[str, Any]) -> list[str | Text]:
    task = found["task"].get("pool") or found["task"].get("type", "")
    return [found["name"], _when(found), _next(found), task, found["overlap"]]


def _when(found: dict[str, Any]) -> str:
    if found["cron"]:
        return f"{found['cron']} {found['timezone']}"
    return f"every {found['interval_s']:g} s" if found["interval_s"] else f"once, {found['at']}"


def _next(found: dict[str, Any]) -> Text:
    if found["paused"]:
        return Text("paused", style="yellow")
    return Text(durations.relative(found["next_at"], now()) if found["next_at"] else "never")


@schedule_app.command("show")
def show_schedule(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a schedule and its latest runs."""
    found = session_of(ctx).api.get(path(name))
    if as_json:
        print_json(found)
        return
    known = [
        ("schedule", Text(cells.clean(found["name"]), style="bold")),
        ("when", _when(found)),
        ("next", _next(found)),
        ("overlap", found["overlap"]),
        ("misfire", f"{found['misfire']}, after {found['misfire_grace_s']:g} s"),
        ("backfill", f"under way, until {found['backfill_until']}" if found["backfill_until"] else ""),
        ("defined by", found["created_by"]),
        ("updated", durations.relative(found["updated_at"], now())),
    ]
    latest = [Text(""), _runs(found["last_runs"])] if found["last_runs"] else []
    show(facts(known), Text("\ntask", style="bold"), cells.plain(found["task"]), *latest)


def _runs(runs: list[dict[str, Any]]) -> RenderableType:
    columns = [Column("tick", whole=True), Column("outcome"), Column("task", whole=True), Column("status")]
    return listing([*columns, Column("reason", spare=True)], map(_run, runs))


def _run(run: dict[str, Any]) -> list[str | Text]:
    status = cells.status(run["task_status"]) if run["task_status"] else Text("")
    outcome = Text(run["outcome"], style=STYLES.get(run["outcome"], ""))
    return [run["tick_at"], outcome, run["task_id"] or "", status, cells.clip(cells.one_line(run["reason"]), 80)]


@schedule_app.command()
def runs(
    ctx: typer.Context,
    name: Name,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List what became of the latest ticks."""
    page = session_of(ctx).api.page(f"{path(name)}/runs", limit=limit)
    if as_json:
        print_json(page)
    else:
        show(_runs(page["items"]))


@schedule_app.command()
def create(
    ctx: typer.Context,
    name: Name,
    pool: Annotated[str, typer.Argument(metavar="POOL", help="The pool of its tasks.")],
    data: Annotated[str, typer.Argument(metavar="@FILE|JSON", help="The payload; @- reads stdin.")] = "null",
    cron: Cron = None,
    timezone: Timezone = "UTC",
    every: Every = None,
    at: At = None,
    overlap: Annotated[Overlap, typer.Option(help="While an earlier tick's task has not ended.")] = "allow",
    misfire: Annotated[Misfire, typer.Option(help="Of ticks that were missed.")] = "run_once",
    catch_up: Annotated[int, typer.Option(min=1, max=1000, help="Most missed ticks that run_all makes.")] = 10,
    as_json: Json = False,
) -> None:
    """Create a schedule, or replace its definition as a whole."""
    try:
        value = payload.read(data, payload.MAX_BODY_BYTES).json()
    except ValueError as error:
        raise Misuse(f"the payload is not JSON: {error}") from None
    policy = {"overlap": overlap, "misfire": misfire, "max_catch_up": catch_up}
    body = {"task": {"pool": pool, "payload": value}, **_timing(cron, timezone, every, at), **policy}
    found = session_of(ctx).api.send("PUT", path(name), encoded(body))
    if as_json:
        print_json(found)
    else:
        typer.echo(f"schedule {found['name']}: next tick {durations.relative(found['next_at'], now())}")


def _timing(cron: str | None, timezone: str, every: str | None, at: str | None) -> dict[str, Any]:
    if sum(value is not None for value in (cron, every, at)) != 1:
        raise Misuse("say when with one of --cron, --every and --at")
    try:
        if every is not None:
            return {"interval_s": durations.seconds(every)}
        return {"cron": cron, "timezone": timezone} if at is None else {"at": _time(at).isoformat()}
    except ValueError as error:
        raise Misuse(str(error)) from None


def _time(text: str) -> datetime:
    return durations.moment(text, now())


@schedule_app.command()
def preview(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A schedule; else say when.")] = None,
    cron: Cron = None,
    timezone: Timezone = "UTC",
    every: Every = None,
    at: At = None,
    count: Annotated[int, typer.Option(min=1, max=100)] = 10,
    as_json: Json = False,
) -> None:
    """Show the next ticks of a schedule, or of a timing that is not stored."""
    api = session_of(ctx).api
    if name is not None:
        if cron or every or at:
            raise Misuse("name a schedule, or say when: not both")
        shown = api.get(f"{path(name)}/preview", {"count": count})
    else:
        shown = api.send("POST", f"{PATH}/preview", encoded({**_timing(cron, timezone, every, at), "count": count}))
    if as_json:
        print_json(shown)
    else:
        for tick in shown["local"]:
            typer.echo(tick)


@schedule_app.command()
def pause(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Make nothing until it is resumed."""
    _moved(session_of(ctx).api.send("POST", f"{path(name)}/pause"), as_json=as_json)


@schedule_app.command()
def resume(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Go on with the next tick from now."""
    _moved(session_of(ctx).api.send("POST", f"{path(name)}/resume"), as_json=as_json)


def _moved(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        typer.echo(f"schedule {found['name']}: {'paused' if found['paused'] else f'next tick {_next(found)}'}")


@schedule_app.command()
def trigger(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Make its task now. stdout holds the task's id alone."""
    made = session_of(ctx).api.send("POST", f"{path(name)}/trigger")
    if as_json:
        print_json(made)
    else:
        typer.echo(made["task_id"])


@schedule_app.command()
def backfill(
    ctx: typer.Context,
    name: Name,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="The period's start.")],
    until: Annotated[str, typer.Option(metavar="TIME", help="Its end.")],
    as_json: Json = False,
) -> None:
    """Make the ticks of a past period that made no task."""
    try:
        period = {"from": _time(start).isoformat(), "until": _time(until).isoformat()}
    except ValueError as error:
        raise Misuse(str(error)) from None
    asked = session_of(ctx).api.send("POST", f"{path(name)}/backfill", encoded(period))
    if as_json:
        print_json(asked)
    else:
        typer.echo(f"schedule {asked['name']}: ticks in this period: {asked['ticks']}")


@schedule_app.command()
def delete(ctx: typer.Context, name: Name) -> None:
    """Remove a schedule. The tasks that it made go on."""
    session_of(ctx).api.send("DELETE", path(name))
    typer.echo(f"schedule {name} is removed")
