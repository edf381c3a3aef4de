"""What a handler is given besides its payload."""

import math
import threading
from datetime import datetime
from typing import Any

from yardmaster.call import Call
from yardmaster.eventlog import EventLog


class Context:
    """The task at hand, and the ways to tell its listeners something while it runs.

    Every method may be called from the event loop and from a plain handler's thread, never blocks, and does
    nothing once the task has an outcome.
    """

    def __init__(self, call: Call, log: EventLog) -> None:
        self._call = call
        self._log = log
        self.cancelled = threading.Event()
        """Set when the task was cancelled or its deadline passed: a plain handler looks at it and returns.
        An async handler is cancelled besides."""

    @property
    def task_id(self) -> str:
        return self._call.task_id

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return self._call.attempt

    @property
    def fence(self) -> int:
        """Rises whenever the task is handed to another owner; pass it on to stores that check fences."""
        return self._call.fence

    @property
    def type(self) -> str:
        return self._call.type

    @property
    def deadline(self) -> datetime | None:
        """When the attempt ends at the latest (with offset), or None."""
        return self._call.deadline

    @property
    def thread_id(self) -> str | None:
        """The conversation this task belongs to, or None."""
        return self._call.thread_id

    @property
    def traceparent(self) -> str | None:
        """The caller's W3C trace context, to pass on to what the handler calls."""
        return self._call.traceparent

    def progress(self, percent: float | None, message: str = "") -> None:
        """Say how far the work is: 0..100, or None where that isn't known."""
        if percent is not None:
            percent = round(min(100.0, max(0.0, percent)), 2) if math.isfinite(percent) else None
        self._log.append("progress", {"percent": percent, "message": message})

    def token(self, text: str) -> None:
        """Stream a piece of the answer."""
        self._log.append("token", {"text": text})

    def usage(self, model: str, *, input_tokens: int = 0, output_tokens: int = 0, **more: Any) -> None:
        """Report what a model call used. Reports add up; `more` (cached_tokens=…) must be JSON."""
        counts = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        self._log.add_usage({"model": model, **counts, **more})
