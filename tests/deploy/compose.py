"""docker-compose.yml as Docker reads it: merged, its variables filled in from the environment or their defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE, EXAMPLE = ROOT / "docker-compose.yml", ROOT / "deploy" / "compose.env.example"

EXAMPLE_AGENTS = {"log-analyzer", "security-scanner", "performance-tester", "incident-responder"}

type Json = dict[str, Any]

_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::-([^}]*))?\}")


def read(environment: Mapping[str, str] | None = None) -> Json:
    """The whole file. KeyError for a variable with neither value nor default."""
    found = _filled(yaml.safe_load(FILE.read_text()), environment or {})
    assert isinstance(found, dict)
    return found


def services() -> dict[str, Json]:
    return dict(read()["services"])


def environment(service: Json) -> dict[str, str]:
    return dict(service.get("environment", {}))


def variables() -> dict[str, set[str | None]]:
    """Variable → the defaults it is given."""
    found: dict[str, set[str | None]] = {}
    for name, default in _VARIABLE.findall(FILE.read_text()):
        found.setdefault(name, set()).add(default)
    return found


def example() -> dict[str, str]:
    """The variables that the example names."""
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)  # type: ignore[misc]


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, environment) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, environment) for item in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _value(match, environment), value)
    return value


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str:
    name, default = match.groups()
    value = environment.get(name) or default
    if value is None:
        raise KeyError(name)
    return value


def seconds(duration: str) -> float:
    """Of a duration such as `1m30s`."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    assert re.fullmatch(r"(\d+(ms|s|m|h))+", duration)
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|s|m|h)", duration))


def mounts(service: Json) -> Iterator[tuple[str, str, bool]]:
    """(source, target, read-only) of each volume."""
    for text in service.get("volumes", []):
        source, target, *mode = text.split(":")
        yield source, target, mode == ["ro"]


def published(service: Json) -> Iterator[tuple[str, int, int]]:
    """(address, port on the host, port in the container) of each published port."""
    for text in service.get("ports", []):
        address, host, inside = text.split(":")
        yield address, int(host), int(inside)


def listens(name: str, service: Json) -> set[int]:
    """The ports a service listens on, by what is known of its image and its configuration."""
    known = {"postgres": {5432}, "redis": {6379}, "manager": {8080}, "proxy": {8080, 8404}, "jaeger": {4318}}
    return known.get(name, set()) | {inside for _, _, inside in published(service)}
