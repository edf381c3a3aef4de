"""What an agent remembers of executions that are over: their results, their steps and the highest fence seen.

Both memories are bounded: the oldest entries go first.
"""

from collections import OrderedDict

from yardmaster.call import Call
from yardmaster.limits import Limits
from yardmaster.outcome import Kept, agrees


class KeptResults:
    """The last execution of each task, bounded in number, bytes and age (seconds of the caller's clock).

    Within one attempt of one replay nothing that was done is done again: a manager may have died before it stored
    what it was told. A retry counts as another attempt; it knows everything that was stored before. A replay is a
    new life, in which attempts count from 1 again: nothing of an earlier one is given to it.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0

    def find(self, call: Call, now: float) -> Kept | None:
        """The success of this very attempt, if it is still kept.

        None when the call brings steps which that run didn't know: the task went on elsewhere since.
        """
        kept = self._same_attempt(call, now)
        known = kept is not None and kept.outcome.ok and agrees(call.steps, kept.stored, kept.finished)
        return kept if known else None

    def steps(self, call: Call, now: float) -> dict[str, bytes]:
        """Encoded results of steps that this very attempt finished here and that the call doesn't bring.

        Empty when the call brings another result of one of them: then the task went on elsewhere.
        """
        kept = self._same_attempt(call, now)
        if kept is None:
            return {}
        both = {name: result for name, result in call.steps.items() if name in kept.finished}
        if not agrees(both, (), kept.finished):
            return {}
        return {name: result for name, result in kept.finished.items() if name not in call.steps}

    def keep(self, task_id: str, kept: Kept) -> None:
        """Remember an execution in place of one of the same task that didn't begin later."""
        before = self._kept.get(task_id)
        if before is not None:
            if before.fence > kept.fence:
                return
            self._bytes -= self._kept.pop(task_id).size
        self._kept[task_id] = kept
        self._bytes += kept.size
        while self._bytes > self._limits.kept_bytes or len(self._kept) > self._limits.kept_results:
            self._drop_oldest()
        self._expire(kept.at)

    def _same_attempt(self, call: Call, now: float) -> Kept | None:
        self._expire(now)
        kept = self._kept.get(call.task_id)
        same = kept is not None and (kept.replay, kept.attempt) == (call.replay, call.attempt)
        return kept if same else None

    def _expire(self, now: float) -> None:
        while self._kept and now - next(iter(self._kept.values())).at > self._limits.kept_result_s:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self._bytes -= kept.size


class Fences:
    """The highest fence seen of each task."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: OrderedDict[str, int] = OrderedDict()

    def pass_or_newer(self, call: Call) -> int | None:
        """None when the call may pass (its fence is remembered), else the higher fence seen before."""
        seen = self._seen.get(call.task_id, 0)
        if call.fence < seen:
            return seen
        self._seen[call.task_id] = call.fence
        self._seen.move_to_end(call.task_id)
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)
        return None
