"""Inhibition: which alert holds which back."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.inhibition import Inhibitions, Inhibitor, InhibitRule, check_rule
from app.alerts.matching import BadMatcher, all_match, parse_matchers
from app.alerts.records import Alert, Labels, fingerprint

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BY_SEVERITY = InhibitRule(
    "severity", parse_matchers("severity=critical"), parse_matchers("severity=~'warning|info'".replace("'", '"')),
    ("pool", "node"),
)  # fmt: skip
BOTH = InhibitRule("both", parse_matchers('role=~"source|both"'), parse_matchers('role=~"target|both"'), ("pool",))


def alert(firing: bool = True, **labels: str) -> Alert:
    return Alert(labels, NOW, None if firing else NOW)


CRITICAL = {"alertname": "Down", "severity": "critical", "pool": "a", "node": "n1"}
WARNING = {"alertname": "Slow", "severity": "warning", "pool": "a", "node": "n1"}


@pytest.mark.parametrize(
    ("source", "target", "inhibited"),
    [
        (CRITICAL, WARNING, True),
        (CRITICAL, WARNING | {"node": "n2"}, False),
        (CRITICAL, WARNING | {"pool": "b"}, False),
        (CRITICAL, WARNING | {"severity": "error"}, False),
        (CRITICAL, CRITICAL | {"alertname": "Dead"}, False),
        (CRITICAL | {"severity": "error"}, WARNING, False),
        # The trap: a label that both lack, or that one lacks and the other has empty, is equal.
        ({"severity": "critical", "pool": "a"}, {"severity": "warning", "pool": "a"}, True),
        ({"severity": "critical", "pool": "a", "node": ""}, {"severity": "warning", "pool": "a"}, True),
        ({"severity": "critical"}, {"severity": "info"}, True),
        ({"severity": "critical", "pool": "a"}, WARNING, False),
        (CRITICAL, {"severity": "warning", "pool": "a"}, False),
    ],
)
def test_a_source_and_a_target(source: Labels, target: Labels, inhibited: bool) -> None:
    found = Inhibitions.of([BY_SEVERITY], [Alert(source, NOW), Alert(target, NOW)]).inhibited_by(target)
    assert found == (Inhibitor("severity", fingerprint(source)) if inhibited else None)


def test_an_alert_that_ended_inhibits_nobody() -> None:
    assert Inhibitions.of([BY_SEVERITY], [alert(firing=False, **CRITICAL)]).inhibited_by(WARNING) is None


def test_an_alert_that_is_both_is_inhibited_by_a_source_only() -> None:
    one, two = {"role": "both", "pool": "a", "n": "1"}, {"role": "both", "pool": "a", "n": "2"}
    alerts = [Alert(one, NOW), Alert(two, NOW)]
    found = Inhibitions.of([BOTH], alerts)
    assert found.inhibited_by(one) is None
    assert found.inhibited_by(two) is None
    assert found.inhibited_by({"role": "target", "pool": "a"}) is not None
    source = {"role": "source", "pool": "a"}
    found = Inhibitions.of([BOTH], [*alerts, Alert(source, NOW)])
    assert found.inhibited_by(one) == Inhibitor("both", fingerprint(source))
    assert found.inhibited_by(source) is None


def test_the_first_rule_that_applies_is_named() -> None:
    labels = CRITICAL | {"role": "source"}
    target = WARNING | {"role": "target"}
    for first, second in pairwise((BY_SEVERITY, BOTH, BY_SEVERITY)):
        found = Inhibitions.of([first, second], [Alert(labels, NOW)]).inhibited_by(target)
        assert found is not None
        assert found.rule == first.name


def test_rules_are_checked() -> None:
    assert check_rule(BOTH) == BOTH
    some = parse_matchers("a=b")
    for bad in (
        InhibitRule("x", (), some),
        InhibitRule("x", some, ()),
        InhibitRule("x", some, some, ("1a",)),
    ):
        with pytest.raises(BadMatcher):
            check_rule(bad)


label_sets = st.fixed_dictionaries(
    {},
    optional={
        "severity": st.sampled_from(["critical", "warning", ""]),
        "role": st.sampled_from(["source", "target", "both"]),
        "pool": st.sampled_from(["a", "b", ""]),
        "node": st.sampled_from(["n1", "n2"]),
    },
)


@given(st.lists(st.tuples(label_sets, st.booleans()), max_size=6), label_sets)
def test_it_is_what_comparing_each_with_each_gives(others: list[tuple[Labels, bool]], target: Labels) -> None:
    alerts = [alert(firing, **labels) for labels, firing in others]
    expected = any(_inhibits(rule, source, target) for rule in (BY_SEVERITY, BOTH) for source in alerts)
    assert (Inhibitions.of([BY_SEVERITY, BOTH], alerts).inhibited_by(target) is not None) is expected


def _inhibits(rule: InhibitRule, source: Alert, target: Labels) -> bool:
    if not source.firing or not all_match(rule.source, source.labels) or not all_match(rule.target, target):
        return False
    if any(source.labels.get(name, "") != target.get(name, "") for name in rule.equal):
        return False
    return not (all_match(rule.source, target) and all_match(rule.target, source.labels))
