"""Checks of a golden task as they are declared in JSON.

    {"kind": "json", "path": "$.items[*].id", "op": "equals", "value": 7}
    {"kind": "regex", "path": "/summary", "pattern": "^Root cause: "}
    {"kind": "schema", "schema": {"type": "object", "required": ["answer"]}}
    {"kind": "latency", "max_s": 20}

A pattern, a schema's too, runs in linear time (the `regex` crate, through jsonschema-rs: no look-around, no
back-references), so no answer of an agent can make it run on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from app.core.errors import Invalid
from app.slo.json_path import BadPath, Path, read_path
from app.slo.probe_checks import COMPARED, MAX_WHY, Check, JsonCheck, LatencyCheck, RegexCheck, SchemaCheck, is_number

MAX_CHECKS, MAX_PATTERN = 50, 1_000
MAX_LATENCY_S = 86_400
PATTERN_BYTES = 1_048_576
"""A compiled pattern may take so many bytes: repetitions of repetitions are refused."""
BARE = ("exists", "absent")
OPS = (*BARE, "equals", "not_equals", "contains", *COMPARED)


class BadCheck(Invalid):
    """A check that cannot be made. `extra["errors"]` lists what is wrong, by path."""

    code, title = "probe_check_invalid", "Invalid check"


def read_checks(declared: object) -> tuple[Check, ...]:
    """Checks from parsed JSON, a list of objects. Raises BadCheck with every fault."""
    if not isinstance(declared, list) or len(declared) > MAX_CHECKS:
        raise BadCheck(f"Checks are a list of at most {MAX_CHECKS}.")
    checks, errors = list[Check](), list[dict[str, str]]()
    for place, item in enumerate(declared):
        try:
            checks.append(_read(item))
        except _Fault as fault:
            errors.append({"path": f"checks[{place}]{fault.path}", "message": fault.message})
    if errors:
        raise BadCheck(f"{errors[0]['path']}: {errors[0]['message']}", extra={"errors": errors})
    return tuple(checks)


class _Fault(Exception):
    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path, self.message = path, message


_FIELDS: Mapping[str, frozenset[str]] = {
    "json": frozenset({"path", "op", "value"}),
    "regex": frozenset({"path", "pattern"}),
    "schema": frozenset({"schema"}),
    "latency": frozenset({"max_s"}),
}


def _read(item: object) -> Check:
    if not isinstance(item, Mapping):
        raise _Fault("", "a check is an object")
    kind = item.get("kind")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise _Fault(".kind", f"one of {', '.join(_FIELDS)}")
    unknown = sorted(str(name) for name in item.keys() - _FIELDS[kind] - {"kind"})
    if unknown:
        raise _Fault(f".{unknown[0][:64]}", f"a check of this kind has {', '.join(sorted(_FIELDS[kind]))} only")
    if kind == "latency":
        return _read_latency(item)
    if kind == "schema":
        return SchemaCheck(_compiled(item.get("schema"), ".schema"))
    return _read_json(item) if kind == "json" else _read_regex(item)


def _read_latency(item: Mapping[str, Any]) -> Check:
    max_s = item.get("max_s")
    if not is_number(max_s) or not 0 < max_s <= MAX_LATENCY_S:
        raise _Fault(".max_s", f"more than 0 and at most {MAX_LATENCY_S:g} seconds")
    return LatencyCheck(float(max_s))


def _read_json(item: Mapping[str, Any]) -> Check:
    op = item.get("op", "equals" if "value" in item else "exists")
    if op not in OPS:
        raise _Fault(".op", f"one of {', '.join(OPS)}")
    if (op in BARE) == ("value" in item):
        raise _Fault(".value", f"{op} has none" if op in BARE else f"{op} needs one")
    if op in COMPARED and not is_number(item["value"]):
        raise _Fault(".value", f"{op} compares with a number")
    return JsonCheck(_path(item), op, item.get("value"))


def _read_regex(item: Mapping[str, Any]) -> Check:
    pattern = item.get("pattern")
    if not isinstance(pattern, str) or not 0 < len(pattern) <= MAX_PATTERN:
        raise _Fault(".pattern", f"a text of 1 to {MAX_PATTERN} characters")
    return RegexCheck(_path(item), pattern, _compiled({"type": "string", "pattern": pattern}, ".pattern"))


def _path(item: Mapping[str, Any]) -> Path:
    text = item.get("path", "$")
    if not isinstance(text, str):
        raise _Fault(".path", "a text")
    try:
        return read_path(text)
    except BadPath as exc:
        raise _Fault(".path", str(exc)) from None


def _compiled(schema: object, where: str) -> jsonschema_rs.Validator:
    if not isinstance(schema, dict | bool):
        raise _Fault(where, "an object")
    try:
        jsonschema_rs.meta.validate(schema)
        # Offline: a $ref into the network would be a request that a stranger makes us send.
        return jsonschema_rs.validator_for(
            schema, offline=True, pattern_options=jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES)
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as exc:
        message = str(getattr(exc, "message", exc)).splitlines()[0][:MAX_WHY]
        raise _Fault(where, message) from None
