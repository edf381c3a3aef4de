"""The rules of Prometheus: they parse, read metrics that exist, and each alert fires when it should and only then."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import typer.main
import yaml

from app.cli.main import app as yard
from tests.deploy.promql import BUILT_IN, RULES, alerts, exposed, grouped, mistakes, promtool, recorded, rules, used

_HERE = 'job="yardmaster", instance="m1"'
_OTHER = 'job="yardmaster", instance="m2"'
_POOL = 'agent_type="p"'
_ATTEMPT = f'ai_agent_requests_total{{{_HERE}, {_POOL}, endpoint="execute", status='
_QUEUE = f"ai_agent_queue_length{{{_HERE}, {_POOL}}}"
_STARTS = f"yard_task_start_wait_seconds_count{{{_HERE}, {_POOL}}}"
_IDLE = f'ai_agents_total{{{_HERE}, type="p", status="idle"}}'
_JOB = {"job": "yardmaster"}
_TYPE = {**_JOB, "agent_type": "p"}
_IN_POOL = {**_JOB, "pool": "p"}

type Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """Series, a sample a minute, that fire an alert by `at` minutes with `labels`; and series that never do."""

    fires: Series
    quiet: tuple[Series, ...]
    labels: dict[str, str]
    at: int = 40


def _waits(slow: bool) -> Series:
    """Starts of tasks: all after about 400 s, or all at once."""
    name = f"yard_task_start_wait_seconds_bucket{{{_HERE}, {_POOL}, le="
    return {f'{name}"300"}}': "0x60" if slow else "0+10x60", f'{name}"600"}}': "0+10x60", f'{name}"+Inf"}}': "0+10x60"}


def _attempts(succeeded: str, failed: str, status: str = "failed") -> Series:
    return {f'{_ATTEMPT}"succeeded"}}': succeeded, f'{_ATTEMPT}"{status}"}}': failed}


def _gauge(name: str, values: str) -> Series:
    return {f'{name}{{{_HERE}, pool="p"}}': values}


def _whole(name: str, values: str) -> Series:
    return {f"{name}{{{_HERE}}}": values}


_ERRORS = f"yard_loop_errors_total{{{_HERE}, loop="
_TRIES = f"yard_webhook_tries_total{{{_HERE}, outcome="
_REQUESTS = f'http_requests_total{{{_HERE}, handler="/v1/tasks", method="POST", status='
_NOTICES = f"yard_approval_notices_total{{{_HERE}, outcome="
_DISABLED = f'yard_webhooks_disabled_total{{{_HERE}, reason="failing"}}'
_OUTCOMES = f'yard_approvals_outcomes_total{{{_HERE}, outcome="approved"}}'
_PENDING = f"yard_approvals_pending{{{_HERE}}}"
_CONDITION = f'yard_pool_conditions{{{_HERE}, pool="p", code="crash_loop"}}'

CASES = {
    "YardmasterDown": Case(
        {f"up{{{_HERE}}}": "0x60", f"up{{{_OTHER}}}": "0x60"},
        ({f"up{{{_HERE}}}": "0x60", f"up{{{_OTHER}}}": "1x60"},),
        {},
    ),
    "YardmasterManagerDown": Case(
        {f"up{{{_HERE}}}": "0x60", f"up{{{_OTHER}}}": "1x60"},
        ({f"up{{{_HERE}}}": "1x60"}, {f"up{{{_HERE}}}": "1x38 0 1x20"}),
        {**_JOB, "instance": "m1"},
    ),
    "YardmasterApiErrors": Case(
        {f'{_REQUESTS}"2xx"}}': "0+90x60", f'{_REQUESTS}"5xx"}}': "0+10x60"},
        ({f'{_REQUESTS}"2xx"}}': "0+98x60", f'{_REQUESTS}"5xx"}}': "0+2x60"}, {f'{_REQUESTS}"2xx"}}': "0+98x60"}),
        _JOB,
    ),
    "YardmasterDispatchFailing": Case(
        {f'{_ERRORS}"dispatch"}}': "0+30x60"},
        ({f'{_ERRORS}"dispatch"}}': "0x30 2x30"}, {f'{_ERRORS}"stats"}}': "0+30x60"}),
        _JOB,
    ),
    "YardmasterLoopFailing": Case(
        {f'{_ERRORS}"stats"}}': "0+2x60"}, ({f'{_ERRORS}"stats"}}': "0x36 1x24"},), {**_JOB, "loop": "stats"}
    ),
    "YardmasterRedisDown": Case(
        {f"yard_redis_up{{{_HERE}}}": "0x60", f"yard_redis_up{{{_OTHER}}}": "1x60"},
        ({f"yard_redis_up{{{_HERE}}}": "1x60"}, {f"yard_redis_up{{{_HERE}}}": "1x39 0 1x20"}),
        _JOB,
    ),
    "YardmasterTasksRescued": Case(
        {f"yard_tasks_rescued_total{{{_HERE}}}": "0x36 7x24"},
        ({f"yard_tasks_rescued_total{{{_HERE}}}": "7x60"},),
        _JOB,
    ),
    "YardmasterPoolWithoutAgents": Case(
        {_QUEUE: "5x60", _IDLE: "0x60", f'ai_agents_total{{{_HERE}, type="p", status="failed"}}': "2x60"},
        ({_QUEUE: "5x60", _IDLE: "1x60"}, {_QUEUE: "0x60", _IDLE: "0x60"}, {_QUEUE: "0x37 5x20", _IDLE: "0x60"}),
        _TYPE,
    ),
    "YardmasterQueueStuck": Case(
        {_QUEUE: "5x60", _IDLE: "2x60", _STARTS: "100x60"},
        (
            {_QUEUE: "5x60", _IDLE: "2x60", _STARTS: "0+1x60"},
            {_QUEUE: "5x60", _IDLE: "0x60", _STARTS: "100x60"},  # all busy with long tasks
        ),
        _TYPE,
    ),
    "YardmasterQueueGrowing": Case(
        {_QUEUE: "0+5x60"}, ({_QUEUE: "200x60"}, {_QUEUE: "300-5x60"}, {_QUEUE: "0+0.1x60"}), _TYPE
    ),
    "YardmasterStartWaitHigh": Case(_waits(slow=True), (_waits(slow=False),), _TYPE),
    "YardmasterAttemptsFailing": Case(
        _attempts("0+8x60", "0+2x60", "timeout"),
        (
            _attempts("0+19x60", "0+1x60"),
            _attempts("0+8x60", "0+8x60", "refused"),
            _attempts("0+0x60", "0+1x3 3x56"),  # three failures of a pool that is hardly used
        ),
        _TYPE,
    ),
    "YardmasterMostAttemptsFail": Case(
        _attempts("0+4x60", "0+6x60", "lost"), (_attempts("0+6x60", "0+4x60"), _attempts("0x60", "0x60")), _TYPE
    ),
    "YardmasterAgentsFailed": Case(
        {f'ai_agents_total{{{_HERE}, type="p", status="failed"}}': "1x60"},
        ({f'ai_agents_total{{{_HERE}, type="p", status="failed"}}': "0x37 1x23"},),
        {**_TYPE, "status": "failed"},
    ),
    "YardmasterAgentsEjected": Case(
        {f'ai_agents_total{{{_HERE}, type="p", status="ejected"}}': "1x60"},
        ({f'ai_agents_total{{{_HERE}, type="p", status="ejected"}}': "0x60"},),
        {**_TYPE, "status": "ejected"},
    ),
    "YardmasterBalancerErrors": Case(
        {f'yard_balancer_errors_total{{{_HERE}, pool="p", reason="raised"}}': "0+1x60"},
        ({f'yard_balancer_errors_total{{{_HERE}, pool="p", reason="raised"}}': "9x60"},),
        {**_IN_POOL, "reason": "raised"},
    ),
    "YardmasterApprovalsWaiting": Case(
        {_PENDING: "2x120", _OUTCOMES: "9x120"},
        ({_PENDING: "2x120", _OUTCOMES: "0+1x120"}, {_PENDING: "0x60 1x60", _OUTCOMES: "9x120"}),
        _JOB,
        at=110,
    ),
    "YardmasterApprovalNoticesFailing": Case(
        {f'{_NOTICES}"failed"}}': "_x36 1x24"},  # the first ever: the series begins with it
        ({f'{_NOTICES}"failed"}}': "3x60"}, {f'{_NOTICES}"retried"}}': "0+5x60"}),
        _JOB,
    ),
    "YardmasterWebhooksFailing": Case(
        {f'{_TRIES}"delivered"}}': "0+4x60", f'{_TRIES}"retry"}}': "0+6x60"},
        ({f'{_TRIES}"delivered"}}': "0+6x60", f'{_TRIES}"retry"}}': "0+4x60"}, {f'{_TRIES}"delivered"}}': "0+4x60"}),
        _JOB,
    ),
    "YardmasterWebhookDisabled": Case({_DISABLED: "_x36 1x24"}, ({_DISABLED: "1x60"},), {**_JOB, "reason": "failing"}),
    "YardmasterScheduleErrors": Case(
        {f"yard_schedule_errors_total{{{_HERE}}}": "0+1x60"},
        (
            {f"yard_schedule_errors_total{{{_HERE}}}": "0x30 1x30"},
            {f'yard_schedule_runs_total{{{_HERE}, outcome="skipped"}}': "0+9x60"},
        ),
        _JOB,
    ),
    "YardmasterPoolAtMax": Case(
        _gauge("yard_pool_recommended_replicas", "9x60")
        | _gauge("yard_pool_desired_replicas", "4x60")
        | {_QUEUE: "3x60"},
        (
            _gauge("yard_pool_recommended_replicas", "4x60")
            | _gauge("yard_pool_desired_replicas", "4x60")
            | {_QUEUE: "3x60"},
            _gauge("yard_pool_recommended_replicas", "9x60")
            | _gauge("yard_pool_desired_replicas", "4x60")
            | {_QUEUE: "0x60"},
        ),
        _IN_POOL,
    ),
    "YardmasterPoolNotReady": Case(
        _gauge("yard_pool_ready_replicas", "2x60") | _gauge("yard_pool_desired_replicas", "3x60"),
        (
            _gauge("yard_pool_ready_replicas", "3x60") | _gauge("yard_pool_desired_replicas", "3x60"),
            _gauge("yard_pool_ready_replicas", "2x60") | _gauge("yard_pool_desired_replicas", "2x30 3x30"),
        ),
        _IN_POOL,
    ),
    "YardmasterScalingFrozen": Case(
        _gauge("yard_scaling_frozen", "1x60"),
        (_gauge("yard_scaling_frozen", "0x60"), _gauge("yard_scaling_frozen", "0x37 1x23")),
        _IN_POOL,
    ),
    "YardmasterPoolCondition": Case(
        {_CONDITION: "1x60"}, ({_CONDITION: "0x36 1x2 0x20"},), {**_IN_POOL, "code": "crash_loop"}
    ),
    "YardmasterUsageUnpriced": Case(
        _whole("yard_costs_unpriced_rows", "3x60"),
        (_whole("yard_costs_unpriced_rows", "0x60"), _whole("yard_costs_unpriced_rows", "0x30 3x30")),
        _JOB,
    ),
    "YardmasterBudgetDrift": Case(
        _whole("yard_budget_drifted_accounts", "1x60"),
        (_whole("yard_budget_drifted_accounts", "0x60"), _whole("yard_budget_drifted_accounts", "0x36 1x2 0x20")),
        _JOB,
    ),
    "YardmasterCostsBehind": Case(
        _whole("yard_costs_behind_seconds", "0+600x60"), (_whole("yard_costs_behind_seconds", "300x60"),), _JOB
    ),
}


def judge(folder: Path, series: Series, at: int, **test: object) -> str:
    """Run the rules over the series; what promtool found wrong with the expectation, "" for nothing."""
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": inputs, **test}],
    }
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump(document))
    done = promtool("test", "rules", path)
    return "" if done.returncode == 0 else f"at {at} minutes: {done.stdout}{done.stderr}"


def firing(alert: str, at: int, *labels: dict[str, str]) -> dict[str, object]:
    """The expectation that at that minute just these alerts of the name fire."""
    samples = [
        {
            "labels": "ALERTS{" + ", ".join(f'{name}="{value}"' for name, value in sorted(found.items())) + "}",
            "value": 1,
        }
        for found in labels
    ]
    expression = f'ALERTS{{alertname="{alert}", alertstate="firing"}}'
    return {"promql_expr_test": [{"expr": expression, "eval_time": f"{at}m", "exp_samples": samples}]}


def test_promtool_takes_them() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_they_read_metrics_that_exist(client: httpx.AsyncClient) -> None:
    known = exposed((await client.get("/metrics")).text) | recorded() | BUILT_IN
    wrong = {rule.get("record") or rule["alert"]: mistakes(rule["expr"], known) for rule in rules()}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_a_wrong_expression_would_be_seen() -> None:
    known = {"a_total": {"pool"}, "b": {"agent_type"}}
    assert mistakes('sum by (pool) (rate(a_total{pool="x"}[5m])) > on (pool) c_total offset 15m', known) == [
        "c_total does not exist"
    ]
    assert mistakes('sum by (code) (a_total{reason="by (x)"})', known) == [
        "a_total has no label reason",
        "nothing has the label code",
    ]
    assert mistakes('label_replace(b > 0, "pool", "$1", "agent_type", "(.+)") and on (pool) a_total', known) == []


def test_no_label_is_one_that_a_service_monitor_overwrites() -> None:
    """Prometheus' operator sets these of its own, and renames ours to `exported_…`."""
    taken = {"endpoint", "service", "pod", "container", "node"}
    assert [rule for rule in rules() if taken & (grouped(rule["expr"]) | _selected(rule["expr"]))] == []


