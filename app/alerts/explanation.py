"""Why an instance of a rule is as it is: what was measured, what that is worth, and when what happens next. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.alerts.confidence import Finding, violation, wilson_lower, wilson_upper
from app.alerts.reading import Missing, Reading, Sample
from app.alerts.records import Labels, fingerprint
from app.alerts.rule import Rule
from app.alerts.state import Phase, Reason, State


@dataclass(frozen=True, slots=True)
class Explained:
    """One instance. `reading`: what its signal says now; None: it says nothing of it. `finding`: what that is for the
    rule. `interval`: between which values a share lies at the rule's confidence. `fires_at` and `resolved_at`: when it
    will, if nothing changes; in the past, the next evaluation does it."""

    fingerprint: str
    labels: Labels
    phase: Phase
    text: str
    finding: Finding | Missing
    reading: Reading | None = None
    interval: tuple[float, float] | None = None
    state: State | None = None
    fires_at: datetime | None = None
    resolves_at: datetime | None = None


def explain(rule: Rule, readings: Sequence[Reading], states: Mapping[str, State]) -> list[Explained]:
    """Every instance: those that the signal speaks of, then those that are only remembered. Worst phase first."""
    found = []
    said = set()
    for reading in readings:
        labels = rule.instance_labels(reading.labels)
        key = fingerprint(labels)
        said.add(key)
        found.append(_explained(rule, key, labels, reading, states.get(key)))
    found += [_explained(rule, key, state.labels, None, state) for key, state in states.items() if key not in said]
    order = ("firing", "recovering", "pending", "resolved", "ok")
    return sorted(found, key=lambda item: (order.index(item.phase), sorted(item.labels.items())))


def _explained(rule: Rule, key: str, labels: Labels, reading: Reading | None, state: State | None) -> Explained:
    phase: Phase = "ok" if state is None else state.phase
    finding: Finding | Missing = "vanished"
    interval = None
    if isinstance(reading, Sample):
        finding, interval = violation(rule, reading), _interval(rule, reading)
    elif reading is not None:
        finding = reading.why
    breaks = _breaks(rule, finding)
    fires_at = _fires_at(rule, state, breaks)
    resolves_at = _resolves_at(rule, state, breaks)
    text = f"{_measured(rule, reading, finding, interval)} {_so(rule, phase, state, breaks, fires_at, resolves_at)}"
    return Explained(key, labels, phase, text, finding, reading, interval, state, fires_at, resolves_at)


def _interval(rule: Rule, sample: Sample) -> tuple[float, float] | None:
    if rule.confidence is None or sample.good is None or not sample.total:
        return None
    ends = [
        sample.value_of(bound(sample.good, sample.total, rule.confidence)) for bound in (wilson_lower, wilson_upper)
    ]
    return min(ends), max(ends)


def _breaks(rule: Rule, finding: Reason) -> bool | None:
    """Whether the rule counts this as a violation; None: it leaves the state as it is."""
    if finding in ("no_data", "vanished", "error"):
        policy = rule.error if finding == "error" else rule.no_data
        return None if policy == "keep" else policy == "alert"
    return finding == "violated"


def _fires_at(rule: Rule, state: State | None, breaks: bool | None) -> datetime | None:
    if state is None or state.phase != "pending" or state.active_at is None or breaks is False:
        return None
    return state.active_at + timedelta(seconds=rule.for_s)


def _resolves_at(rule: Rule, state: State | None, breaks: bool | None) -> datetime | None:
    if state is None or state.phase != "recovering" or state.keep_since is None or breaks:
        return None
    return state.keep_since + timedelta(seconds=rule.keep_firing_for_s)


def _measured(
    rule: Rule, reading: Reading | None, finding: Finding | Missing, interval: tuple[float, float] | None
) -> str:
    """The first sentence: what is the case."""
    asked = f"{rule.comparison} {rule.threshold:g}"
    if not isinstance(reading, Sample):
        detail = f" ({reading.detail})" if reading is not None and reading.detail else ""
        what = {
            "no_data": "There is nothing to measure",
            "error": "The signal cannot be read",
            "vanished": "The signal says nothing of it any more",
        }[finding]
        policy = rule.error if finding == "error" else rule.no_data
        meaning = {"keep": "leaves it as it is", "alert": "counts that as a violation", "ok": "counts that as none"}
        return f"{what}{detail}; the rule {meaning[policy]}."
    value = f"{rule.signal} is {reading.value:.4g}"
    of = "" if reading.total is None else f", made of {reading.total} events"
    if finding == "cleared":
        return f"{value}{of}, which is not {asked}."
    if finding == "too_few_events":
        return (
            f"{value}, which is {asked}, but it is made of {reading.total} events and the rule wants {rule.min_events}."
        )
    if finding == "not_confident" and interval is not None and rule.confidence is not None:
        sure = f"at a confidence of {rule.confidence:g} the true value is between"
        return f"{value}{of}, which is {asked}, but {sure} {interval[0]:.4g} and {interval[1]:.4g}."
    return f"{value}{of}, which is {asked}."


def _so(
    rule: Rule,
    phase: Phase,
    state: State | None,
    breaks: bool | None,
    fires_at: datetime | None,
    resolves_at: datetime | None,
) -> str:
    """The second sentence: what comes of it."""
    if state is None or phase == "ok":
        at_next = "becomes pending" if rule.for_s else "fires"
        return f"It {at_next} at the next evaluation." if breaks else "So it does not fire."
    if phase == "pending":
        return _pending(state, fires_at)
    if phase == "firing":
        return _firing(rule, state, breaks)
    if phase == "recovering":
        return _recovering(resolves_at)
    ended = f"It was resolved at {_clock(state.resolved_at)}."
    return f"{ended} The next evaluation begins it anew." if breaks else ended


def _pending(state: State, fires_at: datetime | None) -> str:
    since = _clock(state.active_at)
    if fires_at is None:
        return f"It was pending since {since} and is nothing at the next evaluation."
    return f"Pending since {since}; it fires at {_clock(fires_at)} if it stays so."


def _firing(rule: Rule, state: State, breaks: bool | None) -> str:
    since = _clock(state.fired_at)
    if breaks is not False:
        return f"It fires since {since}."
    rest = f" after {rule.keep_firing_for_s:g} s more" if rule.keep_firing_for_s else ""
    return f"It fires since {since} and is resolved{rest} if it stays so."


def _recovering(resolves_at: datetime | None) -> str:
    if resolves_at is None:
        return "It was recovering and fires on at the next evaluation."
    return f"It still counts as firing; it is resolved at {_clock(resolves_at)} if it stays so."


def _clock(at: datetime | None) -> str:
    return "an unknown time" if at is None else at.strftime("%Y-%m-%d %H:%M:%S UTC")
