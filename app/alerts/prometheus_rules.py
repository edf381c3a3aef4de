"""Our rules as rules of Prometheus, for those who run one: a group in YAML over the metrics that managers expose.

Signals are read from tables here and from metrics there, so numbers agree as far as windows and scrapes do: a rate is
over the last five minutes, and `increase` extrapolates. What Prometheus cannot say is left out: receivers, actions,
and policies other than its own (a series that vanishes resolves, an error keeps). Signals that no metric shows have no
rule. `keep_firing_for` needs Prometheus 2.42.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import yaml

from app.alerts.rule import Rule

GROUP = "yardmaster-alerts"
_WINDOW = "5m"
_BY = "namespace, job, pool"
_COUNTED = 'status=~"succeeded|suspended|failed|timeout|lost"'
_GOOD = 'status=~"succeeded|suspended"'


@dataclass(frozen=True, slots=True)
class Share:
    """A signal that is a share of events: PromQL of how many were good, and of how many there were.

    `errors`: its value is the share of the others.
    """

    good: str
    total: str
    errors: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """A signal that is a number: PromQL of it, and of how many events it was made of."""

    value: str
    total: str | None = None


type Expression = Share | Number


def _pooled(function: str, metric: str, more: str = "") -> str:
    """Joined over managers, with the agent type as `pool`."""
    of = f'label_replace({metric}, "pool", "$1", "agent_type", "(.+)")'
    return f"{function} by ({_BY}{more}) ({of})"


def _counted(status: str) -> str:
    return _pooled("sum", f"increase(ai_agent_requests_total{{{status}}}[{_WINDOW}])")


_ATTEMPTS, _SUCCESSES, _RESPONSES = (
    "yard:attempts_counted:increase5m",
    "yard:attempt_successes:increase5m",
    "yard:responses:increase5m",
)

RECORDS = {
    _ATTEMPTS: _counted(_COUNTED),
    # A pool whose attempts all failed has no series of successes: that is none of them, not no answer.
    _SUCCESSES: f"{_counted(_GOOD)} or 0 * {_ATTEMPTS}",
    _RESPONSES: _pooled("sum", f"increase(ai_agent_response_time_seconds_count[{_WINDOW}])"),
}
"""Series that expressions share → PromQL. Each may read those before it."""


def _percentile(share: float) -> Number:
    buckets = _pooled("sum", f"rate(ai_agent_response_time_seconds_bucket[{_WINDOW}])", ", le")
    return Number(f"histogram_quantile({share:g}, {buckets})", _RESPONSES)


EXPRESSIONS: dict[str, Expression] = {
    "success_rate": Share(_SUCCESSES, _ATTEMPTS),
    "error_rate": Share(_SUCCESSES, _ATTEMPTS, errors=True),
    "response_time_p50": _percentile(0.5),
    "response_time_p95": _percentile(0.95),
    "response_time_p99": _percentile(0.99),
    "queue_length": Number(_pooled("max", "ai_agent_queue_length")),
    "agents": Number(
        f'max by ({_BY}, status) (label_replace(ai_agents_total, "pool", "$1", "type", "(.+)"))',
    ),
    "crash_loops": Number(f'max by ({_BY}) (yard_pool_conditions{{code="crash_loop"}})'),
    "tokens_per_hour": Number(_pooled("sum", "increase(ai_agent_token_usage_total[1h])")),
    "cost_per_hour": Number(_pooled("sum", "increase(ai_agent_cost_usd_total[1h])")),
    "unpriced_usage": Number("max by (namespace, job) (yard_costs_unpriced_rows)"),
}
"""Signal → what shows it in Prometheus."""


def left_out(rules: Sequence[Rule]) -> list[str]:
    """Names of the rules that no metric shows: by their signal, by tenant or label, or of some series only."""
    return [rule.name for rule in rules if not _shown(rule)]


def rule_group(rules: Sequence[Rule]) -> str:
    """A file of Prometheus' rules, as YAML, with those of the rules whose signals a metric shows."""
    alerts = [_alert(rule, EXPRESSIONS[rule.signal]) for rule in rules if _shown(rule)]
    found = [*_records([alert["expr"] for alert in alerts]), *alerts]
    groups = [{"name": GROUP, "rules": found}] if found else []
    return yaml.safe_dump({"groups": groups}, sort_keys=False, allow_unicode=True, width=1_000_000)


def _shown(rule: Rule) -> bool:
    return rule.signal in EXPRESSIONS and rule.by == "pool" and not rule.matchers


def expression(rule: Rule, of: Expression) -> str:
    """PromQL of what the rule is violated by, its minimum of events and its confidence included."""
    if isinstance(of, Share):
        violated = _share_violated(rule, of)
    else:
        violated = f"{of.value} {rule.comparison} {rule.threshold!r}"
    if of.total is None or rule.min_events == 0:
        return violated
    return f"({violated}) and on ({_BY}) ({of.total} >= {rule.min_events})"


def duration(seconds: float) -> str:
    """As Prometheus writes durations, to the millisecond: 90s, 1500ms."""
    milliseconds = round(seconds * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def _records(expressions: Sequence[str]) -> list[dict[str, str]]:
    """The records that the expressions need, each after those that it reads."""
    needed: list[str] = []
    for name in reversed(RECORDS):
        if any(name in text for text in (*expressions, *(RECORDS[later] for later in needed))):
            needed.append(name)
    return [{"record": name, "expr": RECORDS[name]} for name in reversed(needed)]


def _alert(rule: Rule, of: Expression) -> dict[str, Any]:
    found: dict[str, Any] = {"alert": rule.name, "expr": expression(rule, of)}
    if rule.for_s:
        found["for"] = duration(rule.for_s)
    if rule.keep_firing_for_s:
        found["keep_firing_for"] = duration(rule.keep_firing_for_s)
    found["labels"] = {**rule.labels, "severity": rule.severity}
    if rule.annotations:
        found["annotations"] = dict(rule.annotations)
    return found


def _share_violated(rule: Rule, share: Share) -> str:
    """The value where it violates: the share itself, and the kindest end of its interval, too."""
    shown = f"({share.good} / ({share.total} > 0))"
    value = f"(1 - {shown})" if share.errors else shown
    violated = f"{value} {rule.comparison} {rule.threshold!r}"
    if rule.confidence is None or rule.comparison == "==":
        return violated
    z = NormalDist().inv_cdf(rule.confidence)
    upper, lower = (f"(1 - {end})" if share.errors else end for end in (_bound(share, z), _bound(share, -z)))
    if share.errors:
        upper, lower = lower, upper
    if rule.comparison == "!=":
        outside = f"({upper} < {rule.threshold!r} or {lower} > {rule.threshold!r})"
        return f"{violated} and {outside}"
    kindest = upper if rule.comparison in ("<", "<=") else lower
    return f"{violated} and {kindest} {rule.comparison} {rule.threshold!r}"


def _bound(share: Share, z: float) -> str:
    """An end of Wilson's interval of the share of good events; see app/alerts/confidence.py."""
    good, total = share.good, share.total
    spread = f"sqrt({good} * ({total} - {good}) / {total} + {z * z / 4:.6g})"
    return f"(({good} + {z * z / 2:.6g} {'-' if z < 0 else '+'} {abs(z):.6g} * {spread}) / ({total} + {z * z:.6g}))"
