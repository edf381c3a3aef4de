"""What tests of rules and dashboards share: promtool, the metrics there are, and the names an expression uses."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "helm" / "yardmaster" / "files" / "rules.yaml"

SCRAPED = {"job", "instance", "namespace"}
"""Labels that the scrape adds to every series."""

BUILT_IN = {"up": SCRAPED, "ALERTS": {"alertname", "alertstate", "severity"}}
"""Series of Prometheus itself."""

_TEXT = re.compile(r'"(?:\\.|[^"\\])*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}")
_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_NAME = re.compile(r"(?<![a-zA-Z0-9_:.$])([a-zA-Z_:][a-zA-Z0-9_:]*)\b(?!\s*\()")
_WORDS = {"and", "or", "unless", "offset", "bool", "by", "without", "on", "ignoring"}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it: from PATH, or where scripts/system puts it."""
    beside = Path(sys.executable).with_name("promtool")
    found = shutil.which("promtool") or (str(beside) if beside.exists() else None)
    if found is None:
        pytest.fail("promtool is missing: run scripts/system")
    return subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)


@dataclass(frozen=True)
class Used:
    """A metric in an expression, and the labels that it is selected by there."""

    name: str
    labels: frozenset[str]


def used(expression: str) -> Iterator[Used]:
    """Every metric an expression reads."""
    bare = _GROUPING.sub(" ", re.sub(r"\[[^\]]*\]", " ", _TEXT.sub("0", expression)))
    for name, matchers in _SELECTOR.findall(bare):
        yield Used(name, frozenset(re.findall(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)", matchers)))
    for name in _NAME.findall(_SELECTOR.sub(" ", re.sub(r"\boffset\s+\w+", " ", bare))):
        if name not in _WORDS:
            yield Used(name, frozenset())


def grouped(expression: str) -> set[str]:
    """The labels that its aggregations and joins name."""
    found = _GROUPING.findall(_TEXT.sub("0", expression))
    return {label.strip() for _, labels in found for label in labels.split(",") if label.strip()}


def rules() -> list[dict[str, Any]]:
    """Every rule of the file."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Name → rule."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> dict[str, set[str]]:
    """Series that rules record → their labels."""
    return {rule["record"]: grouped(rule["expr"]) - {"le"} for rule in rules() if "record" in rule}


def exposed(metrics: str) -> dict[str, set[str]]:
    """Series in the text of `/metrics` → the labels they are declared with: also those that have no sample yet."""
    found: dict[str, set[str]] = {}
    for family, kind in re.findall(r"^# TYPE (\S+) (\w+)$", metrics, re.MULTILINE):
        labels = _labels_of(family)
        for suffix in ("_bucket", "_count", "_sum") if kind == "histogram" else ("",):
            found[family + suffix] = labels | SCRAPED | ({"le"} if suffix == "_bucket" else set())
    return found


def _labels_of(family: str) -> set[str]:
    collector = REGISTRY._names_to_collectors.get(family)
    return set(getattr(collector, "_labelnames", ()))


def mistakes(expression: str, known: dict[str, set[str]]) -> list[str]:
    """Metrics that are not there, and labels that none of them has."""
    found = list(used(expression))
    wrong = [f"{item.name} does not exist" for item in found if item.name not in known]
    wrong += [
        f"{item.name} has no label {label}"
        for item in found
        for label in sorted(item.labels)
        if item.name in known and label not in known[item.name]
    ]
    made = set(re.findall(r'label_replace\([\s\S]*?,\s*"(\w+)",\s*"\$1"', expression))
    has = made.union(*(known.get(item.name, set()) for item in found)) if found else made
    return wrong + [f"nothing has the label {label}" for label in sorted(grouped(expression) - has)]
