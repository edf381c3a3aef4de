"""What a whole rule comes to: readings of its signal and the states so far in, new states and what changed out. Pure.

reading            its series' state
violated           goes on towards firing
cleared            goes on towards resolved; too few events and not confident enough are that, too
no_data, vanished  as the rule's `no_data` says: keep, alert (as violated), ok (as cleared)
error              as the rule's `error` says
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.alerts.confidence import violation
from app.alerts.reading import Missing, Reading, Sample, Unanswered
from app.alerts.records import Labels, fingerprint
from app.alerts.rule import Policy, Rule
from app.alerts.state import FOUND, Phase, Reason, State, Timers, cleared, time_of, violated
from app.alerts.templates import Template

_WORST_FIRST: tuple[Missing, ...] = ("error", "no_data", "vanished")


@dataclass(frozen=True, slots=True)
class Transition:
    """An instance that changed its phase, and why. `detail`: what the signal said about having no number."""

    before: Phase
    after: Phase
    labels: Labels
    reason: Reason
    detail: str = ""


def judge(
    rule: Rule, readings: Sequence[Reading], states: Mapping[str, State], now: datetime
) -> tuple[dict[str, State], list[Transition]]:
    """The states after this evaluation, by fingerprint, and the changes of phase, in the order of the readings.

    `states` are the rule's states as they were returned last. An instance that is in no state is ok; so is one whose
    phase is `ok`, which is only remembered by rules that alert when it vanishes. Resolved ones stay until the caller
    leaves them out. A rule that now has other labels than its instances had resolves those at once.

    Series that are the same once the rule's labels are on them cannot be told apart: that is an error of the signal.
    An `Unanswered` that speaks for several series and is to alert does so as one instance of its own; theirs are kept.
    """
    judgement = _Judgement(rule, now)
    judgement.evaluate(readings, states)
    return judgement.states, judgement.transitions


class _Judgement:
    """One evaluation under way."""

    def __init__(self, rule: Rule, now: datetime) -> None:
        self._rule = rule
        self._now = now
        self._timers = Timers.of(rule.for_s, rule.keep_firing_for_s)
        self._templates = {name: Template.parse(text) for name, text in rule.annotations.items()}
        self.states: dict[str, State] = {}
        self.transitions: list[Transition] = []

    def evaluate(self, readings: Sequence[Reading], states: Mapping[str, State]) -> None:
        asked = self._by_instance(readings, states.values())
        for key, (labels, reading) in asked.items():
            if isinstance(reading, Sample):
                self._number(key, states.get(key), labels, reading)
            else:
                policy = self._policy(reading.why)
                self._unanswered(key, states.get(key), labels, policy, reading.why, reading.detail)
        silent = [(labels, reading) for labels, reading in asked.values() if isinstance(reading, Unanswered)]
        for key, state in states.items():
            if key not in asked:
                self._unmentioned(key, state, silent)

    def _by_instance(
        self, readings: Sequence[Reading], states: Iterable[State]
    ) -> dict[str, tuple[dict[str, str], Reading]]:
        """Readings by the fingerprint of their instance, with its labels."""
        if not readings and not any(state.seen for state in states):
            readings = [Unanswered({}, "no_data", "the signal has no series")]
        found: dict[str, tuple[dict[str, str], Reading]] = {}
        for reading in readings:
            labels = self._rule.instance_labels(reading.labels)
            key = fingerprint(labels)
            if key in found:
                detail = "two series have the same labels once the rule's are on them"
                labels = self._rule.instance_labels({})
                return {fingerprint(labels): (labels, Unanswered({}, "error", detail))}
            found[key] = (labels, reading)
        return found

    def _number(self, key: str, state: State | None, labels: Labels, sample: Sample) -> None:
        finding = violation(self._rule, sample)
        if finding == "violated":
            self._violated(key, state, labels, finding, sample.value)
        else:
            self._cleared(key, state, labels, finding)

    def _unanswered(
        self, key: str, state: State | None, labels: Labels, policy: Policy, why: Missing, detail: str
    ) -> None:
        if policy == "alert":
            self._violated(key, state, labels, why, None, detail)
        elif policy == "ok":
            self._cleared(key, state, labels, why, detail)
        else:
            self._keep(key, state)

    def _unmentioned(self, key: str, state: State, silent: Sequence[tuple[Labels, Unanswered]]) -> None:
        """A state that no reading is about."""
        if not self._rule.owns(state.labels):
            self._put(
                key, state, cleared(state, "rule_changed", Timers.of(0, 0), self._now), state.labels, "rule_changed"
            )
            return
        spoken = [item for labels, item in silent if labels.items() <= state.labels.items()]
        if spoken:
            nearest = min(spoken, key=lambda item: (-len(item.labels), _WORST_FIRST.index(item.why)))
            policy = self._policy(nearest.why)
            policy = "keep" if policy == "alert" else policy
            self._unanswered(key, state, state.labels, policy, nearest.why, nearest.detail)
        elif state.seen:
            self._unanswered(key, state, state.labels, self._rule.no_data, "vanished", "")
        else:
            self._cleared(key, state, state.labels, "answered")

    def _policy(self, why: Missing) -> Policy:
        return self._rule.error if why == "error" else self._rule.no_data

    def _violated(
        self, key: str, state: State | None, labels: Labels, reason: Reason, value: float | None, detail: str = ""
    ) -> None:
        annotations = {name: template.render(labels, value) for name, template in self._templates.items()}
        after = violated(state, labels, reason, self._timers, self._now, value=value, annotations=annotations)
        self._put(key, state, after, labels, reason, detail)

    def _cleared(self, key: str, state: State | None, labels: Labels, reason: Reason, detail: str = "") -> None:
        after = cleared(state, reason, self._timers, self._now)
        self._put(key, state, after, labels, reason, detail)

    def _keep(self, key: str, state: State | None) -> None:
        if state is not None and (state.phase != "ok" or self._rule.no_data == "alert"):
            self.states[key] = state

    def _put(
        self, key: str, before: State | None, after: State | None, labels: Labels, reason: Reason, detail: str = ""
    ) -> None:
        was: Phase = before.phase if before is not None else "ok"
        phase: Phase = after.phase if after is not None else "ok"
        if after is None and self._remembers(before, reason):
            after = State(labels, "ok", reason, time_of(before, self._now))
        if after is not None:
            self.states[key] = after
        if was != phase:
            self.transitions.append(Transition(was, phase, labels, reason, detail))

    def _remembers(self, before: State | None, reason: Reason) -> bool:
        """Whether an instance that is ok must be known later: if it vanishes, the rule alerts."""
        if self._rule.no_data != "alert" or reason in ("rule_changed", "answered"):
            return False
        return reason in FOUND or (before is not None and before.seen)
