"""`yard receivers`: whom alerts are told to; `yard notifications`: what was told, and what was not."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

import orjson
import typer
from rich.text import Text

from app.cli import cells
from app.cli.client import encoded
from app.cli.durations import relative, span
from app.cli.failures import Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, facts, now, print_json, show
from app.cli.payload import read as read_given
from app.cli.session import session_of

PATH = "/v1/receivers"
MAX_CONFIG_BYTES = 65_536
STYLES = {
    "ok": "green", "throttled": "yellow", "failing": "red", "disabled": "dim",
    "delivered": "green", "retrying": "yellow", "permanent": "red", "held": "dim",
}  # fmt: skip

Name = Annotated[str, typer.Argument(metavar="NAME", help="The receiver's name.")]
Kind = Literal["alertmanager", "email", "pagerduty", "slack", "webhook"]

receivers_app = typer.Typer(help="Set, test, list and delete receivers of alerts.", no_args_is_help=True)


@receivers_app.command("list")
def list_receivers(ctx: typer.Context, as_json: Json = False) -> None:
    """List the receivers, and how each does."""
    page = session_of(ctx).api.page(PATH)
    if as_json:
        print_json(page)
        return
    columns = [
        Column("name", whole=True),
        *map(Column, ("kind", "status", "gets", "escalates to")),
        Column("description", spare=True),
    ]
    show(listing(columns, map(_row, page["items"])))


def _row(receiver: dict[str, Any]) -> list[str | Text]:
    status, escalates = _styled(receiver["status"]), _escalates(receiver)
    return [receiver["name"], receiver["kind"], status, _gets(receiver), escalates, receiver["description"]]


def _escalates(receiver: dict[str, Any]) -> str:
    to, after = receiver["escalate_to"], receiver["escalate_after_s"]
    return f"{to} after {span(after)}" if to else ""


def _gets(receiver: dict[str, Any]) -> str:
    if not receiver["routed"]:
        return "what names it"
    return ", ".join(receiver["matchers"]) or "everything"


def _styled(word: str) -> Text:
    return Text(word, style=STYLES.get(word, ""))


@receivers_app.command("show")
def show_receiver(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a receiver. Its secrets are masked."""
    found = session_of(ctx).api.get(_path(name))
    if as_json:
        print_json(found)
        return
    config = orjson.dumps(found["config"]).decode()
    failed = None
    if found["failed_at"]:
        failed = f"{cells.one_line(found['failed_reason'])} ({relative(found['failed_at'], now())})"
    show(
        facts(
            [
                ("receiver", Text(cells.clean(found["name"]), style="bold")),
                ("kind", found["kind"]),
                ("status", _styled(found["status"])),
                ("failing", failed),
                ("config", cells.clean_json(config)),
                ("gets", _gets(found)),
                ("grouped by", ", ".join(found["group_by"]) or "nothing: all in one"),
                ("waits", f"{span(found['group_wait_s'])}, then tells news every {span(found['group_interval_s'])}"),
                ("repeats", f"every {span(found['repeat_interval_s'])}"),
                ("ends", "are told" if found["send_resolved"] else "are not told"),
                ("muted in", ", ".join(found["mute_times"]) or None),
                ("active in", ", ".join(found["active_times"]) or None),
                ("escalates", _escalates(found) or None),
                ("heartbeat", f"every {span(found['heartbeat_s'])}" if found["heartbeat_s"] else None),
                ("description", found["description"] or None),
            ]
        )
    )


