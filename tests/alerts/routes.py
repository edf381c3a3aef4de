"""Routes to compare on, for our pipeline and in Alertmanager's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from app.alerts.deliver import Receiver
from app.alerts.grouping import Timing
from app.alerts.inhibition import InhibitRule
from app.alerts.intervals import parse_interval
from app.alerts.matching import parse_matchers
from app.alerts.mute_times import MuteTimes
from tests.alerts.intervals import random_interval
from tests.alerts.virtual import Route

TIMING = Timing(timedelta(seconds=1.5), timedelta(seconds=3), timedelta(seconds=7))
INTERVALS = 40
GROUP_BY = ("trace", "zone")
INHIBITIONS = [
    ("severity", 'severity="critical"', 'severity=~"warning|info"', ("trace", "node")),
    ("role", 'role=~"source|both"', 'role=~"target|both"', ("trace", "zone")),
]
RULES = tuple(InhibitRule(name, parse_matchers(one), parse_matchers(two), eq) for name, one, two, eq in INHIBITIONS)


def route(name: str, resolved: Sequence[bool], timing: Timing = TIMING, mute_times: MuteTimes = MuteTimes()) -> Route:
    receivers = tuple(Receiver(f"{name}/{number}", wants) for number, wants in enumerate(resolved))
    return Route(name, timing, receivers, GROUP_BY, RULES, mute_times)


@dataclass
class Setting:
    """Routes with their time intervals as they are written."""

    routes: list[Route] = field(default_factory=list)
    written: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def timed(self, name: str, kind: str, written: list[dict[str, Any]]) -> None:
        """A route that is muted by these intervals, or active in them."""
        self.written[name] = written
        named = {name: tuple(parse_interval(item) for item in written)}
        self.routes.append(route(name, [True], mute_times=MuteTimes(**{kind: named})))

    def config(self, inbox: str) -> dict[str, Any]:
        """The same for Alertmanager."""
        return {
            "route": {
                "receiver": "nobody",
                "group_by": GROUP_BY,
                "routes": [self._route(item) for item in self.routes],
            },
            "inhibit_rules": [
                {"source_matchers": [one], "target_matchers": [two], "equal": equal}
                for _, one, two, equal in INHIBITIONS
            ],
            "time_intervals": [{"name": name, "time_intervals": items} for name, items in self.written.items()],
            "receivers": [{"name": "nobody"}, *(_receiver(item, inbox) for item in self.routes)],
        }

    def _route(self, item: Route) -> dict[str, Any]:
        timing = item.timing
        durations = {"group_wait": timing.group_wait, "group_interval": timing.group_interval}
        durations["repeat_interval"] = timing.repeat_interval
        return {
            "receiver": item.name,
            "matchers": [f'kind="{item.name}"'],
            "mute_time_intervals": list(item.mute_times.mute),
            "active_time_intervals": list(item.mute_times.active),
            **{name: f"{value // timedelta(milliseconds=1)}ms" for name, value in durations.items()},
        }


def _receiver(item: Route, inbox: str) -> dict[str, Any]:
    hooks = [{"url": f"{inbox}/{to.name}", "send_resolved": to.send_resolved} for to in item.receivers]
    return {"name": item.name, "webhook_configs": hooks}


def setting() -> Setting:
    """Routes that differ in what they tell."""
    made = Setting([route("plain", [True]), route("quiet", [False]), route("pair", [True, False])])
    made.routes.append(route("eager", [True], replace(TIMING, repeat_interval=timedelta(seconds=2))))
    return made


def add_times(random: Random, made: Setting, at: datetime) -> None:
    """Routes with times: two that change when the minute of `at` begins and ends, and many that do not."""
    zone = "UTC" if 1 <= at.hour <= 22 else "Asia/Tokyo"  # where it is not about midnight
    minute = _minute(at, zone)
    times = [{"start_time": _clock(minute), "end_time": _clock(minute + 1)}]
    made.timed("muted", "mute", [{"times": times, "location": zone}])
    made.timed("active", "active", [{"times": times, "location": zone}])
    for number in range(INTERVALS):
        written = [random_interval(random, at) for _ in range(random.choice((1, 1, 2)))]
        made.timed(f"interval-{number}", random.choice(("mute", "active")), written)


def _minute(at: datetime, zone: str) -> int:
    """The minute of the day that the clocks of the zone show."""
    clock = at.astimezone(ZoneInfo(zone))
    return clock.hour * 60 + clock.minute


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
