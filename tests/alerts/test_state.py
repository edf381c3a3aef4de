"""The states of a rule's instances: a table of ways through them, and what holds for every way."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.decide import judge
from app.alerts.reading import Missing, Reading, Sample, Unanswered
from app.alerts.records import fingerprint
from app.alerts.rule import POLICIES, Policy, Rule
from app.alerts.state import RESOLVED_RETENTION, State, from_json, to_json
from tests.alerts.traces import BAD, GOOD, POOL, START, Drive, at, reads

RULE = Rule("deep_queue", "queue_length", ">", 5, for_s=120, keep_firing_for_s=120)
OTHER = {"pool": "q"}


def rule(**parts: object) -> Rule:
    return replace(RULE, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("for_s", "keep_s", "values", "phases"),
    [
        (120, 0, "xxx", "pending pending firing"),
        (0, 0, "x.", "firing resolved"),
        (60, 0, "x.x.", "pending ok pending ok"),
        (61, 0, "xxx", "pending pending firing"),
        (0, 120, "x...", "firing recovering recovering resolved"),
        (0, 61, "x...", "firing recovering recovering resolved"),
        (0, 60, "x.x..", "firing recovering firing recovering resolved"),
        (0, 1, "x..", "firing recovering resolved"),
        (60, 120, "x..xx....", "pending ok ok pending firing recovering recovering resolved resolved"),
        (60, 0, "xx.xx", "pending firing resolved pending firing"),
        (60, 0, "...", "ok ok ok"),
    ],
)
def test_table(for_s: float, keep_s: float, values: str, phases: str) -> None:
    drive = Drive(rule(for_s=for_s, keep_firing_for_s=keep_s))
    found = []
    for minute, value in enumerate(values):
        found += drive.phases([minute], reads(BAD if value == "x" else GOOD))
    assert found == phases.split()


def test_what_changes_is_said_once_and_with_its_reason() -> None:
    drive = Drive(RULE)
    assert drive.moves(at(0), reads(BAD)) == [("ok", "pending", "violated")]
    assert drive.moves(at(1), reads(BAD)) == []
    assert drive.moves(at(2), reads(BAD)) == [("pending", "firing", "violated")]
    assert drive.moves(at(3), reads(GOOD)) == [("firing", "recovering", "cleared")]
    assert drive.moves(at(4), reads(BAD)) == [("recovering", "firing", "violated")]
    assert drive.moves(at(5), reads(GOOD)) == [("firing", "recovering", "cleared")]
    assert drive.moves(at(7)) == [("recovering", "resolved", "vanished")]
    assert drive.moves(at(8), reads(GOOD)) == []
    (transition,) = drive.run(at(9), reads(BAD))
    assert (transition.before, transition.after) == ("resolved", "pending")
    assert transition.labels == {"alertname": "deep_queue", "severity": "warning", "pool": "p"}


def test_a_rule_without_a_time_fires_at_once() -> None:
    assert Drive(rule(for_s=0)).moves(at(0), reads(BAD)) == [("ok", "firing", "violated")]


def test_the_times_of_an_instance() -> None:
    drive = Drive(rule(annotations={"summary": "{{ $labels.pool }}: {{ $value }}"}))
    for minute, value in enumerate([7, 8, 9, 1, 1]):
        drive.run(at(minute), reads(value))
    state = drive.only
    assert (state.phase, state.active_at, state.fired_at, state.keep_since) == ("recovering", at(0), at(2), at(3))
    assert (state.value, state.annotations) == (9, {"summary": "p: 9"})  # of the last that was violated
    alert = state.alert("https://yard/alerts/1")
    assert alert is not None
    assert (alert.starts_at, alert.ends_at, alert.url) == (at(2), None, "https://yard/alerts/1")
    drive.run(at(5), reads(1))
    ended = drive.only.alert()
    assert ended is not None
    assert (ended.starts_at, ended.ends_at, ended.fingerprint) == (at(2), at(5), drive.only.fingerprint)
    assert not drive.only.outlived(at(5) + RESOLVED_RETENTION)
    assert drive.only.outlived(at(5) + RESOLVED_RETENTION + timedelta(seconds=1))


def test_what_is_pending_is_told_to_nobody() -> None:
    drive = Drive(RULE)
    drive.run(at(0), reads(BAD))
    assert drive.only.alert() is None


def test_series_have_states_of_their_own() -> None:
    drive = Drive(rule(for_s=60))
    drive.run(at(0), reads(BAD), reads(GOOD, OTHER))
    assert drive.moves(at(1), reads(BAD), reads(BAD, OTHER)) == [
        ("pending", "firing", "violated"),
        ("ok", "pending", "violated"),
    ]
    assert {state.labels["pool"]: state.phase for state in drive.states.values()} == {"p": "firing", "q": "pending"}
    assert all(fingerprint(state.labels) == key for key, state in drive.states.items())


def test_labels_of_the_rule_win_and_empty_ones_are_none() -> None:
    drive = Drive(rule(labels={"team": "core", "pool": "", "zone": "a"}))
    drive.run(at(0), Sample({"pool": "p", "zone": "b", "agent": ""}, BAD))
    assert drive.only.labels == {"alertname": "deep_queue", "severity": "warning", "team": "core", "zone": "a"}


@pytest.mark.parametrize("why", ["no_data", "error", "vanished"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("whole", [False, True])
def test_each_policy_with_each_answer(policy: Policy, why: Missing, whole: bool) -> None:
    """Of an instance that fires, and of one that is pending."""
    others: Policy = "ok" if policy != "ok" else "alert"
    by = rule(no_data=others, error=policy) if why == "error" else rule(no_data=policy, error=others)
    drive = Drive(by)
    for minute in (0, 1, 2):
        drive.run(at(minute), reads(BAD))
    drive.run(at(2), reads(BAD), reads(BAD, OTHER))
    labels = [{}] if whole else [POOL, OTHER]
    drive.run(at(4), *[Unanswered(item, why, "gone fishing") for item in labels])
    phases = {state.labels.get("pool", "rule"): state.phase for state in drive.states.values() if state.active}
    if policy == "ok":
        assert phases == {"p": "recovering"}
    elif policy == "keep":
        assert phases == {"p": "firing", "q": "pending"}
    elif whole:  # one alert about it, not one for each series
        assert phases == {"p": "firing", "q": "pending", "rule": "pending"}
    else:
        assert phases == {"p": "firing", "q": "firing"}


@pytest.mark.parametrize(("policy", "phase"), [("ok", "recovering"), ("keep", "firing"), ("alert", "firing")])
def test_a_series_that_nobody_mentions_has_vanished(policy: Policy, phase: str) -> None:
    drive = Drive(rule(no_data=policy, error="alert"))
    for minute in (0, 1, 2):
        drive.run(at(minute), reads(BAD), reads(GOOD, OTHER))
    drive.run(at(3), reads(GOOD, OTHER))
    state = next(state for state in drive.states.values() if state.labels["pool"] == "p")
    assert state.phase == phase
    assert state.reason == ("violated" if policy == "keep" else "vanished")


def test_a_well_series_that_vanishes_alerts_only_where_the_rule_says_so() -> None:
    for policy in POLICIES:
        drive = Drive(rule(no_data=policy))
        assert drive.run(at(0), reads(GOOD)) == []
        drive.run(at(1))
        assert [state.phase for state in drive.states.values()] == (["pending"] if policy == "alert" else [])
    drive = Drive(rule(no_data="alert"))
    drive.run(at(0), reads(GOOD), reads(GOOD, OTHER))
    assert drive.moves(at(1), reads(GOOD)) == [("ok", "pending", "vanished")]
    assert drive.moves(at(3), reads(GOOD)) == [("pending", "firing", "vanished")]
    assert drive.moves(at(4), reads(GOOD), reads(GOOD, OTHER)) == [("firing", "recovering", "cleared")]


def test_a_signal_that_never_had_a_series_has_no_data() -> None:
    assert Drive(rule(no_data="keep")).run(at(0)) == []
    drive = Drive(rule(no_data="alert"))
    assert drive.moves(at(0)) == [("ok", "pending", "no_data")]
    assert drive.moves(at(2)) == [("pending", "firing", "no_data")]
    assert drive.moves(at(3), reads(GOOD)) == [("firing", "recovering", "answered")]
    assert drive.moves(at(5), reads(GOOD)) == [("recovering", "resolved", "answered")]


def test_an_error_is_told_with_its_text_and_ends_when_it_is_read_again() -> None:
    drive = Drive(rule(error="alert", for_s=0, keep_firing_for_s=0, annotations={"summary": "{{ $value }}"}))
    (transition,) = drive.run(at(0), Unanswered({}, "error", "connection refused"))
    assert (transition.after, transition.reason, transition.detail) == ("firing", "error", "connection refused")
    assert drive.only.annotations == {"summary": "no value"}
    assert drive.moves(at(1), reads(GOOD)) == [("firing", "resolved", "answered")]


def test_a_series_that_began_without_data_can_vanish_once_it_had_some() -> None:
    for keep_s in (0, 60):
        drive = Drive(rule(no_data="alert", for_s=0, keep_firing_for_s=keep_s))
        assert drive.moves(at(0), Unanswered(POOL, "no_data")) == [("ok", "firing", "no_data")]
        drive.run(at(1), reads(GOOD))
        assert drive.run(at(2), reads(GOOD, OTHER)) != []
        assert {state.labels["pool"]: state.reason for state in drive.states.values()} == {
            "p": "vanished",
            "q": "cleared",
        }


def test_the_nearest_answer_speaks_for_a_series() -> None:
    """What is said of its pool, rather than of the whole signal."""
    drive = Drive(rule(for_s=0, keep_firing_for_s=0, error="keep", no_data="ok"))
    agents = [{"pool": "p", "agent": "a"}, {"pool": "q", "agent": "b"}]
    drive.run(at(0), *[reads(BAD, labels) for labels in agents])
    drive.run(at(1), Unanswered({}, "error"), Unanswered({"pool": "q"}, "no_data"))
    assert {state.labels["pool"]: state.phase for state in drive.states.values()} == {"p": "firing", "q": "resolved"}


def test_an_evaluation_that_failed_stops_no_timer() -> None:
    """As in Prometheus: the next that works counts from the same times."""
    drive = Drive(RULE)
    drive.run(at(0), reads(BAD))
    assert drive.phases([1, 2, 3], Unanswered({}, "error")) == ["pending"] * 3
    assert drive.phases([4], reads(BAD)) == ["firing"]
    assert drive.phases([5], reads(GOOD)) == ["recovering"]
    assert drive.phases([6, 9], Unanswered({}, "error")) == ["recovering"] * 2
    assert drive.phases([10], reads(GOOD)) == ["resolved"]


def test_series_that_cannot_be_told_apart_are_an_error() -> None:
    one, two = reads(BAD), reads(GOOD, OTHER)
    drive = Drive(rule(labels={"pool": "all"}, error="alert", for_s=0))
    (transition,) = drive.run(at(0), one, two)
    assert (transition.reason, transition.detail) == (
        "error",
        "two series have the same labels once the rule's are on them",
    )
    kept = Drive(rule(labels={"pool": "all"}))
    kept.run(at(0), one)
    assert kept.run(at(5), one, two) == []
    assert kept.only.phase == "pending"


def test_instances_of_a_rule_that_was_relabelled_end_at_once() -> None:
    drive = Drive(rule(for_s=0, no_data="keep", keep_firing_for_s=600))
    drive.run(at(0), reads(BAD))
    drive.rule = rule(for_s=60, no_data="keep", severity="critical")
    assert drive.moves(at(1), reads(BAD)) == [("ok", "pending", "violated"), ("firing", "resolved", "rule_changed")]
    drive.rule = rule(for_s=60, labels={"team": "core"})
    assert ("pending", "ok", "rule_changed") in drive.moves(at(1), reads(BAD))


def test_a_rule_whose_threshold_was_changed_goes_on() -> None:
    drive = Drive(RULE)
    drive.run(at(0), reads(BAD))
    drive.rule = rule(threshold=7)
    assert drive.phases([2], reads(BAD)) == ["firing"]


def test_too_few_events_clear() -> None:
    drive = Drive(Rule("low", "success_rate", "<", 0.9, min_events=10, confidence=None))
    assert drive.moves(at(0), Sample(POOL, 0.5, total=20, good=10)) == [("ok", "firing", "violated")]
    assert drive.moves(at(1), Sample(POOL, 0.0, total=9, good=0)) == [("firing", "resolved", "too_few_events")]


def test_a_clock_that_was_set_back_stands_still() -> None:
    drive = Drive(RULE)
    drive.run(at(0), reads(BAD))
    drive.run(at(1), reads(BAD))
    assert drive.phases([-60, -30, 0, 1, 1.9], reads(BAD)) == ["pending"] * 5
    assert drive.only.active_at == at(0)
    assert drive.phases([2], reads(BAD)) == ["firing"]
    assert drive.phases([-9, -2, 1], reads(GOOD)) == ["recovering"] * 3
    assert drive.only.keep_since == at(2)
    assert drive.phases([3.9, 4], reads(GOOD)) == ["recovering", "resolved"]
    assert drive.phases([-9], reads(BAD)) == ["pending"]
    assert drive.only.active_at == at(4)  # not before it was resolved


labels = st.fixed_dictionaries({}, optional={"pool": st.sampled_from("pq"), "agent": st.sampled_from("ab")})
numbers = st.sampled_from([BAD, GOOD, 5.0, float("nan"), float("inf"), float("-inf")])
answers = st.one_of(
    st.builds(Sample, labels, numbers),
    st.builds(
        lambda found, good: Sample(found, 10.0 - good, total=10, good=good, worst=10.0, best=0.0),
        labels,
        st.integers(0, 10),
    ),
    st.builds(Unanswered, labels, st.sampled_from(["no_data", "error", "vanished"]), st.just("why")),
)
steps = st.tuples(st.integers(-300, 600), st.lists(answers, max_size=5))
policies = st.sampled_from(POLICIES)
rules = st.builds(
    rule,
    for_s=st.sampled_from([0, 1, 60, 300]),
    keep_firing_for_s=st.sampled_from([0, 1, 60, 300]),
    no_data=policies,
    error=policies,
    confidence=st.sampled_from([None, 0.95]),
    annotations=st.just({"summary": "{{ $labels.pool }} {{ $value | humanize }}"}),
)


@given(rules, st.lists(steps, max_size=15))
def test_an_evaluation_that_is_done_twice_changes_nothing(by: Rule, walk: list[tuple[int, list[Reading]]]) -> None:
    states: dict[str, State] = {}
    now = START
    for seconds, readings in walk:
        now += timedelta(seconds=seconds)
        states, _ = judge(by, readings, states, now)
        again, transitions = judge(by, readings, states, now)
        assert transitions == []
        assert stored(again) == stored(states)


@given(rules, st.lists(steps, max_size=15))
def test_states_that_were_stored_go_on_as_if_they_had_not_been(by: Rule, walk: list[tuple[int, list[Reading]]]) -> None:
    kept: dict[str, State] = {}
    restored: dict[str, State] = {}
    now = START
    for seconds, readings in walk:
        now += timedelta(seconds=seconds)
        kept, moves = judge(by, readings, kept, now)
        restored, same = judge(by, readings, restored, now)
        assert moves == same
        text = stored(restored)
        assert text == stored(kept)
        restored = {key: from_json(found) for key, found in json.loads(text).items()}


def stored(states: dict[str, State]) -> str:
    """As text, which also compares what is not a number."""
    return json.dumps({key: to_json(state) for key, state in states.items()}, allow_nan=False)


@given(rules, st.lists(steps, max_size=25))
def test_what_holds_on_every_way(by: Rule, walk: list[tuple[int, list[Reading]]]) -> None:
    """Also on clocks that are set back: times are in order, nothing fires or ends early, and only along the arrows."""
    arrows = {
        ("ok", "pending"),
        ("ok", "firing"),
        ("pending", "ok"),
        ("pending", "firing"),
        ("firing", "recovering"),
        ("firing", "resolved"),
        ("recovering", "firing"),
        ("recovering", "resolved"),
        ("resolved", "pending"),
        ("resolved", "firing"),
    }
    states: dict[str, State] = {}
    latest = now = START
    for seconds, readings in walk:
        now += timedelta(seconds=seconds)
        latest = max(latest, now)
        before = states
        states, transitions = judge(by, readings, before, now)
        assert {(item.before, item.after) for item in transitions} <= arrows
        for item in transitions:
            key = fingerprint(item.labels)
            assert (before[key].phase if key in before else "ok") == item.before
            assert (states[key].phase if key in states else "ok") == item.after
        for key, state in states.items():
            in_order(state, latest)
            timely(by, state)
            assert key not in before or state.judged_at >= before[key].judged_at
            assert by.no_data == "alert" or state.phase != "ok"


def in_order(state: State, latest: datetime) -> None:
    times = [state.active_at, state.fired_at, state.keep_since, state.resolved_at]
    known = [time for time in times if time is not None]
    assert known == sorted(known)
    assert all(time <= state.judged_at <= latest for time in known)


def timely(by: Rule, state: State) -> None:
    if state.fired_at is not None and state.active_at is not None:
        assert state.fired_at - state.active_at >= timedelta(seconds=by.for_s)
    if state.phase == "resolved" and by.keep_firing_for_s:
        assert state.resolved_at is not None
        assert state.keep_since is not None
        assert state.resolved_at - state.keep_since >= timedelta(seconds=by.keep_firing_for_s)
    assert (state.resolved_at is not None) == (state.phase == "resolved")
    assert (state.phase == "recovering") <= (state.keep_since is not None)
    assert (state.phase in ("firing", "pending", "ok")) <= (state.keep_since is None)
