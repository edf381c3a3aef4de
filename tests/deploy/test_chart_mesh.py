"""Istio: who may call which route. The AuthorizationPolicies allow exactly the routes named here, mTLS is strict."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route

from tests.deploy.conftest import Charts
from tests.deploy.mesh_reach import Caller, Request, may_call
from tests.deploy.network_reach import End, selects
from tests.deploy.release import Object, Release
from yardmaster.agent import Agent

SOME = "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10"
PAGES = {"/docs", "/openapi.json"}
NOBODY = {"/", "/livez", "/readyz"}
"""The redirect to the documentation, and what the kubelet asks past the sidecar's policies."""

REGISTRATION = {
    ("POST", "/v1/agents"),
    ("POST", f"/v1/agents/{SOME}/heartbeat"),
    ("POST", f"/v1/agents/{SOME}/drain"),
    ("DELETE", f"/v1/agents/{SOME}"),
}
"""What sdk/src/yardmaster/registration.py calls."""


BESIDE = {
    ("GET", "/metrics/x"),
    ("GET", "/metricsx"),
    ("GET", "/docs/x"),
    ("POST", "/v2/tasks"),
    ("POST", f"/v1/agents/{SOME}/promote"),
    ("POST", f"/v1/agents/{SOME}/heartbeat/x"),
    ("DELETE", f"/v1/agents/{SOME}/x"),
}
"""Near misses, which no route serves: a policy that is too wide lets them in."""


def routes(app: Any) -> Iterator[tuple[str, str]]:
    """(method, path) of everything the application serves, also of what is not in its documentation."""
    for route in _flat(app.routes):
        path = re.sub(r"\{[^}]*\}", SOME, route.path)
        yield from ((method, path) for method in route.methods or ())


def _flat(found: list[Any]) -> Iterator[Route]:
    for route in found:
        if isinstance(route, Route):
            yield route
        else:
            yield from _flat(route.original_router.routes)


def allowed(release: Release, caller: Caller, pod: End, port: int, calls: set[tuple[str, str]]) -> set[tuple[str, str]]:
    policies = release.of("AuthorizationPolicy")
    return {(method, path) for method, path in calls if may_call(policies, caller, pod, Request(method, path, port))}


def manager(release: Release) -> End:
    return End("manager", release.namespace, release.one("Deployment")["spec"]["template"]["metadata"]["labels"])


def agent(release: Release) -> End:
    where = release.one("ConfigMap")["data"]["YARD_KUBERNETES_NAMESPACE"]
    return End("agent", where, {"app": "ai-agent", "agent-type": "x"})


def test_there_are_routes_to_judge(manager_app: Any) -> None:
    found = set(routes(manager_app))
    assert found > REGISTRATION
    assert ("POST", "/v1/slack/interactions") in found  # not in the documentation
    documented = {path for path in manager_app.openapi()["paths"] if "{" not in path}
    assert {path for _, path in found} >= documented


@pytest.mark.parametrize("name", ["production", "everything"])
def test_each_caller_may_call_exactly_its_routes(charts: Charts, manager_app: Any, name: str) -> None:
    release, every = charts.case(name), set(routes(manager_app)) | BESIDE
    api = {(method, path) for method, path in every if path.startswith(("/v1/", "/swagger/")) or path in PAGES}
    agents = agent(release).namespace
    account = "agent" if name == "everything" else "default"
    table = {
        Caller("istio-ingress", "gateway"): api,
        Caller("monitoring", "prometheus"): {("GET", "/metrics")},
        Caller(agents, account): REGISTRATION,
        Caller("shop", "default"): set(),
        Caller(""): set(),
    }
    if name == "everything":
        table |= {Caller("shop", "checkout"): api, Caller(agents, "default"): set()}
    for caller, calls in table.items():
        assert allowed(release, caller, manager(release), 8080, every) == calls, caller
    everybody = set.union(*table.values())
    assert {path for _, path in every - BESIDE - everybody} == NOBODY


