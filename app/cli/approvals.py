"""`yard approvals`: what people are asked, and their answers."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from uuid import UUID

import typer
from rich.console import RenderableType
from rich.text import Text

from app.cli import cells, payload
from app.cli.client import encoded
from app.cli.durations import relative
from app.cli.failures import Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, facts, now, print_json, show
from app.cli.session import session_of

Status = Literal["pending", "approved", "edited", "rejected", "expired", "superseded", "all"]
ApprovalId = Annotated[UUID, typer.Argument(metavar="ID", help="The approval's id.")]
Reason = Annotated[str, typer.Option(help="For the agent, and for the record.")]

approvals_app = typer.Typer(help="What agents ask people, and the answers.", no_args_is_help=True)


@approvals_app.command("list")
def list_approvals(
    ctx: typer.Context,
    status: Annotated[Status, typer.Option(help="In this state.")] = "pending",
    pool: Annotated[str | None, typer.Option(help="Of this pool only.")] = None,
    task: Annotated[UUID | None, typer.Option(help="Of this task only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List approvals, newest first; those that wait for an answer, unless told otherwise."""
    wanted = {
        name: str(value)
        for name, value in (("status", status if status != "all" else None), ("pool", pool), ("task_id", task))
        if value
    }
    page = session_of(ctx).api.page("/v1/approvals", wanted, limit=limit)
    if as_json:
        print_json(page)
        return
    columns = [
        Column("id", whole=True),
        Column("status", whole=True),
        Column("action"),
        Column("pool", spare=True),
        Column("risk", spare=True),
        Column("who"),
        Column("asked", whole=True),
        Column("expires", whole=True, spare=True),
    ]
    show(listing(columns, map(_row, page["items"])))


def _row(approval: dict[str, Any]) -> list[str | Text]:
    return [
        approval["id"],
        cells.status(approval["status"]),
        cells.clip(cells.one_line(approval["action"]), 40),
        approval["pool"],
        cells.clip(cells.one_line(approval["risk"] or ""), 20),
        approval["decided_by"] or ", ".join(approval["may_decide"]["groups"]),
        relative(approval["created_at"], now()),
        relative(approval["expires_at"], now()) if approval["status"] == "pending" else "",
    ]


@approvals_app.command("show")
def show_approval(ctx: typer.Context, approval_id: ApprovalId, as_json: Json = False) -> None:
    """Show exactly what is asked, who may decide, and what was said so far."""
    found = _read(ctx, approval_id)
    if as_json:
        print_json(found)
    else:
        show(*_whole(found))


@approvals_app.command()
def approve(
    ctx: typer.Context,
    approval_id: ApprovalId,
    args: Annotated[
        str | None, typer.Option(metavar="@FILE|JSON", help="Run these arguments instead; @- reads stdin.")
    ] = None,
    seen: Annotated[
        str | None, typer.Option("--hash", help="The payload_hash of what you saw. Without it you are shown and asked.")
    ] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Say yes to exactly what is shown, or to arguments of your own."""
    body: dict[str, Any] = {"reason": reason}
    if args is not None:
        body["args"] = _arguments(args)
    if seen is None:
        if as_json:
            raise Misuse("--json shows nothing and asks nothing: give the --hash of what you saw")
        found = _read(ctx, approval_id)
        show(*_whole(found))
        question = "Approve this with your arguments instead?" if args is not None else "Approve exactly this?"
        if found["status"] == "pending" and not typer.confirm(question, err=True):
            raise typer.Exit(1)
        seen = found["payload_hash"]
    body["payload_hash"] = seen
    _said(session_of(ctx).api.send("POST", f"/v1/approvals/{approval_id}/approve", encoded(body)), as_json=as_json)


@approvals_app.command()
def reject(
    ctx: typer.Context,
    approval_id: ApprovalId,
    seen: Annotated[str | None, typer.Option("--hash", help="Only if this is still what is asked.")] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Say no. The agent is told the reason."""
    body = {"reason": reason, **({"payload_hash": seen} if seen else {})}
    _said(session_of(ctx).api.send("POST", f"/v1/approvals/{approval_id}/reject", encoded(body)), as_json=as_json)


def _read(ctx: typer.Context, approval_id: UUID) -> dict[str, Any]:
    found: dict[str, Any] = session_of(ctx).api.get(f"/v1/approvals/{approval_id}")
    return found


def _arguments(text: str) -> Any:
    try:
        return payload.read(text, payload.MAX_BODY_BYTES).json()
    except ValueError as error:
        raise Misuse(f"the arguments are not JSON: {error}") from None


def _whole(found: dict[str, Any]) -> list[RenderableType]:
    may = found["may_decide"]
    who = f"{may['scope']} in {may['tenant']}" + (f", of {' or '.join(may['groups'])}" if may["groups"] else "")
    expires = relative(found["expires_at"], now()) if found["expires_at"] else "never"
    pairs = [
        ("approval", found["id"]),
        ("status", cells.status(found["status"])),
        ("task", f"{found['task_id']} of {found['pool']}, submitted by {found['submitted_by']}"),
        ("step", found["step"]),
        ("risk", found["risk"]),
        ("who may", who + (f", but not {may['but_not']}" if may["but_not"] else "")),
        ("needs", f"{found['quorum']} of them" if found["quorum"] > 1 else ""),
        ("expires", expires if found["status"] == "pending" else ""),
        ("decided", _decision(found)),
        ("reason", found["reason"]),
        ("votes", "; ".join(map(_vote, found["votes"]))),
        ("action", Text(cells.clean(found["action"]), style="bold")),
        ("hash", found["payload_hash"]),
    ]
    if not found["edited"]:
        return [facts(pairs), *_arguments_shown("arguments", found["args"])]
    edited = _arguments_shown("arguments now", found["edited_args"])
    return [facts(pairs), *_arguments_shown("arguments as asked", found["args"]), *edited]


def _arguments_shown(title: str, args: Any) -> list[RenderableType]:
    """All of them: nobody should say yes to what was cut."""
    text = cells.clean_json(json.dumps(args, indent=2, ensure_ascii=False))
    return [Text(f"\n{title}", style="bold"), Text(text)]


def _decision(found: dict[str, Any]) -> str:
    if not found["decided_at"]:
        return ""
    by = f" by {found['decided_by']}" if found["decided_by"] else ""
    source = f" ({found['decided_from']})" if found["decided_from"] else ""
    return relative(found["decided_at"], now()) + by + source


def _vote(vote: dict[str, Any]) -> str:
    return f"{vote['caller']}: {vote['decision']}" + (" (before it was edited)" if vote["void"] else "")


def _said(approval: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(approval)
        return
    counted = sum(vote["decision"] == "approve" and not vote["void"] for vote in approval["votes"])
    more = f": {counted} of {approval['quorum']} said yes" if approval["status"] == "pending" else ""
    typer.echo(f"approval {approval['id']} is {approval['status']}{more}")
