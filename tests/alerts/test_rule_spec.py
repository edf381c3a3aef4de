"""Rules as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.matching import BadMatcher
from app.alerts.records import Matcher
from app.alerts.rule import ACTIONS, COMPARISONS, DEFAULT_RULES, POLICIES, BadRule, Rule
from app.alerts.rule_service import by_mistake
from app.alerts.rule_spec import FIELDS, filled, rule_of, spec_of
from app.alerts.signals.registry import SIGNALS

TEXTS = st.text(max_size=30).filter(lambda text: "{{" not in text and text.isprintable())
MATCHERS = st.builds(Matcher, st.sampled_from(["pool", "team"]), st.sampled_from(["=", "!="]), st.text(max_size=20))
RULES = st.builds(
    Rule,
    name=st.just("r"),
    signal=st.just("queue_length"),
    comparison=st.sampled_from(COMPARISONS),
    threshold=st.floats(allow_nan=False, allow_infinity=False),
    for_s=st.floats(0, 1e5),
    severity=st.sampled_from(["critical", "warning"]),
    labels=st.dictionaries(st.sampled_from(["a", "b"]), TEXTS),
    annotations=st.dictionaries(st.sampled_from(["summary", "more"]), TEXTS),
    receivers=st.lists(st.sampled_from(["ops", "dev", "sre"]), unique=True).map(tuple),
    action=st.sampled_from([None, *ACTIONS]),
    no_data=st.sampled_from(POLICIES),
    error=st.sampled_from(POLICIES),
    min_events=st.integers(0, 10**6),
    confidence=st.sampled_from([None, 0.9, 0.99]),
    by=st.sampled_from(["pool", "tenant", "label:team"]),
    matchers=st.lists(MATCHERS, max_size=3).map(tuple),
    action_params=st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


@given(RULES)
def test_a_rule_comes_back_as_it_was(rule: Rule) -> None:
    spec = spec_of(rule)
    assert tuple(spec) == FIELDS
    assert rule_of("r", json.loads(json.dumps(spec))) == rule


def test_what_a_spec_lacks_is_the_default_and_what_nobody_knows_is_left_out() -> None:
    spec = {"signal": "queue_length", "comparison": ">", "threshold": 1, "of_a_later_release": 1}
    assert rule_of("r", spec) == Rule("r", "queue_length", ">", 1)


def test_a_spec_is_shown_with_every_field_though_it_is_not_valid() -> None:
    shown = filled({"signal": "of_later", "comparison": ">", "threshold": 1, "for_s": -1, "of_later": 1})
    assert tuple(shown) == FIELDS
    assert (shown["for_s"], shown["severity"]) == (-1, "warning")
    for rule in DEFAULT_RULES:
        assert filled(spec_of(rule)) == spec_of(rule)


def test_bad_specs() -> None:
    good = spec_of(DEFAULT_RULES[0])
    with pytest.raises(BadRule, match="for_s"):
        rule_of("r", {**good, "for_s": -1})
    with pytest.raises(BadMatcher):
        rule_of("r", {**good, "matchers": ["pool"]})


@pytest.mark.parametrize(
    ("signal", "by", "refused"),
    [
        ("success_rate", "pool", False),
        ("success_rate", "label:team", False),
        ("queue_length", "label:team", True),
        ("agents", "tenant", True),
        ("budget_burn", "pool", False),
        ("budget_burn", "tenant", True),
    ],
)
def test_what_a_signal_can_be_split_by(signal: str, by: str, refused: bool) -> None:
    mistake = by_mistake(replace(Rule("r", signal, ">", 1), by=by), SIGNALS[signal])
    assert (mistake is not None) == refused
    assert mistake is None or mistake.where == "by"
