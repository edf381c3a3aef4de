"""Label and field selectors, as strings of a query and as objects of a spec."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.fakes.kubernetes.errors import bad_request
from tests.fakes.kubernetes.kinds import Kind

type Match = Callable[[dict[str, Any]], bool]

_SET = re.compile(r"^(?P<key>[^\s!=,()]+)\s+(?P<op>in|notin)\s+\((?P<values>[^)]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[^\s!=,()]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s!=,()]*)$")
_EXISTS = re.compile(r"^(?P<no>!?)\s*(?P<key>[^\s!=,()]+)$")
_COMMA = re.compile(r",(?![^(]*\))")

_FIELDS: dict[str, tuple[str, ...]] = {
    "Pod": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "Event": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "Secret": ("type",),
    "Namespace": ("status.phase",),
    "Node": ("spec.unschedulable",),
    "Job": ("status.successful",),
    "ReplicaSet": ("status.replicas",),
}


def labels_match(selector: str) -> Callable[[Mapping[str, str]], bool]:
    """A test of labels for `a=b,c!=d,e in (f,g),h notin (i),j,!k`. Raises 400."""
    tests = [_label_test(part.strip()) for part in _COMMA.split(selector) if part.strip()]
    return lambda labels: all(test(labels) for test in tests)


def _label_test(part: str) -> Callable[[Mapping[str, str]], bool]:
    if found := _SET.match(part):
        values = {value.strip() for value in found["values"].split(",")}
        key, wanted = found["key"], found["op"] == "in"
        return lambda labels: (labels[key] in values) is wanted if key in labels else not wanted
    if found := _EQUAL.match(part):
        key, value, equal = found["key"], found["value"], found["op"] != "!="
        return lambda labels: (labels.get(key) == value) is equal
    if found := _EXISTS.match(part):
        key, there = found["key"], not found["no"]
        return lambda labels: (key in labels) is there
    raise bad_request(f"unable to parse requirement: found '{part}', expected: in, notin, =, ==, !=, gt, lt")


def selector_match(selector: dict[str, Any] | None) -> Callable[[Mapping[str, str]], bool]:
    """A test of labels for a `LabelSelector`. None matches nothing, {} everything."""
    if selector is None:
        return lambda labels: False
    exact: dict[str, str] = selector.get("matchLabels") or {}
    rules: list[dict[str, Any]] = selector.get("matchExpressions") or []
    return lambda labels: all(labels.get(k) == v for k, v in exact.items()) and all(_rule(r, labels) for r in rules)


def _rule(rule: dict[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(rule["key"]), rule.get("values") or []
    match rule["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None


def value_at(body: dict[str, Any], path: str) -> str:
    """The text a field selector compares with; absent fields are empty."""
    value: Any = body
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def fields_match(kind: Kind, selector: str) -> Match:
    """A test of objects for `metadata.name=x,status.phase!=Running`. Raises 400 for unsupported fields."""
    tests: list[tuple[str, str, bool]] = []
    for part in filter(None, (part.strip() for part in selector.split(","))):
        found = _EQUAL.match(part)
        if found is None:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        if found["key"] not in ("metadata.name", "metadata.namespace", *_FIELDS.get(kind.kind, ())):
            raise bad_request(f"field label not supported: {found['key']}")
        tests.append((found["key"], found["value"], found["op"] != "!="))
    return lambda body: all((value_at(body, key) == value) is equal for key, value, equal in tests)


def query_match(kind: Kind, label_selector: str, field_selector: str) -> Match:
    """Both selectors of a query as one test of an object."""
    labels = labels_match(label_selector)
    fields = fields_match(kind, field_selector)
    return lambda body: labels(body["metadata"].get("labels") or {}) and fields(body)
