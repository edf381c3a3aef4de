"""What the chart gives to Prometheus, Grafana and the autoscaler of managers."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.deploy.conftest import Charts
from tests.deploy.network_reach import selects
from tests.deploy.release import merged
from tests.deploy.setting_names import CHART


def test_the_autoscaler_asks_for_processor_memory_and_queue(charts: Charts) -> None:
    metrics = charts.case("production").one("HorizontalPodAutoscaler")["spec"]["metrics"]
    resources = {each["resource"]["name"]: each["resource"]["target"] for each in metrics if each["type"] == "Resource"}
    assert resources == {
        "cpu": {"type": "Utilization", "averageUtilization": 70},
        "memory": {"type": "Utilization", "averageUtilization": 85},
    }
    (queue,) = [each["external"] for each in metrics if each["type"] == "External"]
    assert queue == {
        "metric": {"name": "ai_agent_queue_length"},
        "target": {"type": "AverageValue", "averageValue": "2000"},
    }


def test_the_queue_by_pods_with_labels_or_not_at_all(charts: Charts) -> None:
    pods = charts.case("everything").one("HorizontalPodAutoscaler")["spec"]["metrics"][2]
    assert (pods["type"], pods["pods"]["metric"]["name"]) == ("Pods", "ai_agent_queue_length")
    queue = {"enabled": True, "matchLabels": {"env": "prod"}, "perManager": 5_000_000}
    labelled = charts.render({"autoscaling": {"queue": queue}})
    external = labelled.one("HorizontalPodAutoscaler")["spec"]["metrics"][2]["external"]
    assert external["metric"]["selector"] == {"matchLabels": {"env": "prod"}}
    assert external["target"]["averageValue"] == "5000000"
    assert "ai_agent_queue_length" in labelled.notes
    without = charts.case("default")  # an autoscaler that misses a metric never scales down
    assert len(without.one("HorizontalPodAutoscaler")["spec"]["metrics"]) == 2
    assert "ai_agent_queue_length" not in without.notes


def test_the_metric_it_asks_for_exists() -> None:
    from app.dispatch.telemetry import QUEUED

    assert [metric.name for metric in QUEUED.collect()] == ["ai_agent_queue_length"]


def test_prometheus_finds_the_managers(charts: Charts, manager_app: Any) -> None:
    release = charts.case("staging")
    monitor, service = release.one("ServiceMonitor")["spec"], release.one("Service")
    labels = service["metadata"]["labels"]
    assert selects(monitor["selector"], labels)
    others = [each for each in release.of("Service") if each is not service]
    assert not [each for each in others if selects(monitor["selector"], each["metadata"]["labels"])]
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert "get" in manager_app.openapi()["paths"][endpoint["path"]]
    assert monitor["namespaceSelector"] == {"matchNames": ["yard"]}
    assert labels[monitor["jobLabel"]] == "yardmaster"  # as docker-compose.yml names the job, and the rules expect
    assert "authorization" not in endpoint
    assert endpoint["honorLabels"] is True  # else `endpoint` of ai_agent_errors_total would be exported_endpoint


def test_closed_metrics_are_asked_for_with_a_key(charts: Charts) -> None:
    endpoint = charts.case("everything").one("ServiceMonitor")["spec"]["endpoints"][0]
    assert endpoint["authorization"] == {"type": "Bearer", "credentials": {"name": "scraper", "key": "token"}}
    assert charts.case("everything").one("ConfigMap")["data"]["YARD_HTTP_PUBLIC_METRICS"] == "false"


def test_rules_are_those_of_the_file(charts: Charts) -> None:
    rule = charts.case("staging").one("PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "rules.yaml").read_text())
    assert charts.case("everything").one("PrometheusRule")["metadata"]["labels"]["release"] == "prometheus"


def test_dashboards_are_those_of_the_files(charts: Charts) -> None:
    release = charts.case("everything")
    maps = [each for each in release.of("ConfigMap") if "-dashboard-" in each["metadata"]["name"]]
    files = {path.name: json.loads(path.read_text()) for path in (CHART / "files" / "dashboards").glob("*.json")}
    assert {name: json.loads(text) for each in maps for name, text in each["data"].items()} == files
    assert files
    for each in maps:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert each["metadata"]["annotations"] == {"grafana_folder": "Yardmaster"}


def test_what_is_published_is_not_what_prometheus_and_the_kubelet_ask(charts: Charts, manager_app: Any) -> None:
    release = charts.case("staging")
    (rule,) = release.one("Ingress")["spec"]["rules"]
    prefixes = {path["path"] for path in rule["http"]["paths"] if path["pathType"] == "Prefix"}
    served = manager_app.openapi()["paths"]
    hidden = {path for path in served if not any(path == each or path.startswith(each + "/") for each in prefixes)}
    assert hidden == {"/livez", "/readyz", "/metrics"}


def test_traces_are_sent_where_there_is_somewhere(charts: Charts) -> None:
    assert "YARD_TELEMETRY_OTLP_ENDPOINT" not in charts.case("default").one("ConfigMap")["data"]
    data = charts.case("production").one("ConfigMap")["data"]
    assert data["YARD_TELEMETRY_OTLP_ENDPOINT"] == "http://otel-collector.observability:4318"
    assert merged({"a": {"b": 1}}, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
