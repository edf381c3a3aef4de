"""The Grafana dashboards: they can be loaded, nothing overlaps, and every query reads metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.promql import BUILT_IN, ROOT, alerts, exposed, grouped, mistakes, promtool, recorded

FOLDER = ROOT / "deploy" / "helm" / "yardmaster" / "files" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
NAMES = [path.name for path in FILES]

UNITS = {"none", "short", "s", "ops", "reqps", "percentunit", "bytes"}
KINDS = {"row", "stat", "timeseries", "heatmap", "state-timeline", "table"}

type Json = dict[str, Any]


def load(name: str) -> Json:
    return json.loads((FOLDER / name).read_text())


def queries(board: Json) -> Iterator[tuple[str, Json]]:
    """(panel's title, target) of every panel, and the annotations' queries."""
    for panel in board["panels"]:
        yield from ((panel["title"], target) for target in panel.get("targets", []))
    yield from (("annotations", item) for item in board["annotations"]["list"])


def filled(expression: str) -> str:
    """The query as Prometheus gets it."""
    return expression.replace("$__rate_interval", "5m").replace("$pool", ".*")


def test_there_are_three_and_their_names_are_unique() -> None:
    boards = [load(name) for name in NAMES]
    assert NAMES == ["overview.json", "pools.json", "tasks.json"]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(boards)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_what_grafana_needs(name: str) -> None:
    board = load(name)
    assert re.fullmatch(r"[a-z][a-z-]{7,39}", board["uid"])
    assert "id" not in board, "Grafana numbers them itself"
    assert 36 <= board["schemaVersion"] <= 41
    assert board["tags"] == ["yardmaster"]
    assert {"time", "refresh", "templating", "panels", "title"} <= board.keys()
    assert (FOLDER / name).read_text() == json.dumps(board, indent=2, ensure_ascii=False) + "\n"
    assert len((FOLDER / name).read_bytes()) < 300_000, "a ConfigMap holds 1 MiB"


@pytest.mark.parametrize("name", NAMES)
def test_panels_are_numbered_and_do_not_overlap(name: str) -> None:
    panels = load(name)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    places = [(panel["title"], cells(panel["gridPos"])) for panel in panels]
    assert [(one, two) for (one, a), (two, b) in combinations(places, 2) if a & b] == []


def cells(place: dict[str, int]) -> set[tuple[int, int]]:
    columns = range(place["x"], place["x"] + place["w"])
    return {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}


@pytest.mark.parametrize("name", NAMES)
def test_panels_say_what_they_show(name: str) -> None:
    for panel in load(name)["panels"]:
        assert panel["type"] in KINDS
        if panel["type"] == "row":
            continue
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        if panel["type"] in ("stat", "timeseries"):
            assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]


@pytest.mark.parametrize("name", NAMES)
def test_every_query_goes_to_the_chosen_datasource(name: str) -> None:
    board = load(name)
    variables = {item["name"]: item for item in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    asked = [target["datasource"] for _, target in queries(board)]
    asked += [panel["datasource"] for panel in board["panels"] if panel["type"] != "row"]
    asked += [item["datasource"] for item in variables.values() if item["type"] == "query"]
    assert {json.dumps(item, sort_keys=True) for item in asked} == {'{"type": "prometheus", "uid": "${datasource}"}'}
    named = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(board)))
    assert named <= variables.keys()


@pytest.mark.parametrize("name", NAMES)
def test_legends_tell_series_apart(name: str) -> None:
    for title, target in queries(load(name)):
        shown = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
        if title != "annotations" and shown:
            has = grouped(target["expr"]) | ({"instance"} if "by (" not in target["expr"] else set())
            assert shown <= has, title
    for panel in load(name)["panels"]:
        references = [target["refId"] for target in panel.get("targets", [])]
        legends = [target["legendFormat"] for target in panel.get("targets", [])]
        assert len(set(references)) == len(references)
        assert len(set(legends)) == len(legends), panel["title"]


def test_every_query_parses(tmp_path: Path) -> None:
    expressions = [filled(target["expr"]) for name in NAMES for _, target in queries(load(name))]
    made = [{"record": f"checked:{number}", "expr": text} for number, text in enumerate(expressions)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": made}]}))
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(expressions) > 60


@pytest.mark.parametrize("name", NAMES)
async def test_every_query_reads_metrics_that_exist(name: str, client: httpx.AsyncClient) -> None:
    known = exposed((await client.get("/metrics")).text) | recorded() | BUILT_IN
    wrong = {title: mistakes(filled(target["expr"]), known) for title, target in queries(load(name))}
    assert {title: found for title, found in wrong.items() if found} == {}
    for item in load(name)["templating"]["list"]:
        if item["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", item["definition"]).groups()  # type: ignore[union-attr]
            assert label in known[metric]


def test_alerts_are_drawn_into_every_board() -> None:
    for name in NAMES:
        (drawn,) = load(name)["annotations"]["list"]
        pattern = re.search(r'alertname=~"([^"]+)"', drawn["expr"])
        assert pattern is not None
        assert all(re.fullmatch(pattern[1], alert) for alert in alerts())
