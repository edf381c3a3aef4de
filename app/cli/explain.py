"""`yard explain`: why a task is where it is, a pool as large as it is, an alert on or off, somebody told or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Protocol
from uuid import UUID

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from app.cli import cells
from app.cli.client import Api
from app.cli.durations import relative, span
from app.cli.explain_alert import explain_alert
from app.cli.explain_notification import explain_notification
from app.cli.explain_pool import explain_pool
from app.cli.failures import Misuse
from app.cli.output import Json, facts, now, print_json, show
from app.cli.session import session_of

MARKS = {
    "task.succeeded": ("✓", "green"),
    "task.failed": ("✗", "red"),
    "task.cancelled": ("✗", "magenta"),
    "task.expired": ("✗", "magenta"),
    "task.stopped": ("■", "red"),
    "task.retrying": ("↻", "yellow"),
    "task.returned": ("↻", "yellow"),
    "task.rescued": ("↻", "yellow"),
    "task.replayed": ("↻", "yellow"),
    "task.waiting": ("…", "blue"),
    "task.held": ("…", "yellow"),
    "task.running": ("▶", "cyan"),
}
MANY_IDS = 5


class Explain(Protocol):
    """Asks the service about a name or an id, and prints what it says."""

    def __call__(self, api: Api, name: str, /, *, as_json: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Other:
    """Something beside tasks that can be explained; `called`: what names one."""

    called: str
    explain: Explain


OTHERS = {
    "pool": Other("POOL", explain_pool),
    "alert": Other("RULE", explain_alert),
    "notification": Other("ID", explain_notification),
}


def explain(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="TASK|pool|alert|notification", help="A task's id, or one of these words and a name or id."
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The pool, the alert rule or the notification.")] = "",
    as_json: Json = False,
) -> None:
    """Explain a task: what keeps it from going on. `pool POOL`: its size and what is wrong with it. `alert RULE`: why
    it fires, or does not. `notification ID`: why somebody was told, or was not."""
    api = session_of(ctx).api
    if what in OTHERS:
        if not name:
            raise Misuse(f"say `yard explain {what} {OTHERS[what].called}`")
        OTHERS[what].explain(api, name, as_json=as_json)
        return
    found = api.get(f"/v1/tasks/{_task_id(what, name)}/explain")
    if as_json:
        print_json(found)
        return
    show(*drawn(found))


def _task_id(what: str, name: str) -> UUID:
    if name:
        ways = ", ".join(f"`yard explain {word} {other.called}`" for word, other in OTHERS.items())
        raise Misuse(f"say `yard explain TASK`, {ways}")
    try:
        return UUID(what)
    except ValueError:
        raise Misuse(f"{what!r} is not a task's id; for a pool say: yard explain pool {what}") from None


def drawn(found: dict[str, Any]) -> list[RenderableType]:
    """The explanation's parts: what is the case, what keeps it, what happened."""
    parts: list[RenderableType] = [facts(_facts(found))]
    if found["blockers"]:
        parts += [_title("what keeps it"), *map(_blocker, found["blockers"])]
    if found["timeline"]:
        parts += [_title("what happened"), _timeline(found["timeline"])]
    return parts


def _facts(found: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("task", found["task_id"]),
        ("status", cells.status(found["status"])),
        ("pool", found["pool"]),
        ("summary", found["summary"] if not found["blockers"] else None),
        ("queue", _position(found["position"])),
        ("start", _estimate(found["estimate"])),
    ]


def _position(position: dict[str, Any] | None) -> str | None:
    if position is None:
        return None
    if position["ahead"] == 0:
        return "next in its pool"
    return f"{cells.number(position['ahead'])}{'+' if position['more'] else ''} before it"


def _estimate(estimate: dict[str, Any] | None) -> str | None:
    if estimate is None:
        return None
    seconds = estimate["starts_in_s"]
    if seconds is None:
        return str(estimate["basis"])
    when = "any moment" if seconds < 1 else f"in about {span(seconds)}"
    return f"{when} ({estimate['basis'].rstrip('.')})"


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold underline")


def _blocker(blocker: dict[str, Any]) -> Text:
    shown = Text.assemble(("● ", "yellow"), (cells.clean(blocker["code"]), "bold yellow"), "  ")
    shown.append(cells.one_line(blocker["message"]))
    if blocker["until"]:
        shown.append(f"  {relative(blocker['until'], now())}", style="cyan")
    for named in blocker["ids"][:MANY_IDS]:
        shown.append(f"\n    {cells.clean(named)}", style="dim")
    if len(blocker["ids"]) > MANY_IDS:
        shown.append(f"\n    and {len(blocker['ids']) - MANY_IDS} more", style="dim")
    return shown


def _timeline(moments: list[dict[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True, justify="right", style="dim")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for moment in moments:
        mark, style = MARKS.get(moment["type"], ("·", "dim"))
        table.add_row(relative(moment["at"], now()), Text(mark, style=style), Text(cells.one_line(moment["text"])))
    return table
