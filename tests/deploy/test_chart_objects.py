"""Every object that the chart renders, with every set of values."""

from __future__ import annotations

import json
import re
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]

from app.cli.workers import STOP_MARGIN_S
from tests.deploy import custom_kinds
from tests.deploy.chart_cases import USERS_SECRETS
from tests.deploy.conftest import Charts
from tests.deploy.network_reach import selects
from tests.deploy.release import HOOK, Object, Release
from tests.deploy.setting_names import CHART, DECIDED, SCHEMA, SECRET, free, known

AGENT = {
    "app": "ai-agent",
    "agent-type": "log_analyzer",
    "app.kubernetes.io/managed-by": "yardmaster",
    "pod-template-hash": "5d9c7f",
}
SCHEDULING = {"nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName"}


def test_helm_has_nothing_against_the_chart(charts: Charts) -> None:
    assert charts.helm.lint() == []


def test_objects_are_valid(release: Release) -> None:
    for each in [*release.objects, *release.hooks]:
        if (each["apiVersion"], each["kind"]) in custom_kinds.SPECS:
            custom_kinds.validate(each)
        else:
            kubernetes_validate.validate(each, "1.36", strict=True)


def test_names_are_unique_short_and_of_this_release(release: Release) -> None:
    names = [(each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]) for each in release.objects]
    assert len(set(names)) == len(names)
    for each in [*release.objects, *release.hooks]:
        name, labels = each["metadata"]["name"], each["metadata"]["labels"]
        assert name.startswith(release.full_name) or each["kind"] == "ServiceAccount"
        assert len(name) <= 63
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
        assert labels["app.kubernetes.io/instance"] == release.name


def test_selectors_match_the_pods_they_are_for(release: Release) -> None:
    templates = {
        template["metadata"]["labels"]["app.kubernetes.io/component"]: template for _, template in release.pods()
    }
    labels = {name: template["metadata"]["labels"] for name, template in templates.items()}
    for workload, template in release.pods():
        if workload["kind"] != "Job":
            assert selects(workload["spec"]["selector"], template["metadata"]["labels"])
            assert _chosen(workload["spec"]["selector"], labels) == [
                workload["metadata"]["labels"]["app.kubernetes.io/component"]
            ]
    for service in release.of("Service"):
        if service["metadata"]["name"] != f"{release.full_name}-agents":
            assert _chosen({"matchLabels": service["spec"]["selector"]}, labels) == [_component(service)]
    for budget in release.of("PodDisruptionBudget"):
        assert _chosen(budget["spec"]["selector"], labels) == ["manager"]
    for policy in [*release.of("NetworkPolicy"), *release.of("AuthorizationPolicy"), *release.of("PeerAuthentication")]:
        selector = policy["spec"].get("podSelector", policy["spec"].get("selector", {}))
        assert selects(selector, AGENT) or _chosen(selector, labels), policy["metadata"]["name"]


def _component(each: Object) -> str:
    return str(each["metadata"]["labels"]["app.kubernetes.io/component"])


def _chosen(selector: Object, labels: dict[str, dict[str, str]]) -> list[str]:
    return [name for name, of_pod in labels.items() if selects(selector, of_pod)]


def test_agents_pods_are_taken_for_none_of_ours(release: Release) -> None:
    """Also where they are in the same namespace, and are labelled with the name of this instance."""
    pod = {**AGENT, "app.kubernetes.io/instance": release.full_name}
    for workload, _ in release.pods():
        if workload["kind"] != "Job":
            assert not selects(workload["spec"]["selector"], pod)
    for service in release.of("Service"):
        for_agents = service["metadata"]["name"] == f"{release.full_name}-agents"
        assert selects({"matchLabels": service["spec"]["selector"]}, pod) == for_agents


