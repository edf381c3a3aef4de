"""Who reaches whom: the NetworkPolicies of each set of values allow exactly the paths named here."""

from __future__ import annotations

import itertools

import pytest

from tests.deploy.chart_cases import CASES
from tests.deploy.conftest import Charts
from tests.deploy.network_reach import End, reaches
from tests.deploy.release import Object, Release, merged

PRIVATE, INTERNET, METADATA = "10.20.0.5", "93.184.216.34", "169.254.169.254"
INTERNET6, METADATA6, LINK6, NODE_DNS = "2606:2800:21f::1", "fd00:ec2::254", "fe80::1", "169.254.20.10"
PORTS = [(53, "UDP"), *((port, "TCP") for port in (22, 53, 80, 443, 4318, 5432, 6379, 6443, 8080, 9000, 15012))]

Path = tuple[str, str, int, str]

ALWAYS: set[Path] = {
    ("agent", "manager", 8080, "TCP"),
    ("prometheus", "manager", 8080, "TCP"),
    ("ingress", "manager", 8080, "TCP"),
    ("manager", "agent", 8080, "TCP"),
    ("manager", "internet", 443, "TCP"),
    ("agent", "internet", 443, "TCP"),
    ("agent", "internet6", 443, "TCP"),
    *((pod, "dns", 53, protocol) for pod in ("manager", "agent", "migrations") for protocol in ("UDP", "TCP")),
    # The Kubernetes API, wherever it is: on these two ports only metadata services are closed.
    *(("manager", where, port, "TCP") for where in ("private", "internet", "internet6") for port in (443, 6443)),
}
EXTERNAL: set[Path] = {
    ("manager", "private", 5432, "TCP"),
    ("manager", "private", 6379, "TCP"),
    ("migrations", "private", 5432, "TCP"),
}
IN_CLUSTER: set[Path] = {
    ("manager", "postgres", 5432, "TCP"),
    ("migrations", "postgres", 5432, "TCP"),
    ("manager", "redis", 6379, "TCP"),
}
TRACES: set[Path] = {("manager", "otel", 4318, "TCP"), ("agent", "otel", 4318, "TCP")}
MESH: set[Path] = {("manager", "istiod", 15012, "TCP"), ("agent", "istiod", 15012, "TCP")}

EXPECTED: dict[str, set[Path]] = {
    "default": ALWAYS | IN_CLUSTER,
    "urls": ALWAYS | EXTERNAL,
    "staging": ALWAYS | EXTERNAL | TRACES,
    "production": ALWAYS | EXTERNAL | TRACES | MESH,
    "everything": ALWAYS | IN_CLUSTER | TRACES | MESH | {("manager", "agent", 9000, "TCP")},
}


def ends(release: Release) -> dict[str, End]:
    """Our pods, theirs, strangers, and addresses outside the cluster."""
    config = release.one("ConfigMap")["data"]
    agents = config.get("YARD_KUBERNETES_NAMESPACE", release.namespace)
    gateway = "istio-ingress" if release.name == "production" else "ingress-nginx"
    agent = {"app": "ai-agent", "agent-type": "x", "app.kubernetes.io/instance": release.full_name}
    theirs = [
        End("agent", agents, agent),
        End("prometheus", "monitoring", {"app.kubernetes.io/name": "prometheus"}),
        End("ingress", gateway, {"app": "gateway"}),
        End("dns", "kube-system", {"k8s-app": "kube-dns"}),
        End("otel", "observability", {"app": "otel"}),
        End("istiod", "istio-system", {"app": "istiod"}),
        End("stranger", "shop", {"app": "shop"}),
        End("impostor", "shop", {"app": "ai-agent", "app.kubernetes.io/component": "manager"}),
        End("private", ip=PRIVATE),
        End("internet", ip=INTERNET),
        End("metadata", ip=METADATA),
        End("internet6", ip=INTERNET6),
        End("metadata6", ip=METADATA6),
        End("link6", ip=LINK6),
        End("node-dns", ip=NODE_DNS),
    ]
    return {each.name: each for each in [*theirs, *ours(release)]}


def ours(release: Release) -> list[End]:
    labels = [
        (template["metadata"]["labels"], workload["metadata"]["namespace"]) for workload, template in release.pods()
    ]
    return [End(of_pod["app.kubernetes.io/component"], namespace, of_pod) for of_pod, namespace in labels]


