"""Our rules for Prometheus: promtool takes them, they read metrics that exist, and fire when ours do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from app.alerts.confidence import violation, wilson_lower, wilson_upper
from app.alerts.prometheus_rules import EXPRESSIONS, GROUP, RECORDS, duration, left_out, rule_group
from app.alerts.reading import Sample, error_rate, success_rate
from app.alerts.rule import COMPARISONS, DEFAULT_RULES, Comparison, Rule
from tests.deploy.promql import exposed, grouped, mistakes, promtool

JOB = 'job="yardmaster", instance="m1", namespace="n"'
SHOWN = [rule for rule in DEFAULT_RULES if rule.name not in left_out(DEFAULT_RULES)]
OF_ALL = [
    Rule(f"r{number}_{place}", signal, comparison, 3.5, confidence=confidence)
    for number, signal in enumerate(EXPRESSIONS)
    for place, comparison in enumerate(COMPARISONS)
    for confidence in ((None,), (0.95,))[place % 2]
]


def loaded(rules: list[Rule]) -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(rule_group(rules))["groups"]
    assert group["name"] == GROUP
    return list(group["rules"])


def attempts(pool: str, status: str, values: str) -> dict[str, str]:
    name = f'ai_agent_requests_total{{{JOB}, agent_type="{pool}", endpoint="execute", status="{status}"}}'
    return {"series": name, "values": values}


def run(folder: Path, rules: list[Rule], series: list[dict[str, str]], **test: Any) -> str:
    """What promtool found otherwise; "" for nothing."""
    (folder / "rules.yaml").write_text(rule_group(rules))
    tests = [{"interval": "1m", "input_series": series, **test}]
    (folder / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests}))
    done = promtool("test", "rules", folder / "test.yaml")
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_promtool_takes_a_rule_on_any_signal(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(rule_group([*SHOWN, *OF_ALL]))
    done = promtool("check", "rules", tmp_path / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(SHOWN) + len(OF_ALL) + len(RECORDS)} rules found" in done.stdout


async def test_they_read_metrics_that_exist(client: httpx.AsyncClient) -> None:
    known = exposed((await client.get("/metrics")).text)
    known |= {name: grouped(text) | {"job"} for name, text in RECORDS.items()}
    wrong = {rule["expr"]: mistakes(rule["expr"], known) for rule in loaded(OF_ALL)}
    assert {expression: found for expression, found in wrong.items() if found} == {}


def test_what_a_rule_becomes() -> None:
    rule = Rule(
        "deep_queue",
        "queue_length",
        ">=",
        5,
        for_s=90,
        keep_firing_for_s=1.5,
        severity="critical",
        labels={"team": "core"},
        annotations={"summary": "{{ $labels.pool }}: {{ $value }}"},
        receivers=("ops",),
        action="scale_up",
    )
    (found,) = loaded([rule])
    assert found == {
        "alert": "deep_queue",
        "expr": "max by (namespace, job, pool) "
        '(label_replace(ai_agent_queue_length, "pool", "$1", "agent_type", "(.+)")) >= 5',
        "for": "90s",
        "keep_firing_for": "1500ms",
        "labels": {"team": "core", "severity": "critical"},
        "annotations": {"summary": "{{ $labels.pool }}: {{ $value }}"},
    }
    (plain,) = loaded([Rule("r", "queue_length", ">", 5)])
    assert set(plain) == {"alert", "expr", "labels"}


def test_only_records_that_are_read_are_written() -> None:
    assert [rule["record"] for rule in loaded([DEFAULT_RULES[2]]) if "record" in rule] == ["yard:responses:increase5m"]
    assert [rule["record"] for rule in loaded([DEFAULT_RULES[0]]) if "record" in rule] == [
        "yard:attempts_counted:increase5m",
        "yard:attempt_successes:increase5m",
    ]


def test_rules_that_no_metric_shows_are_named() -> None:
    rules = [*SHOWN, Rule("late", "approval_age", ">", 3600)]
    assert left_out(rules) == ["late"]
    assert rule_group(rules) == rule_group(DEFAULT_RULES)
    assert left_out(DEFAULT_RULES) == ["receiver_failing", "slo_burn_fast", "slo_burn_slow", "probe_failing"]
    assert yaml.safe_load(rule_group(rules[-1:])) == {"groups": []}


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0s"), (300, "300s"), (0.25, "250ms"), (61.001, "61001ms")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


BUCKETS = f'ai_agent_response_time_seconds_bucket{{{JOB}, agent_type="p", complexity="low", le='
ANSWERS = f'ai_agent_response_time_seconds_count{{{JOB}, agent_type="p", complexity="low"}}'
TOKENS = f'ai_agent_token_usage_total{{{JOB}, agent_type="p", model="m"}}'


def answers(slow: int, quick: int) -> list[dict[str, str]]:
    """A minute's answers: within 30 to 60 s, and at once."""
    return [
        {"series": f'{BUCKETS}"30"}}', "values": f"0+{quick}x60"},
        {"series": f'{BUCKETS}"60"}}', "values": f"0+{quick + slow}x60"},
        {"series": f'{BUCKETS}"+Inf"}}', "values": f"0+{quick + slow}x60"},
        {"series": ANSWERS, "values": f"0+{quick + slow}x60"},
    ]


