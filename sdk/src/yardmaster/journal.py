"""What one execution knows of its task's steps.

    stored    brought by the call: returned, not run again
    recalled  finished here in an earlier run of the same attempt that the manager may not have heard of
    finished  made by this run (or recalled): told to the manager as `step` events
    asked     the handler asked for it: each step once

**Names** are unique in a task: a name asked for again is numbered ("fetch", "fetch#2", …) in the order of asking.
**Matching.** The handler runs from the top and must ask for every stored step again. A step or wait that is new
may not begin while stored ones are missing, unless another step is in progress; and the handler may not return
before it asked for all. Otherwise it isn't the handler that made those steps, and the task fails for good with
the code "steps_mismatch".
**Waiting.** The first wait decides how the execution ends, whatever the handler makes of its `Unwind`.
**Failing.** What breaks these rules ends the task, even if the handler catches the error.
"""

import json
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

from yardmaster.errors import PermanentError
from yardmaster.eventlog import EventLog
from yardmaster.limits import Limits
from yardmaster.outcome import NO_STREAM, Outcome, agrees, failed
from yardmaster.storable import MAX_LEVELS, UnstorableError, encode_storable
from yardmaster.unwinding import Unwind
from yardmaster.waits import LONGEST_NAME, Wait, is_name

SHOWN = 5

inside: ContextVar[str | None] = ContextVar("inside", default=None)
"""The step whose function runs here."""