@receivers_app.command("set")
def set_receiver(
    ctx: typer.Context,
    name: Name,
    kind: Annotated[Kind, typer.Argument(help="What it is.")],
    config: Annotated[
        str, typer.Argument(metavar="JSON|@FILE|@-", help='Of its kind, e.g. \'{"routing_key": "…"}\' for pagerduty.')
    ],
    match: Annotated[list[str] | None, typer.Option(help="Only alerts that meet all, e.g. severity=critical.")] = None,
    only_named: Annotated[bool, typer.Option("--only-named", help="Only alerts of rules that name it.")] = False,
    group_by: Annotated[list[str] | None, typer.Option(help="Labels that make a group. Repeatable.")] = None,
    group_wait: Annotated[float, typer.Option(metavar="SECONDS")] = 30.0,
    group_interval: Annotated[float, typer.Option(metavar="SECONDS")] = 300.0,
    repeat_interval: Annotated[float, typer.Option(metavar="SECONDS")] = 14_400.0,
    mute: Annotated[list[str] | None, typer.Option(help="A mute time. Repeatable.")] = None,
    active: Annotated[list[str] | None, typer.Option(help="A mute time outside of which nothing is told.")] = None,
    escalate: Annotated[
        str | None, typer.Option(metavar="RECEIVER:SECONDS", help="Who is told when nobody acknowledges in time.")
    ] = None,
    heartbeat: Annotated[float | None, typer.Option(metavar="SECONDS", help="Send a Watchdog alert so often.")] = None,
    no_resolved: Annotated[bool, typer.Option("--no-resolved", help="Do not tell that alerts ended.")] = False,
    disabled: Annotated[bool, typer.Option("--disabled")] = False,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    as_json: Json = False,
) -> None:
    """Set a receiver as a whole. Secrets are shown as **********: leave them so to keep them."""
    to, after = _escalation(escalate)
    body = {
        "kind": kind,
        "config": _config(config),
        "description": description,
        "routed": not only_named,
        "matchers": match or [],
        "send_resolved": not no_resolved,
        "mute_times": mute or [],
        "active_times": active or [],
        "group_wait_s": group_wait,
        "group_interval_s": group_interval,
        "repeat_interval_s": repeat_interval,
        "escalate_to": to,
        "escalate_after_s": after,
        "heartbeat_s": heartbeat,
        "enabled": not disabled,
        **({"group_by": group_by} if group_by else {}),
    }
    made = session_of(ctx).api.send("PUT", _path(name), encoded(body))
    if as_json:
        print_json(made)
    else:
        typer.echo(f"the receiver {made['name']} is set; try it: yard receivers test {made['name']}")


@receivers_app.command()
def delete(ctx: typer.Context, name: Name) -> None:
    """Delete a receiver. What it was still to be told is dropped, and named in `yard notifications`."""
    session_of(ctx).api.send("DELETE", _path(name))
    typer.echo(f"the receiver {name} is deleted")


@receivers_app.command()
def test(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Send a test alert; ends with 1 where it was not delivered."""
    outcome = session_of(ctx).api.send("POST", f"{_path(name)}/test")
    if as_json:
        print_json(outcome)
    else:
        typer.echo(f"{outcome['outcome']}{': ' if outcome['reason'] else ''}{cells.one_line(outcome['reason'])}")
    if outcome["outcome"] != "delivered":
        raise typer.Exit(1)


def notifications(
    ctx: typer.Context,
    receiver: Annotated[str | None, typer.Option(help="Only to this one.")] = None,
    outcome: Annotated[
        Literal["delivered", "retrying", "throttled", "permanent", "held"] | None, typer.Option(help="Only these.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List the newest notifications: what was told, what was not, and why. One: yard explain notification ID."""
    wanted = {name: value for name, value in (("receiver", receiver), ("outcome", outcome)) if value}
    page = session_of(ctx).api.page("/v1/notifications", wanted, limit=limit)
    if as_json:
        print_json(page)
        return
    columns = [
        Column("id", whole=True),
        *map(Column, ("receiver", "outcome", "reason")),
        *(Column(title, right=True) for title in ("times", "tries")),
        Column("last"),
        Column("detail", spare=True),
    ]
    show(listing(columns, map(_notification, page["items"])))


def _notification(item: dict[str, Any]) -> list[str | Text]:
    numbers = [str(item["count"]), str(item["tries"] or "")]
    detail = cells.clip(cells.one_line(item["detail"]), 80)
    return [item["id"], item["receiver"], _styled(item["outcome"]), item["reason"], *numbers,
            relative(item["last_at"], now()), detail]  # fmt: skip


def _escalation(text: str | None) -> tuple[str | None, float | None]:
    if text is None:
        return None, None
    to, _, after = text.rpartition(":")
    try:
        return to, float(after)
    except ValueError:
        raise Misuse("--escalate is RECEIVER:SECONDS, e.g. managers:900") from None


def _config(text: str) -> Any:
    try:
        found = read_given(text, MAX_CONFIG_BYTES).json()
    except ValueError as error:
        raise Misuse(f"a receiver's config is JSON: {error}") from None
    if not isinstance(found, dict):
        raise Misuse("a receiver's config is a JSON object")
    return found


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"
