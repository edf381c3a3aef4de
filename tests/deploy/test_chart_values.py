"""What may be set: bad values are refused with their place, each optional thing is there only when it is on."""

from __future__ import annotations

import json
from typing import Any

import helm_sdkpy  # type: ignore[import-untyped]
import pytest
import yaml

from tests.deploy.chart_cases import CASES, EVERYTHING, NOTHING, URLS
from tests.deploy.conftest import Charts
from tests.deploy.release import Object, Release, merged
from tests.deploy.setting_names import CHART, SCHEMA, known

WRONG: list[tuple[Object, str]] = [
    ({"replicas": 3}, "additional properties 'replicas' not allowed"),
    ({"manager": {"replica": 3}}, "at '/manager': additional properties 'replica' not allowed"),
    ({"manager": {"replicas": 1}}, "at '/manager/replicas': minimum: got 1, want 2"),
    ({"manager": {"replicas": "three"}}, "at '/manager/replicas': got string, want integer"),
    ({"manager": {"dispatchGraceS": -1}}, "at '/manager/dispatchGraceS': minimum"),
    ({"manager": {"antiAffinity": "maybe"}}, "at '/manager/antiAffinity': value must be one of"),
    ({"manager": {"runAsUser": 0}}, "at '/manager/runAsUser': minimum: got 0, want 1"),
    ({"manager": {"resources": {"request": {}}}}, "at '/manager/resources': additional properties 'request'"),
    ({"manager": {"resources": {"limits": {"memory": "1 GB"}}}}, "at '/manager/resources/limits/memory'"),
    (
        {"settings": {"YARD_DISPATCH_GRACES": 1}},
        "at '/settings': additional properties 'YARD_DISPATCH_GRACES' not allowed",
    ),
    ({"settings": {"YARD_DATABASE_URL": "postgresql://x"}}, "additional properties 'YARD_DATABASE_URL' not allowed"),
    ({"settings": {"YARD_TASKS_RETENTION_S": {}}}, "at '/settings/YARD_TASKS_RETENTION_S': got object"),
    ({"autoscaling": {"queue": {"kind": "Object"}}}, "at '/autoscaling/queue/kind': value must be one of"),
    ({"service": {"port": 70_000}}, "at '/service/port': maximum"),
    ({"image": {"digest": "sha256:abc"}}, "at '/image/digest': 'sha256:abc' does not match pattern"),
    ({"auth": {"pepper": "short"}}, "at '/auth/pepper'"),
    ({"postgres": {"mode": "embedded"}}, "at '/postgres/mode': value must be one of 'external', 'in-cluster'"),
    ({"postgres": {"url": "mysql://x"}}, "at '/postgres/url'"),
    ({"agents": {"ports": []}}, "at '/agents/ports': minItems: got 0, want 1"),
    ({"agents": {"namespace": "Agents!"}}, "at '/agents/namespace'"),
    ({"telemetry": {"logLevel": "loud"}}, "at '/telemetry/logLevel': value must be one of"),
    ({"networkPolicy": {"clients": {"peers": [{"cidr": "10.0.0.0/8"}]}}}, "at '/networkPolicy/clients/peers/0'"),
    ({"istio": {"clients": {"principals": ["shop"]}}}, "at '/istio/clients/principals/0'"),
    (
        {"postgres": {"mode": "external"}},
        "postgres.mode is external: give postgres.url or postgres.existingSecret.name",
    ),
    ({"redis": {"mode": "external"}}, "redis.mode is external: give redis.url or redis.existingSecret.name"),
    ({"redis": {"url": "redis://x"}}, "redis.url and redis.existingSecret need redis.mode: external"),
    (
        merged(URLS, {"postgres": {"existingSecret": {"name": "x"}}}),
        "give postgres.url or postgres.existingSecret.name",
    ),
    (merged(URLS, {"auth": {"pepper": ""}}), "an external PostgreSQL outlives the release"),
    (
        merged(URLS, {"auth": {"existingSecret": {"name": "x"}}}),
        "give auth.pepper or auth.existingSecret.name, not both",
    ),
    (merged(URLS, {"slack": {"existingSecret": {"name": "x"}}}), "or slack.existingSecret.name, not both"),
    ({"autoscaling": {"minReplicas": 9, "maxReplicas": 3}}, "autoscaling.maxReplicas is below autoscaling.minReplicas"),
    ({"ingress": {"enabled": True}}, "ingress.enabled needs ingress.hosts"),
    ({"serviceAccount": {"create": False}}, "agents.kubernetes needs a service account"),
    (
        {"networkPolicy": {"dns": {"nodeLocal": {"cidrs": ["169.254.20.10"]}}}},
        "at '/networkPolicy/dns/nodeLocal/cidrs/0'",
    ),
    ({"nameOverride": "my.yard"}, "bad-my.yard: only letters, digits and -"),
    ({"fullnameOverride": "9yards"}, "Services are named after the release, as 9yards"),
    ({"metrics": {"public": False, "serviceMonitor": {"enabled": True}}}, "needs metrics.tokenSecret.name"),
    ({"manager": {"extraEnv": [{"name": "YARD_X", "value": "1"}]}}, "YARD_X belongs into `settings`"),
]