@pytest.mark.parametrize("name", ["production", "everything"])
def test_only_managers_call_agents(charts: Charts, name: str) -> None:
    release = charts.case(name)
    account = release.one("Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
    calls = {("POST", "/execute"), ("GET", "/health"), ("POST", "/cancel")}
    tried = calls | {
        ("GET", "/execute"),
        ("POST", "/health"),
        ("GET", "/metrics"),
        ("POST", "/execute/x"),
        ("GET", "/"),
    }
    ports = [port["port"] for port in release.one("Service", "-agents")["spec"]["ports"]]
    for port in ports:
        assert allowed(release, Caller(release.namespace, account), agent(release), port, tried) == calls
        for other in (Caller(release.namespace), Caller(agent(release).namespace), Caller("shop"), Caller("")):
            assert allowed(release, other, agent(release), port, tried) == set()
    assert allowed(release, Caller(release.namespace, account), agent(release), 22, tried) == set()


def test_the_agents_routes_are_those_of_the_sdk() -> None:
    agent_of_sdk = Agent("echo")

    @agent_of_sdk.task
    async def handle(_ctx: object, payload: dict[str, Any]) -> dict[str, Any]:
        return payload

    found = {call for call in routes(agent_of_sdk.app()) if call[0] != "HEAD"}
    assert found == {("POST", "/execute"), ("POST", "/cancel"), ("GET", "/health")}


@pytest.mark.parametrize("name", ["production", "everything"])
def test_mutual_tls_is_strict_on_both_sides(charts: Charts, name: str) -> None:
    release = charts.case(name)
    for pod in (manager(release), agent(release)):
        modes = {
            each["spec"]["mtls"]["mode"]
            for each in release.of("PeerAuthentication")
            if each["metadata"]["namespace"] == pod.namespace and selects(each["spec"].get("selector", {}), pod.labels)
        }
        assert modes == {"STRICT"}
    hosts = {
        each["spec"]["host"]: each["spec"]["trafficPolicy"]["tls"]["mode"] for each in release.of("DestinationRule")
    }
    services = [release.one("Service"), release.one("Service", "-agents")]
    names = {f"{each['metadata']['name']}.{each['metadata']['namespace']}.svc.cluster.local" for each in services}
    assert hosts == dict.fromkeys(names, "ISTIO_MUTUAL")


def test_sidecars_know_the_agents_by_their_addresses(charts: Charts) -> None:
    """A headless Service whose ports name no protocol: only then is a pod's address spoken to with TLS."""
    release = charts.case("everything")
    service = release.one("Service", "-agents")
    assert service["spec"]["clusterIP"] == "None"
    assert selects({"matchLabels": service["spec"]["selector"]}, agent(release).labels)
    assert [port["port"] for port in service["spec"]["ports"]] == [8080, 9000]
    for port in service["spec"]["ports"]:
        assert port["port"] == port["targetPort"]
        assert "appProtocol" not in port
        assert port["name"].partition("-")[0] not in {"http", "http2", "grpc", "tcp", "tls", "https"}


def test_sidecars_are_where_they_end_with_their_pod(charts: Charts) -> None:
    release = charts.case("everything")
    wishes = {
        template["metadata"]["labels"]["app.kubernetes.io/component"]: template["metadata"]["labels"].get(
            "sidecar.istio.io/inject"
        )
        for _, template in release.pods()
    }
    assert wishes == {"manager": "true", "migrations": "false", "postgres": "false", "redis": "false"}
    (monitor,) = release.of("ServiceMonitor")
    endpoint = monitor["spec"]["endpoints"][0]
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"]["certFile"] == "/etc/prom-certs/cert-chain.pem"


def test_neighbours_are_left_alone_unless_the_whole_namespace_is_meant(charts: Charts) -> None:
    neighbour = End("neighbour", "yard", {"app": "other"})
    for name, alone in (("production", True), ("everything", False)):
        policies = charts.case(name).of("AuthorizationPolicy")
        assert may_call(policies, Caller("shop"), neighbour, Request("GET", "/", 80)) is alone


def test_who_is_not_named_gets_no_policy(charts: Charts) -> None:
    nobody: Object = {"namespaces": [], "principals": []}
    release = charts.render({"istio": {"enabled": True, "clients": nobody, "prometheus": nobody}})
    kept = {each["metadata"]["name"].removeprefix(release.full_name) for each in release.of("AuthorizationPolicy")}
    assert kept == {"-allow-nothing", "-registration", "-agents-allow-nothing", "-agents"}
    call = Request("GET", "/v1/tasks", 8080)
    assert not may_call(release.of("AuthorizationPolicy"), Caller("istio-ingress"), manager(release), call)


@pytest.mark.parametrize("name", ["default", "staging", "urls", "nothing"])
def test_without_istio_there_is_nothing_of_it(charts: Charts, name: str) -> None:
    release = charts.case(name)
    assert not [each for each in release.objects if "istio.io" in each["apiVersion"]]
    assert not release.has("Service", "-agents")
    assert "sidecar.istio.io/inject" not in release.one("Deployment")["spec"]["template"]["metadata"]["labels"]
