"""How fast a channel may be written to: one message an interval, and not before a provider asked to come back.

Each manager keeps its own: several together may be quicker, and are then told so by the provider. `now` is in seconds
that never step back: a wall clock that is set back would block a channel for as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

MAX_KEYS = 10_000
LOOK_AHEAD = timedelta(seconds=60)


@dataclass(slots=True)
class _Channel:
    """Free from `free`; those who came too early were told times up to `promised`."""

    free: float
    promised: float


class Pace:
    """`interval` is zero for a channel with no pace of its own."""

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval.total_seconds()
        self._channels: dict[str, _Channel] = {}

    def take(self, key: str, now: float) -> timedelta | None:
        """None: go on, and the next may go an interval later. Else come back so much later.

        Those who come too early are told times an interval apart, so that they do not come back all at once.
        """
        channel = self._channels.get(key)
        if channel is None or channel.free <= now:
            self._set(key, now + self._interval, now)
            return None
        furthest = now + LOOK_AHEAD.total_seconds()
        channel.promised = min(max(channel.free, channel.promised + self._interval), furthest)
        return timedelta(seconds=max(channel.promised, channel.free) - now)

    def pause(self, key: str, wait: timedelta, now: float) -> None:
        """The provider asked that nothing comes for so long."""
        free = now + wait.total_seconds()
        channel = self._channels.get(key)
        if channel is None or channel.free < free:
            self._set(key, free, now)

    def _set(self, key: str, free: float, now: float) -> None:
        if len(self._channels) >= MAX_KEYS:
            self._channels = {name: channel for name, channel in self._channels.items() if channel.free > now}
        channel = self._channels.get(key)
        promised = free - self._interval
        self._channels[key] = _Channel(free, promised if channel is None else max(channel.promised, promised))
