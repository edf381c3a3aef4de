"""`yard bulk`: cancel or retry many tasks."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import typer

from app.cli import durations
from app.cli.client import encoded
from app.cli.failures import Misuse
from app.cli.output import Json, note, now, print_json
from app.cli.session import session_of
from app.cli.tasks import Status

PER_CALL = 1000

bulk_app = typer.Typer(help="Cancel or retry many tasks: counted first, done with --yes.", no_args_is_help=True)

Pool = Annotated[str | None, typer.Option(help="Of this pool.")]
Type = Annotated[str | None, typer.Option("--type", help="Of this type.")]
InStatus = Annotated[Status | None, typer.Option(help="In this state.")]
Before = Annotated[str | None, typer.Option(metavar="TIME|-1h", help="Created before: ISO 8601, or so long ago.")]
After = Annotated[str | None, typer.Option(metavar="TIME|-1h", help="Created at or after.")]
Error = Annotated[str | None, typer.Option(help="Failed with this code.")]
Key = Annotated[str | None, typer.Option(help="With this concurrency key.")]
Thread = Annotated[str | None, typer.Option(help="Of this thread.")]
Ids = Annotated[list[UUID] | None, typer.Option("--id", help="This task. Give it once for each.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without it they are only counted.")]


@bulk_app.command()
def cancel(
    ctx: typer.Context,
    pool: Pool = None,
    task_type: Type = None,
    status: InStatus = None,
    before: Before = None,
    after: After = None,
    key: Key = None,
    thread: Thread = None,
    ids: Ids = None,
    reason: Annotated[str, typer.Option(help="Why; kept with each task.")] = "",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Cancel the open tasks that fit all that is given."""
    wanted = _filter(pool, task_type, status, before, after, key, thread, ids)
    _run(ctx, "cancel", {"filter": wanted, "reason": reason}, yes, as_json)


@bulk_app.command()
def retry(
    ctx: typer.Context,
    pool: Pool = None,
    task_type: Type = None,
    error: Error = None,
    before: Before = None,
    after: After = None,
    key: Key = None,
    thread: Thread = None,
    ids: Ids = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Queue the failed tasks that fit all that is given again."""
    wanted = _filter(pool, task_type, None, before, after, key, thread, ids)
    if error is not None:
        wanted["error_code"] = error
    _run(ctx, "retry", {"filter": wanted}, yes, as_json)


def _filter(
    pool: str | None,
    task_type: str | None,
    status: str | None,
    before: str | None,
    after: str | None,
    key: str | None,
    thread: str | None,
    ids: list[UUID] | None,
) -> dict[str, Any]:
    given = {
        "pool": pool,
        "type": task_type,
        "status": status,
        "created_before": _moment(before),
        "created_after": _moment(after),
        "concurrency_key": key,
        "thread_id": thread,
        "ids": [str(task_id) for task_id in ids] if ids else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _moment(text: str | None) -> str | None:
    """`-1h` is an hour ago."""
    if text is None:
        return None
    try:
        if text.startswith("-"):
            present = now()
            return (present - (durations.moment("+" + text[1:], present) - present)).isoformat()
        return durations.moment(text, now()).isoformat()
    except (ValueError, OverflowError):
        raise Misuse(f"{text!r} is not a time like 2026-11-20T20:25:00Z or -1h") from None


def _run(ctx: typer.Context, verb: str, body: dict[str, Any], yes: bool, as_json: bool) -> None:
    if not body["filter"]:
        raise Misuse("name at least one thing that the tasks have in common, for example --pool")
    outcome = _done(ctx, verb, body) if yes else _sent(ctx, verb, body, dry_run=True)
    if as_json:
        print_json(outcome)
    elif yes:
        typer.echo(f"{verb}: {outcome['done']} of {outcome['matched']} tasks")
    else:
        typer.echo(f"{outcome['matched']}{'+' if outcome['more'] else ''} tasks fit")
        note("Nothing was changed. Add --yes to do it.")


def _done(ctx: typer.Context, verb: str, body: dict[str, Any]) -> dict[str, Any]:
    """Call until none is left, or a whole call moved none; the sums."""
    first = outcome = _sent(ctx, verb, body, dry_run=False)
    done = outcome["done"]
    while outcome["more"] and outcome["done"]:
        outcome = _sent(ctx, verb, body, dry_run=False)
        done += outcome["done"]
    return {**outcome, "matched": first["matched"], "done": done}


def _sent(ctx: typer.Context, verb: str, body: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    sent = encoded({**body, "dry_run": dry_run, "limit": PER_CALL})
    outcome: dict[str, Any] = session_of(ctx).api.send("POST", f"/v1/tasks/bulk/{verb}", sent)
    return outcome
