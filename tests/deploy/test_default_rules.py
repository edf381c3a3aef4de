"""`deploy/prometheus/rules.yaml`: it is what the default rules say, Prometheus takes it, and it fires as they do."""

from __future__ import annotations

from pathlib import Path

import yaml

from scripts.prometheus_rules import FILE, text
from tests.deploy.promql import ROOT, RULES, promtool

SERIES = 'ai_agent_requests_total{job="yardmaster", instance="m1", agent_type="p", endpoint="execute", status='
FIRING = {"job": "yardmaster", "pool": "p"}


def test_it_is_up_to_date() -> None:
    assert FILE.read_text() == text(), "run: python -m scripts.prometheus_rules"


def test_prometheus_takes_it() -> None:
    done = promtool("check", "rules", FILE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_fires_and_stays_quiet(tmp_path: Path) -> None:
    """Three of four fail in one pool, one in twenty in the other."""
    alert = {
        "exp_labels": {**FIRING, "severity": "critical"},
        "exp_annotations": {
            "summary": "Only 25% of attempts of p succeed.",
            "description": "Fewer than 80 % have succeeded for three minutes. Emergency mode is on until it expires or "
            "is lifted; `yard explain alert critical_error_rate` says on what evidence.",
        },
    }
    series = [
        {"series": f'{SERIES}"succeeded"}}', "values": "0+5x60"},
        {"series": f'{SERIES}"failed"}}', "values": "0+15x60"},
        {"series": f'{SERIES}"succeeded"}}'.replace('"p"', '"q"'), "values": "0+95x60"},
        {"series": f'{SERIES}"failed"}}'.replace('"p"', '"q"'), "values": "0+5x60"},
    ]
    expected = [
        {"eval_time": "20m", "alertname": "critical_error_rate", "exp_alerts": [alert]},
        {"eval_time": "2m", "alertname": "critical_error_rate", "exp_alerts": []},
        {"eval_time": "20m", "alertname": "high_response_time", "exp_alerts": []},
    ]
    tests = [{"interval": "1m", "input_series": series, "alert_rule_test": expected}]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": [str(FILE)], "tests": tests}))
    done = promtool("test", "rules", tmp_path / "test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_can_be_loaded_beside_the_rules_about_yardmaster_itself() -> None:
    ours, other = (yaml.safe_load(path.read_text())["groups"] for path in (FILE, RULES))
    for groups in (ours, other):
        assert groups
    assert not {group["name"] for group in ours} & {group["name"] for group in other}
    names = [
        [rule.get("record") or rule["alert"] for group in groups for rule in group["rules"]] for groups in (ours, other)
    ]
    assert not set(names[0]) & set(names[1])


def test_compose_has_prometheus_load_it() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    mounts = dict(
        reversed(mount.removesuffix(":ro").split(":"))
        for mount in compose["services"]["prometheus"]["volumes"]
        if mount.startswith("./")
    )
    assert ROOT / mounts["/etc/prometheus/rules/alerts.yaml"] == FILE
    assert set(config["rule_files"]) <= set(mounts)
