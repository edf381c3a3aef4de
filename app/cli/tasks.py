"""`yard tasks`, `task`, `watch`, `cancel`, `retry`."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import typer
from rich.console import RenderableType
from rich.text import Text

from app.cli import cells, waiting
from app.cli.client import encoded
from app.cli.durations import between, relative
from app.cli.listing import Column, listing
from app.cli.output import Json, console, facts, now, print_json, show
from app.cli.render import result
from app.cli.session import session_of
from app.cli.watching import watched

Status = Literal["held", "queued", "running", "waiting", "succeeded", "failed", "cancelled", "expired"]
PAYLOAD_LINES = 5
TIMES = ("created", "started", "finished", "run", "next_attempt", "start_deadline")
TaskId = Annotated[UUID, typer.Argument(metavar="TASK", help="The task's id.")]


def tasks(
    ctx: typer.Context,
    pool: Annotated[str | None, typer.Option(help="Of this pool only.")] = None,
    status: Annotated[Status | None, typer.Option(help="In this state only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List tasks, newest first."""
    wanted = {name: value for name, value in (("pool", pool), ("status", status)) if value}
    page = session_of(ctx).api.page("/v1/tasks", wanted, limit=limit)
    if as_json:
        print_json(page)
        return
    columns = [
        Column("id", whole=True),
        Column("status", whole=True),
        Column("pool"),
        Column("attempt", right=True, spare=True),
        Column("created", whole=True),
        Column("took", whole=True, spare=True),
        Column("about", spare=True),
    ]
    show(listing(columns, map(_row, page["items"])))


def _row(task: dict[str, Any]) -> list[str | Text]:
    return [
        task["id"],
        cells.status(task["status"]),
        task["pool"],
        f"{task['attempt']}/{task['max_attempts']}",
        relative(task["created_at"], now()),
        between(task["started_at"], task["finished_at"], now()),
        cells.clip(cells.one_line(_about(task)), 80),
    ]


def _about(task: dict[str, Any]) -> str:
    """What is worth knowing of a task in a list: what went wrong, or why it waits."""
    if task["error"]:
        return f"{task['error']['code']}: {task['error']['message'] or ''}"
    return str(task["notice"]["message"]) if task["notice"] else ""


def task(ctx: typer.Context, task_id: TaskId, as_json: Json = False) -> None:
    """Show one task: its state, times, cost, payload and result."""
    found = session_of(ctx).api.get(f"/v1/tasks/{task_id}")
    if as_json:
        print_json(found)
        return
    show(facts(_facts(found)), *_section("payload", _abridged(found["payload"])), *_section("result", found["result"]))


def _abridged(payload: Any) -> Any:
    """The payload with only the beginning of texts of many lines: one wants to recognize it, not to read it."""
    if isinstance(payload, dict):
        return {name: _abridged(value) for name, value in payload.items()}
    lines = payload.splitlines() if isinstance(payload, str) else []
    if len(lines) <= PAYLOAD_LINES:
        return payload
    return "\n".join([*lines[:PAYLOAD_LINES], f"… {len(lines) - PAYLOAD_LINES} more lines (use --json)"])


def _section(title: str, value: Any) -> list[RenderableType]:
    return [] if value is None else [Text(f"\n{title}", style="bold underline"), result(value, console().width)]


def _waits(waits: dict[str, Any] | None) -> str | None:
    """What a waiting or held task waits for, in words."""
    if waits is None:
        return None
    what = {
        "approval": f"for a decision: yard approvals show {waits['approval_id']}",
        "call": f"for its sub-tasks, called by {waits['step']!r}",
        "event": f"for the event {waits['event']!r}",
        "timer": "for the clock",
    }
    until = f", until {relative(waits['until'], now())}" if waits["until"] else ""
    return what[waits["reason"]] + until


def _facts(task: dict[str, Any]) -> list[tuple[str, Any]]:
    present = now()
    times = [(name, task[f"{name}_at"]) for name in TIMES]
    usage = [f"{use['model']}: {use['input_tokens']:,} in, {use['output_tokens']:,} out" for use in task["usage"]]
    return [
        ("task", task["id"]),
        ("status", cells.status(task["status"])),
        ("waits", task["notice"]["message"] if task["notice"] else _waits(task["waiting"])),
        ("error", Text(waiting.error_of(task), style="red") if task["error"] else None),
        ("pool", task["pool"]),
        ("type", task["type"]),
        ("attempt", f"{task['attempt']} of {task['max_attempts']}"),
        ("agent", task["agent_id"]),
        ("priority", task["priority"] or None),
        ("labels", ", ".join(f"{key}={value}" for key, value in task["labels"].items())),
        ("called by", task["parent_id"]),
        ("sub-tasks", ", ".join(f"{count} {status}" for status, count in task["children"].items())),
        ("steps", ", ".join(step["name"] for step in task["steps"])),
        *((name.replace("_", " "), relative(at, present)) for name, at in times if at),
        ("took", between(task["started_at"], task["finished_at"], present) if task["started_at"] else None),
        ("tokens", "\n".join(usage)),
        ("cost", f"{task['cost_usd']} USD" if task["cost_usd"] else None),
    ]


def watch(ctx: typer.Context, task_id: TaskId, as_json: Json = False) -> None:
    """Follow a task live until it ends, then show its result. Exit code 0: it succeeded."""
    api = session_of(ctx).api
    if as_json:
        done = waiting.wait(api, str(task_id), waiting.json_lines)
        print_json({"type": "result", "data": done}, indent=None)
    else:
        with watched(str(task_id)) as heard:
            done = waiting.wait(api, str(task_id), heard)
        waiting.show_end(done)
    raise typer.Exit(waiting.exit_code(done))


def cancel(
    ctx: typer.Context,
    task_id: TaskId,
    reason: Annotated[str, typer.Option(help="Why; kept with the task.")] = "",
    as_json: Json = False,
) -> None:
    """Cancel a task; an agent that works on it is told to stop."""
    _changed(session_of(ctx).api.send("POST", f"/v1/tasks/{task_id}/cancel", encoded({"reason": reason})), as_json)


def retry(ctx: typer.Context, task_id: TaskId, as_json: Json = False) -> None:
    """Queue a failed task again, its attempts counted from zero."""
    _changed(session_of(ctx).api.send("POST", f"/v1/tasks/{task_id}/retry"), as_json)


def _changed(task: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(task)
    else:
        typer.echo(f"task {task['id']} is {task['status']}")
