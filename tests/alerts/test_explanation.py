"""Why an instance is as it is, in words and times."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.decide import judge
from app.alerts.explanation import Explained, explain
from app.alerts.reading import Reading, Sample, Unanswered, success_rate
from app.alerts.records import fingerprint
from app.alerts.rule import POLICIES, Rule
from app.alerts.state import State

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
RULE = Rule("deep", "queue_length", ">", 5, for_s=300, keep_firing_for_s=60)
SHARE = Rule("bad", "success_rate", "<", 0.9, for_s=300)
P = {"pool": "p"}


def state(phase: str, rule: Rule = RULE, **fields: Any) -> dict[str, State]:
    labels = rule.instance_labels(P)
    return {fingerprint(labels): State(labels, phase, "violated", NOON, **fields)}  # type: ignore[arg-type]


def one(rule: Rule, reading: Reading | None, states: dict[str, State] | None = None) -> Explained:
    (found,) = explain(rule, [] if reading is None else [reading], states or {})
    return found


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


PENDING = state("pending", active_at=NOON)
FIRING = state("firing", active_at=NOON, fired_at=after(300))
RECOVERING = state("recovering", active_at=NOON, fired_at=after(300), keep_since=after(400))
RESOLVED = state("resolved", active_at=NOON, fired_at=after(300), resolved_at=after(500))
HIGH, LOW = Sample(P, 9.0), Sample(P, 1.0)
NO_DATA, ERROR = Unanswered(P, "no_data"), Unanswered(P, "error", "away")


@pytest.mark.parametrize(
    ("rule", "reading", "states", "text"),
    [
        (RULE, HIGH, None, "queue_length is 9, which is > 5. It becomes pending at the next evaluation."),
        (replace(RULE, for_s=0), HIGH, None, "queue_length is 9, which is > 5. It fires at the next evaluation."),
        (RULE, LOW, None, "queue_length is 1, which is not > 5. So it does not fire."),
        (
            SHARE,
            success_rate(P, 2, 3),
            None,
            "success_rate is 0.6667, which is < 0.9, but it is made of 3 events and the rule wants 10. "
            "So it does not fire.",
        ),
        (
            SHARE,
            success_rate(P, 17, 20),
            None,
            "success_rate is 0.85, made of 20 events, which is < 0.9, but at a confidence of 0.95 the true value is "
            "between 0.6782 and 0.9384. So it does not fire.",
        ),
        (
            RULE,
            HIGH,
            PENDING,
            "queue_length is 9, which is > 5. Pending since 2026-11-20 12:00:00 UTC; it fires at "
            "2026-11-20 12:05:00 UTC if it stays so.",
        ),
        (
            RULE,
            LOW,
            PENDING,
            "queue_length is 1, which is not > 5. It was pending since 2026-11-20 12:00:00 UTC and is nothing at the "
            "next evaluation.",
        ),
        (RULE, HIGH, FIRING, "queue_length is 9, which is > 5. It fires since 2026-11-20 12:05:00 UTC."),
        (
            RULE,
            LOW,
            FIRING,
            "queue_length is 1, which is not > 5. It fires since 2026-11-20 12:05:00 UTC and is resolved after 60 s "
            "more if it stays so.",
        ),
        (
            RULE,
            ERROR,
            FIRING,
            "The signal cannot be read (away); the rule leaves it as it is. It fires since 2026-11-20 12:05:00 UTC.",
        ),
        (
            RULE,
            LOW,
            RECOVERING,
            "queue_length is 1, which is not > 5. It still counts as firing; it is resolved at "
            "2026-11-20 12:07:40 UTC if it stays so.",
        ),
        (
            RULE,
            HIGH,
            RECOVERING,
            "queue_length is 9, which is > 5. It was recovering and fires on at the next evaluation.",
        ),
        (RULE, LOW, RESOLVED, "queue_length is 1, which is not > 5. It was resolved at 2026-11-20 12:08:20 UTC."),
        (
            RULE,
            HIGH,
            RESOLVED,
            "queue_length is 9, which is > 5. It was resolved at 2026-11-20 12:08:20 UTC. The next evaluation begins "
            "it anew.",
        ),
        (
            RULE,
            NO_DATA,
            None,
            "There is nothing to measure; the rule counts that as none. So it does not fire.",
        ),
        (
            replace(RULE, no_data="alert"),
            NO_DATA,
            None,
            "There is nothing to measure; the rule counts that as a violation. It becomes pending at the next "
            "evaluation.",
        ),
        (
            RULE,
            None,
            FIRING,
            "The signal says nothing of it any more; the rule counts that as none. It fires since "
            "2026-11-20 12:05:00 UTC and is resolved after 60 s more if it stays so.",
        ),
    ],
)
def test_in_words(rule: Rule, reading: Reading | None, states: dict[str, State] | None, text: str) -> None:
    assert one(rule, reading, states).text == text


def test_the_worst_comes_first() -> None:
    found = explain(RULE, [Sample({"pool": "a"}, 1.0), HIGH, Sample({"pool": "b"}, 1.0)], PENDING)
    assert [(item.phase, item.labels["pool"]) for item in found] == [("pending", "p"), ("ok", "a"), ("ok", "b")]


READINGS = st.one_of(
    st.floats(0, 10).map(lambda value: Sample(P, value)), st.just(NO_DATA), st.just(ERROR), st.just(None)
)


@given(
    history=st.lists(st.tuples(READINGS, st.integers(1, 200)), min_size=1, max_size=12),
    policies=st.tuples(st.sampled_from(POLICIES), st.sampled_from(POLICIES)),
)
def test_what_it_says_will_happen_happens(history: list[tuple[Reading | None, int]], policies: tuple[Any, Any]) -> None:
    """If it says when an instance fires or is resolved, an evaluation then by the same reading does that."""
    rule = replace(RULE, no_data=policies[0], error=policies[1])
    now, states = NOON, dict[str, State]()
    last: list[Reading] = []
    for reading, seconds in history:
        now += timedelta(seconds=seconds)
        last = [reading] if reading is not None else [Sample({"pool": "other"}, 0.0)]
        states, _ = judge(rule, last, states, now)
    for item in explain(rule, last, states):
        for at, phase in ((item.fires_at, "firing"), (item.resolves_at, "resolved")):
            if at is None or (isinstance(item.reading, Unanswered) and item.finding in ("no_data", "error")):
                continue
            before, _ = judge(rule, last, states, at - timedelta.resolution) if at > now else (None, None)
            assert before is None or before[item.fingerprint].phase != phase
            then, _ = judge(rule, last, states, max(at, now))
            if item.finding != "vanished" or policies[0] != "keep":
                assert then[item.fingerprint].phase == phase
