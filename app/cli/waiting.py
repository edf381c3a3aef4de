"""Wait for a task to end, and say how it ended."""

from __future__ import annotations

import sys
from typing import Any

from rich.text import Text

from app.cli import cells
from app.cli.client import Api
from app.cli.durations import between
from app.cli.failures import AWAY, FAILED, INTERRUPTED, Failure
from app.cli.following import FINAL, follow
from app.cli.output import console, now, print_json, show
from app.cli.render import result
from app.cli.watching import Heard


def wait(api: Api, task_id: str, heard: Heard, timeout_s: float | None = None) -> dict[str, Any]:
    """The whole task when it is final, or as it is after `timeout_s`.

    Ctrl-C, and a service that stays away, end the wait and not the task: the Failure says how to go on.
    """
    try:
        follow(api, task_id, lambda event: heard(event.type, event.data), timeout_s)
        task: dict[str, Any] = api.get(f"/v1/tasks/{task_id}")
    except KeyboardInterrupt:
        raise Interrupted(task_id) from None
    except Failure as failure:
        if failure.exit_code == AWAY:
            failure.lines += how_to_go_on(task_id)
        raise
    return task


class Interrupted(Failure):
    """Ctrl-C while waiting."""

    def __init__(self, task_id: str) -> None:
        super().__init__("", INTERRUPTED, lines=how_to_go_on(task_id))

    def text(self) -> str:
        """A remark, not an error."""
        return "\n".join(["", "The task goes on without you:", *(f"  {line}" for line in self.lines)])


def how_to_go_on(task_id: str) -> list[str]:
    """The commands that come next."""
    return [f"yard watch {task_id}", f"yard cancel {task_id}"]


def json_lines(kind: str, data: Any) -> None:
    """One event as a line of JSON: stored events as the API shapes them, others as {"type","data"}."""
    if kind == "lost":
        return
    stored = isinstance(data, dict) and "seq" in data
    print_json(data if stored else {"type": kind, "data": data}, indent=None)
    sys.stdout.flush()


def exit_code(task: dict[str, Any]) -> int:
    """0 only for a success: failed, cancelled, expired and not yet ended are all no result."""
    return 0 if task["status"] == "succeeded" else FAILED


def error_of(task: dict[str, Any]) -> str:
    """The error of a task in one line, empty without one."""
    error = task["error"]
    return cells.clean(f"{error['message'] or 'no message'} ({error['code']})") if error else ""


def show_end(task: dict[str, Any]) -> None:
    """The result on stdout; how it went on stderr."""
    err = console(sys.stderr)
    if task["status"] == "succeeded":
        err.print(_verdict("✓", "green", task))
        show(result(task["result"], console().width))
        return
    if task["status"] in FINAL:
        err.print(_verdict("✗", "red", task), soft_wrap=True)
        return
    notice = f": {task['notice']['message']}" if task["notice"] else ""
    err.print(Text(f"not finished yet, {task['status']}{cells.clean(notice)}", style="yellow"), soft_wrap=True)
    err.print("\n".join(f"  {line}" for line in how_to_go_on(task["id"])), soft_wrap=True)


def _verdict(mark: str, style: str, task: dict[str, Any]) -> Text:
    attempts = f", attempt {task['attempt']}" if task["attempt"] > 1 else ""
    took = f" in {between(task['started_at'], task['finished_at'], now())}" if task["started_at"] else ""
    error = f": {error_of(task)}" if task["error"] else ""
    return Text.assemble((f"{mark} {task['status']}", style), f"{took}{attempts}{error}", ("  " + task["id"], "dim"))
