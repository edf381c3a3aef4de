"""A task while it runs: on a terminal one picture that moves, elsewhere a line for each event."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from app.cli import cells
from app.cli.durations import between
from app.cli.output import console, now

MESSAGES = 5
QUEUED_AGAIN = frozenset({"retrying", "returned", "rescued", "replayed", "resumed", "released"})
STATUSES = frozenset({"held", "queued", "running", "waiting", "succeeded", "failed", "cancelled", "expired"})
NAMED = frozenset(
    {"retrying", "returned", "failed", "step", "waiting", "resumed", "approval.requested", "approval.decided"}
)
WAITS = {"approval": "an approval", "call": "tasks that it called", "event": "an event", "timer": "its time"}
TAIL = 2_000  # characters of streamed text that are kept

type Heard = Callable[[str, Any], None]


class Picture:
    """What is known of a task so far. `feed` takes a stream event's type and data."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.status = "queued"
        self.pool = ""
        self.attempt = 0
        self.percent: float | None = None
        self.message = ""
        self.notice = ""
        self.trouble = ""
        self.started_at: str | None = None
        self.messages: deque[str] = deque(maxlen=MESSAGES)
        self.tail = ""

    def feed(self, kind: str, data: Any) -> None:
        """Take one event in; what is not known leaves the picture as it is."""
        self.trouble = "connection lost, trying again" if kind == "lost" else ""
        if kind == "snapshot":
            self._snapshot(data)
        elif kind == "token":
            self.tail = (self.tail + cells.clean(str(data.get("text", ""))))[-TAIL:]
        elif kind == "gap":
            self.messages.append(gap(data))
        elif is_event(kind, data):
            self._event(kind.removeprefix("task."), data.get("data") or {}, data.get("at"))

    def _snapshot(self, task: dict[str, Any]) -> None:
        self.status, self.pool, self.attempt = task["status"], task["pool"], task["attempt"]
        self.started_at = task["started_at"]
        self.notice = (task["notice"] or {}).get("message") or ""

    def _event(self, name: str, data: dict[str, Any], at: str | None) -> None:
        if name == "progress":
            self.percent, self.message = data.get("percent"), cells.one_line(data.get("message") or "")
            return
        if name in QUEUED_AGAIN or name in STATUSES:
            self.notice = ""
            self.status = "queued" if name in QUEUED_AGAIN else name
        if name == "running":
            self.attempt, self.percent, self.message, self.tail = data.get("attempt", 0), None, "", ""
            self.started_at = self.started_at or at
        elif text := story(name, data):
            self.messages.append(text)

    def line(self) -> RenderableType:
        """The one line of a waiting `submit`."""
        grid = Table.grid(padding=(0, 1))
        cells_ = [Spinner("dots", style="cyan"), cells.status(self.status), *self._gauge(), self._said()]
        for _ in cells_[:-1]:
            grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        grid.add_row(*cells_)
        return grid

    def _gauge(self) -> list[RenderableType]:
        took = [Text(between(self.started_at, None, now()), style="dim")] if self.started_at else []
        if self.percent is None:
            return [*took]
        bar = ProgressBar(total=100, completed=self.percent, width=24)
        return [bar, Text(f"{self.percent:3.0f} %"), *took]

    def _said(self) -> Text:
        return Text(self.trouble or self.message or cells.one_line(self.notice), style="yellow" if self.trouble else "")

    def picture(self) -> RenderableType:
        """The many lines of `watch`."""
        head = Text.assemble(("task ", "dim"), cells.clean(self.task_id), ("  ", ""), (self.pool, "bold"))
        if self.attempt > 1:
            head.append(f"  attempt {self.attempt}", style="yellow")
        told = [Text(f"  {text}", style="dim", no_wrap=True, overflow="ellipsis") for text in self.messages]
        lines = self.tail.split("\n")[-8:] if self.tail else []
        return Group(head, *told, *(Text(f"  {text}") for text in lines), self.line())


def is_event(kind: str, data: Any) -> bool:
    """Whether it is a stored event, of whatever type."""
    return isinstance(data, dict) and (kind.startswith("task.") or "seq" in data)