@pytest.mark.parametrize(("values", "why"), WRONG, ids=[json.dumps(values)[:60] for values, _ in WRONG])
def test_bad_values_are_refused_with_their_place(charts: Charts, values: Object, why: str) -> None:
    before = charts.cluster_releases()
    with pytest.raises(helm_sdkpy.InstallError) as refused:
        charts.helm.install("bad", values)
    assert why in str(refused.value)
    assert charts.cluster_releases() == before


def test_all_that_does_not_fit_together_is_said_at_once(charts: Charts) -> None:
    with pytest.raises(helm_sdkpy.InstallError) as refused:
        charts.helm.install("bad", {"postgres": {"mode": "external"}, "ingress": {"enabled": True}})
    assert str(refused.value).count("\n- ") >= 3


def _objects_closed(schema: Any, where: str = "") -> list[str]:
    """Places of the schema where an object may hold names that nobody described."""
    if not isinstance(schema, dict):
        return []
    found = [where] if schema.get("properties") and schema.get("additionalProperties") is not False else []
    for name, part in schema.get("properties", {}).items():
        found += _objects_closed(part, f"{where}/{name}")
    return found + _objects_closed(schema.get("items"), f"{where}/0")


def test_the_schema_is_closed_and_describes_every_value() -> None:
    schema = json.loads(SCHEMA.read_text())
    assert _objects_closed(schema) == []
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    _described(values, schema, schema)


def _described(values: Object, schema: Object, root: Object, where: str = "") -> None:
    assert schema["properties"].keys() - {"global"} == values.keys(), where
    for name, value in values.items():
        part = schema["properties"][name]
        if name != "settings" and isinstance(value, dict) and "properties" in part:
            _described(value, part, root, f"{where}/{name}")


OPTIONAL: list[tuple[str, Object, str, str]] = [
    ("default", {"autoscaling": {"enabled": False}}, "HorizontalPodAutoscaler", ""),
    ("default", {"disruptionBudget": {"enabled": False}}, "PodDisruptionBudget", ""),
    ("everything", {"ingress": {"enabled": False}}, "Ingress", ""),
    ("default", {"agents": {"kubernetes": False}}, "Role", ""),
    ("default", {"agents": {"kubernetes": False}}, "RoleBinding", ""),
    ("default", {"serviceAccount": {"create": False, "name": "mine"}}, "ServiceAccount", ""),
    ("default", {"migrations": {"enabled": False}}, "Job", "-migrations-1"),
    ("urls", {"migrations": {"enabled": False}}, "Job", "-migrations"),
    ("default", {"migrations": {"enabled": False}}, "NetworkPolicy", "-migrations-1"),
    ("urls", {"migrations": {"enabled": False}}, "Secret", "-migrations"),
    ("default", URLS, "StatefulSet", "-postgres"),
    ("default", URLS, "Service", "-postgres"),
    ("default", URLS, "NetworkPolicy", "-redis"),
    ("everything", {"metrics": {"serviceMonitor": {"enabled": False}}}, "ServiceMonitor", ""),
    ("everything", {"metrics": {"prometheusRule": {"enabled": False}}}, "PrometheusRule", ""),
    ("everything", {"metrics": {"dashboards": {"enabled": False}}}, "ConfigMap", "-dashboard-overview"),
    ("default", {"networkPolicy": {"enabled": False}}, "NetworkPolicy", "-default-deny"),
    ("everything", {"istio": {"enabled": False}}, "AuthorizationPolicy", "-allow-nothing"),
    ("everything", {"istio": {"enabled": False}}, "PeerAuthentication", ""),
    ("everything", {"istio": {"enabled": False}}, "DestinationRule", "-agents"),
]


@pytest.mark.parametrize(("name", "off", "kind", "suffix"), OPTIONAL)
def test_each_optional_thing_is_there_only_when_it_is_on(
    charts: Charts, name: str, off: Object, kind: str, suffix: str
) -> None:
    assert charts.case(name).has(kind, suffix)
    without = merged(CASES[name], off | {"fullnameOverride": ""})
    assert not charts.render(without).has(kind, suffix)


