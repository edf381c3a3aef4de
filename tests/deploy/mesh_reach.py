"""May a workload call a route of a pod? Istio's AuthorizationPolicies (ALLOW only) judged as its reference says.

Policies that select a pod allow what one of their rules matches, and nothing else; without any, everything is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.deploy.network_reach import End, selects

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Caller:
    """Whom the certificate names; `namespace` empty: a caller without one."""

    namespace: str
    account: str = "default"
    trust_domain: str = "cluster.local"

    @property
    def principal(self) -> str:
        return f"{self.trust_domain}/ns/{self.namespace}/sa/{self.account}"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    port: int


def may_call(policies: Iterable[Policy], caller: Caller, pod: End, request: Request) -> bool:
    applying = [policy for policy in policies if _applies(policy, pod)]
    if any(policy["spec"].get("action", "ALLOW") != "ALLOW" for policy in applying):
        raise ValueError("only ALLOW is judged here")
    rules = [rule for policy in applying for rule in policy["spec"].get("rules") or []]
    return not applying or any(_matches(rule, caller, request) for rule in rules)


def _applies(policy: Policy, pod: End) -> bool:
    selector = (policy.get("spec") or {}).get("selector") or {}
    return bool(policy["metadata"]["namespace"] == pod.namespace and selects(selector, pod.labels))


def _matches(rule: Mapping[str, Any], caller: Caller, request: Request) -> bool:
    if unknown := rule.keys() - {"from", "to"}:
        raise ValueError(f"not judged here: {unknown}")
    sources, operations = rule.get("from"), rule.get("to")
    return (not sources or any(_is_source(each["source"], caller) for each in sources)) and (
        not operations or any(_is_operation(each["operation"], request) for each in operations)
    )


def _is_source(source: Mapping[str, list[str]], caller: Caller) -> bool:
    facts = {"namespaces": caller.namespace, "principals": caller.principal if caller.namespace else ""}
    return all(any(_fits(pattern, facts[name]) for pattern in patterns) for name, patterns in source.items())


def _is_operation(operation: Mapping[str, list[str]], request: Request) -> bool:
    facts = {"methods": request.method, "ports": str(request.port)}
    named = all(
        any(_fits(pattern, facts[name]) for pattern in patterns)
        for name, patterns in operation.items()
        if name != "paths"
    )
    return named and any(_fits_path(pattern, request.path) for pattern in operation.get("paths", ["*"]))


def _fits(pattern: str, value: str) -> bool:
    """Exact, `prefix*`, `*suffix`, or `*` for anything but nothing."""
    if pattern == "*":
        return bool(value)
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    return value.endswith(pattern[1:]) if pattern.startswith("*") else value == pattern


def _fits_path(pattern: str, path: str) -> bool:
    """Templates too: `{*}` is one segment, `{**}` any number."""
    if "{" not in pattern:
        return _fits(pattern, path)
    expression = re.escape(pattern).replace(r"\{\*\*\}", ".+").replace(r"\{\*\}", "[^/]+")
    return re.fullmatch(expression, path) is not None
