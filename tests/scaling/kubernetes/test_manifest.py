"""A pool's Deployment, field by field, and as Kubernetes' own schema has it."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.registry.fleet_wire import KubernetesLaunch, refused_secrets
from app.scaling.backends.kubernetes import manifest
from app.scaling.backends.kubernetes.drift import covers
from tests.scaling.kubernetes.pools import PLACE, pool
from yardmaster.settings import Settings as AgentSettings


def container(**launch: Any) -> Any:
    return pod(**launch)["containers"][0]


def pod(**launch: Any) -> Any:
    return manifest.deployment(pool(**launch), PLACE, 30.0)["spec"]["template"]["spec"]


def environment(**launch: Any) -> dict[str, Any]:
    return {item.pop("name"): item for item in container(**launch)["env"]}


def valid(item: dict[str, Any]) -> None:
    kubernetes_validate.validate(item, "1.33", strict=True)


def test_the_labels_tell_pools_and_instances_apart() -> None:
    made = manifest.deployment(pool("Log_analyzer"), PLACE, 30.0)
    assert made["metadata"]["labels"] == made["spec"]["template"]["metadata"]["labels"]
    assert made["metadata"]["labels"] == {
        "app": "ai-agent",
        "agent-type": "Log_analyzer",
        "app.kubernetes.io/managed-by": "yardmaster",
        "app.kubernetes.io/instance": "yardmaster",
    }
    assert made["spec"]["selector"]["matchLabels"].items() <= made["metadata"]["labels"].items()
    assert made["metadata"]["annotations"]["yardmaster/pool"] == "Log_analyzer"
    assert made["metadata"]["namespace"] == "agents"


def test_a_pod_may_do_nothing_but_its_work() -> None:
    made = pod()
    assert made["automountServiceAccountToken"] is False
    assert made["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    inner = made["containers"][0]["securityContext"]
    assert inner["readOnlyRootFilesystem"] is True
    assert inner["allowPrivilegeEscalation"] is False
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert made["volumes"] == [{"name": "tmp", "emptyDir": {}}]
    assert made["containers"][0]["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]


def test_a_rollout_adds_some_before_it_takes_any() -> None:
    made = manifest.deployment(pool(), PLACE, 30.0)
    assert made["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}
    spread = made["spec"]["template"]["spec"]["topologySpreadConstraints"][0]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")


@pytest.mark.parametrize("grace_s", [0.5, 30.0, 3600.0])
def test_the_agent_has_its_grace_and_its_pod_lives_longer(grace_s: float) -> None:
    made = manifest.deployment(pool(), PLACE, grace_s)["spec"]["template"]["spec"]
    env = {item["name"]: item.get("value") for item in made["containers"][0]["env"]}
    assert grace_s < float(env["AGENT_DRAIN_GRACE_S"]) < made["terminationGracePeriodSeconds"]


def test_probes_ask_the_agents_own_routes() -> None:
    made = container(port=9000)
    assert made["ports"] == [{"name": "http", "containerPort": 9000, "protocol": "TCP"}]
    for probe in ("startupProbe", "readinessProbe"):
        assert made[probe]["httpGet"] == {"path": "/health", "port": "http"}
    assert made["livenessProbe"]["tcpSocket"] == {"port": "http"}


def test_the_sdk_understands_its_environment() -> None:
    env = {name: item.get("value", "") for name, item in environment(port=9000).items()}
    filled = {name: value.replace("$(POD_IP)", "fd00::7").replace("$(POD_NAME)", "x-1") for name, value in env.items()}
    read = AgentSettings.from_env(filled, pool="other", slots=1)
    assert (read.pool, read.slots, read.host, read.port) == ("log_analyzer", 4, "fd00::7", 9000)
    assert read.labels == {"pod": "x-1"}
    assert read.manager_url == PLACE.manager_url


def test_the_key_comes_from_the_secret_only() -> None:
    assert environment()["YARD_API_KEY"] == {
        "valueFrom": {"secretKeyRef": {"name": "yardmaster-agent-key", "key": "YARD_API_KEY"}}
    }


def test_the_pools_environment_is_added_and_cannot_take_ours_away() -> None:
    env = environment(env={"MODEL": "small", "AGENT_POOL": "elsewhere"}, env_from_secrets=["openai"])
    assert env["MODEL"] == {"value": "small"}
    assert env["AGENT_POOL"] == {"value": "log_analyzer"}
    assert container(env_from_secrets=["openai"])["envFrom"] == [{"secretRef": {"name": "openai"}}]


def test_what_a_launch_writes_is_taken_literally_as_by_other_backends() -> None:
    made = container(env={"PRICE": "$5 $(POD_IP) $$"}, args=["$(POD_NAME)"], command=["sh", "-c", "echo $HOME"])
    env = {item["name"]: item.get("value") for item in made["env"]}
    assert env["PRICE"] == "$$5 $$(POD_IP) $$$$"
    assert env["AGENT_HOST"] == "$(POD_IP)"
    assert (made["args"], made["command"]) == (["$$(POD_NAME)"], ["sh", "-c", "echo $$HOME"])


def test_autoscalers_of_nodes_and_proxies_of_meshes_let_an_agent_finish() -> None:
    notes = manifest.deployment(pool(), PLACE, 30.0)["spec"]["template"]["metadata"]["annotations"]
    assert notes["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    proxy = json.loads(notes["proxy.istio.io/config"])
    assert proxy == {"holdApplicationUntilProxyStarts": True, "terminationDrainDuration": "60s"}


@pytest.mark.parametrize("field", ["env_from_secrets", "image_pull_secrets"])
def test_a_secret_is_named_once(field: str) -> None:
    with pytest.raises(ValueError, match="'a' is named more than once"):
        KubernetesLaunch.model_validate({"kind": "kubernetes", "image": "x", field: ["a", "b", "a"]})


def test_a_launch_may_name_the_secrets_that_are_allowed() -> None:
    launch = {"env_from_secrets": ["openai"], "image_pull_secrets": ["registry"]}
    assert refused_secrets(launch, []) == ""
    assert refused_secrets(launch, ["openai", "registry"]) == ""
    assert "'registry'" in refused_secrets(launch, ["openai"])
    assert refused_secrets({"kind": "external"}, ["openai"]) == ""


def test_what_the_launch_does_not_name_is_left_to_others() -> None:
    made = pod()
    assert not {"serviceAccountName", "imagePullSecrets", "nodeSelector"} & made.keys()
    assert not {"command", "args", "envFrom"} & made["containers"][0].keys()
    full = pod(
        service_account="sa", image_pull_secrets=["reg"], node_selector={"gpu": "yes"}, command=["a"], args=["b"]
    )
    assert full["serviceAccountName"] == "sa"
    assert full["imagePullSecrets"] == [{"name": "reg"}]
    assert full["nodeSelector"] == {"gpu": "yes"}
    assert (full["containers"][0]["command"], full["containers"][0]["args"]) == (["a"], ["b"])


def test_a_launch_straight_from_the_api_makes_a_valid_deployment() -> None:
    launch = KubernetesLaunch(kind="kubernetes", image="agents:1").model_dump(mode="json")
    valid(manifest.sized(manifest.deployment(pool(**launch), PLACE, 30.0), 3, None))


def test_the_secret_is_valid_and_holds_the_key() -> None:
    made = manifest.secret(PLACE, "yk_x")
    valid(made)
    assert made["data"] == {"YARD_API_KEY": "eWtfeA=="}


@given(
    st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}", fullmatch=True),
    st.dictionaries(st.from_regex(r"[A-Z_]{1,12}", fullmatch=True), st.text(max_size=20), max_size=4),
    st.integers(0, 50),
    st.floats(0.1, 604_800),
)
def test_every_pools_deployment_is_valid(name: str, env: dict[str, str], replicas: int, grace_s: float) -> None:
    valid(manifest.sized(manifest.deployment(pool(name, env=env), PLACE, grace_s), replicas, "7"))


def test_a_changed_launch_has_another_hash_and_a_changed_size_has_not() -> None:
    def digest(**launch: Any) -> str:
        made = manifest.deployment(pool(**launch), PLACE, 30.0)
        return str(made["metadata"]["annotations"][manifest.LAUNCH_HASH])

    assert digest() == digest(desired=7)
    assert len({digest(), digest(image="x:2"), digest(env={"A": "1"}), digest(port=1)}) == 4


@pytest.mark.parametrize(
    ("live", "wanted", "same"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 2}, {"a": 1}, False),
        ({}, {"a": 1}, False),
        ({"env": [{"name": "B"}, {"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "1"}]}, True),
        ({"env": [{"name": "A", "value": "2"}]}, {"env": [{"name": "A", "value": "1"}]}, False),
        ({"env": None}, {"env": [{"name": "A"}]}, False),
        ({"args": ["a", "b"]}, {"args": ["a"]}, False),
        ({"resources": {"limits": {"cpu": "500m"}}}, {"resources": {"limits": {"cpu": "0.5"}}}, True),
        ({"resources": {"limits": {"memory": "1Gi"}}}, {"resources": {"limits": {"memory": "1024Mi"}}}, True),
        ({"resources": {"limits": {"memory": "1G"}}}, {"resources": {"limits": {"memory": "1Gi"}}}, False),
        ({"image": "500m"}, {"image": "0.5"}, False),
    ],
)
def test_drift_is_a_field_of_ours_that_is_another(live: Any, wanted: Any, same: bool) -> None:
    assert covers(live, wanted) is same
