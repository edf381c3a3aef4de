"""A rule: which signal, what is wrong with it, for how long, whom it concerns and what is done about it.

Words and semantics are those of Prometheus' alerting rules, where it has them. A `Rule` that exists is valid: making
one from bad parts raises `BadRule`, which names every mistake.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, get_args

from app.alerts.matching import BadMatcher, all_match, check
from app.alerts.records import SEVERITIES, Labels, Matcher, Severity
from app.alerts.templates import BadTemplate, Template

type Comparison = Literal[">", ">=", "<", "<=", "==", "!="]
type Policy = Literal["keep", "alert", "ok"]
type ActionName = Literal[
    "scale_up",
    "immediate_intervention",
    "performance_investigation",
    "rate_limiting",
    "pause_pool",
    "drain_agent",
    "webhook",
]

COMPARISONS: tuple[Comparison, ...] = get_args(Comparison.__value__)
POLICIES: tuple[Policy, ...] = get_args(Policy.__value__)
ACTIONS: tuple[ActionName, ...] = get_args(ActionName.__value__)

RESERVED = frozenset({"alertname", "severity"})
"""Labels that every instance has from its rule's name and severity."""

MAX_TIME_S = 30 * 86_400.0
MAX_PAIRS, MAX_RECEIVERS, MAX_LABEL_VALUE = 32, 32, 1024
MAX_PARAMS, MAX_PARAM_LEVELS = 10_000, 8
MIN_EVENTS, CONFIDENCE = 10, 0.95

_RULE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,99}")
_BY = re.compile(r"pool|tenant|label:[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")
_LABEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong with a rule. `where` is a field, or one of its keys: `annotations.summary`."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class BadRule(ValueError):
    """A rule that cannot be; `mistakes` has all of them."""

    def __init__(self, mistakes: Collection[Mistake]) -> None:
        super().__init__("; ".join(map(str, mistakes)))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class Rule:
    """It is violated by a series whose value compares so with the threshold, and fires when that lasted `for_s`.

    `keep_firing_for_s` counts from the first evaluation that does not violate it. `no_data` is what becomes of a series
    that has vanished or has nothing to measure, `error` of one that cannot be read: `keep` leaves it as it is, `alert`
    counts it as a violation, `ok` as none. The defaults are what Prometheus does.

    Numbers made of fewer than `min_events` events violate nothing. A share of events must violate it at the end of its
    one-sided `confidence` interval that is kindest to it; None: the share itself counts. `labels` are literal,
    `annotations` are templates. Without `receivers` it goes where routing sends it.

    `by`: what makes a series of the signal: `pool`, `tenant`, or `label:KEY` for each value of a label of tasks.
    `matchers`: only series that meet them all. `action_params` are the action's own.
    """

    name: str
    signal: str
    comparison: Comparison
    threshold: float
    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    severity: Severity = "warning"
    labels: Labels = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    receivers: tuple[str, ...] = ()
    action: ActionName | None = None
    no_data: Policy = "ok"
    error: Policy = "keep"
    min_events: int = MIN_EVENTS
    confidence: float | None = CONFIDENCE
    by: str = "pool"
    matchers: tuple[Matcher, ...] = ()
    action_params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if found := list(_mistakes(self)):
            raise BadRule(found)

    def check_signal(self, signals: Collection[str]) -> None:
        """Raise BadRule if its signal is none of these."""
        if self.signal not in signals:
            reason = f"there is no signal {self.signal!r}; there are {', '.join(sorted(signals))}"
            raise BadRule([Mistake("signal", reason)])

    def concerns(self, series: Labels) -> bool:
        """Whether it is about this series of its signal."""
        return all_match(self.matchers, series)

    def instance_labels(self, series: Labels) -> dict[str, str]:
        """The labels of its instance for a series. As in Prometheus the rule's win over the series', and a label that
        is empty is none."""
        found = {**series, **self.labels, "alertname": self.name, "severity": self.severity}
        return {name: value for name, value in found.items() if value}

    def owns(self, labels: Labels) -> bool:
        """Whether these are labels of an instance of this rule as it is now."""
        return all(labels.get(name, "") == value for name, value in self.instance_labels({}).items())