class Journal:
    """Thread-safe; knows nothing of loops and threads. What may not be raises PermanentError."""

    def __init__(
        self, log: EventLog, limits: Limits, stored: Mapping[str, Any], recalled: Mapping[str, bytes] | None = None
    ) -> None:
        self.streamed = False
        """Whether a caller takes event streams: without one there is nobody to tell of steps."""
        self._log = log
        self._limits = limits
        self._lock = threading.RLock()
        self._stored = dict(stored)
        self._missing = dict.fromkeys(stored)
        self._recalled = dict(recalled or {})
        self._finished: dict[str, bytes] = {}
        self._asked: set[str] = set()
        self._repeats: dict[str, int] = {}
        self._waits_at = ""
        self._wait = b""
        self._left = False
        self._ended = False
        self._fault: PermanentError | None = None

    @property
    def stored(self) -> frozenset[str]:
        return frozenset(self._stored)

    @property
    def finished(self) -> dict[str, bytes]:
        """Encoded results of the steps that this run told of, in order."""
        with self._lock:
            return dict(self._finished)

    @property
    def complete(self) -> bool:
        """Whether every stored step was asked for."""
        return not self._missing

    def ask(self, name: str, *, waits: bool = False) -> str:
        """The name, numbered, under which the handler asks for its next step. Unwind when the run is over.

        With `waits` it is a wait: PermanentError "two_waits" for a new one beside another.
        """
        with self._lock:
            self._check_fault()
            if not self.streamed:
                self.fail(NO_STREAM.code, NO_STREAM.message)
            if (outer := inside.get()) is not None:
                self.fail(
                    "nested_step", f"{name!r} was asked for inside of the step {outer!r}: make steps side by side"
                )
            numbered = self._numbered(name) if is_name(name) else ""
            if not is_name(numbered):
                bound = f"1 to {LONGEST_NAME} characters, its number included"
                self.fail("bad_step", f"a step's name is a text of {bound}, not {name!r:.50}")
            if self._wait and waits and not self.knows(numbered):
                self._refuse_second(numbered)
            self.check_open()
            self._asked.add(numbered)
            self._missing.pop(numbered, None)
            return numbered

    def check_open(self) -> None:
        """Nothing begins any more after a fault (PermanentError), a wait or the end (Unwind)."""
        self._check_fault()
        if self._wait:
            self.leave()

    def knows(self, name: str) -> bool:
        """Whether there is a result, so that nothing need be done."""
        return name in self._stored or name in self._recalled or name in self._finished

    def result(self, name: str) -> Any:
        """The result of a step that is known. A recalled one is told to the manager now."""
        with self._lock:
            if name in self._stored:
                return self._stored[name]
            if name not in self._finished:
                self._tell(name, self._recalled.pop(name))
            data = self._finished[name]
        return json.loads(data)

    def check_match(self, name: str) -> None:
        """Before the new step `name` begins with no other in progress: every stored one was asked for."""
        if self._missing:
            self.fail("steps_mismatch", self._mismatch(f"it asks for {name!r}, which is new, before"))

    def store(self, name: str, value: Any) -> Any:
        """Tell the manager a step's result; returns it as it will be on resume."""
        try:
            data = encode_storable(value)
        except UnstorableError as error:
            self.fail("bad_result", f"the result of the step {name!r} {error}")
        if len(data) > self._limits.step_bytes:
            bound = self._limits.step_bytes
            self.fail("step_too_large", f"the result of the step {name!r} has {len(data)} bytes; the bound is {bound}")
        with self._lock:
            self._tell(name, data)
        return json.loads(data)

    def wait(self, name: str, question: Callable[[], Wait | None]) -> bool:
        """The execution is to end with this wait: `leave` as soon as no step is in progress.

        False when there is nothing to wait for: then the step is stored already.
        """
        try:
            wait = question()
            data = b"" if wait is None else encode_storable({"step": name, **wait}, levels=MAX_LEVELS)
        except UnstorableError as error:
            self.fail("bad_result", f"what {name!r} asks {error}")
        except ValueError as error:
            self.fail("bad_step", f"{name!r}: {error}")
        if not data:
            self.store(name, None)
            return False
        with self._lock:
            self._check_fault()
            if self._wait:
                self._refuse_second(name)
            self._waits_at = name
            self._wait = data
            return True

    def answer[T](self, name: str, read: Callable[[Any], T]) -> T:
        """What the stored result of a wait says. PermanentError "steps_mismatch" when it is another step's."""
        result = self.result(name)
        try:
            return read(result)
        except ValueError as error:
            self.fail("steps_mismatch", f"the stored result of {name!r} isn't what the handler asks for: {error}")

    def leave(self) -> NoReturn:
        """Leave the handler."""
        self._check_fault()
        self._left = True
        raise Unwind(f"the task waits at {self._waits_at!r}")

    def fail(self, code: str, message: str) -> NoReturn:
        """End the task for good: whatever the handler makes of the error."""
        with self._lock:
            if self._fault is None:
                self._fault = PermanentError(code, message)
            raise self._fault

    def end(self) -> None:
        """The handler has ended: no step begins any more."""
        with self._lock:
            self._ended = True

    def verdict(self, outcome: Outcome) -> Outcome:
        """How the execution ends, given how the handler did and that no step is in progress."""
        if self._fault is not None:
            return failed(self._fault, self._limits.error_chars)
        if self._wait and (self._left or outcome.ok):
            return Outcome(200, suspend=self._wait)
        if outcome.ok and self._missing:
            text = self._mismatch("it returned without")
            return failed(PermanentError("steps_mismatch", text), self._limits.error_chars)
        return outcome

    def join(self, steps: Mapping[str, Any]) -> bool:
        """Whether this run may answer a call that brings these steps; those it doesn't know yet are taken over.

        False when another run made one of them differently, or one that is under way here.
        """
        with self._lock:
            known = {name: result for name, result in steps.items() if name in self._stored or name in self._asked}
            if not agrees(known, self._stored, self._finished):
                return False
            for name in steps.keys() - known.keys():
                self._stored[name] = steps[name]
                self._missing[name] = None
            return True

    def _check_fault(self) -> None:
        if self._fault is not None:
            raise self._fault
        if self._ended or self._log.closed:
            raise Unwind("the execution is over")

    def _refuse_second(self, name: str) -> NoReturn:
        text = f"{name!r} and {self._waits_at!r} wait at once: wait for one after the other"
        self.fail("two_waits", f"{text}, or for several children with ctx.gather")

    def _numbered(self, name: str) -> str:
        while True:
            count = self._repeats[name] = self._repeats.get(name, 0) + 1
            numbered = name if count == 1 else f"{name}#{count}"
            if numbered not in self._asked:
                return numbered

    def _tell(self, name: str, data: bytes) -> None:
        self._finished[name] = data
        self._log.add_step(name, data)

    def _mismatch(self, how: str) -> str:
        names = ", ".join(repr(name) for name in list(self._missing)[:SHOWN])
        more = len(self._missing) - SHOWN
        return (
            f"the handler is not the one that made the stored steps: {how} {names}{f' and {more} more' * (more > 0)}."
            " It was changed, depends on something outside of its steps, or went on after a step that failed"
        )
