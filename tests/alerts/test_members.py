"""Which group of which receiver an alert belongs to, looked at as things are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.grouping import Group
from app.alerts.members import Current, Member, Plan, current, escalated, from_json, plan, to_json
from app.alerts.receivers import FAILING_SIGNAL, ReceiverRecord, RuleRoute, routed_to
from app.alerts.records import Alert
from app.alerts.state import State
from tests.alerts.groups import NOW, alert, receiver, seconds
from tests.alerts.notices import ALERTS

RULES = {"errors": RuleRoute(), "latency": RuleRoute()}


def looked(
    alerts: Sequence[Alert],
    receivers: Sequence[ReceiverRecord],
    members: Sequence[Member] = (),
    groups: dict[str, Group] | None = None,
) -> Plan:
    found = {item.fingerprint: Current(item.name, item) for item in alerts}
    return plan(found, RULES, receivers, members, groups or {}, NOW)


def stored(made: Plan) -> tuple[list[Member], dict[str, Group]]:
    return made.put, {key: group for key, (_, group) in made.opened.items()}


def names(found: Sequence[ReceiverRecord]) -> list[str]:
    return [item.name for item in found]


def test_an_alert_goes_to_every_receiver_whose_matchers_it_meets() -> None:
    all_, some, others = receiver("all"), receiver("some", "pool=ops"), receiver("others", "pool=web")
    off, quiet = receiver("off", enabled=False), receiver("quiet", routed=False)
    everybody = [all_, some, others, off, quiet]
    assert names(routed_to(RuleRoute(), alert().labels, everybody)) == ["all", "some"]
    assert names(routed_to(RuleRoute(("quiet",)), alert().labels, everybody)) == ["quiet"]
    assert names(routed_to(RuleRoute(("gone", "off")), alert().labels, everybody)) == ["all", "some"]
    assert routed_to(None, alert().labels, everybody) == []


def test_an_alert_about_a_receiver_is_told_to_the_others() -> None:
    about = {"alertname": "receiver_failing", "receiver": "on-call"}
    both = [receiver("on-call"), receiver("chat")]
    assert names(routed_to(RuleRoute(signal=FAILING_SIGNAL), about, both)) == ["chat"]
    assert names(routed_to(RuleRoute(("on-call",), FAILING_SIGNAL), about, both)) == ["chat"]
    assert names(routed_to(RuleRoute(signal="other"), about, both)) == ["on-call", "chat"]


def test_alerts_of_the_same_labels_open_one_group_and_the_oldest_hurries_it() -> None:
    made = looked([alert(since=0), alert("latency", since=100)], [receiver()])
    ((name, group),) = made.opened.values()
    assert (name, group.labels, group.next_flush_at) == ("on-call", {"pool": "ops"}, NOW)
    assert {member.group_key for member in made.put} == {group.key}
    later = looked([alert(since=0)], [receiver()])
    ((_, waiting),) = later.opened.values()
    assert waiting.next_flush_at == NOW + seconds(30)


def test_looking_twice_changes_nothing() -> None:
    alerts, receivers = [alert(), alert("latency", pool="web")], [receiver(), receiver("chat", group_by=())]
    members, groups = stored(looked(alerts, receivers))
    again = looked(alerts, receivers, members, groups)
    assert (again.opened, again.hurried, again.put) == ({}, {}, [])


def test_an_alert_that_ended_that_vanished_or_fires_again_is_told_so() -> None:
    one = alert()
    members, groups = stored(looked([one], [receiver()]))
    over = replace(one, ends_at=NOW)
    (member,) = looked([over], [receiver()], members, groups).put
    assert member.alert == over
    (vanished,) = looked([], [receiver()], members, groups).put
    assert vanished.alert.ends_at == NOW
    assert looked([], [receiver()], [vanished], groups).put == []
    again = replace(one, starts_at=NOW)
    (fires,) = looked([again], [receiver()], [vanished], groups).put
    assert fires.alert.firing


def test_an_alert_that_ended_opens_nothing() -> None:
    made = looked([alert(ended=1)], [receiver()])
    assert (made.opened, made.put) == ({}, [])


def test_an_alert_stays_in_its_group_whatever_becomes_of_the_routing() -> None:
    one = alert()
    members, groups = stored(looked([one], [receiver()]))
    for changed in (receiver(group_by=("alertname",)), receiver("on-call", "pool=web"), receiver(enabled=False)):
        made = looked([one], [changed], members, groups)
        assert (made.opened, made.put) == ({}, [])


def test_what_is_escalated_is_due_at_once() -> None:
    members, _ = stored(looked([alert(), alert("latency")], [receiver()]))
    managers = receiver("managers", routed=False)
    made = escalated([(member, managers) for member in members], {}, NOW)
    (key,) = made.opened
    assert made.hurried == {key: NOW}
    assert [(member.receiver, member.alert) for member in made.put] == [
        ("managers", member.alert) for member in members
    ]


@pytest.mark.parametrize(("phase", "there"), [("firing", True), ("recovering", True), ("resolved", True),
                                              ("pending", False), ("ok", False)])  # fmt: skip
def test_only_what_fires_or_has_is_told(phase: str, there: bool) -> None:
    ended = NOW if phase == "resolved" else None
    state = State({"alertname": "errors"}, phase, "violated", NOW, NOW, NOW, resolved_at=ended)  # type: ignore[arg-type]
    route = RuleRoute.of({"signal": "success_rate", "comparison": "<", "threshold": 0.9, "receivers": ["a"]})
    found = current([("errors", state)], {"errors": route}, "https://yard.example")
    assert bool(found) is there
    for item in found.values():
        assert item.alert.annotations == {"signal": "success_rate", "threshold": "< 0.9"}
        assert item.alert.url == "https://yard.example/v1/alert-rules/errors"


def test_a_report_is_linked_from_the_alert_that_it_is_about() -> None:
    state = State({"alertname": "slow"}, "firing", "violated", NOW, NOW, NOW)
    of_now = {("slow", state.fingerprint, NOW): "https://yard.example/v1/alert-reports/1"}
    of_before = {("slow", state.fingerprint, NOW - timedelta(hours=1)): "https://yard.example/v1/alert-reports/0"}
    (item,) = current([("slow", state)], {}, "", of_before | of_now).values()
    assert item.alert.annotations == {"report": "https://yard.example/v1/alert-reports/1"}


@given(ALERTS)
def test_an_alert_is_stored_as_it_is(found: Alert) -> None:
    again = from_json(to_json(found))
    assert replace(again, value=None) == replace(found, value=None)
    assert repr(again.value) == repr(found.value)


@given(st.lists(st.tuples(st.sampled_from(["errors", "latency"]), st.sampled_from("abc"), st.booleans()), max_size=8))
def test_each_receiver_has_each_firing_alert_once(items: list[tuple[str, str, bool]]) -> None:
    alerts = {(name, pool): alert(name, pool=pool, ended=None if fires else 1) for name, pool, fires in items}
    receivers = [receiver(), receiver("chat", group_by=("...",)), receiver("b", "pool=b")]
    made = looked(list(alerts.values()), receivers)
    keys = [(member.receiver, member.alert.fingerprint) for member in made.put]
    assert len(keys) == len(set(keys))
    assert {member.group_key for member in made.put} == set(made.opened)
    firing = [item for item in alerts.values() if item.firing]
    assert len(keys) == 2 * len(firing) + sum(item.labels["pool"] == "b" for item in firing)
    assert all(group.next_flush_at >= NOW - timedelta(0) for _, group in made.opened.values())
