"""`yard silences`: for a while, alerts that nobody is told of."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import typer
from rich.text import Text

from app.cli import durations
from app.cli.client import encoded
from app.cli.durations import relative
from app.cli.failures import Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, now, print_json, show
from app.cli.session import session_of

PATH = "/v1/silences"
STYLES = {"active": "yellow", "pending": "cyan", "expired": "dim"}

silences_app = typer.Typer(help="Silence alerts for a while.", no_args_is_help=True)


@silences_app.command("list")
def list_silences(
    ctx: typer.Context,
    state: Annotated[Literal["pending", "active", "expired"] | None, typer.Option(help="Only these.")] = None,
    as_json: Json = False,
) -> None:
    """List silences, the newest first."""
    page = session_of(ctx).api.page(PATH, {"state": state} if state else {})
    if as_json:
        print_json(page)
        return
    columns = [Column("id", whole=True), *map(Column, ("state", "matchers", "ends", "by"))]
    show(listing([*columns, Column("comment", spare=True)], map(_row, page["items"])))


def _row(silence: dict[str, Any]) -> list[str | Text]:
    state = Text(silence["state"], style=STYLES[silence["state"]])
    ends = relative(silence["ends_at"], now())
    return [silence["id"], state, ", ".join(silence["matchers"]), ends, silence["created_by"], silence["comment"]]


@silences_app.command()
def add(
    ctx: typer.Context,
    matchers: Annotated[list[str], typer.Argument(metavar="MATCHER", help="e.g. pool=ops 'alertname=~high_.*'")],
    duration: Annotated[str, typer.Option("--for", metavar="2h", help="How long: 30m, 2h, 1d.")] = "2h",
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    as_json: Json = False,
) -> None:
    """Silence alerts that meet all matchers, from now on. stdout holds the silence's id alone."""
    try:
        ends = now() + timedelta(seconds=durations.seconds(duration))
    except ValueError as error:
        raise Misuse(str(error)) from None
    body = {"matchers": matchers, "ends_at": ends.isoformat(), "comment": comment}
    made = session_of(ctx).api.send("POST", PATH, encoded(body))
    if as_json:
        print_json(made)
    else:
        typer.echo(made["id"])


@silences_app.command()
def expire(
    ctx: typer.Context,
    silence_id: Annotated[UUID, typer.Argument(metavar="ID", help="The silence.")],
    as_json: Json = False,
) -> None:
    """End a silence now."""
    ended = session_of(ctx).api.send("DELETE", f"{PATH}/{silence_id}")
    if as_json:
        print_json(ended)
    else:
        typer.echo(f"silence {ended['id']} is {ended['state']}")