def test_existing_secrets_take_the_place_of_ours(charts: Charts) -> None:
    release = charts.case("production")
    assert release.of("Secret") == []
    assert secret_of(release, "YARD_AUTH_PEPPER") == ("yardmaster", "YARD_AUTH_PEPPER")
    assert secret_of(release, "YARD_SLACK_SIGNING_SECRET") == ("yardmaster-slack", "YARD_SLACK_SIGNING_SECRET")
    other = {"postgres": {"existingSecret": {"name": "cluster-app", "key": "uri"}}}
    changed = charts.render(merged(CASES["production"], other))
    assert secret_of(changed, "YARD_DATABASE_URL") == ("cluster-app", "uri")
    (job,) = changed.of("Job")
    assert job["spec"]["template"]["spec"]["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]["key"] == "uri"


def secret_of(release: Release, variable: str) -> tuple[str, str]:
    environment = release.one("Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
    (source,) = [each["valueFrom"]["secretKeyRef"] for each in environment if each["name"] == variable]
    return source["name"], source["key"]


def test_settings_are_written_as_the_manager_reads_them(charts: Charts, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.settings import Settings

    for name in CASES:
        data = charts.case(name).one("ConfigMap")["data"]
        with monkeypatch.context() as environment:
            for variable in known():
                environment.delenv(variable, raising=False)
            for variable, value in data.items():
                environment.setenv(variable, value)
            settings = Settings()
        assert settings.scaling.manager_url.startswith("http://")
        assert settings.kubernetes.mode == ("off" if name == "nothing" else "in_cluster")
        if name == "everything":
            assert settings.http.max_body_bytes == 2_097_152
            assert settings.http.public_metrics is False
            assert settings.webhooks.allowed_networks == ["10.0.0.0/8", "fd00::/8"]
            assert settings.redis.timeout_s == 0.25
            assert settings.kubernetes.max_replicas == 1000
            assert settings.kubernetes.agent_secret == "key-of-agents"
            assert settings.kubernetes.allowed_secrets == ["openai", "search"]


def test_placement(charts: Charts) -> None:
    def pod(name: str) -> Any:
        return charts.case(name).one("Deployment")["spec"]["template"]["spec"]

    rule = "preferredDuringSchedulingIgnoredDuringExecution"
    assert rule in pod("default")["affinity"]["podAntiAffinity"]
    assert rule in pod("production")["affinity"]["podAntiAffinity"]
    for name in ("default", "production", "everything"):
        spread = {each["topologyKey"]: each for each in pod(name)["topologySpreadConstraints"]}
        assert spread.keys() == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        for each in spread.values():
            assert each["matchLabelKeys"] == ["pod-template-hash"]
            assert each["whenUnsatisfiable"] == "ScheduleAnyway"
    assert rule.replace("preferred", "required") in pod("everything")["affinity"]["podAntiAffinity"]
    assert pod("everything")["priorityClassName"] == "high"
    assert pod("everything")["tolerations"] == EVERYTHING["manager"]["tolerations"]
    assert "affinity" not in pod("nothing")
    assert "runAsUser" not in pod("nothing")["securityContext"]
    assert NOTHING["manager"]["runAsUser"] is None


@pytest.mark.parametrize(("affinity", "unavailable"), [("off", 0), ("preferred", 0), ("required", 1)])
def test_a_rollout_ends_on_as_many_nodes_as_managers(charts: Charts, affinity: str, unavailable: int) -> None:
    """Where a node never has two, the newcomer finds a node only after somebody has left."""
    strategy = charts.render({"manager": {"antiAffinity": affinity}}).one("Deployment")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxUnavailable": unavailable, "maxSurge": 1}


def test_agents_beside_the_managers_are_warned_of(charts: Charts) -> None:
    assert "WARNING: agents share the namespace yard" in charts.case("default").notes
    assert "WARNING: a key with the scope pools:admin gets at every Secret" in charts.case("default").notes
    named = charts.render({"agents": {"allowedSecrets": ["openai"]}}).notes
    assert "WARNING: agents share" in named
    assert "pools:admin" not in named
    for name in ("staging", "production", "everything", "nothing"):
        release = charts.case(name)
        assert "WARNING" not in release.notes
        rights = [*release.of("Role"), *release.of("RoleBinding")]
        assert {each["metadata"]["namespace"] for each in rights} <= {CASES[name]["agents"].get("namespace")}


def test_a_trial_says_that_only_helm_keeps_its_passwords(charts: Charts) -> None:
    assert "only Helm keeps them" in charts.case("default").notes
    assert "only Helm keeps them" not in charts.case("production").notes


def test_a_digest_pins_the_image(charts: Charts) -> None:
    digest = "sha256:" + "0" * 64
    release = charts.render({"image": {"digest": digest}})
    images = {each["spec"]["template"]["spec"]["containers"][0]["image"] for each in release.of("Deployment")}
    assert images == {f"yardmaster@{digest}"}
