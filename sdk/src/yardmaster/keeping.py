"""What an agent remembers of tasks that are over: their results and the highest fence seen.

Both memories are bounded: the oldest entries go first.
"""

from collections import OrderedDict

from yardmaster.call import Call
from yardmaster.limits import Limits
from yardmaster.outcome import Kept


class KeptResults:
    """Recent successes by task id, bounded in number, bytes and age (seconds of the caller's clock)."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0

    def find(self, call: Call, now: float) -> Kept | None:
        """The success of this very attempt, if it is still kept."""
        self._expire(now)
        kept = self._kept.get(call.task_id)
        return kept if kept is not None and kept.attempt == call.attempt else None

    def keep(self, task_id: str, kept: Kept) -> None:
        """Remember a success, in place of an older one of the same task."""
        if task_id in self._kept:
            self._bytes -= self._kept.pop(task_id).size
        self._kept[task_id] = kept
        self._bytes += kept.size
        while self._bytes > self._limits.kept_bytes or len(self._kept) > self._limits.kept_results:
            self._drop_oldest()
        self._expire(kept.at)

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
