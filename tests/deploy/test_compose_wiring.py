"""What docker-compose.yml runs, and the files it configures it with: they name the same ports, paths and settings."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from app.main import create_app
from app.settings import AuthSettings, Settings
from scripts.config_table import rows
from tests.deploy.compose import EXAMPLE_AGENTS, ROOT, environment, listens, mounts, services
from tests.deploy.dockerfile import MANAGER, one, stages
from tests.deploy.promql import promtool
from tests.support.service import new_pepper
from yardmaster.settings import Settings as AgentSettings

SERVICES = services()
HAPROXY = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()


def routes() -> set[str]:
    app = create_app(Settings(auth=AuthSettings(pepper=new_pepper())))
    return {getattr(route, "path", "") for route in app.routes}


def test_health_checks_ask_for_what_is_there() -> None:
    manager = SERVICES["manager"]["healthcheck"]["test"][-1]
    assert "'GET', '/readyz'" in manager
    assert "'127.0.0.1', 8080" in manager
    asked = re.search(r"option httpchk GET (\S+)", HAPROXY)
    assert asked is not None
    assert {"/readyz", asked[1]} <= routes()
    assert SERVICES["proxy"]["healthcheck"]["test"][-1] == "http://127.0.0.1:8404/livez"
    assert "bind :8404" in HAPROXY
    assert "if { path /livez }" in HAPROXY
    jaeger = yaml.safe_load((ROOT / "deploy" / "otel" / "jaeger.yaml").read_text())
    port = jaeger["extensions"]["healthcheckv2"]["http"]["endpoint"].rpartition(":")[2]
    assert SERVICES["jaeger"]["healthcheck"]["test"][-1] == f"http://127.0.0.1:{port}/status"


@pytest.mark.parametrize("name", ["manager", "migrate", "admin-key"])
def test_the_managers_settings_exist_and_are_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(environment(SERVICES[name])) <= {variable for variable, _, _ in rows()}
    for variable, value in environment(SERVICES[name]).items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.database.url == "postgresql://yardmaster:dev-only-change-me@postgres:5432/yardmaster"
    create_app(settings)  # a pepper that is too short is refused here


@pytest.mark.parametrize("name", sorted(EXAMPLE_AGENTS))
def test_the_agents_settings_exist_and_name_an_example(name: str) -> None:
    given = environment(SERVICES[name])
    settings = AgentSettings.from_env(given, pool="x", slots=1)
    assert settings.manager_url == "http://proxy:8080"
    assert "YARD_API_KEY_FILE" in (ROOT / "deploy" / "docker" / "agent").read_text()
    assert given["YARD_API_KEY_FILE"].rpartition("/")[0] in [target for _, target, _ in mounts(SERVICES[name])]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in (ROOT / "sdk" / "src" / "yardmaster" / "telemetry.py").read_text()
    (module,) = SERVICES[name]["command"]
    assert module == name.replace("-", "_")
    assert (ROOT / "examples" / module / "__main__.py").exists()


def test_every_address_leads_somewhere() -> None:
    found = []
    for name, service in SERVICES.items():
        text = " ".join([*environment(service).values(), *service.get("command", [])])
        for host, port in re.findall(r"\w+://(?:[^@/\s]+@)?([a-z-]+):(\d+)", text):
            assert int(port) in listens(host, SERVICES[host]), f"{name} → {host}:{port}"
            assert set(service["networks"]) & set(SERVICES[host]["networks"]), f"{name} cannot reach {host}"
            found.append((name, host))
    assert {("manager", "postgres"), ("manager", "redis"), ("manager", "jaeger"), ("log-analyzer", "proxy")} <= set(
        found
    )
    for name in EXAMPLE_AGENTS:
        assert set(SERVICES[name]["networks"]) & set(SERVICES["manager"]["networks"]), "managers call agents"


def test_there_are_connections_for_every_manager() -> None:
    database = Settings().database
    each_ = database.hot_connections + database.read_connections + database.cold_connections + 3
    assert each_ * SERVICES["manager"]["deploy"]["replicas"] < 90, "PostgreSQL's default is 100"
    (slots,) = re.findall(r"server-template manager (\d+) manager:8080", HAPROXY)
    assert int(slots) >= 2 * SERVICES["manager"]["deploy"]["replicas"], "the proxy shares two networks with each"


def test_prometheus_scrapes_what_is_there(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
    jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    (discovery,) = jobs["yardmaster"]["dns_sd_configs"]
    assert discovery["names"] == ["manager"]
    assert str(discovery["port"]) == one(stages(MANAGER)[-1], "EXPOSE").text
    assert jobs["yardmaster"]["metrics_path"] in routes()
    for target in jobs["proxy"]["static_configs"][0]["targets"]:
        host, port = target.split(":")
        assert int(port) in listens(host, SERVICES[host])
    assert (
        set(SERVICES["prometheus"]["networks"])
        & set(SERVICES["manager"]["networks"])
        & set(SERVICES["proxy"]["networks"])
    )
    mounted = {target: source for source, target, _ in mounts(SERVICES["prometheus"])}
    for rules in yaml.safe_load(text)["rule_files"]:
        text = text.replace(rules, str(ROOT / mounted[rules]))
    path = tmp_path / "prometheus.yml"
    path.write_text(text)
    done = promtool("check", "config", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        f"--config.file={next(t for t, s in mounted.items() if s.endswith('prometheus.yml'))}"
        in SERVICES["prometheus"]["command"]
    )


def test_grafana_finds_its_datasources_and_dashboards() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "yardmaster.yaml").read_text())["datasources"]
    assert {source["type"] for source in sources} == {"prometheus", "jaeger"}
    assert [source["name"] for source in sources if source.get("isDefault")] == ["Prometheus"]
    for source in sources:
        host, port = source["url"].removeprefix("http://").split(":")
        assert int(port) in listens(host, SERVICES[host])
        assert set(SERVICES["grafana"]["networks"]) & set(SERVICES[host]["networks"])
    mounted = {target: source for source, target, _ in mounts(SERVICES["grafana"])}
    (provider,) = yaml.safe_load((folder / "dashboards" / "yardmaster.yaml").read_text())["providers"]
    boards = ROOT / mounted[provider["options"]["path"]]
    home = environment(SERVICES["grafana"])["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (boards / Path(home).name).exists()
    assert home.rpartition("/")[0] == provider["options"]["path"]


def test_jaeger_takes_what_is_sent() -> None:
    jaeger = yaml.safe_load((ROOT / "deploy" / "otel" / "jaeger.yaml").read_text())
    endpoint = jaeger["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert (
        environment(SERVICES["manager"])["YARD_TELEMETRY_OTLP_ENDPOINT"]
        == f"http://jaeger:{endpoint.rpartition(':')[2]}"
    )
    assert (
        environment(SERVICES["log-analyzer"])["OTEL_EXPORTER_OTLP_ENDPOINT"]
        == f"http://jaeger:{endpoint.rpartition(':')[2]}"
    )
    pipeline = jaeger["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) <= jaeger[kind].keys()
    assert set(jaeger["service"]["extensions"]) == jaeger["extensions"].keys()
    mounted = [target for _, target, _ in mounts(SERVICES["jaeger"])]
    assert SERVICES["jaeger"]["command"] == ["--config", *mounted]


def test_the_admin_key_is_made_once_and_whole(tmp_path: Path) -> None:
    yard, count = tmp_path / "yard", tmp_path / "count"
    data = tmp_path / "data"
    data.mkdir()
    yard.write_text(f'#!/bin/sh\necho . >> {count}\n[ "$FAIL" ] && exit 1\necho "yk_$*"\n')
    yard.chmod(0o755)
    shell, flags = SERVICES["admin-key"]["entrypoint"]
    (script,) = SERVICES["admin-key"]["command"]

    def run(fail: str = "") -> int:
        text = script.replace("/data/", f"{data}/")
        path = f"{tmp_path}:/usr/bin:/bin"
        return subprocess.run([shell, flags, text], env={"PATH": path, "FAIL": fail}, check=False).returncode

    key = data / "admin.key"
    assert run(fail="yes") != 0
    assert not key.exists(), "half a key would be taken for one"
    assert [run(), run()] == [0, 0]
    assert key.read_text() == "yk_db admin-key --name compose\n"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(count.read_text().splitlines()) == 2


def test_the_key_is_where_yard_looks_for_it() -> None:
    final = stages(MANAGER)[-1]
    folder = re.search(r"YARD_DATA_DIR=(\S+)", one(final, "ENV").text)
    assert folder is not None
    mounted = {target: read_only for _, target, read_only in mounts(SERVICES["manager"])}
    assert mounted == {folder[1]: True}, "a manager writes nothing there"
    assert "cat /data/admin.key" in (ROOT / "docker-compose.yml").read_text()