def paths(release: Release) -> set[Path]:
    """Every path that is open and has one of our pods, or an agent, at an end."""
    policies, everybody = release.of("NetworkPolicy"), ends(release)
    guarded = {"agent", *(each.name for each in ours(release))}
    return {
        (source.name, target.name, port, protocol)
        for source, target in itertools.permutations(everybody.values(), 2)
        if guarded & {source.name, target.name}
        for port, protocol in PORTS
        if reaches(policies, source, target, port, protocol)
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_exactly_the_paths_that_are_needed(charts: Charts, name: str) -> None:
    assert paths(charts.case(name)) == EXPECTED[name]


def test_pods_of_one_kind_do_not_talk_to_each_other(charts: Charts) -> None:
    release = charts.case("default")
    for end in ("manager", "agent"):
        one = ends(release)[end]
        other = End("another", one.namespace, one.labels)
        assert not reaches(release.of("NetworkPolicy"), one, other, 5432)
        assert not reaches(release.of("NetworkPolicy"), one, other, 8080)


def test_without_policies_everything_is_open(charts: Charts) -> None:
    release = charts.case("nothing")
    assert release.of("NetworkPolicy") == []
    assert ("stranger", "manager", 8080, "TCP") in paths(release)


def test_a_neighbour_in_the_namespace_is_denied_only_where_the_whole_namespace_is(charts: Charts) -> None:
    for name, whole in (("default", False), ("everything", True)):
        release = charts.case(name)
        neighbour = End("neighbour", release.namespace, {"app": "other"})
        policies = release.of("NetworkPolicy")
        assert reaches(policies, ends(release)["stranger"], neighbour, 80) is not whole
        assert not reaches(policies, neighbour, ends(release)["manager"], 8080)


OUT: set[Path] = {("manager", "internet", 443, "TCP"), ("manager", "internet6", 443, "TCP")}

HOLES: list[tuple[Object, set[Path], set[Path]]] = [
    ({"networkPolicy": {"clients": {"peers": []}}}, set(), {("ingress", "manager", 8080, "TCP")}),
    ({"networkPolicy": {"prometheus": {"peers": []}}}, set(), {("prometheus", "manager", 8080, "TCP")}),
    (
        {"networkPolicy": {"agents": {"internet": False}}},
        set(),
        {("agent", "internet", 443, "TCP"), ("agent", "internet6", 443, "TCP")},
    ),
    (
        {"networkPolicy": {"dns": {"nodeLocal": {"enabled": True}}}},
        {(pod, "node-dns", 53, protocol) for pod in ("manager", "agent", "migrations") for protocol in ("UDP", "TCP")},
        set(),
    ),
    (
        {"networkPolicy": {"dns": {"peers": [], "nodeLocal": {"enabled": True, "cidrs": ["10.20.0.5/32"]}}}},
        {(pod, "private", 53, protocol) for pod in ("manager", "agent", "migrations") for protocol in ("UDP", "TCP")},
        {path for path in ALWAYS if path[1] == "dns"},
    ),
    (
        {"networkPolicy": {"kubeApi": {"ports": [6443], "peers": [{"ipBlock": {"cidr": "10.20.0.5/32"}}]}}},
        set(),
        {path for path in ALWAYS if path[0] == "manager" and path[2] in (443, 6443)}
        - {("manager", "private", 6443, "TCP"), *OUT},
    ),
    (
        {"agents": {"kubernetes": False}},
        set(),
        {path for path in ALWAYS if path[0] == "manager" and path[2] in (443, 6443)} - OUT,
    ),
    (
        {
            "networkPolicy": {
                "agents": {"extraEgress": [{"to": [{"ipBlock": {"cidr": "10.20.0.5/32"}}], "ports": [{"port": 5432}]}]}
            }
        },
        {("agent", "private", 5432, "TCP")},
        set(),
    ),
    (
        {"networkPolicy": {"postgres": {"ports": [6432], "peers": [{"ipBlock": {"cidr": "10.20.0.5/32"}}]}}},
        set(),
        {("manager", "private", 5432, "TCP"), ("migrations", "private", 5432, "TCP")},
    ),
]


@pytest.mark.parametrize(("values", "opened", "closed"), HOLES)
def test_each_hole_is_opened_and_closed_by_its_values(
    charts: Charts, values: Object, opened: set[Path], closed: set[Path]
) -> None:
    release = charts.render(merged(CASES["urls"], values))
    assert paths(release) == (EXPECTED["urls"] | opened) - closed
