"""`yard budgets`, and what it makes of its arguments."""

from __future__ import annotations

import re

import pytest
from cli_service import Service

from app.cli.budgets import asked_threshold, bar
from app.cli.failures import Misuse


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("80:notify", {"percent": 80, "action": "notify"}),
        ("80:throttle:7.5", {"percent": 80, "action": "throttle", "per_minute": 7.5}),
        ("90:downgrade:a=b,c=d", {"percent": 90, "action": "downgrade", "models": {"a": "b", "c": "d"}}),
    ],
)
def test_thresholds_are_read(text: str, made: dict[str, object]) -> None:
    assert asked_threshold(text) == made


@pytest.mark.parametrize(
    "text", ["", "80", "notify", "80:", "-1:notify", "80:throttle", "80:downgrade:a", "80:pause:x"]
)
def test_what_is_no_threshold(text: str) -> None:
    with pytest.raises(Misuse):
        asked_threshold(text)


def test_bars_are_of_one_width() -> None:
    assert {len(bar(percent).plain) for percent in (0, 0.4, 50, 99.9, 100, 999.9)} == {20}
    assert bar(50).plain == "██████░░░░░░  50.0 %"
    assert "░" in bar(99.9).plain
    assert "░" not in bar(100).plain


def test_a_budget_from_its_making_to_its_end(service: Service) -> None:
    made = service.yard(
        "budgets", "set", "acme", "100", "--tenant", "acme", "--timezone", "Europe/Berlin", "--at", "80:notify"
    )
    assert made.exit_code == 0, made.stderr
    assert made.stdout == "acme: 100.00 USD of tenant acme, day Europe/Berlin\n"
    assert service.yard("budgets", "set", "each", "5", "--per", "task", "--window", "24h").exit_code == 0
    listed = service.yard("budgets", "list").stdout
    assert re.search(
        r"^acme +░{12} +0\.0 % +0\.00 USD +100\.00 USD +day Europe/Berlin +tenant acme +in ", listed, re.M
    ), listed
    assert re.search(r"^each +5\.00 USD +last 24 h +each task$", listed, re.M), listed
    shown = service.yard("budgets", "show", "acme").stdout
    assert "80 % notify" in shown
    assert service.json("budgets", "show", "acme")["thresholds"][0]["percent"] == 80
    assert service.yard("budgets", "set", "x", "1", "--window", "week").exit_code == 2
    assert service.yard("budgets", "set", "x", "0").exit_code == 1
    assert service.yard("budgets", "delete", "acme").stdout == "the budget acme is deleted\n"
    assert service.yard("budgets", "show", "acme").exit_code == 1
