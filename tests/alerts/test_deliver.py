"""Deduplication: what a receiver was told last, and whether it is told again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.deliver import KEPT_AT_LEAST, KEPT_AT_MOST, LogEntry, needs_update, told, unexpired

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
REPEAT = timedelta(hours=4)
prints = st.frozensets(st.sampled_from("abcd"))


def entry(firing: str, resolved: str = "", ago: timedelta = timedelta(minutes=5)) -> LogEntry:
    kept = told("g", "r", set(firing), set(resolved), repeat_interval=REPEAT, now=NOW - ago)
    assert kept.sent_at == NOW - ago
    return kept


def judge(log: LogEntry | None, firing: str, resolved: str = "", send_resolved: bool = True) -> str | None:
    return needs_update(log, set(firing), set(resolved), send_resolved=send_resolved, repeat_interval=REPEAT, now=NOW)


@pytest.mark.parametrize(
    ("log", "firing", "resolved", "why", "why_without_resolved"),
    [
        (None, "a", "", "first", "first"),
        (None, "a", "b", "first", "first"),
        (None, "", "b", None, None),
        (None, "", "", None, None),
        (entry("a"), "a", "", None, None),
        (entry("ab"), "a", "", None, None),
        (entry("a"), "ab", "", "new_alerts", "new_alerts"),
        (entry("a"), "b", "a", "new_alerts", "new_alerts"),
        (entry("", "a"), "a", "", "new_alerts", "new_alerts"),
        (entry("a"), "", "a", "resolved", "resolved"),
        (entry("ab"), "", "a", "resolved", "resolved"),
        (entry("ab"), "a", "b", "resolved", None),
        (entry("ab", "c"), "a", "c", None, None),
        (entry("a"), "a", "b", "resolved", None),
        (entry("", "a"), "", "b", None, None),
        (entry("", "a"), "", "a", None, None),
        (entry("", "a", REPEAT), "", "a", None, None),
        (entry("a", "", REPEAT), "a", "", "repeat", "repeat"),
        (entry("a", "", REPEAT - timedelta(seconds=1)), "a", "", None, None),
        (entry("ab", "", REPEAT), "a", "b", "resolved", "repeat"),
        (entry("a", "", REPEAT), "ab", "", "new_alerts", "new_alerts"),
        (entry("a", "", -timedelta(minutes=1)), "a", "", None, None),
        (entry("a", "", -timedelta(days=1)), "a", "", "repeat", "repeat"),
    ],
)
def test_table(
    log: LogEntry | None, firing: str, resolved: str, why: str | None, why_without_resolved: str | None
) -> None:
    assert judge(log, firing, resolved) == why
    assert judge(log, firing, resolved, send_resolved=False) == why_without_resolved


@given(st.none() | st.tuples(prints, prints), prints, prints, st.booleans())
def test_once_told_is_told(
    before: tuple[frozenset[str], frozenset[str]] | None,
    firing: frozenset[str],
    resolved: frozenset[str],
    send_resolved: bool,
) -> None:
    """Whatever was known, the entry that a notification leaves makes the same state old news until it repeats."""
    resolved -= firing
    log = None if before is None else LogEntry("g", "r", *before, NOW, NOW + REPEAT)

    def why(log: LogEntry | None, now: datetime) -> str | None:
        return needs_update(log, firing, resolved, send_resolved=send_resolved, repeat_interval=REPEAT, now=now)

    if why(log, NOW) is None:
        # What it is not told of: nothing fires that it has not heard of.
        assert firing <= (log.firing if log else frozenset())
        return
    after = told("g", "r", firing, resolved, repeat_interval=REPEAT, now=NOW)
    assert (after.firing, after.resolved, after.sent_at) == (firing, resolved, NOW)
    for passed in (timedelta(0), REPEAT - timedelta(microseconds=1)):
        assert why(after, NOW + passed) is None
    assert why(after, NOW + REPEAT) == ("repeat" if firing else None)


@pytest.mark.parametrize(
    ("repeat", "kept"),
    [
        (timedelta(hours=4), timedelta(hours=8)),
        (timedelta(minutes=1), KEPT_AT_LEAST),
        (timedelta(days=30), KEPT_AT_MOST),
    ],
)
def test_an_entry_expires(repeat: timedelta, kept: timedelta) -> None:
    made = told("g", "r", {"a"}, set(), repeat_interval=repeat, now=NOW)
    assert made.expires_at == NOW + kept
    assert unexpired(made, NOW + kept - timedelta(microseconds=1)) == made
    assert unexpired(made, NOW + kept) is None
    assert unexpired(None, NOW) is None
    assert unexpired(replace(made, expires_at=NOW), NOW) is None
