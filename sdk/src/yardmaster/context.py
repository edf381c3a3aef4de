"""What a handler is given besides its payload: the facts of its task, and ways to tell how it goes."""

import math
import threading
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from yardmaster.call import Call
from yardmaster.eventlog import EventLog
from yardmaster.journal import Journal


class Facts:
    """The task at hand, and the ways to tell its listeners something while it runs.

    Every method of this class may be called from the event loop and from any thread, never blocks, and does
    nothing once the task has an outcome.
    """

    def __init__(self, call: Call, log: EventLog, journal: Journal) -> None:
        self._call = call
        self._log = log
        self._journal = journal
        self.cancelled = threading.Event()
        """Set when the task was cancelled or its deadline passed: a plain handler looks at it and returns.
        An async handler is cancelled besides."""
        self.model_hint: Mapping[str, str] = MappingProxyType(call.model_hint)
        """From models to those to use instead, as a budget that runs low asks for; mostly empty. See `model`."""

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

    @property
    def resumed_at(self) -> str | None:
        """The step whose wait has just ended, or None when the task isn't called because of one."""
        return self._call.resume.step if self._call.resume else None

    def model(self, name: str) -> str:
        """The model to call where the handler would call `name`: a cheaper one while a budget asks for that, else the
        same. Ask before each call, inside of its step, and report `usage` of the one that was called.
        """
        return self.model_hint.get(name, name)

    def progress(self, percent: float | None, message: str = "") -> None:
        """Say how far the work is: 0..100, or None where that isn't known."""
        if percent is not None:
            percent = round(min(100.0, max(0.0, percent)), 2) if math.isfinite(percent) else None
        self._log.append("progress", {"percent": percent, "message": message})

    def token(self, text: str) -> None:
        """Stream a piece of the answer."""
        self._log.append("token", {"text": text})

    def usage(self, model: str, *, input_tokens: int = 0, output_tokens: int = 0, **more: Any) -> None:
        """Report what a model call used, at once: it is paid for, however the task ends. Reports add up.

        `more` is whatever else has a price: cached_input_tokens= and cache_write_tokens= (which of the input tokens
        those were), reasoning_tokens= (which of the output), requests=, seconds=, or a unit of your own. Numbers are
        added up; all of it must be JSON, and no number negative.
        """
        counts = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        self._log.add_usage({"model": model, **counts, **more})
