"""Schemas of the kinds that Kubernetes itself does not know, as far as the chart uses them. Unknown fields are refused.

From the references of Istio (security.istio.io/v1, networking.istio.io/v1) and of the Prometheus operator
(monitoring.coreos.com/v1).
"""

from __future__ import annotations

from typing import Any

import jsonschema_rs

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
TEXTS: Schema = {"type": "array", "items": TEXT, "minItems": 1}
TEXT_MAP: Schema = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}
DURATION: Schema = {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


_SELECTOR = _object(("matchLabels",), matchLabels=TEXT_MAP)
_KEY = _object(("name", "key"), name=TEXT, key=TEXT)
_SOURCE = _object(namespaces=TEXTS, principals=TEXTS)
_OPERATION = _object(ports=TEXTS, methods=TEXTS, paths=TEXTS)
_RULE = _object(
    ("from", "to"),
    **{"from": _list(_object(("source",), source=_SOURCE)), "to": _list(_object(("operation",), operation=_OPERATION))},
)
_ENDPOINT = _object(
    ("port", "path"),
    port=TEXT,
    path={"type": "string", "pattern": "^/"},
    interval=DURATION,
    honorLabels={"type": "boolean"},
    scheme={"enum": ["http", "https"]},
    authorization=_object(("credentials",), type={"const": "Bearer"}, credentials=_KEY),
    tlsConfig=_object(caFile=TEXT, certFile=TEXT, keyFile=TEXT, insecureSkipVerify={"type": "boolean"}),
)
_PROMETHEUS_RULE = {
    "oneOf": [
        _object(("record", "expr"), record=TEXT, expr=TEXT, labels=TEXT_MAP),
        _object(("alert", "expr"), alert=TEXT, expr=TEXT, labels=TEXT_MAP, annotations=TEXT_MAP, **{"for": DURATION}),
    ]
}
_GROUP = _object(("name", "rules"), name=TEXT, interval=DURATION, rules=_list(_PROMETHEUS_RULE))

SPECS: dict[tuple[str, str], Schema] = {
    ("security.istio.io/v1", "PeerAuthentication"): _object(
        ("mtls",), selector=_SELECTOR, mtls=_object(("mode",), mode={"enum": ["STRICT", "PERMISSIVE", "DISABLE"]})
    ),
    ("security.istio.io/v1", "AuthorizationPolicy"): _object(
        selector=_SELECTOR, action={"enum": ["ALLOW", "DENY"]}, rules=_list(_RULE)
    ),
    ("networking.istio.io/v1", "DestinationRule"): _object(
        ("host", "trafficPolicy"),
        host=TEXT,
        trafficPolicy=_object(("tls",), tls=_object(("mode",), mode={"enum": ["ISTIO_MUTUAL"]})),
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _object(
        ("selector", "endpoints"),
        jobLabel=TEXT,
        selector=_SELECTOR,
        namespaceSelector=_object(("matchNames",), matchNames=TEXTS),
        endpoints=_list(_ENDPOINT),
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _object(("groups",), groups=_list(_GROUP)),
}


def validate(obj: dict[str, Any]) -> None:
    """Raises jsonschema_rs.ValidationError, or KeyError for a kind that is not known here."""
    jsonschema_rs.validate(SPECS[obj["apiVersion"], obj["kind"]], obj["spec"])
