"""docker-compose.yml: nothing it names is missing, nothing in it contradicts what it configures."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

from app.settings import DispatchSettings
from tests.deploy.compose import (
    EXAMPLE_AGENTS,
    ROOT,
    Json,
    environment,
    example,
    mounts,
    published,
    read,
    seconds,
    services,
    variables,
)
from tests.deploy.dockerfile import AGENTS, MANAGER, stages
from yardmaster.settings import Settings as AgentSettings

SERVICES = services()
ONCE = {"migrate", "admin-key", "pools"}

SERVICE_KEYS = {
    *("build", "cap_add", "cap_drop", "command", "configs", "depends_on", "deploy", "entrypoint", "env_file"),
    *("environment", "expose", "healthcheck", "hostname", "image", "init", "labels", "logging", "networks", "ports"),
    *("profiles", "pull_policy", "read_only", "restart", "secrets", "security_opt", "shm_size", "stop_grace_period"),
    *("stop_signal", "tmpfs", "ulimits", "user", "volumes", "working_dir"),
}
"""Those of the Compose specification that may be of use here; a misspelt one is none of them."""

HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"}


def each(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", sorted(names or SERVICES))


def dockerfile(service: Json) -> Path | None:
    return ROOT / service["build"]["dockerfile"] if "build" in service else None


def test_it_has_the_form_of_the_compose_specification() -> None:
    whole = read()
    assert {key for key in whole if not key.startswith("x-")} == {"name", "services", "networks", "volumes"}
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[a-z][a-z-]*", name)
        assert set(service) <= SERVICE_KEYS, name
        assert set(service.get("healthcheck", {})) <= HEALTH_KEYS, name
        assert set(service["deploy"]) <= {"replicas", "resources"}, name
        assert all(isinstance(value, str) for value in environment(service).values()), "YAML would make 1 of yes"
        words = [*service.get("command", []), *service.get("entrypoint", [])]
        assert all(isinstance(word, str) for word in words), name


def test_it_is_what_the_platform_needs() -> None:
    assert SERVICES["manager"]["deploy"]["replicas"] >= 2
    assert SERVICES["log-analyzer"]["deploy"]["replicas"] >= 2
    assert {"proxy", "postgres", "redis", "prometheus", "grafana", "jaeger"} | ONCE | EXAMPLE_AGENTS < set(SERVICES)


@each()
def test_images_have_exact_tags_and_builds_exist(name: str) -> None:
    service = SERVICES[name]
    path = dockerfile(service)
    if path is None:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-alpine)?", service["image"])
    else:
        assert service["build"]["context"] == "."
        assert path in (MANAGER, AGENTS)
        assert service["image"] == {MANAGER: "yardmaster:dev", AGENTS: "yardmaster-agents:dev"}[path]


@each()
def test_it_is_locked_down(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"]["max-size"]
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")


@each()
def test_what_it_mounts_is_there(name: str) -> None:
    for source, target, read_only in mounts(SERVICES[name]):
        assert target.startswith("/")
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
            assert read_only, "a container changes nothing of the repository"
        else:
            assert source in read()["volumes"]


def test_every_volume_and_network_is_used() -> None:
    whole = read()
    used = {source for service in SERVICES.values() for source, _, _ in mounts(service) if not source.startswith(".")}
    assert used == set(whole["volumes"])
    assert set(chain.from_iterable(service["networks"] for service in SERVICES.values())) == set(whole["networks"])


def test_those_who_need_no_way_out_have_none() -> None:
    networks = read()["networks"]
    open_ = {name for name, network in networks.items() if not network.get("internal")}
    for name in EXAMPLE_AGENTS | {"postgres", "redis"}:
        assert not open_ & set(SERVICES[name]["networks"]), name
    assert {name for name, service in SERVICES.items() if "storage" in service["networks"]} == {
        *("manager", "migrate", "admin-key", "postgres", "redis")
    }
    for name in EXAMPLE_AGENTS:
        assert len(SERVICES[name]["networks"]) == 1, "the address that it advertises is its only one"
        assert "/data" not in [target for _, target, _ in mounts(SERVICES[name])], "agents do not see the admin key"


def test_ports_are_published_on_this_machine_only() -> None:
    found = [item for service in SERVICES.values() for item in published(service)]
    assert {address for address, _, _ in found} == {"127.0.0.1"}
    assert sorted(port for _, port, _ in found) == [3000, 8080, 9090, 16686]
    opened = read({"YARD_BIND": "0.0.0.0", "YARD_PORT": "80"})["services"]["proxy"]["ports"]
    assert opened == ["0.0.0.0:80:8080"]
    assert all("edge" in service["networks"] for service in SERVICES.values() if "ports" in service)


@each()
def test_what_it_waits_for_can_come_about(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        target = SERVICES[other]
        match wait["condition"]:
            case "service_completed_successfully":
                assert other in ONCE
            case "service_healthy":
                assert checks_health(target), other
            case condition:
                assert condition == "service_started"


def checks_health(service: Json) -> bool:
    own, path = service.get("healthcheck"), dockerfile(service)
    if own is not None:
        return not own.get("disable", False)
    return path is not None and any(item.word == "HEALTHCHECK" for item in stages(path)[-1])


def test_nothing_waits_for_itself() -> None:
    order = {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()}
    started = list(TopologicalSorter(order).static_order())
    assert started.index("postgres") < started.index("migrate") < started.index("manager")
    assert started.index("manager") < started.index("proxy") < started.index("pools") < started.index("log-analyzer")


@each(*(set(SERVICES) - ONCE))
def test_its_health_is_looked_at(name: str) -> None:
    service = SERVICES[name]
    assert checks_health(service)
    if "healthcheck" in service:
        check = service["healthcheck"]
        assert check["test"][0] == "CMD"
        assert seconds(check["timeout"]) <= seconds(check["interval"])
        assert check["retries"] >= 3


def test_what_images_write_has_a_place() -> None:
    writable = {
        "postgres": {"/var/lib/postgresql/data", "/var/run/postgresql", "/tmp"},
        "grafana": {"/var/lib/grafana", "/tmp"},
    }
    writable |= {"prometheus": {"/prometheus"}, "manager": {"/tmp"}, **{name: {"/tmp"} for name in EXAMPLE_AGENTS}}
    for name, paths in writable.items():
        service = SERVICES[name]
        has = {text.partition(":")[0] for text in service.get("tmpfs", [])}
        has |= {target for _, target, read_only in mounts(service) if not read_only}
        assert paths <= has, name


def test_nobody_is_killed_while_finishing() -> None:
    assert seconds(SERVICES["manager"]["stop_grace_period"]) > DispatchSettings().grace_s + 10
    assert seconds(SERVICES["manager"]["stop_grace_period"]) <= seconds(SERVICES["proxy"]["stop_grace_period"])
    for name in EXAMPLE_AGENTS:
        assert seconds(SERVICES[name]["stop_grace_period"]) > AgentSettings("x", 1).drain_grace_s


def test_development_defaults_are_marked_and_all_in_the_example() -> None:
    assert {name: set(defaults) for name, defaults in variables().items()} == {
        name: {value} for name, value in example().items()
    }
    secrets = {name: value for name, value in example().items() if re.search("PASSWORD|PEPPER", name)}
    assert len(secrets) == 3
    assert all(value.startswith("dev-only-") for value in secrets.values())
    assert len(secrets["YARD_AUTH_PEPPER"]) >= 32
