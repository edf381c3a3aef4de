"""What is said of a group of alerts, in words that every medium shares. Pure; every text is safe to encode.

The facts of the brief are looked for under these names, in the labels first and then in the annotations: the agent type
as `pool` or `agent_type`, the metric as `signal` or `metric`, and `threshold`. The sentence is the annotation `summary`
or `description`.
"""

from __future__ import annotations

import re
from datetime import datetime
from math import isnan

from app.alerts.notifiers.alerts import Notice
from app.alerts.notifiers.base import Value
from app.alerts.records import Alert, Labels

ELLIPSIS = "…"
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_SPACES = re.compile(r"[\s\x85\u2028\u2029]+")
_SHOWN = ("alertname", "severity")


def printable(text: str) -> str:
    """`text` without control characters and lone surrogates; lines and tabs stay."""
    return _UNPRINTABLE.sub("\ufffd", text)


def one_line(text: str) -> str:
    return _SPACES.sub(" ", printable(text)).strip()


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis where some are missing."""
    return text if len(text) <= limit else text[: limit - 1] + ELLIPSIS


def title(notice: Notice) -> str:
    """`[FIRING:2] high_error_rate pool=ops`."""
    firing = len(notice.firing)
    state = f"FIRING:{firing}" if firing else "RESOLVED"
    common = notice.common_labels
    name = common.get("alertname") or ("1 alert" if len(notice.alerts) == 1 else f"{len(notice.alerts)} alerts")
    grouped = pairs({key: value for key, value in notice.group_labels.items() if key not in _SHOWN})
    return one_line(f"[{state}] {name} {grouped}")


def sentence(notice: Notice) -> str:
    """The annotation that says what is wrong, where all alerts say the same; empty else."""
    found = notice.common_annotations
    return printable(found.get("summary") or found.get("description") or "").strip()


def facts(notice: Notice) -> tuple[tuple[str, Value], ...]:
    """Names and values, in the order they are shown; what the alerts do not say alike is left out."""
    shown = notice.firing or notice.alerts
    values = sorted({alert.value for alert in shown if alert.value is not None and not isnan(alert.value)})
    found: list[tuple[str, Value]] = [
        ("Agent Type", _said(notice, "pool", "agent_type")),
        ("Metric", _said(notice, "signal", "metric")),
        ("Current value", " to ".join(number(value) for value in dict.fromkeys((*values[:1], *values[-1:])))),
        ("Threshold", _said(notice, "threshold")),
        ("Started", min(alert.starts_at for alert in shown) if shown else ""),
        ("Severity", notice.severity),
        ("Acknowledged by", one_line(notice.acknowledged_by)),
    ]
    return tuple((name, value) for name, value in found if value != "")


def line(alert: Alert) -> str:
    """One alert in one line."""
    state = "firing" if alert.firing else "resolved"
    value = "" if alert.value is None else f" value {number(alert.value)}"
    said = alert.annotations.get("summary") or alert.annotations.get("description") or ""
    rest = pairs({name: held for name, held in alert.labels.items() if name not in _SHOWN})
    words = f"{state}: {alert.name or 'alert'}{f' {{{rest}}}' if rest else ''}{value}"
    return one_line(f"{words}: {said}" if said else words)


def ordered(notice: Notice) -> tuple[Alert, ...]:
    """What fires first."""
    return (*notice.firing, *notice.resolved)


def ended_at(notice: Notice) -> datetime | None:
    """When the last alert of a group that fires no more was resolved."""
    ends = [alert.ends_at for alert in notice.alerts if alert.ends_at is not None]
    return max(ends, default=None) if not notice.firing else None


def pairs(labels: Labels) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(labels.items()))


def number(value: float) -> str:
    """Whole numbers in full, with commas; others with six significant digits."""
    whole = abs(value) < 1e15 and value == int(value)
    return f"{int(value):,}" if whole else f"{value:.6g}"


def _said(notice: Notice, *names: str) -> str:
    for found in (notice.common_labels, notice.common_annotations):
        for name in names:
            if found.get(name):
                return one_line(found[name])
    return ""
