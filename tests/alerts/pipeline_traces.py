"""Random traces: what happens to the alerts of one route within some seconds, and what our pipeline makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from app.alerts.matching import Matcher
from tests.alerts.virtual import Delivery, Refusal, Route, World

SLOTS = 11
"""Events come in slots, one group_interval apart: far from the flushes of groups that other events opened."""

SPREAD_S = 0.3
"""How far from its slot an event is."""


@dataclass(frozen=True)
class Fire:
    at_s: float
    alert: int
    age_s: float = 0.0


@dataclass(frozen=True)
class Resolve:
    at_s: float
    alert: int


@dataclass(frozen=True)
class Mute:
    at_s: float
    number: int
    matchers: tuple[Matcher, ...]
    after_s: float
    for_s: float


@dataclass(frozen=True)
class Expire:
    at_s: float
    number: int


type Event = Fire | Resolve | Mute | Expire


@dataclass(frozen=True)
class Trace:
    """`refusals`: receiver, from and until, in seconds from the trace's start."""

    name: str
    route: Route
    start: datetime
    alerts: tuple[dict[str, str], ...]
    events: tuple[Event, ...]
    refusals: tuple[tuple[str, float, float], ...] = ()
    sweeps: tuple[datetime, ...] = field(default=(), repr=False)

    def at(self, at_s: float) -> datetime:
        return self.start + timedelta(seconds=at_s)

    def refused(self) -> list[Refusal]:
        return [Refusal(name, self.at(begin), self.at(end)) for name, begin, end in self.refusals]

    def outcome(
        self,
        end: datetime,
        late_s: Callable[[Event], float] = lambda _: 0.0,
        lag_s: float = 0.0,
        sweep_late_s: float = 0.0,
        shift_s: float = 0.0,
    ) -> list[Delivery]:
        """What our pipeline tells. `late_s`: how much later than planned an event comes; `shift_s`: all of it."""
        world = World(self.route, self.refused(), timedelta(seconds=lag_s))
        steps: list[tuple[datetime, Event | None]] = [
            (self.at(event.at_s + late_s(event) + shift_s), event) for event in self.events
        ]
        steps += [(sweep + timedelta(seconds=sweep_late_s), None) for sweep in self.sweeps]
        for now, event in sorted((step for step in steps if step[0] < end), key=lambda step: step[0]):
            world.run_until(now)
            self._step(world, event, now)
        world.run_until(end)
        return world.told

    def _step(self, world: World, event: Event | None, now: datetime) -> None:
        match event:
            case None:
                world.sweep()
            case Fire():
                world.fire(self.alerts[event.alert], now - timedelta(seconds=event.age_s), now)
            case Resolve():
                world.resolve(self.alerts[event.alert], now)
            case Mute():
                begin = now + timedelta(seconds=event.after_s)
                world.silence(event.number, event.matchers, begin, begin + timedelta(seconds=event.for_s))
            case Expire():
                world.expire(event.number, now)


def by_group(told: Sequence[Delivery]) -> dict[tuple[str, tuple[tuple[str, str], ...]], list[Delivery]]:
    """The deliveries of each receiver and group, in their order."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], list[Delivery]] = {}
    for delivery in sorted(told, key=lambda delivery: delivery.at):
        found.setdefault((delivery.receiver, delivery.group), []).append(delivery)
    return found


def sequences(told: Sequence[Delivery]) -> dict[object, list[object]]:
    """Without times: what is compared."""
    return {key: [delivery.what for delivery in items] for key, items in by_group(told).items()}


def steady(trace: Trace, end: datetime, random: Random, most_s: float = 0.45) -> bool:
    """Whether the outcome stays the same when events, flushes and sweeps come up to that much later."""
    wanted = sequences(trace.outcome(end))

    def same(late_s: float = 0.0, lag_s: float = 0.0, sweep_s: float = 0.0, shift_s: float = 0.0) -> bool:
        late = {event: late_s or random.uniform(0.0, most_s) for event in trace.events}
        return sequences(trace.outcome(end, late.__getitem__, lag_s, sweep_s, shift_s)) == wanted

    return (
        same(late_s=most_s)
        and same(shift_s=-most_s, lag_s=0.01)
        and same(shift_s=most_s)
        and same(sweep_s=most_s, lag_s=0.02)
        and same(sweep_s=-most_s)
    )


def random_alerts(random: Random, name: str, kind: str) -> tuple[dict[str, str], ...]:
    """Distinct label sets; each label but three is missing in some."""
    found: dict[str, dict[str, str]] = {}
    for _ in range(random.randint(2, 6)):
        labels = {"alertname": random.choice("ABC"), "trace": name, "kind": kind}
        labels["severity"] = random.choice(("critical", "warning", "info"))
        for label, values in (("zone", ("z1", "z2")), ("node", ("n1", "n2")), ("role", ("source", "target", "both"))):
            if random.random() < 0.5:
                labels[label] = random.choice(values)
        found[str(sorted(labels.items()))] = labels
    return tuple(found.values())


def random_events(random: Random, alerts: Sequence[dict[str, str]], slot_s: float) -> Iterator[Event]:
    """Alerts that fire, are said to fire again, and end; silences that come and are ended early."""
    firing, silences, number = set[int](), dict[int, tuple[float, float]](), 0
    only = Matcher("trace", "=", alerts[0]["trace"])
    for slot in range(SLOTS):
        for _ in range(random.choice((0, 1, 1, 2, 3))):
            at_s = slot * slot_s + random.uniform(-SPREAD_S, SPREAD_S)
            drawn, alert = random.random(), random.randrange(len(alerts))
            if drawn < 0.12:
                after_s, for_s = slot_s * random.choice((0, 0, 0, 1, 2)), slot_s * random.randint(1, 5)
                silences[number] = (at_s + slot_s / 2, at_s + after_s + for_s - slot_s / 2)
                yield Mute(at_s, number, (only, *random_matchers(random)), after_s, for_s)
                number += 1
            elif drawn < 0.2 and (running := [item for item, (a, b) in silences.items() if a < at_s < b]):
                ended = random.choice(running)
                del silences[ended]
                yield Expire(at_s, ended)
            elif alert in firing and drawn < 0.75:
                firing.discard(alert)
                yield Resolve(at_s, alert)
            elif alert not in firing and drawn > 0.97:
                yield Resolve(at_s, alert)
            else:
                aged = alert not in firing and not _explains(alerts[alert]) and random.random() < 0.4
                firing.add(alert)
                yield Fire(at_s + slot_s / 4 if aged else at_s, alert, 60.0 if aged else 0.0)


def _explains(labels: dict[str, str]) -> bool:
    """Whether it may inhibit others: an old one that is flushed at once would race with Alertmanager's inhibitor."""
    return labels["severity"] == "critical" or labels.get("role") in ("source", "both")


def random_matchers(random: Random) -> tuple[Matcher, ...]:
    """One or two conditions on labels that may be missing."""
    values = {
        "alertname": ("A", "B", "A|C", "[AB]"),
        "severity": ("critical", "warning|info", "crit", ".+"),
        "node": ("n1", "n.", "", "n1|", "^n2$"),
        "role": ("both", "source|both", "(?i)BOTH", ".*"),
        "zone": ("z1", "z[0-9]", "", "1"),
    }
    names = random.sample(sorted(values), random.choice((1, 1, 2)))
    return tuple(Matcher(name, random.choice(("=", "!=", "=~", "!~")), random.choice(values[name])) for name in names)
