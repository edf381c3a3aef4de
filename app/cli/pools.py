"""`yard pools`, `yard pool`, `yard scale`."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.text import Text

from app.cli import cells, payload
from app.cli.client import encoded
from app.cli.durations import relative
from app.cli.failures import Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, facts, now, print_json, show
from app.cli.session import session_of

PoolName = Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.")]

pool_app = typer.Typer(help="Show or define one pool.", no_args_is_help=True)


def path(pool: str) -> str:
    """The pool's place in the API."""
    return f"/v1/pools/{quote(pool, safe='')}"


def pools(ctx: typer.Context, as_json: Json = False) -> None:
    """List the pools and their agents by status."""
    page = session_of(ctx).api.page("/v1/pools")
    if as_json:
        print_json(page)
        return
    columns = [
        Column("pool", whole=True),
        Column("description", spare=True),
        *map(Column, ("balancer", "agents")),
        Column("desired", whole=True, right=True),
        Column("min–max", whole=True),
    ]
    show(listing(columns, map(_row, page["items"])))


def _row(pool: dict[str, Any]) -> list[str | Text]:
    scale = f"{pool['scale']['min']}–{pool['scale']['max']}"
    return [pool["name"], pool["description"], pool["balancer"], _agents(pool), str(pool["desired"]), scale]


def _agents(pool: dict[str, Any]) -> Text:
    counts = [Text.assemble(f"{count} ", cells.status(word)) for word, count in sorted(pool["agents"].items()) if count]
    wrong = [Text(cells.clean(item["code"]), style="bold red") for item in pool["conditions"]]
    return Text(", ").join(counts + wrong) if counts or wrong else Text("none", style="dim")


@pool_app.command("show")
def show_pool(ctx: typer.Context, name: PoolName, as_json: Json = False) -> None:
    """Show a pool's whole definition."""
    pool = session_of(ctx).api.get(path(name))
    if as_json:
        print_json(pool)
        return
    skills = ", ".join(f"{skill} {score:g}" for skill, score in pool["skills"].items())
    retry = pool["retry"]
    known = [
        ("pool", Text(cells.clean(pool["name"]), style="bold")),
        ("description", pool["description"]),
        ("skills", skills),
        ("balancer", pool["balancer"]),
        ("agents", _agents(pool)),
        ("desired", f"{pool['desired']} (of {pool['scale']['min']} to {pool['scale']['max']})"),
        ("slots", f"{pool['slots']} an agent"),
        ("timeout", f"{pool['timeout_s']:g} s an attempt"),
        ("attempts", pool["max_attempts"]),
        ("retry", f"after {retry['initial_s']:g} s, then × {retry['factor']:g}, at most {retry['max_s']:g} s"),
        ("launch", _launch(pool["launch"])),
        ("scaling", f"{pool['scale']['policy']} (see: yard explain pool {cells.clean(pool['name'])})"),
        ("updated", relative(pool["updated_at"], now())),
    ]
    schemas = [(title, pool[f"{title}_schema"]) for title in ("input", "output") if pool[f"{title}_schema"]]
    wrong = [Text(f"● {item['code']}  {cells.one_line(item['message'])}", style="red") for item in pool["conditions"]]
    show(facts(known), *wrong, *(_schema(title, schema) for title, schema in schemas))


def _schema(title: str, schema: dict[str, Any]) -> Text:
    return Text.assemble((f"\n{title} schema\n", "bold"), cells.plain(schema))


def _launch(launch: dict[str, Any]) -> str:
    if launch.get("image"):
        return f"{launch['kind']}: {cells.clean(launch['image'])}"
    return " ".join([launch["kind"] + ":", *launch["command"]]) if launch.get("command") else str(launch["kind"])


@pool_app.command("put")
def put_pool(
    ctx: typer.Context,
    name: PoolName,
    definition: Annotated[str, typer.Argument(metavar="@FILE|JSON", help="The definition; @- reads stdin.")],
    as_json: Json = False,
) -> None:
    """Create a pool, or replace its definition as a whole."""
    try:
        body = payload.read(definition, payload.MAX_BODY_BYTES).json()
    except ValueError as error:
        raise Misuse(f"the definition is not JSON: {error}") from None
    pool = session_of(ctx).api.send("PUT", path(name), encoded(body))
    if as_json:
        print_json(pool)
    else:
        typer.echo(f"pool {pool['name']} is defined")


def scale(
    ctx: typer.Context,
    name: PoolName,
    replicas: Annotated[int, typer.Argument(metavar="N", min=0, max=10_000, help="How many agents it shall have.")],
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    as_json: Json = False,
) -> None:
    """Set how many agents a launched pool shall have."""
    body = encoded({"replicas": replicas, "reason": reason})
    scaled = session_of(ctx).api.send("POST", f"{path(name)}/scale", body)
    if as_json:
        print_json(scaled)
    else:
        typer.echo(f"pool {scaled['pool']}: {scaled['desired']} wanted, {scaled['current']} ready now")