def _selected(expression: str) -> set[str]:
    return {label for item in used(expression) for label in item.labels}


def test_names_are_unique_and_every_alert_has_a_case() -> None:
    names = [rule.get("record") or rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    assert set(alerts()) == set(CASES)


@pytest.mark.parametrize("alert", CASES)
def test_it_fires(alert: str, tmp_path: Path) -> None:
    case = CASES[alert]
    labels = {
        **case.labels,
        "alertname": alert,
        "alertstate": "firing",
        "severity": alerts()[alert]["labels"]["severity"],
    }
    assert judge(tmp_path, case.fires, case.at, **firing(alert, case.at, labels)) == ""


@pytest.mark.parametrize(
    ("alert", "number"), [(alert, number) for alert, case in CASES.items() for number in range(len(case.quiet))]
)
def test_it_stays_quiet(alert: str, number: int, tmp_path: Path) -> None:
    case = CASES[alert]
    assert judge(tmp_path, case.quiet[number], case.at, **firing(alert, case.at)) == ""


def test_nothing_fires_before_its_time(tmp_path: Path) -> None:
    for alert in ("YardmasterManagerDown", "YardmasterPoolCondition", "YardmasterScalingFrozen"):
        assert judge(tmp_path, CASES[alert].fires, 1, **firing(alert, 1)) == ""


def test_what_people_read_is_filled_in(tmp_path: Path) -> None:
    expected = {
        "alertname": "YardmasterAgentsFailed",
        "eval_time": "40m",
        "exp_alerts": [
            {
                "exp_labels": {**_TYPE, "status": "failed", "severity": "warning"},
                "exp_annotations": {
                    "summary": "3 agents of p are failed.",
                    "description": "They neither send heartbeats nor answer `/health`. `yard agents` lists them with "
                    "their addresses.",
                },
            }
        ],
    }
    series = {f'ai_agents_total{{{_HERE}, type="p", status="failed"}}': "3x60"}
    assert judge(tmp_path, series, 40, alert_rule_test=[expected]) == ""


@pytest.mark.parametrize("alert", CASES)
def test_it_says_what_is_wrong_and_what_to_do(alert: str) -> None:
    rule = alerts()[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert re.fullmatch(r"\S[^\n]{10,90}\.", rule["annotations"]["summary"])
    assert 40 < len(rule["annotations"]["description"]) < 500


@pytest.mark.parametrize("alert", CASES)
def test_the_commands_it_names_exist(alert: str) -> None:
    for command in re.findall(r"`yard ([^`]+)`", " ".join(alerts()[alert]["annotations"].values())):
        follow(command.split())


def follow(words: list[str]) -> None:
    """Go down the tree of commands; fails at a command or an option that is not there."""
    here = typer.main.get_command(yard)
    for word in words:
        if commands := getattr(here, "commands", None):
            assert word in commands, f"{here.name} has no {word}"
            here = commands[word]
        elif word.startswith("--"):
            assert any(word in option.opts for option in here.params), f"{here.name} has no {word}"
    assert not hasattr(here, "commands"), f"{here.name} needs a command"
