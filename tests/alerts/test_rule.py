"""What a rule may be, and what is said of one that may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.alerts.rule import DEFAULT_RULES, MAX_PAIRS, BadRule, Rule
from app.alerts.templates import MAX_INPUT_BYTES

RULE = Rule("deep_queue", "queue_length", ">", 5)


def mistakes(**parts: object) -> list[str]:
    with pytest.raises(BadRule) as refused:
        replace(RULE, **parts)  # type: ignore[arg-type]
    assert str(refused.value) == "; ".join(map(str, refused.value.mistakes))
    return [str(mistake) for mistake in refused.value.mistakes]


@pytest.mark.parametrize(
    ("field", "value", "where", "reason"),
    [
        ("name", "", "name", "1 to 100"),
        ("name", "a" * 101, "name", "1 to 100"),
        ("name", "two words", "name", "1 to 100"),
        ("name", "line\n", "name", "1 to 100"),
        ("signal", "queue length", "signal", "cannot be the name"),
        ("signal", "x" * 1_000_000, "signal", "cannot be the name"),
        ("comparison", "=>", "comparison", "one of > >= < <= == !="),
        ("threshold", float("nan"), "threshold", "finite"),
        ("threshold", float("-inf"), "threshold", "finite"),
        ("for_s", -1, "for_s", "0 to 2592000 seconds"),
        ("for_s", float("nan"), "for_s", "0 to 2592000 seconds"),
        ("keep_firing_for_s", 1e9, "keep_firing_for_s", "0 to 2592000 seconds"),
        ("severity", "page", "severity", "critical error warning info"),
        ("action", "reboot", "action", "one of scale_up"),
        ("no_data", "OK", "no_data", "keep alert ok"),
        ("error", "ignore", "error", "keep alert ok"),
        ("min_events", -1, "min_events", "negative"),
        ("confidence", 0.5, "confidence", "between 0.5 and 1"),
        ("confidence", 1.0, "confidence", "between 0.5 and 1"),
        ("confidence", 95, "confidence", "between 0.5 and 1"),
        ("receivers", ("ops", "ops"), "receivers", "twice"),
        ("receivers", ("not a name",), "receivers", "names of receivers"),
        ("receivers", tuple(f"r{n}" for n in range(33)), "receivers", "32 at most"),
        ("labels", {"alertname": "x"}, "labels.alertname", "set from the rule"),
        ("labels", {"severity": "x"}, "labels.severity", "set from the rule"),
        ("labels", {"a-b": "x"}, "labels", "'a-b' cannot be a name"),
        ("labels", {"__name__": "x"}, "labels", "no __ before it"),
        ("labels", {"team": "{{ $value }}"}, "labels.team", "is literal"),
        ("labels", {"team": "x" * 1025}, "labels.team", "1024 characters at most"),
        ("labels", {f"l{n}": "" for n in range(MAX_PAIRS + 1)}, "labels", "32 at most"),
        ("annotations", {"": "x"}, "annotations", "'' cannot be a name"),
        ("annotations", {"summary": "a\n{{ $value | boom }}"}, "annotations.summary", "line 2, column 13: there is no"),
        ("annotations", {"summary": "x" * (MAX_INPUT_BYTES + 1)}, "annotations.summary", "longer than 4096 bytes"),
        ("annotations", {"summary": "{{ template }}" * 80_000}, "annotations.summary", "longer than 4096 bytes"),
    ],
)
def test_what_is_refused_and_why(field: str, value: object, where: str, reason: str) -> None:
    (mistake,) = mistakes(**{field: value})
    assert mistake.startswith(f"{where}: ")
    assert reason in mistake
    assert len(mistake) < 300


def test_every_mistake_is_named_at_once() -> None:
    found = mistakes(name="", threshold=float("inf"), labels={"severity": "{{"}, annotations={"a": "{{", "b": "}}"})
    assert [mistake.split(":")[0] for mistake in found] == [
        "name",
        "threshold",
        "labels.severity",
        "labels.severity",
        "annotations.a",
    ]


def test_an_unknown_signal_is_refused_with_those_that_there_are() -> None:
    RULE.check_signal(["queue_length", "loop_lag"])
    with pytest.raises(BadRule, match="there is no signal 'queue_length'; there are error_rate, loop_lag"):
        RULE.check_signal(["loop_lag", "error_rate"])


def test_the_defaults_are_those_of_prometheus() -> None:
    assert (RULE.for_s, RULE.keep_firing_for_s, RULE.no_data, RULE.error) == (0, 0, "ok", "keep")


def test_the_rules_that_are_there_by_default() -> None:
    assert [
        (rule.name, rule.signal, rule.comparison, rule.threshold, rule.for_s, rule.severity, rule.action)
        for rule in DEFAULT_RULES
    ] == [
        ("high_error_rate", "success_rate", "<", 0.9, 300, "warning", "scale_up"),
        ("critical_error_rate", "success_rate", "<", 0.8, 180, "critical", "immediate_intervention"),
        ("high_response_time", "response_time_p95", ">", 30, 600, "warning", "performance_investigation"),
        ("token_budget_exceeded", "tokens_per_hour", ">", 1_000_000, 60, "critical", "rate_limiting"),
        ("receiver_failing", "receivers_failing", ">", 0, 0, "critical", None),
        ("slo_burn_fast", "slo_burn_page", ">=", 1, 0, "critical", None),
        ("slo_burn_slow", "slo_burn_ticket", ">=", 1, 0, "warning", None),
        ("probe_failing", "probe_success", "<", 1, 0, "critical", None),
    ]
    assert all(rule.min_events >= 10 and rule.confidence for rule in DEFAULT_RULES[:4])


def test_labels_of_an_instance() -> None:
    rule = replace(RULE, labels={"team": "core", "zone": ""})
    labels = rule.instance_labels({"pool": "p", "team": "other", "zone": "a", "severity": "info", "agent": ""})
    assert labels == {"alertname": "deep_queue", "severity": "warning", "team": "core", "pool": "p"}
    assert rule.owns(labels)
    assert not rule.owns({**labels, "team": "other"})
    assert not replace(RULE, severity="critical").owns(labels)