def gap(data: dict[str, Any]) -> str:
    """What a gap says: something of the stream cannot be had any more."""
    missing = data.get("missing")
    return "some events are missing" if missing is None else f"{missing} pieces of text are missing"


def story(name: str, data: dict[str, Any]) -> str:
    """One stored event (its type without `task.`) as a sentence, or empty where its name says it all."""
    match name:
        case "step":
            text = str(data.get("name") or "")
        case "waiting":
            text = f"for {WAITS.get(str(data.get('reason')), 'something')}, at step {data.get('step', '?')}"
        case "resumed":
            text = f"after step {data.get('step', '?')}"
        case "approval.requested":
            text = f"asks to {data.get('action', '?')} ({data.get('approval_id', '?')})"
        case "approval.decided":
            text = f"{data.get('status', '?')} by {data.get('decided_by') or '?'} {data.get('reason') or ''}"
        case "running":
            text = f"attempt {data.get('attempt', '?')} on agent {data.get('agent_id', '?')}"
        case "progress":
            percent = data.get("percent")
            parts = ["" if percent is None else f"{percent:g} %", data.get("message") or ""]
            text = " ".join(part for part in parts if part)
        case "retrying" | "returned" | "failed":
            text = f"{data.get('message') or ''} ({data.get('code', '?')})"
            if data.get("delay_s") is not None:
                text += f", again in {data['delay_s']:g} s"
        case "rescued":
            text = "its manager is gone, another takes it over"
        case _:
            text = str(data.get("reason") or "")
    return cells.one_line(f"{name}: {text}" if text and name in NAMED else text)


@contextmanager
def plain(stream: TextIO) -> Iterator[Heard]:
    """Prints a line for each event: the local time, what it is, what it says. Streamed text ends as one line."""
    out = Printer(stream)
    yield out.heard
    out.flush()


class Printer:
    """Writes events as lines to a stream that is no terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._tokens: list[str] = []

    def heard(self, kind: str, data: Any) -> None:
        """One event of the stream."""
        if kind == "token":
            self._tokens.append(str(data.get("text", "")))
            return
        self.flush()
        if kind == "snapshot":
            self._line(data["status"], (data["notice"] or {}).get("message") or f"in pool {data['pool']}")
        elif kind == "lost":
            self._line("connection lost", str(data))
        elif kind == "gap":
            self._line("gap", gap(data))
        elif is_event(kind, data):
            name = kind.removeprefix("task.")
            self._line(name, story(name, data.get("data") or {}).removeprefix(f"{name}: "))

    def flush(self) -> None:
        """Write the streamed text so far."""
        if self._tokens:
            self._line("text", "".join(self._tokens))
            self._tokens.clear()

    def _line(self, what: str, text: str) -> None:
        at = now().astimezone().strftime("%H:%M:%S")
        self._stream.write(f"{at}  {what:<10} {cells.one_line(text)}".rstrip() + "\n")
        self._stream.flush()


@contextmanager
def live(out: Console, picture: Picture, draw: Callable[[], RenderableType]) -> Iterator[Heard]:
    """Keeps `draw()` on the terminal, and takes it away at the end."""
    with Live(console=out, get_renderable=draw, refresh_per_second=10, transient=True):
        yield picture.feed


@contextmanager
def quiet_or_line(task_id: str) -> Iterator[Heard]:
    """For a waiting `submit`: one moving line on stderr where that is a terminal, else nothing."""
    picture = Picture(task_id)
    if not sys.stderr.isatty():
        yield picture.feed
        return
    with live(console(sys.stderr), picture, picture.line) as heard:
        yield heard


@contextmanager
def watched(task_id: str) -> Iterator[Heard]:
    """For `watch`: the moving picture on a terminal, lines elsewhere."""
    picture = Picture(task_id)
    if not sys.stdout.isatty():
        with plain(sys.stdout) as heard:
            yield heard
        return
    with live(console(), picture, picture.picture) as heard:
        yield heard
