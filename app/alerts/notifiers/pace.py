"""How fast a channel may be written to: one message an interval, and not before a provider asked to come back.

Each manager keeps its own: several together may be quicker, and are then told so by the provider.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

MAX_KEYS = 10_000
LOOK_AHEAD = timedelta(seconds=60)


@dataclass(slots=True)
class _Channel:
    """Free from `free`; those who came too early were told times up to `promised`."""

    free: datetime
    promised: datetime


class Pace:
    """`interval` is zero for a channel with no pace of its own."""

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval
        self._channels: dict[str, _Channel] = {}

    def take(self, key: str, now: datetime) -> datetime | None:
        """None: go on, and the next may go an interval later. Else come back then.

        Those who come too early are told times an interval apart, so that they do not come back all at once.
        """
        channel = self._channels.get(key)
        if channel is None or channel.free <= now:
            self._set(key, now + self._interval, now)
            return None
        promised = min(max(channel.free, channel.promised + self._interval), now + LOOK_AHEAD)
        channel.promised = promised
        return max(promised, channel.free)

    def pause(self, key: str, until: datetime, now: datetime) -> None:
        """The provider asked that nothing comes before `until`."""
        channel = self._channels.get(key)
        if channel is None or channel.free < until:
            self._set(key, until, now)

    def _set(self, key: str, free: datetime, now: datetime) -> None:
        if len(self._channels) >= MAX_KEYS:
            self._channels = {name: channel for name, channel in self._channels.items() if channel.free > now}
        channel = self._channels.get(key)
        promised = free - self._interval
        self._channels[key] = _Channel(free, promised if channel is None else max(channel.promised, promised))
