"""The alert rules that are there by default, as rules of Prometheus: `python -m scripts.prometheus_rules` writes
`deploy/prometheus/rules.yaml` anew. tests/deploy/test_default_rules.py fails where it is not up to date."""

from __future__ import annotations

from pathlib import Path

from app.alerts.prometheus_rules import left_out, rule_group
from app.alerts.rule import DEFAULT_RULES

FILE = Path(__file__).resolve().parents[1] / "deploy" / "prometheus" / "rules.yaml"

_HEAD = """\
# Yardmaster's own default alert rules for those who run Prometheus: the same signals, times, minimum of events and
# confidence. Written by `python -m scripts.prometheus_rules` from app/alerts/rule.py; a change by hand is lost.
# Without an Alertmanager they only show up in Prometheus. Managers evaluate them too, and tell people: send these to
# the same people only if Yardmaster has no receivers.
"""


def text() -> str:
    """What the file should hold."""
    missing = ", ".join(left_out(DEFAULT_RULES))
    return f"{_HEAD}# No metric shows what these are about: {missing}.\n{rule_group(DEFAULT_RULES)}"


if __name__ == "__main__":
    FILE.write_text(text())
