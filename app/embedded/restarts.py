"""How often a dead server may be restarted."""

from collections import deque


class RestartBudget:
    """At most `limit` restarts in any `window_s` seconds, so that one that cannot live is not spun up for
    ever.

    Takes the time (any monotonic seconds) as an argument.
    """

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit = limit
        self._window_s = window_s
        self._spent: deque[float] = deque()

    def take(self, now: float) -> bool:
        """Spend one restart, or answer False until the oldest has left the window."""
        while self._spent and now - self._spent[0] >= self._window_s:
            self._spent.popleft()
        if len(self._spent) >= self._limit:
            return False
        self._spent.append(now)
        return True
