"""The settings that the chart's `settings` may hold; `python -m tests.deploy.setting_names` writes them to its schema.

A setting that is not known is silently ignored by a manager, so the schema must refuse a misspelt one.
"""

from __future__ import annotations

import json
from pathlib import Path

from scripts.config_table import rows

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "yardmaster"
SCHEMA = CHART / "values.schema.json"

SECRET = {
    "YARD_DATABASE_URL",
    "YARD_REDIS_URL",
    "YARD_AUTH_PEPPER",
    "YARD_SLACK_TOKEN",
    "YARD_SLACK_SIGNING_SECRET",
    "YARD_ALERTS_SMTP_PASSWORD",
}
"""They come from a Secret."""

DECIDED = {
    "YARD_DATA_DIR",
    "YARD_DISPATCH_GRACE_S",
    "YARD_SCALING_MANAGER_URL",
    "YARD_SCALING_ALLOW_PROCESS",
    "YARD_HTTP_PUBLIC_METRICS",
    "YARD_TELEMETRY_LOG_LEVEL",
    "YARD_TELEMETRY_LOG_FORMAT",
    "YARD_TELEMETRY_OTLP_ENDPOINT",
    "YARD_KUBERNETES_MODE",
    "YARD_KUBERNETES_KUBECONFIG",
    "YARD_KUBERNETES_CONTEXT",
    "YARD_KUBERNETES_NAMESPACE",
    "YARD_KUBERNETES_INSTANCE",
    "YARD_KUBERNETES_MAX_REPLICAS",
    "YARD_KUBERNETES_AGENT_SECRET",
    "YARD_KUBERNETES_ALLOWED_SECRETS",
}
"""The chart decides them, or has values of their own for them."""


def known() -> set[str]:
    """Every setting there is."""
    return {name for name, _, _ in rows()}


def free() -> list[str]:
    """Those that `settings` may hold."""
    return sorted(known() - SECRET - DECIDED)


def write() -> None:
    schema = json.loads(SCHEMA.read_text())
    schema["properties"]["settings"]["properties"] = {name: {"$ref": "#/definitions/setting"} for name in free()}
    SCHEMA.write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    write()
