"""Notifiers of other distributions: loaded, or left out and named."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from pydantic import SecretStr

from app.alerts.notifiers.base import Notifier
from app.alerts.notifiers.registry import BUILT_IN, GROUP, load
from app.alerts.notifiers.slack import SlackNotifier
from app.settings import Settings, SlackSettings
from tests.alerts.paper import PaperNotifier

PAPER = PaperNotifier()


def make_paper(_: Settings) -> Notifier:
    return PAPER


NOT_CALLABLE = 7


def point(name: str, what: str) -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{what}", GROUP)


def test_an_entry_point_becomes_a_notifier() -> None:
    catalogue = load([point("paper", "make_paper")])
    assert catalogue.problems == {}
    assert catalogue.build(Settings()) == {"paper": PAPER}


def test_slack_is_on_once_it_has_a_token() -> None:
    made = load([]).build(Settings(slack=SlackSettings(token=SecretStr("xoxb-1"))))
    assert isinstance(made["slack"], SlackNotifier)


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (point("slack", "make_paper"), "the name is taken"),
        (point("paper", "NOT_CALLABLE"), "a int is not callable"),
        (point("paper", "missing"), "AttributeError"),
        (EntryPoint("paper", "no.such.module:x", GROUP), "ModuleNotFoundError"),
    ],
)
def test_a_broken_one_is_left_out_and_named(broken: EntryPoint, problem: str) -> None:
    catalogue = load([broken])
    assert dict(catalogue.factories) == dict(BUILT_IN)
    assert problem in catalogue.problems[broken.name]
    assert broken.value in catalogue.problems[broken.name]


def test_of_two_with_one_name_the_first_by_value_wins_in_every_manager() -> None:
    first, second = point("paper", "make_paper"), EntryPoint("paper", "zzz.other:make", GROUP)
    for order in ([first, second], [second, first]):
        catalogue = load(order)
        assert catalogue.factories["paper"] is make_paper
        assert "zzz.other:make" in catalogue.problems["paper"]
