"""`yard stops`: stop switches."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import typer
from rich.text import Text

from app.cli import cells
from app.cli.client import encoded
from app.cli.durations import relative
from app.cli.failures import Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, facts, now, print_json, show
from app.cli.session import session_of

StopId = Annotated[UUID, typer.Argument(metavar="ID", help="The stop's id.")]

stops_app = typer.Typer(help="Stop tasks or agents, see what stopped, lift the stop.", no_args_is_help=True)


@stops_app.command()
def make(
    ctx: typer.Context,
    reason: Annotated[str, typer.Argument(help="Why: people read it at each task that was stopped.")],
    tenant: Annotated[str | None, typer.Option(help="Tasks of this tenant.")] = None,
    pool: Annotated[str | None, typer.Option(help="Tasks of this pool.")] = None,
    agent: Annotated[UUID | None, typer.Option(help="This agent.")] = None,
    label: Annotated[str | None, typer.Option(metavar="KEY=VALUE", help="Agents with this label.")] = None,
    as_json: Json = False,
) -> None:
    """Take what runs from its agents, and start nothing that fits until the stop is lifted."""
    body: dict[str, Any] = {"reason": reason, "tenant": tenant, "pool": pool}
    if agent is not None:
        body["agent_id"] = str(agent)
    if label is not None:
        body["label"] = _label(label)
    if not {"agent_id", "label"} & body.keys() and tenant is None and pool is None:
        raise Misuse("name what to stop: --tenant, --pool, --agent or --label")
    _shown(session_of(ctx).api.send("POST", "/v1/stops", encoded(body)), as_json)


def _label(text: str) -> dict[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise Misuse(f"{text!r} is not a label like zone=eu-1")
    return {"key": key, "value": value}


@stops_app.command("list")
def list_stops(
    ctx: typer.Context,
    lifted: Annotated[bool, typer.Option("--all", help="Those that were lifted too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List the stops that stand, newest first."""
    page = session_of(ctx).api.page("/v1/stops", {} if lifted else {"standing": "true"}, limit=limit)
    if as_json:
        print_json(page)
        return
    columns = [
        Column("id", whole=True),
        Column("state", whole=True),
        Column("stops"),
        Column("made", whole=True),
        Column("by", spare=True),
        Column("reason"),
    ]
    show(listing(columns, map(_row, page["items"])))


def _row(stop: dict[str, Any]) -> list[str | Text]:
    made = relative(stop["created_at"], now())
    return [stop["id"], _state(stop), _selected(stop), made, stop["created_by"], cells.one_line(stop["reason"])]


def _state(stop: dict[str, Any]) -> Text:
    if stop["standing"]:
        return Text("stands", style="red")
    return Text(f"lifted {relative(stop['lifted_at'], now())}", style="dim")


def _selected(stop: dict[str, Any]) -> str:
    label = stop["label"]
    named = [(word, stop[name]) for word, name in (("tenant", "tenant"), ("pool", "pool"), ("agent", "agent_id"))]
    parts = [f"{word} {value}" for word, value in named if value]
    return ", ".join(parts + ([f"agents with {label['key']}={label['value']}"] if label else []))


@stops_app.command("show")
def show_stop(ctx: typer.Context, stop_id: StopId, as_json: Json = False) -> None:
    """Show a stop: who stopped, who did not answer, what was spent, what is held."""
    _shown(session_of(ctx).api.get(f"/v1/stops/{stop_id}"), as_json)


@stops_app.command()
def lift(ctx: typer.Context, stop_id: StopId, as_json: Json = False) -> None:
    """Let what a stop held start again."""
    _shown(session_of(ctx).api.send("POST", f"/v1/stops/{stop_id}/lift"), as_json)


def _shown(stop: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(stop)
        return
    report, spent = stop["report"], stop["report"]["spent"]
    tokens = f"{spent['input_tokens']:,} in, {spent['output_tokens']:,} out" if any(_tokens(spent)) else None
    show(
        facts(
            [
                ("stop", stop["id"]),
                ("state", _state(stop)),
                ("stops", _selected(stop)),
                ("reason", stop["reason"]),
                ("made", f"{relative(stop['created_at'], now())} by {stop['created_by']}"),
                ("lifted by", stop["lifted_by"]),
                ("attempts", _attempts(report)),
                ("tokens spent", tokens),
                ("cost", f"{spent['cost_usd']} USD" if spent["cost_usd"] else None),
                ("tasks held", f"{cells.number(report['held'])}{'+' if report['held_more'] else ''}"),
            ]
        ),
        *_unanswered(report),
    )


def _tokens(spent: dict[str, Any]) -> tuple[int, int]:
    return spent["input_tokens"], spent["output_tokens"]


def _attempts(report: dict[str, Any]) -> Text:
    words = (("stopped", "stopped", "green"), ("did not answer", "no_answer", "red"), ("asked", "asked", "yellow"))
    parts = [Text(f"{report[name]} {word}", style=style) for word, name, style in words if report[name]]
    return Text(", ").join(parts) if parts else Text("none was running", style="dim")


def _unanswered(report: dict[str, Any]) -> list[Text]:
    silent = [item for item in report["attempts"] if item["state"] == "no_answer"]
    return [
        Text(f"no answer: task {item['task_id']} on agent {item['agent_id']}; it may still work", style="red")
        for item in silent
    ]