def _mistakes(rule: Rule) -> Iterator[Mistake]:
    if not _RULE_NAME.fullmatch(rule.name):
        yield Mistake("name", "must be 1 to 100 letters, digits or _.:- and begin with a letter or _")
    if not _LABEL_NAME.fullmatch(rule.signal):
        yield Mistake("signal", f"{rule.signal[:100]!r} cannot be the name of a signal")
    if not isfinite(rule.threshold):
        yield Mistake("threshold", "must be a finite number")
    for where, one_of in (
        ("comparison", COMPARISONS),
        ("severity", SEVERITIES),
        ("no_data", POLICIES),
        ("error", POLICIES),
    ):
        if getattr(rule, where) not in one_of:
            yield Mistake(where, f"must be one of {' '.join(one_of)}")
    for where in ("for_s", "keep_firing_for_s"):
        if not 0 <= getattr(rule, where) <= MAX_TIME_S:  # NaN is neither
            yield Mistake(where, f"must be 0 to {MAX_TIME_S:.0f} seconds")
    yield from _action_mistakes(rule)
    if rule.min_events < 0:
        yield Mistake("min_events", "must not be negative")
    if rule.confidence is not None and not 0.5 < rule.confidence < 1:
        yield Mistake("confidence", "must be between 0.5 and 1, such as 0.95, or null for none")
    if not _BY.fullmatch(rule.by):
        yield Mistake("by", "must be pool, tenant or label:KEY")
    try:
        check(rule.matchers)
    except BadMatcher as exc:
        yield Mistake("matchers", str(exc))
    yield from _receiver_mistakes(rule.receivers)
    yield from _label_mistakes(rule.labels)
    yield from _annotation_mistakes(rule.annotations)


def _action_mistakes(rule: Rule) -> Iterator[Mistake]:
    if rule.action is not None and rule.action not in ACTIONS:
        yield Mistake("action", f"must be one of {' '.join(ACTIONS)}")
    if len(repr(rule.action_params)) > MAX_PARAMS:
        yield Mistake("action_params", f"must be {MAX_PARAMS} characters at most")
    elif _levels(rule.action_params) > MAX_PARAM_LEVELS:
        yield Mistake("action_params", f"must be nested {MAX_PARAM_LEVELS} levels deep at most")


def _levels(value: Any) -> int:
    """How deep lists and objects are nested."""
    if not isinstance(value, Mapping | list):
        return 0
    inner = value.values() if isinstance(value, Mapping) else value
    return 1 + max(map(_levels, inner), default=0)


def _receiver_mistakes(receivers: tuple[str, ...]) -> Iterator[Mistake]:
    if len(receivers) > MAX_RECEIVERS:
        yield Mistake("receivers", f"must be {MAX_RECEIVERS} at most")
    if len(set(receivers)) < len(receivers):
        yield Mistake("receivers", "names one twice")
    if any(not _RULE_NAME.fullmatch(name) for name in receivers):
        yield Mistake("receivers", "must be names of receivers")


def _label_mistakes(labels: Labels) -> Iterator[Mistake]:
    yield from _name_mistakes("labels", labels)
    for name in sorted(RESERVED & labels.keys()):
        yield Mistake(f"labels.{name}", "is set from the rule's name and severity")
    for name, value in labels.items():
        if len(value) > MAX_LABEL_VALUE:
            yield Mistake(f"labels.{name[:100]}", f"must be {MAX_LABEL_VALUE} characters at most")
        if "{{" in value:
            yield Mistake(f"labels.{name[:100]}", "is literal: a template would make a new alert of every value")


def _annotation_mistakes(annotations: Mapping[str, str]) -> Iterator[Mistake]:
    yield from _name_mistakes("annotations", annotations)
    for name, text in annotations.items():
        try:
            Template.parse(text)
        except BadTemplate as exc:
            yield Mistake(f"annotations.{name[:100]}", str(exc))


