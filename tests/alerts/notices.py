"""Notices for tests: plain ones, and every one that there can be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from hypothesis import strategies as st

from app.alerts.notifiers.alerts import Notice
from app.alerts.records import Alert

AT = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)
URL = "https://yard.example/alerts/groups/1"


def alert(
    name: str = "high_error_rate", *, ends: datetime | None = None, value: float | None = 0.82, **labels: str
) -> Alert:
    return Alert(
        {"alertname": name, "severity": "critical", "pool": "ops", **labels},
        AT,
        ends,
        {"summary": "Too many tasks of ops fail.", "signal": "success_rate", "threshold": "< 0.9"},
        value,
        "https://yard.example/alerts/1",
    )


def notice(*alerts: Alert, **fields: Any) -> Notice:
    values: dict[str, Any] = {
        "id": uuid4(),
        "group_key": '{}:{alertname="high_error_rate", pool="ops"}',
        "receiver": "on-call",
        "reason": "first",
        "group_labels": {"alertname": "high_error_rate", "pool": "ops"},
        "url": URL,
    }
    return Notice(alerts=alerts or (alert(),), **{**values, **fields})


def ended(**fields: Any) -> Notice:
    return notice(alert(ends=AT + timedelta(minutes=5)), reason="resolved", **fields)


ANY_TEXT = st.text(st.characters(), max_size=60) | st.text(
    st.sampled_from('a&<>`*\n\r\0\u2028😀"\\|{}\x7f\ud800 '), max_size=300
)
"""Lone surrogates and control characters too."""
LONG_TEXT = st.builds(lambda text, times: text * times, ANY_TEXT, st.sampled_from([1, 1, 1, 100, 3000]))
LABELS = st.dictionaries(
    st.sampled_from(["pool", "severity", "a.b", "a_b", "instance"]) | ANY_TEXT, ANY_TEXT, max_size=6
)
ANNOTATIONS = st.dictionaries(
    st.sampled_from(["summary", "description", "threshold", "metric"]) | ANY_TEXT, LONG_TEXT, max_size=4
)
TIMES = st.integers(0, 10**13).map(lambda micros: datetime.fromtimestamp(micros / 1e4, UTC))
URLS = (
    st.sampled_from(["", URL, "https://x/a b", "ftp://x", "https://[", "http://é/%zz", "javascript:alert(1)"])
    | ANY_TEXT
)
ALERTS = st.builds(Alert, LABELS, TIMES, st.none() | TIMES, ANNOTATIONS, st.none() | st.floats(), URLS)
MANY = st.lists(ALERTS, min_size=1, max_size=5).flatmap(
    lambda few: st.sampled_from([1, 1, 20, 150]).map(lambda times: tuple(few * times))
)
NOTICES = st.builds(
    Notice,
    st.uuids(version=4).map(lambda found: UUID(str(found))),
    LONG_TEXT,
    ANY_TEXT,
    st.sampled_from(["first", "new_alerts", "resolved", "repeat", "acknowledged"]),
    MANY,
    LABELS,
    URLS,
    ANY_TEXT,
    ANY_TEXT,
)
