"""The values that the chart is rendered with, and what each of them leaves to the user."""

from __future__ import annotations

from tests.deploy.release import Object, merged, values_file

URLS: Object = {
    "auth": {"pepper": "p" * 40},
    "slack": {"token": "xoxb-1", "signingSecret": "s"},
    "postgres": {"mode": "external", "url": "postgresql://u:p@db.example.com:5432/yard"},
    "redis": {"mode": "external", "url": "rediss://:p@cache.example.com:6379/0"},
}
"""Databases elsewhere, with what is secret in the values."""

EVERYTHING: Object = {
    "fullnameOverride": "yards",
    "image": {"repository": "registry.example.com:5000/ops/yardmaster", "pullSecrets": ["pull"]},
    "manager": {
        "antiAffinity": "required",
        "podAnnotations": {"team": "ops"},
        "podLabels": {"team": "ops"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "priorityClassName": "high",
        "extraEnv": [{"name": "PGSSLROOTCERT", "value": "/certificates/ca.crt"}],
        "extraVolumes": [{"name": "certificates", "secret": {"secretName": "certificates"}}],
        "extraVolumeMounts": [{"name": "certificates", "mountPath": "/certificates", "readOnly": True}],
    },
    "settings": {
        "YARD_HTTP_MAX_BODY_BYTES": 2_097_152,
        "YARD_WEBHOOKS_ALLOWED_NETWORKS": ["10.0.0.0/8", "fd00::/8"],
        "YARD_SLACK_CHANNEL": "C024BE91L",
        "YARD_REDIS_TIMEOUT_S": 0.25,
    },
    "autoscaling": {"queue": {"enabled": True, "kind": "Pods"}},
    "service": {"annotations": {"team": "ops"}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "hosts": ["yard.example.com", "*.yard.example.com"],
        "tls": [{"secretName": "certificate", "hosts": ["yard.example.com"]}],
    },
    "slack": {"token": "xoxb-1", "signingSecret": "s"},
    "agents": {
        "namespace": "agents",
        "maxReplicas": 1_000,
        "existingSecret": "key-of-agents",
        "allowedSecrets": ["openai", "search"],
        "ports": [8080, 9000],
    },
    "telemetry": {"otlpEndpoint": "http://otel.observability:4318"},
    "metrics": {
        "public": False,
        "tokenSecret": {"name": "scraper"},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Yardmaster"}},
    },
    "networkPolicy": {"wholeNamespace": True},
    "istio": {
        "enabled": True,
        "wholeNamespace": True,
        "clients": {"principals": ["cluster.local/ns/shop/sa/checkout"]},
        "agents": {"principals": ["cluster.local/ns/agents/sa/agent"]},
    },
}

NOTHING: Object = merged(
    URLS,
    {
        "slack": {"token": "", "signingSecret": ""},
        "manager": {"antiAffinity": "off", "runAsUser": None},
        "autoscaling": {"enabled": False},
        "disruptionBudget": {"enabled": False},
        "serviceAccount": {"create": False},
        "migrations": {"enabled": False},
        "agents": {"kubernetes": False},
        "networkPolicy": {"enabled": False},
    },
)

CASES: dict[str, Object] = {
    "default": {},
    "staging": values_file("values-staging.yaml"),
    "production": values_file("values-production.yaml"),
    "urls": URLS,
    "everything": EVERYTHING,
    "nothing": NOTHING,
}

USERS_SECRETS: dict[str, dict[str, set[str]]] = {
    "default": {},
    "staging": {"yardmaster": {"YARD_DATABASE_URL", "YARD_REDIS_URL", "YARD_AUTH_PEPPER"}},
    "production": {
        "yardmaster": {"YARD_DATABASE_URL", "YARD_REDIS_URL", "YARD_AUTH_PEPPER"},
        "yardmaster-slack": {"YARD_SLACK_TOKEN", "YARD_SLACK_SIGNING_SECRET"},
    },
    "urls": {},
    "everything": {"pull": set(), "certificates": set(), "scraper": {"token"}},
    "nothing": {},
}
"""Case → Secret that the user brings → the keys it has."""
