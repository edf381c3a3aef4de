"""`yard emergency`: emergency mode. `yard actions`: what was done about alerts by itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import typer
from rich.text import Text

from app.cli import cells
from app.cli.client import encoded
from app.cli.durations import relative, seconds
from app.cli.failures import Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, facts, now, print_json, show
from app.cli.session import session_of

Status = Literal["retrying", "running", "done", "ended", "skipped", "dry_run", "failed"]
ActionId = Annotated[UUID, typer.Argument(metavar="ID", help="The action's id.")]
PoolOption = Annotated[str | None, typer.Option(help="Of this pool. Default: of the whole installation.")]

_COLOURS = {"running": "yellow", "retrying": "yellow", "failed": "red", "skipped": "dim", "dry_run": "dim"}

emergency_app = typer.Typer(help="Emergency mode: show it, switch it on, lift it.", no_args_is_help=True)
actions_app = typer.Typer(help="What was done about alerts by itself: list, show, end.", no_args_is_help=True)


@emergency_app.command("show")
def show_emergency(ctx: typer.Context, as_json: Json = False) -> None:
    """Show what emergency mode there is."""
    _emergency(session_of(ctx).api.get("/v1/emergency-mode"), as_json)


@emergency_app.command("on")
def switch_on(
    ctx: typer.Context,
    reason: Annotated[str, typer.Argument(help="Why: callers who are refused read it.")],
    pool: PoolOption = None,
    priority: Annotated[int, typer.Option(help="Tasks below are refused, and not started.")] = 0,
    share: Annotated[float | None, typer.Option(help="So much of a pool's slots work at once: 0.5.")] = None,
    running: Annotated[int | None, typer.Option(help="So many tasks of a pool run at once.")] = None,
    approvals: Annotated[bool, typer.Option(help="People decide what policies would let pass.")] = True,
    duration: Annotated[str, typer.Option("--for", help="It expires after this long: 15m, 2h.")] = "30m",
    as_json: Json = False,
) -> None:
    """Switch emergency mode on, in place of what people had switched on there before."""
    body = {
        "pool": pool,
        "min_priority": priority,
        "max_share": share,
        "max_running": running,
        "require_approval": approvals,
        "duration_s": _seconds(duration),
        "reason": reason,
    }
    _emergency(session_of(ctx).api.send("PUT", "/v1/emergency-mode", encoded(body)), as_json)


@emergency_app.command("off")
def lift(
    ctx: typer.Context,
    pool: Annotated[str | None, typer.Option(help="That of this pool only. Default: all there is.")] = None,
    as_json: Json = False,
) -> None:
    """Lift emergency mode, whoever switched it on; an alert that fires on does not switch it on again."""
    query = "" if pool is None else f"?pool={pool}"
    state = session_of(ctx).api.send("DELETE", f"/v1/emergency-mode{query}")
    if as_json:
        print_json(state)
        return
    typer.echo(f"{len(state['lifted'])} lifted; emergency mode is {'still on' if state['on'] else 'off'}")


def _seconds(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise Misuse(str(error)) from None


def _emergency(state: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(state)
        return
    if not state["on"]:
        show(Text("emergency mode is off", style="green"))
        return
    columns = [
        Column("pool"),
        Column("does"),
        Column("on since", whole=True),
        Column("expires", whole=True),
        Column("by", spare=True),
        Column("reason"),
    ]
    show(listing(columns, map(_mode, state["items"])))


def _mode(item: dict[str, Any]) -> list[str | Text]:
    return [
        Text("all", style="red") if item["pool"] is None else item["pool"],
        _does(item),
        relative(item["started_at"], now()),
        relative(item["expires_at"], now()),
        item["created_by"],
        cells.one_line(item["reason"]),
    ]


def _does(item: dict[str, Any]) -> str:
    parts = [
        "" if item["min_priority"] is None else f"sheds below {item['min_priority']}",
        "" if item["max_share"] is None else f"{item['max_share']:.0%} of slots",
        "" if item["max_running"] is None else f"{item['max_running']} at once",
        "asks people" if item["require_approval"] else "",
    ]
    return ", ".join(filter(None, parts))


@actions_app.command("list")
def list_actions(
    ctx: typer.Context,
    rule: Annotated[str | None, typer.Option(help="Of this rule.")] = None,
    status: Annotated[Status | None, typer.Option(help="With this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List automatic answers to alerts, newest first."""
    filters = {name: value for name, value in (("rule", rule), ("status", status)) if value is not None}
    page = session_of(ctx).api.page("/v1/alert-actions", filters, limit=limit)
    if as_json:
        print_json(page)
        return
    columns = [
        Column("id", whole=True),
        Column("status", whole=True),
        Column("action"),
        Column("rule"),
        Column("begun", whole=True),
        Column("what"),
    ]
    show(listing(columns, map(_row, page["items"])))


def _row(item: dict[str, Any]) -> list[str | Text]:
    begun = relative(item["created_at"], now())
    return [item["id"], _status(item), item["action"], item["rule"], begun, cells.one_line(item["detail"])]


def _status(item: dict[str, Any]) -> Text:
    return Text(item["status"], style=_COLOURS.get(item["status"], "green"))


@actions_app.command("show")
def show_action(ctx: typer.Context, action_id: ActionId, as_json: Json = False) -> None:
    """Show one: what it did, on what, why, and until when."""
    _shown(session_of(ctx).api.get(f"/v1/alert-actions/{action_id}"), as_json)


@actions_app.command("end")
def end_action(ctx: typer.Context, action_id: ActionId, as_json: Json = False) -> None:
    """Undo one now; its alert is not answered again while it fires."""
    _shown(session_of(ctx).api.send("POST", f"/v1/alert-actions/{action_id}/end"), as_json)


@actions_app.command("report")
def show_report(ctx: typer.Context, action_id: ActionId) -> None:
    """Print the report that one captured, as JSON."""
    print_json(session_of(ctx).api.get(f"/v1/alert-reports/{action_id}"))


def _shown(item: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(item)
        return
    lasting = item["status"] in ("running", "retrying")
    show(
        facts(
            [
                ("action", f"{item['action']} ({item['id']})"),
                ("status", _status(item)),
                ("what", item["detail"]),
                ("rule", item["rule"]),
                ("alert", ", ".join(f"{name}={value}" for name, value in sorted(item["labels"].items()))),
                ("value", item["value"]),
                ("begun", relative(item["created_at"], now())),
                ("expires", relative(item["expires_at"], now()) if lasting else None),
                ("ended", f"{relative(item['ended_at'], now())} by {item['ended_by']}" if item["ended_by"] else None),
                ("tries", item["tries"] if item["tries"] > 1 else None),
                ("report", item["report"]),
            ]
        )
    )
