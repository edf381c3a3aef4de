"""What a rule may give its action."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.alerts.actions.base import MAX_DURATION_S
from app.alerts.actions.registry import KINDS, check_params, read_params
from app.alerts.actions.scale_up import ScaleUpParams, floor_of
from app.alerts.rule import ACTIONS, DEFAULT_RULES, BadRule

HOOK = {"webhook_id": str(UUID(int=7))}


def needed(action: str) -> dict[str, Any]:
    return HOOK if action == "webhook" else {}


def test_every_name_that_a_rule_may_use_is_an_action() -> None:
    assert set(KINDS) == set(ACTIONS)


@pytest.mark.parametrize("rule", DEFAULT_RULES, ids=lambda rule: rule.name)
def test_the_rules_that_are_there_by_default_fit(rule: Any) -> None:
    check_params(rule.action, rule.action_params)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_is_bounded_in_time(action: str) -> None:
    assert 10 <= read_params(action, needed(action)).duration_s <= MAX_DURATION_S
    for wrong in (0, 9.9, MAX_DURATION_S + 1, "inf", None, float("nan")):
        with pytest.raises(BadRule) as caught:
            check_params(action, {**needed(action), "duration_s": wrong})
        assert [mistake.where for mistake in caught.value.mistakes] == ["action_params.duration_s"]


@pytest.mark.parametrize(
    ("action", "params", "where"),
    [
        (None, {"duration_s": 60}, "action_params"),
        ("reboot", {}, "action"),
        ("scale_up", {"by": 1}, "action_params.by"),
        ("scale_up", {"by_replicas": -1}, "action_params.by_replicas"),
        ("scale_up", {"factor": 100}, "action_params.factor"),
        ("immediate_intervention", {"scope": "tenant"}, "action_params.scope"),
        ("immediate_intervention", {"max_share": 0}, "action_params.max_share"),
        ("immediate_intervention", {"max_running": 0}, "action_params.max_running"),
        (
            "immediate_intervention",
            {"min_priority": None, "max_share": None, "require_approval": False},
            "action_params",
        ),
        ("rate_limiting", {"requests_per_minute": 0}, "action_params.requests_per_minute"),
        ("rate_limiting", {"tokens_per_hour": 0}, "action_params.tokens_per_hour"),
        ("rate_limiting", {"share": 1.5}, "action_params.share"),
        ("drain_agent", {"min_failures": 0}, "action_params.min_failures"),
        ("performance_investigation", {"slowest": 101}, "action_params.slowest"),
        ("performance_investigation", {"window_s": 1}, "action_params.window_s"),
        ("webhook", {}, "action_params.webhook_id"),
        ("webhook", {"webhook_id": "http://a"}, "action_params.webhook_id"),
        ("pause_pool", {"dry_run": "perhaps"}, "action_params.dry_run"),
    ],
)
def test_what_does_not_fit_is_named(action: str | None, params: dict[str, Any], where: str) -> None:
    with pytest.raises(BadRule) as caught:
        check_params(action, params)
    assert [mistake.where for mistake in caught.value.mistakes] == [where]


@pytest.mark.parametrize(
    ("desired", "most", "params", "floor"),
    [
        (2, 10, {}, 3),
        (0, 10, {}, 1),
        (2, 10, {"by_replicas": 3}, 5),
        (4, 10, {"factor": 1.5}, 6),
        (4, 10, {"factor": 1.5, "by_replicas": 4}, 8),
        (9, 10, {"by_replicas": 5}, 10),
        (3, 10, {"by_replicas": 0}, 3),
    ],
)
def test_the_floor_that_is_raised(desired: int, most: int, params: dict[str, Any], floor: int) -> None:
    assert floor_of(desired, most, ScaleUpParams(**params)) == floor