def _name_mistakes(where: str, pairs: Mapping[str, str]) -> Iterator[Mistake]:
    if len(pairs) > MAX_PAIRS:
        yield Mistake(where, f"must be {MAX_PAIRS} at most")
    for name in pairs:
        if not _LABEL_NAME.fullmatch(name) or name.startswith("__"):
            yield Mistake(where, f"{name[:100]!r} cannot be a name: letters, digits and _, and no __ before it")


DEFAULT_RULES = (
    Rule(
        name="high_error_rate",
        signal="success_rate",
        comparison="<",
        threshold=0.9,
        for_s=300,
        severity="warning",
        action="scale_up",
        annotations={
            "summary": "Only {{ $value | humanizePercentage }} of attempts of {{ $labels.pool }} succeed.",
            "description": "Fewer than 90 % have succeeded for five minutes. The pool's floor is raised for a while; "
            "`yard explain alert high_error_rate` says on what evidence.",
        },
    ),
    Rule(
        name="critical_error_rate",
        signal="success_rate",
        comparison="<",
        threshold=0.8,
        for_s=180,
        severity="critical",
        action="immediate_intervention",
        annotations={
            "summary": "Only {{ $value | humanizePercentage }} of attempts of {{ $labels.pool }} succeed.",
            "description": "Fewer than 80 % have succeeded for three minutes. Emergency mode is on until it expires or "
            "is lifted; `yard explain alert critical_error_rate` says on what evidence.",
        },
    ),
    Rule(
        name="high_response_time",
        signal="response_time_p95",
        comparison=">",
        threshold=30,
        for_s=600,
        severity="warning",
        action="performance_investigation",
        annotations={
            "summary": "One in twenty calls of {{ $labels.pool }} takes {{ $value | humanizeDuration }} or longer.",
            "description": "The 95th percentile has been above 30 s for ten minutes. A report with the slowest "
            "attempts is linked from this alert.",
        },
    ),
    Rule(
        name="token_budget_exceeded",
        signal="tokens_per_hour",
        comparison=">",
        threshold=1_000_000,
        for_s=60,
        severity="critical",
        action="rate_limiting",
        annotations={
            "summary": "{{ $labels.pool }} used {{ $value | humanize }} tokens in an hour.",
            "description": "More than a million tokens in the last hour. Its rate is limited until the limit expires.",
        },
    ),
    Rule(
        name="receiver_failing",
        signal="receivers_failing",
        comparison=">",
        threshold=0,
        severity="critical",
        min_events=0,
        annotations={
            "summary": "The receiver {{ $labels.receiver }} gets no notifications.",
            "description": "It refused one for good, and trying again does not help. Put the receiver right; "
            "`yard explain alert receiver_failing` shows since when.",
        },
    ),
    Rule(
        name="slo_burn_fast",
        signal="slo_burn_page",
        comparison=">=",
        threshold=1,
        severity="critical",
        annotations={
            "summary": "{{ $labels.slo }} burns its error budget fast.",
            "description": "In both windows of a quick burn alert errors come faster than its factor allows: "
            "{{ $value | humanize }} times as fast. At this pace the budget is gone within days.",
        },
    ),
    Rule(
        name="slo_burn_slow",
        signal="slo_burn_ticket",
        comparison=">=",
        threshold=1,
        severity="warning",
        annotations={
            "summary": "{{ $labels.slo }} burns its error budget.",
            "description": "In both windows of a slow burn alert errors come faster than its factor allows: "
            "{{ $value | humanize }} times as fast. Nobody need get up for it, but the budget will not last.",
        },
    ),
    Rule(
        name="probe_failing",
        signal="probe_success",
        comparison="<",
        threshold=1,
        severity="critical",
        min_events=0,
        confidence=None,
        annotations={
            "summary": "The probe {{ $labels.probe }} of {{ $labels.pool }} fails.",
            "description": "A golden task, sent the way every task goes, was not answered as declared.",
        },
    ),
)
"""Rules that are there by default."""
