"""`yard key`: make, list and revoke API keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.text import Text

from app.cli import durations
from app.cli.cells import clean
from app.cli.client import encoded
from app.cli.failures import Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, note, now, print_json, show
from app.cli.session import session_of


class Scope(StrEnum):
    """What a key may do; `admin` is everything."""

    WRITE_TASKS = "tasks:write"
    READ_TASKS = "tasks:read"
    REGISTER_AGENTS = "agents:register"
    ADMIN_POOLS = "pools:admin"
    DECIDE_APPROVALS = "approvals:decide"
    ADMIN = "admin"


key_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@key_app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="For people: what uses this key.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do. Give it once for each.")],
    tenant: Annotated[str, typer.Option(help="The owner of its tasks.")] = "default",
    group: Annotated[list[str] | None, typer.Option(help="A group whose approvals it may decide. Repeatable.")] = None,
    expires: Annotated[str | None, typer.Option(metavar="30d", help="For how long: 12h, 30d. Default: ever.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown this once: stdout holds the key alone."""
    body: dict[str, Any] = {"name": name, "tenant": tenant, "scopes": list(dict.fromkeys(scope)), "groups": group or []}
    if expires:
        body["expires_s"] = duration(expires)
    made = session_of(ctx).api.send("POST", "/v1/keys", encoded(body))
    if as_json:
        print_json(made)
        return
    until = f"expires {durations.relative(made['expires_at'], now())}" if made["expires_at"] else "never expires"
    note(f"Key {made['id']} for {made['name']} ({', '.join(made['scopes'])}), tenant {made['tenant']}, {until}.")
    note("It is not shown again:")
    typer.echo(made["key"])


@key_app.command("list")
def list_keys(ctx: typer.Context, as_json: Json = False) -> None:
    """List all keys, revoked and expired ones too, without their secrets."""
    page = session_of(ctx).api.page("/v1/keys")
    if as_json:
        print_json(page)
        return
    columns = [Column("id", whole=True), *map(Column, ("name", "tenant", "scopes", "groups", "created", "state"))]
    show(listing(columns, map(_row, page["items"])))


def _row(key: dict[str, Any]) -> list[str | Text]:
    created = durations.relative(key["created_at"], now())
    scopes, groups = ", ".join(key["scopes"]), ", ".join(key["groups"])
    return [key["id"], key["name"], key["tenant"], scopes, groups, created, _state(key)]


def _state(key: dict[str, Any]) -> Text:
    if key["revoked_at"]:
        return Text(f"revoked {durations.relative(key['revoked_at'], now())}", style="red")
    if not key["expires_at"]:
        return Text("valid", style="green")
    expired = durations.parsed(key["expires_at"]) <= now()
    word, style = ("expired", "red") if expired else ("expires", "green")
    return Text(f"{word} {durations.relative(key['expires_at'], now())}", style=style)


@key_app.command()
def revoke(ctx: typer.Context, key_id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Revoke a key. It stops working at once and for good."""
    revoked = session_of(ctx).api.send("DELETE", f"/v1/keys/{quote(key_id, safe='')}")
    if as_json:
        print_json(revoked)
    else:
        typer.echo(f"key {revoked['id']} ({clean(revoked['name'])}) is revoked")


def duration(text: str) -> float:
    """An option's duration in seconds; Misuse for anything else."""
    try:
        return durations.seconds(text)
    except ValueError as error:
        raise Misuse(str(error)) from None
