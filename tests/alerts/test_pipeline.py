"""One flush: every alert's fate has a reason, and what was sent is what the reasons say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.deliver import HOLD_REASONS, SEND_REASONS, LogEntry, Receiver, told
from app.alerts.grouping import Group, Timing, flushed, opened
from app.alerts.inhibition import Inhibitions, InhibitRule
from app.alerts.intervals import parse_interval
from app.alerts.matching import parse_matchers
from app.alerts.mute_times import MuteTimes
from app.alerts.pipeline import Decision, Verdict, flush
from app.alerts.records import Alert, fingerprint
from app.alerts.silences import Silence

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR, TIMING = timedelta(hours=1), Timing()
GROUP = replace(opened("r", {"pool": "a"}, TIMING, NOW, NOW - TIMING.group_wait), next_flush_at=NOW)
SILENCE = Silence(UUID(int=7), parse_matchers("n=~[cd]"), NOW - HOUR, NOW + HOUR)
RULE = InhibitRule("one", parse_matchers("n=a"), parse_matchers("n=~[bd]"), ("pool",))
NIGHT = MuteTimes(mute={"noon": (parse_interval({"times": [{"start_time": "11:00", "end_time": "13:00"}]}),)})


def alert(name: str, ended: bool = False, starts_at: datetime = NOW) -> Alert:
    return Alert({"n": name, "pool": "a"}, starts_at, NOW if ended else None)


def print_of(name: str) -> str:
    return alert(name).fingerprint


def entry(firing: str, resolved: str = "", ago: timedelta = timedelta(minutes=5)) -> LogEntry:
    sets = ({print_of(name) for name in names} for names in (firing, resolved))
    return told(GROUP.key, "slack", *sets, repeat_interval=TIMING.repeat_interval, now=NOW - ago)


def judge(alerts: Sequence[Alert], **more: Any) -> Decision:
    values: dict[str, Any] = {
        "group": GROUP, "receiver": Receiver("slack"), "log": None, "silences": [], "inhibitions": Inhibitions(),
        "mute_times": MuteTimes(), "now": NOW,
    }  # fmt: skip
    return flush(alerts=alerts, **{**values, **more})


def reasons(decision: Decision, *names: str) -> list[str]:
    found = {verdict.fingerprint: verdict for verdict in decision.verdicts}
    return [f"{'+' if found[print_of(name)].sent else '-'}{found[print_of(name)].reason}" for name in names]


def test_all_are_sent_at_first() -> None:
    decision = judge([alert("b"), alert("a")])
    assert decision.reason == "first"
    assert decision.alerts == (alert("a"), alert("b"))
    assert decision.verdicts == tuple(Verdict(print_of(name), True, "first") for name in "ab")
    assert decision.entry == entry("ab", ago=timedelta(0))
    assert (decision.settled, decision.retry_at) == (frozenset(), None)


def test_each_has_its_own_news() -> None:
    decision = judge([alert("a"), alert("b"), alert("c", ended=True), alert("d", ended=True)], log=entry("ac", "d"))
    assert decision.reason == "new_alerts"
    assert reasons(decision, *"abcd") == ["+new_alerts", "+new_alerts", "+resolved", "+new_alerts"]
    assert decision.settled == {print_of("c"), print_of("d")}
    assert decision.entry == entry("ab", "cd", ago=timedelta(0))


@pytest.mark.parametrize(
    ("log", "alerts", "expected"),
    [
        (entry("a"), [alert("a")], "-deduplicated"),
        (entry("a", ago=timedelta(hours=4)), [alert("a")], "+repeat"),
        (entry("a", ago=timedelta(hours=8)), [alert("a")], "+first"),
        (entry("a"), [alert("a", ended=True)], "+resolved"),
        (None, [alert("a", ended=True)], "-deduplicated"),
    ],
)
def test_one_alert(log: LogEntry | None, alerts: list[Alert], expected: str) -> None:
    decision = judge(alerts, log=log)
    assert reasons(decision, "a") == [expected]
    assert bool(decision.alerts) is (decision.entry is not None) is expected.startswith("+")


def test_stages_hold_back_in_their_order() -> None:
    alerts = [alert(name) for name in "abcde"]
    inhibitions = Inhibitions.of([RULE], alerts)
    decision = judge(alerts, silences=[SILENCE], inhibitions=inhibitions)
    assert reasons(decision, *"abcde") == ["+first", "-inhibited", "-silenced", "-inhibited", "+first"]
    assert [verdict.by for verdict in decision.verdicts] == [
        "", f"one {print_of('a')}", str(SILENCE.id), f"one {print_of('a')}", "",
    ]  # fmt: skip
    assert decision.entry is not None
    assert decision.entry.firing == {print_of("a"), print_of("e")}
    decision = judge(alerts, silences=[SILENCE], inhibitions=inhibitions, mute_times=NIGHT)
    assert reasons(decision, *"abcde") == ["-muted", "-inhibited", "-muted", "-inhibited", "-muted"]
    assert decision.verdicts[0].by == "noon"
    assert (decision.reason, decision.alerts, decision.entry) == (None, (), None)


def test_a_group_that_is_not_due_is_pending() -> None:
    group = replace(GROUP, next_flush_at=NOW + timedelta(seconds=1))
    decision = judge([alert("a"), alert("b", ended=True)], group=group, silences=[SILENCE])
    assert reasons(decision, "a", "b") == ["-pending", "-pending"]
    assert decision == Decision(decision.verdicts)


def test_an_end_that_the_receiver_does_not_want_to_hear() -> None:
    receiver = Receiver("slack", send_resolved=False)
    decision = judge([alert("a"), alert("b", ended=True)], receiver=receiver)
    assert decision.alerts == (alert("a"),)
    assert reasons(decision, "a", "b") == ["+first", "-deduplicated"]
    assert decision.verdicts[1].by == "send_resolved"
    decision = judge([alert("a", ended=True)], receiver=receiver, log=entry("a"))
    assert (decision.alerts, decision.settled) == ((), {print_of("a")})
    assert decision.entry == entry("", "a", ago=timedelta(0))
    until = NOW + HOUR
    assert (
        judge([alert("a", ended=True)], receiver=replace(receiver, throttled_until=until), log=entry("a")) == decision
    )


def test_a_throttled_receiver_is_told_later() -> None:
    until = NOW + timedelta(seconds=20)
    receiver = Receiver("slack", throttled_until=until)
    alerts = [alert("a"), alert("b", ended=True), alert("c", ended=True)]
    decision = judge(alerts, receiver=receiver, log=entry("bc"), silences=[SILENCE])
    assert reasons(decision, *"abc") == ["-throttled", "-throttled", "-silenced"]
    assert (decision.alerts, decision.entry, decision.settled, decision.retry_at) == ((), None, frozenset(), until)
    again = flushed(GROUP, NOW, decision.retry_at)
    assert again.next_flush_at == until
    assert reasons(judge(alerts, receiver=receiver, log=entry("bc"), group=again, now=until), "a", "b") == [
        "+new_alerts",
        "+resolved",
    ]
    # What is no news is not held back by anything.
    assert reasons(judge([alert("b")], receiver=receiver, log=entry("b")), "b") == ["-deduplicated"]


def test_an_end_under_a_silence_is_settled_without_a_word() -> None:
    decision = judge([alert("c", ended=True)], log=entry("c"), silences=[SILENCE])
    assert reasons(decision, "c") == ["-silenced"]
    assert (decision.entry, decision.settled) == (None, {print_of("c")})


def test_of_the_same_alert_the_latest_counts() -> None:
    old, new = alert("a", ended=True, starts_at=NOW - HOUR), alert("a")
    for alerts in ([old, new], [new, old]):
        decision = judge(alerts, log=entry("a"))
        assert reasons(decision, "a") == ["-deduplicated"]
        assert decision.settled == frozenset()


@dataclass(frozen=True)
class Case:
    """Whatever there may be."""

    alerts: list[Alert]
    values: dict[str, Any]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True))
    alerts = [alert(name, ended=draw(st.booleans())) for name in names]
    logged = st.builds(entry, st.text("abcdef"), st.text("abcdef"), st.integers(0, 600).map(lambda n: n * HOUR / 60))
    throttled = st.sampled_from([None, NOW, NOW + HOUR])
    values: dict[str, Any] = {
        "log": draw(st.none() | logged),
        "receiver": Receiver("slack", draw(st.booleans()), draw(throttled)),
        "silences": draw(st.sampled_from([[], [SILENCE]])),
        "inhibitions": draw(st.sampled_from([Inhibitions(), Inhibitions.of([RULE], alerts)])),
        "mute_times": draw(st.sampled_from([MuteTimes(), MuteTimes(), NIGHT])),
    }
    return Case(alerts, values)


@given(cases())
def test_what_is_sent_is_what_the_verdicts_say(case: Case) -> None:
    decision = judge(case.alerts, **case.values)
    assert sorted(verdict.fingerprint for verdict in decision.verdicts) == sorted(
        alert.fingerprint for alert in case.alerts
    )
    assert [alert.fingerprint for alert in decision.alerts] == [
        verdict.fingerprint for verdict in decision.verdicts if verdict.sent
    ]
    for verdict in decision.verdicts:
        assert verdict.reason in (SEND_REASONS if verdict.sent else HOLD_REASONS)
    assert (decision.entry is None) is (decision.reason is None)
    held = {
        verdict.fingerprint for verdict in decision.verdicts if verdict.reason in ("silenced", "inhibited", "muted")
    }
    if decision.entry is not None:
        assert not held & (decision.entry.firing | decision.entry.resolved)
        assert held | decision.entry.firing | decision.entry.resolved == {item.fingerprint for item in case.alerts}


@given(cases())
def test_a_second_flush_is_silent_once_the_first_is_stored(case: Case) -> None:
    """And the same again if it was not: a leader that died in between is the one case of a duplicate."""
    decision = judge(case.alerts, **case.values)
    assert judge(list(reversed(case.alerts)), **case.values) == decision
    left = [alert for alert in case.alerts if alert.fingerprint not in decision.settled]
    log = decision.entry or case.values["log"]
    again = judge(left, **{**case.values, "log": log})
    if decision.entry is not None:
        assert (again.alerts, again.reason) == ((), None)
    assert again.retry_at == decision.retry_at


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30))
def test_a_receiver_knows_what_fires_after_every_flush(changes: list[tuple[str, bool]]) -> None:
    """What the payloads said adds up to what is so, however alerts come and go between flushes."""
    members: dict[str, Alert] = {}
    known = dict[str, bool]()
    log: LogEntry | None = None
    group: Group = GROUP
    now = NOW
    for number, (name, fires) in enumerate(changes):
        if fires or name in members:
            members[name] = Alert({"n": name, "pool": "a"}, now, None if fires else now)
        if number % 2:
            continue
        decision = judge(list(members.values()), group=group, log=log, now=now)
        known |= {item.fingerprint: item.firing for item in decision.alerts}
        log = decision.entry or log
        members = {key: item for key, item in members.items() if item.fingerprint not in decision.settled}
        group = flushed(group, now)
        now = group.next_flush_at
        firing = {item.fingerprint for item in members.values() if item.firing}
        assert {key for key, fires in known.items() if fires} == firing
    assert fingerprint({}) not in known
