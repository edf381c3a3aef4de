"""May pod A reach pod B on a port? NetworkPolicies judged as the Kubernetes documentation says, without I/O.

A pod that no policy selects for a direction is open in it; a selected one may do what any rule of any such policy
allows. `ipBlock` is for addresses outside the cluster, and not applied to pods, as network plugins differ in that.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class End:
    """A pod (`namespace` given), or an address outside the cluster (`ip` given)."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ip: str = ""


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A LabelSelector; the empty one selects everything."""
    equal = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return equal and all(_expression(each, labels) for each in selector.get("matchExpressions") or [])


def _expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(expression["operator"])


def reaches(policies: Iterable[Policy], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection from `source` to `port` of `target` is let out there and let in here."""
    known = list(policies)
    out = _open(known, source, target, port, protocol, "Egress")
    return out and _open(known, target, source, port, protocol, "Ingress")


def _open(policies: list[Policy], pod: End, other: End, port: int, protocol: str, direction: str) -> bool:
    if not pod.namespace:
        return True
    applying = [policy for policy in policies if _applies(policy, pod, direction)]
    rules = [rule for policy in applying for rule in policy["spec"].get(direction.lower()) or []]
    peers = "to" if direction == "Egress" else "from"
    home = pod.namespace
    return not applying or any(
        _has_port(rule, port, protocol) and _has_peer(rule.get(peers), home, other) for rule in rules
    )


def _applies(policy: Policy, pod: End, direction: str) -> bool:
    spec = policy["spec"]
    here = policy["metadata"]["namespace"] == pod.namespace and selects(spec.get("podSelector") or {}, pod.labels)
    return here and direction in spec.get("policyTypes", ["Ingress"])


def _has_port(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return not ports or any(
        each.get("protocol", "TCP") == protocol and each["port"] <= port <= each.get("endPort", each["port"])
        for each in ports
    )


def _has_peer(peers: list[Mapping[str, Any]] | None, home: str, other: End) -> bool:
    """No peers at all, as opposed to peers that do not match, mean everybody."""
    return not peers or any(_is_peer(peer, home, other) for peer in peers)


def _is_peer(peer: Mapping[str, Any], home: str, other: End) -> bool:
    if "ipBlock" in peer:
        return bool(other.ip) and _in_block(peer["ipBlock"], other.ip)
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"] or {}, {"kubernetes.io/metadata.name": other.namespace}):
            return False
    elif other.namespace != home:
        return False
    return selects(peer.get("podSelector") or {}, other.labels)


def _in_block(block: Mapping[str, Any], ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    if address not in ipaddress.ip_network(block["cidr"]):
        return False
    return not any(address in ipaddress.ip_network(each) for each in block.get("except") or [])