def outcomes(succeeded: str, failed: str) -> list[dict[str, str]]:
    return [attempts("p", "succeeded", succeeded), attempts("p", "failed", failed)]


CASES = {
    "high_error_rate": (
        outcomes("0+80x60", "0+20x60"),
        outcomes("0+0.4x60", "0+0.2x60"),  # one of three in five minutes
        "80%",
    ),
    "critical_error_rate": (outcomes("0x60", "0+9x60"), outcomes("0+85x60", "0+15x60"), "0%"),
    "high_response_time": (answers(slow=9, quick=1), answers(slow=1, quick=99), "58.33s"),
    "token_budget_exceeded": (
        [{"series": TOKENS, "values": "0+20000x60"}],
        [{"series": TOKENS, "values": "0+16000x60"}],
        "1.2M",
    ),
}


@pytest.mark.parametrize("rule", SHOWN, ids=lambda rule: rule.name)
def test_the_defaults_fire_and_stay_quiet(rule: Rule, tmp_path: Path) -> None:
    fires, quiet, shown = CASES[rule.name]
    expected = {"eval_time": "60m", "alertname": rule.name, "exp_alerts": []}
    assert run(tmp_path, [rule], quiet, alert_rule_test=[expected]) == ""
    told = run(tmp_path, [rule], fires, alert_rule_test=[expected])
    assert 'pool="p"' in told
    assert f'severity="{rule.severity}"' in told
    assert shown in told


def test_it_fires_after_its_time(tmp_path: Path) -> None:
    """The first rate is there after a minute, and three more make the time of the rule."""
    rule = replace(DEFAULT_RULES[1], min_events=1)
    series = outcomes("0x60", "0+9x60")
    quiet = {"eval_time": "3m", "alertname": rule.name, "exp_alerts": []}
    assert run(tmp_path, [rule], series, alert_rule_test=[quiet]) == ""
    assert "FAILED" in run(tmp_path, [rule], series, alert_rule_test=[{**quiet, "eval_time": "4m"}])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Rule, int, int]:
    """A rule, and how many attempts a minute succeed and fail."""
    good, bad = draw(st.integers(0, 20)), draw(st.integers(0, 20))
    assume(good + bad > 0)
    share = good / (good + bad)
    comparison: Comparison = draw(st.sampled_from([">", ">=", "<", "<=", "!="]))
    near = draw(st.floats(-0.3, 0.3))
    errors = draw(st.booleans())
    threshold = round((1 - share if errors else share) + near, 3)
    confidence = draw(st.sampled_from([None, 0.9, 0.95, 0.99]))
    of_good = 1 - threshold if errors else threshold
    edges = [share]
    if confidence is not None:
        edges += [bound(5 * good, 5 * (good + bad), confidence) for bound in (wilson_lower, wilson_upper)]
    assume(all(abs(edge - of_good) > 1e-4 for edge in edges))  # there the last digits decide
    signal = "error_rate" if errors else "success_rate"
    minimum = draw(st.sampled_from([0, 10, 26, 101]))
    return Rule("r", signal, comparison, threshold, min_events=minimum, confidence=confidence), good, bad


def sample(rule: Rule, good: int, total: int) -> Sample:
    found = (success_rate if rule.signal == "success_rate" else error_rate)({}, good, total)
    assert isinstance(found, Sample)
    return found


@settings(
    max_examples=6,
    phases=(Phase.reuse, Phase.generate),  # what differs is printed; every step of a search for less is a process
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(found=st.lists(cases(), min_size=20, max_size=40))
def test_prometheus_is_as_sure_as_we_are(found: list[tuple[Rule, int, int]], tmp_path: Path) -> None:
    """Attempts at a steady rate, so that five minutes of them are a whole number there, too."""
    rules, series, expected = [], [], []
    for number, (drawn, good, bad) in enumerate(found):
        rules.append(replace(drawn, name=f"r{number}"))
        series += [attempts(f"p{number}", "succeeded", f"0+{good}x20"), attempts(f"p{number}", "lost", f"0+{bad}x20")]
        if violation(drawn, sample(drawn, 5 * good, 5 * (good + bad))) == "violated":
            labels = f'ALERTS{{alertname="r{number}", alertstate="firing", job="yardmaster", namespace="n"'
            expected.append({"labels": f'{labels}, pool="p{number}", severity="warning"}}', "value": 1})
    pairs = " or ".join(f'ALERTS{{alertname="r{number}", pool="p{number}"}}' for number in range(len(found)))
    query = {"expr": pairs, "eval_time": "15m", "exp_samples": expected}
    assert run(tmp_path, rules, series, promql_expr_test=[query]) == ""
