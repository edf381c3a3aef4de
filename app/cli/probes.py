"""`yard probes`: tasks whose right answer is known."""

from __future__ import annotations

from typing import Annotated, Any
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

PATH = "/v1/probes"
STYLES = {
    "passing": "green", "failing": "red", "undecided": "yellow", "disabled": "dim",
    "passed": "green", "failed": "red", "error": "yellow", "pending": "blue",
}  # fmt: skip

Name = Annotated[str, typer.Argument(metavar="NAME", help="The probe's name.")]

probes_app = typer.Typer(help="Ask tasks whose right answer is known, by the clock.", no_args_is_help=True)


def path(name: str) -> str:
    """The probe's place in the API."""
    return f"{PATH}/{quote(name, safe='')}"


@probes_app.command("list")
def list_probes(ctx: typer.Context, as_json: Json = False) -> None:
    """List the probes and what their last runs say."""
    page = session_of(ctx).api.page(PATH)
    if as_json:
        print_json(page)
        return
    columns = [Column("name", whole=True), *map(Column, ("pool", "state", "every")), Column("took", right=True)]
    show(listing([*columns, Column("next"), Column("why", spare=True)], map(_row, page["items"])))


def _row(found: dict[str, Any]) -> list[str | Text]:
    return [
        found["name"],
        found["pool"],
        _styled(found["state"]),
        f"{found['every_s']} s",
        _seconds(found["latency_s"]),
        _next(found),
        cells.clip(cells.one_line(found["why"]), 80),
    ]


def _next(found: dict[str, Any]) -> str:
    return durations.relative(found["next_at"], now()) if found["next_at"] else "never"


def _styled(word: str) -> Text:
    return Text(word, style=STYLES.get(word, ""))


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f} s"


@probes_app.command("show")
def show_probe(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a probe, its task and checks, and its latest runs."""
    found = session_of(ctx).api.get(path(name))
    if as_json:
        print_json(found)
        return
    known = [
        ("probe", Text(cells.clean(found["name"]), style="bold")),
        ("pool", found["pool"] + (f", type {found['type']}" if found["type"] else "")),
        ("state", _styled(found["state"])),
        ("why", cells.clean(found["why"])),
        ("every", f"{found['every_s']} s, with an answer within {found['timeout_s']:g} s"),
        ("fails", f"after {found['fail_after']} of {found['of_last']} runs"),
        ("next", _next(found)),
        ("budget", f"{found['budget']['limit']} {found['budget']['unit']} a day" if found["budget"] else ""),
        ("labels", ", ".join(f"{key}={cells.clean(value)}" for key, value in found["labels"].items())),
        ("updated", durations.relative(found["updated_at"], now())),
    ]
    task, checks = Text("\ntask", style="bold"), Text("\nchecks", style="bold")
    latest = [Text(""), _runs(found["last_runs"])] if found["last_runs"] else []
    show(facts(known), task, cells.plain(found["payload"]), checks, cells.plain(found["checks"]), *latest)


def _runs(runs: list[dict[str, Any]]) -> RenderableType:
    columns = [Column("planned", whole=True), Column("outcome"), Column("took", right=True)]
    return listing([*columns, Column("task", whole=True), Column("reason", spare=True)], map(_run, runs))


def _run(run: dict[str, Any]) -> list[str | Text]:
    reason = cells.clip(cells.one_line(run["reason"]), 120)
    return [run["planned_at"], _styled(run["outcome"]), _seconds(run["latency_s"]), run["task_id"] or "", reason]


@probes_app.command("set")
def set_probe(
    ctx: typer.Context,
    name: Name,
    data: Annotated[str, typer.Argument(metavar="@FILE|JSON", help="The probe as JSON; @- reads stdin.")],
    as_json: Json = False,
) -> None:
    """Set a probe as a whole: its pool, payload, checks, every_s, timeout_s, fail_after, of_last, labels, budget."""
    try:
        value = payload.read(data, payload.MAX_BODY_BYTES).json()
    except ValueError as error:
        raise Misuse(f"the probe is not JSON: {error}") from None
    found = session_of(ctx).api.send("PUT", path(name), encoded(value))
    if as_json:
        print_json(found)
    else:
        typer.echo(f"probe {found['name']}: next run {_next(found)}")


@probes_app.command()
def run(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Run it now. What came of it: yard probes show NAME. stdout holds the task's id alone."""
    made = session_of(ctx).api.send("POST", f"{path(name)}/run")
    if as_json:
        print_json(made)
    else:
        typer.echo(made["task_id"])


@probes_app.command()
def delete(ctx: typer.Context, name: Name) -> None:
    """Remove a probe with its runs."""
    session_of(ctx).api.send("DELETE", path(name))
    typer.echo(f"probe {name} is removed")
