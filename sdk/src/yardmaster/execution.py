"""One running task: its events, its listeners, its deadline and, in the end, its outcome.

    running ──▶ settled     exactly once: by the handler's end, a cancel, the deadline, or lack of listeners

The outcome is told to listeners at once; the handler may need a moment longer to stop, and a plain handler
that ignores `ctx.cancelled` runs to its end. Its slot is held until then (see `runner`).
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import MappingProxyType

from yardmaster.call import Call
from yardmaster.durable import Context
from yardmaster.eventlog import EventLog
from yardmaster.journal import Journal
from yardmaster.limits import Limits
from yardmaster.outcome import ABANDONED, DEADLINE, OUTRUN, Kept, Outcome
from yardmaster.plain import PlainContext
from yardmaster.siblings import Siblings


class Execution:
    """Lives in one event loop; only `context` and `log` are touched from other threads."""

    def __init__(self, call: Call, limits: Limits, recalled: Mapping[str, bytes], *, plain: bool) -> None:
        self.call = call
        self.attempt = call.attempt
        """The newest attempt that this execution answers: a retry may join a run its manager gave up on."""
        self.fence = call.fence
        """The newest fence that this execution answers."""
        self.limits = limits
        self.outcome: Outcome | None = None
        self.work: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.log = EventLog(self._loop, limits)
        self.journal = Journal(self.log, limits, call.steps, recalled)
        self.siblings = Siblings(self.journal, limits)
        self.context = (
            PlainContext(call, self.log, self.journal)
            if plain
            else Context(call, self.log, self.journal, self.siblings)
        )
        self._listeners = 0
        self._expiry: asyncio.TimerHandle | None = None
        self._unheard: asyncio.TimerHandle | None = None
        self.set_deadline(call.deadline)
        self._start_unheard()

    def settle(self, outcome: Outcome) -> bool:
        """Fix the outcome; False when there is one already."""
        if self.outcome is not None:
            return False
        self.outcome = outcome
        self._stop_timers()
        self.log.close()
        return True

    def stop(self, outcome: Outcome) -> bool:
        """Settle from outside and tell the handler to stop; False when it was settled already."""
        if not self.settle(outcome):
            return False
        self.context.cancelled.set()
        if self.work is not None:
            self.work.cancel()
        return True

    async def conclude(self, outcome: Outcome) -> Outcome:
        """How the execution ends, given how its handler did; waits for the steps in progress first."""
        self.journal.end()
        await self.siblings.idle()
        return self.journal.verdict(outcome)

    def join(self, call: Call) -> bool:
        """Answer this call too; the newest caller's deadline and model hint count.

        False when the call is of another replay or brings steps that this run makes otherwise: it is outrun, and
        stopped.
        """
        if call.replay != self.call.replay or not self.journal.join(call.steps):
            self.stop(OUTRUN)
            return False
        self.attempt = max(self.attempt, call.attempt)
        self.fence = max(self.fence, call.fence)
        self.context.model_hint = MappingProxyType(call.model_hint)
        self.set_deadline(call.deadline)
        return True

    def kept(self, now: float) -> Kept | None:
        """What to remember of it once it is over: a success, or steps that the manager may not have heard of."""
        outcome, finished = self.outcome, self.journal.finished
        if outcome is None or outcome is OUTRUN or not (outcome.ok or finished):
            return None
        journal, usage = self.journal, self.log.usage()
        return Kept(self.attempt, outcome, usage, now, self.fence, journal.stored, finished, self.call.replay)

    def set_deadline(self, deadline: datetime | None) -> None:
        """(Re)set when the execution ends at the latest; None: never."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if deadline is not None and self.outcome is None:
            remaining_s = (deadline - datetime.now(UTC)).total_seconds()
            self._expiry = self._loop.call_later(max(0.0, remaining_s), self.stop, DEADLINE)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Count a listener: while there is one, the execution isn't given up."""
        self._listeners += 1
        if self._unheard is not None:
            self._unheard.cancel()
            self._unheard = None
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._start_unheard()

    def _start_unheard(self) -> None:
        if self.outcome is None:
            self._unheard = self._loop.call_later(self.limits.unheard_s, self.stop, ABANDONED)

    def _stop_timers(self) -> None:
        for timer in (self._expiry, self._unheard):
            if timer is not None:
                timer.cancel()
