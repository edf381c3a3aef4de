"""`yard limits`: how much tenants, API keys and pools may submit and run."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer
from rich.text import Text

from app.cli import cells
from app.cli.client import encoded
from app.cli.durations import relative
from app.cli.listing import Column, listing
from app.cli.output import Json, now, print_json, show
from app.cli.session import session_of

Kind = Annotated[Literal["tenant", "key", "pool"], typer.Argument(help="Whose limit.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The tenant, the key's id, or the pool.")]
Policy = Literal["queue", "reject", "cancel_older"]

limits_app = typer.Typer(help="Set, list and lift limits.", no_args_is_help=True)


@limits_app.command("list")
def list_limits(ctx: typer.Context, as_json: Json = False) -> None:
    """List all limits."""
    page = session_of(ctx).api.page("/v1/limits")
    if as_json:
        print_json(page)
        return
    columns = [
        *map(Column, ("kind", "name")),
        *(Column(title, right=True) for title in ("per second", "at once", "running", "weight")),
        Column("policy", spare=True),
        Column("set", whole=True, spare=True),
    ]
    show(listing(columns, map(_row, page["items"])))


def _row(limit: dict[str, Any]) -> list[str | Text]:
    numbers = [limit[name] for name in ("rate_per_s", "burst", "concurrency", "weight")]
    shown = ["" if value is None else cells.number(value) for value in numbers]
    policy = limit["policy"] if limit["concurrency"] else ""
    return [limit["kind"], limit["name"], *shown, policy, relative(limit["updated_at"], now())]


@limits_app.command("set")
def set_limit(
    ctx: typer.Context,
    kind: Kind,
    name: Name,
    rate: Annotated[float | None, typer.Option(help="Tasks submitted a second.")] = None,
    burst: Annotated[int | None, typer.Option(help="So many at once. Default: a second's worth.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Tasks at once under one concurrency key.")] = None,
    policy: Annotated[Policy, typer.Option(help="What happens to one more.")] = "queue",
    weight: Annotated[float | None, typer.Option(help="A tenant's turns; others have 1.")] = None,
    as_json: Json = False,
) -> None:
    """Set a limit as a whole: what is left out is not limited."""
    body = {"rate_per_s": rate, "burst": burst, "concurrency": concurrency, "policy": policy, "weight": weight}
    made = session_of(ctx).api.send("PUT", _path(kind, name), encoded(body))
    if as_json:
        print_json(made)
    else:
        typer.echo(f"the {made['kind']} {cells.clean(made['name'])} is limited")


@limits_app.command()
def lift(ctx: typer.Context, kind: Kind, name: Name, as_json: Json = False) -> None:
    """Lift a limit."""
    was = session_of(ctx).api.send("DELETE", _path(kind, name))
    if as_json:
        print_json(was)
    else:
        typer.echo(f"the {was['kind']} {cells.clean(was['name'])} is not limited any more")


def _path(kind: str, name: str) -> str:
    return f"/v1/limits/{kind}/{quote(name, safe='')}"