def test_ports_are_those_of_the_containers(release: Release) -> None:
    ports = {
        _component(template): {
            port["name"]: port["containerPort"]
            for container in template["spec"]["containers"]
            for port in container.get("ports", [])
        }
        for _, template in release.pods()
    }
    for service in release.of("Service"):
        for port in service["spec"]["ports"]:
            assert _component(service) == "mesh" or port["targetPort"] in ports[_component(service)]
    for ingress in release.of("Ingress"):
        backends = [path["backend"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
        assert all(backend["service"] == {"name": release.full_name, "port": {"name": "http"}} for backend in backends)
    arguments = release.one("Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments == ["serve", "--host", "0.0.0.0", "--port", str(ports["manager"]["http"])]


def test_every_reference_is_met(release: Release, case: str) -> None:
    theirs = USERS_SECRETS[case]
    secrets = {each["metadata"]["name"]: set(each["data"]) for each in release.of("Secret")} | theirs
    maps = {each["metadata"]["name"] for each in release.of("ConfigMap")}
    accounts = {each["metadata"]["name"] for each in release.of("ServiceAccount")} | {"default"}
    for workload, template in release.pods():
        pod = template["spec"]
        assert pod.get("serviceAccountName", "default") in accounts
        for name, key in _secret_references(pod):
            assert name in secrets, (workload["metadata"]["name"], name)
            assert key is None or key in secrets[name]
        assert {
            source["configMapRef"]["name"] for each in pod["containers"] for source in each.get("envFrom", [])
        } <= maps
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        assert {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]} <= volumes | claims
    for binding in release.of("RoleBinding"):
        (subject,), role = binding["subjects"], binding["roleRef"]["name"]
        assert subject["name"] in accounts
        assert subject["namespace"] == release.namespace
        assert [(each["metadata"]["name"], each["metadata"]["namespace"]) for each in release.of("Role")] == [
            (role, binding["metadata"]["namespace"])
        ]
    for monitor in release.of("ServiceMonitor"):
        credentials = monitor["spec"]["endpoints"][0].get("authorization", {}).get("credentials")
        assert credentials is None or credentials["key"] in secrets[credentials["name"]]


def _secret_references(pod: Object) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = [(each["name"], None) for each in pod.get("imagePullSecrets", [])]
    found += [(each["secret"]["secretName"], None) for each in pod.get("volumes", []) if "secret" in each]
    for container in pod["containers"]:
        sources = [each["valueFrom"]["secretKeyRef"] for each in container.get("env", []) if "valueFrom" in each]
        found += [(source["name"], source["key"]) for source in sources]
    return found


def test_a_hook_needs_only_what_is_there_before_it(release: Release, case: str) -> None:
    """The release's own objects are not there yet: hooks refer to hooks of a lower weight, or to the user's own."""
    if case in ("default", "everything"):
        return  # the first installation has no hooks there; see test_chart_release.py
    weights = {
        (each["kind"], each["metadata"]["name"]): int(each["metadata"]["annotations"]["helm.sh/hook-weight"])
        for each in release.hooks
    }
    for hook in release.hooks:
        assert hook["metadata"]["annotations"][HOOK] == "pre-install,pre-upgrade"
        if hook["kind"] != "Job":
            continue
        pod = hook["spec"]["template"]["spec"]
        assert "serviceAccountName" not in pod
        for name, _ in _secret_references(pod):
            assert name in USERS_SECRETS[case] or weights["Secret", name] < weights["Job", hook["metadata"]["name"]]
        assert not any(container.get("envFrom") for container in pod["containers"])


def test_environment_is_settings_that_exist(release: Release) -> None:
    config = release.one("ConfigMap")["data"]
    assert config.keys() <= known() - SECRET
    for _, template in release.pods():
        for container in template["spec"]["containers"]:
            names = [each["name"] for each in container.get("env", [])]
            assert len(set(names)) == len(names)
            assert {name for name in names if name.startswith("YARD_")} <= SECRET
    manager = release.one("Deployment")["spec"]["template"]["spec"]["containers"][0]
    given = {each["name"] for each in manager["env"]}
    assert {"YARD_DATABASE_URL", "YARD_REDIS_URL", "YARD_AUTH_PEPPER"} <= given


def test_the_schema_knows_the_settings_there_are() -> None:
    names = json.loads(SCHEMA.read_text())["properties"]["settings"]["properties"]
    assert list(names) == free(), "run `python -m tests.deploy.setting_names`"
    assert known() >= SECRET | DECIDED


def test_pods_are_confined(release: Release) -> None:
    for workload, template in release.pods():
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        uses_api = workload["kind"] == "Deployment" and bool(release.of("Role"))
        assert pod["automountServiceAccountToken"] is uses_api
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            tag = container["image"].rpartition("/")[2].partition(":")[2]
            assert tag
            assert tag != "latest"


def test_what_is_written_is_mounted(release: Release) -> None:
    """The root file system is read-only."""
    manager = release.one("Deployment")["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in manager["containers"][0]["volumeMounts"]}
    empty = {volume["name"] for volume in manager["volumes"] if "emptyDir" in volume}
    assert {mounts["/data"], mounts["/tmp"]} <= empty
    assert release.one("ConfigMap")["data"]["YARD_DATA_DIR"] == "/data"


def test_probes_hit_routes_that_need_no_key(release: Release, manager_app: Any) -> None:
    container = release.one("Deployment")["spec"]["template"]["spec"]["containers"][0]
    ports = {port["name"] for port in container["ports"]}
    paths = manager_app.openapi()["paths"]
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    for probe in probes.values():
        assert "get" in paths[probe["path"]]
        assert not paths[probe["path"]]["get"].get("security")
        assert probe["port"] in ports


def test_a_manager_has_time_to_end(release: Release) -> None:
    pod = release.one("Deployment")["spec"]["template"]["spec"]
    grace = float(release.one("ConfigMap")["data"]["YARD_DISPATCH_GRACE_S"])
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause + grace + STOP_MARGIN_S


def test_there_are_always_two_managers(release: Release) -> None:
    deployment = release.one("Deployment")
    autoscalers = release.of("HorizontalPodAutoscaler")
    assert deployment["spec"]["replicas"] >= 2
    if not autoscalers:
        return
    (autoscaler,) = autoscalers
    assert autoscaler["spec"]["minReplicas"] >= 2
    target = autoscaler["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": release.full_name}


def test_agents_find_the_service(release: Release) -> None:
    service, config = release.one("Service"), release.one("ConfigMap")["data"]
    where = f"{release.full_name}.{release.namespace}.svc"
    assert config["YARD_SCALING_MANAGER_URL"] == f"http://{where}:{service['spec']['ports'][0]['port']}"


def test_the_users_own_secrets_are_all_asked_for(release: Release, case: str) -> None:
    """What is listed as the user's is really used: the list is no excuse."""
    asked = {name for _, template in release.pods() for name, _ in _secret_references(template["spec"])}
    asked |= {
        monitor["spec"]["endpoints"][0]["authorization"]["credentials"]["name"]
        for monitor in release.of("ServiceMonitor")
        if "authorization" in monitor["spec"]["endpoints"][0]
    }
    assert USERS_SECRETS[case].keys() <= asked


def test_no_line_ends_in_blanks(release: Release) -> None:
    lines = [*release.text.splitlines(), *release.notes.splitlines()]
    assert [line for line in lines if line != line.rstrip()] == []


def test_redis_forgets_before_it_is_killed(charts: Charts) -> None:
    limits: list[tuple[Object, list[str]]] = [
        ({}, ["--maxmemory", str(192 * 2**20), "--maxmemory-policy", "volatile-lru"]),
        ({"limits": {"memory": "1.5G"}}, ["--maxmemory", "1125000000", "--maxmemory-policy", "volatile-lru"]),
        ({"limits": {"memory": 100_000_000}}, ["--maxmemory", "75000000", "--maxmemory-policy", "volatile-lru"]),
    ]
    for resources, expected in limits:
        redis = charts.render({"redis": {"inCluster": {"resources": resources}}}).one("StatefulSet", "-redis")
        assert redis["spec"]["template"]["spec"]["containers"][0]["args"][7:] == expected


def test_the_chart_s_files_are_its_own() -> None:
    for path in CHART.rglob("*"):
        if path.is_file() and path.suffix in {".yaml", ".tpl", ".txt"}:
            assert "\t" not in path.read_text(), path
