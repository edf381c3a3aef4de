"""`yard agents`, `yard agent`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import typer
from rich.text import Text

from app.cli import cells
from app.cli.durations import relative
from app.cli.listing import Column, listing
from app.cli.output import Json, now, print_json, show
from app.cli.session import session_of

AgentStatus = Literal["starting", "idle", "busy", "failed", "maintenance", "draining", "gone"]

agent_app = typer.Typer(help="Take an agent out of service.", no_args_is_help=True)


def agents(
    ctx: typer.Context,
    pool: Annotated[str | None, typer.Option(help="Of this pool only.")] = None,
    status: Annotated[AgentStatus | None, typer.Option(help="In this state only; `gone` is listed only so.")] = None,
    as_json: Json = False,
) -> None:
    """List the agents, what they do and when they were last seen."""
    wanted = {name: value for name, value in (("pool", pool), ("status", status)) if value}
    page = session_of(ctx).api.page("/v1/agents", wanted)
    if as_json:
        print_json(page)
        return
    columns = [
        Column("id", whole=True),
        Column("pool"),
        Column("status", whole=True),
        Column("load", whole=True, right=True),
        Column("seen", whole=True),
        Column("url", spare=True),
        Column("remark", spare=True),
    ]
    show(listing(columns, map(_row, page["items"])))


def _row(agent: dict[str, Any]) -> list[str | Text]:
    load = f"{agent['running']}/{agent['slots']}"
    seen = relative(agent["last_seen_at"], now())
    status = "ejected" if _is_ejected(agent) else agent["status"]
    return [agent["id"], agent["pool"], cells.status(status), load, seen, agent["url"], _remark(agent)]


def _is_ejected(agent: dict[str, Any]) -> bool:
    until = agent.get("ejected_until")
    return agent["status"] in ("idle", "busy") and until is not None and datetime.fromisoformat(until) > now()


def _remark(agent: dict[str, Any]) -> str:
    """Its version, and the reason where something is wrong."""
    wrong = agent["status"] in ("failed", "maintenance")
    reason = agent["ejected_reason"] if _is_ejected(agent) else agent["status_reason"] if wrong else ""
    parts = [agent["version"], reason]
    return cells.clip(cells.one_line(" ".join(parts)), 80)


@agent_app.command()
def drain(ctx: typer.Context, agent_id: Annotated[UUID, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Give an agent no new tasks; when it has finished those it runs, it is gone."""
    agent = session_of(ctx).api.send("POST", f"/v1/agents/{agent_id}/drain")
    if as_json:
        print_json(agent)
    else:
        typer.echo(f"agent {agent['id']} is {agent['status']}, {agent['running']} running")
