"""What every medium says of a group of alerts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from app.alerts.notifiers import wording
from app.alerts.records import Alert
from tests.alerts.notices import ANY_TEXT, AT, NOTICES, alert, ended, notice


@pytest.mark.parametrize(
    ("told", "title"),
    [
        (notice(), "[FIRING:1] high_error_rate pool=ops"),
        (notice(alert(), alert(ends=AT), alert()), "[FIRING:2] high_error_rate pool=ops"),
        (ended(), "[RESOLVED] high_error_rate pool=ops"),
        (notice(alert("a"), alert("b"), group_labels={}), "[FIRING:2] 2 alerts"),
        (notice(Alert({}, AT), group_labels={"z": "1", "a": "2"}), "[FIRING:1] 1 alert a=2 z=1"),
    ],
)
def test_the_title(told: Any, title: str) -> None:
    assert wording.title(told) == title


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.82], "0.82"),
        ([0.5, 0.7, 0.6], "0.5 to 0.7"),
        ([3.0, 3.0], "3"),
        ([None, 1.0], "1"),
        ([float("nan")], None),
        ([None], None),
        ([1_234_567.0], "1,234,567"),
        ([0.123456789], "0.123457"),
        ([float("inf")], "inf"),
    ],
)
def test_the_current_value(values: list[float | None], shown: str | None) -> None:
    facts = dict(wording.facts(notice(*(alert(value=value) for value in values))))
    assert facts.get("Current value") == shown


def test_what_is_no_longer_so_is_not_among_the_facts_while_something_fires() -> None:
    old = alert(ends=AT, value=0.1, severity="critical")
    new = Alert({**alert().labels, "severity": "info"}, AT + timedelta(hours=1), None, alert().annotations, 0.7)
    facts = dict(wording.facts(notice(old, new)))
    assert (facts["Current value"], facts["Started"], facts["Severity"]) == ("0.7", AT + timedelta(hours=1), "info")


def test_what_alerts_do_not_say_alike_is_left_out() -> None:
    facts = dict(wording.facts(notice(alert(pool="a"), alert(pool="b"))))
    assert "Agent Type" not in facts
    assert facts["Metric"] == "success_rate"


@given(text=ANY_TEXT)
def test_every_text_can_be_encoded_and_a_line_is_one(text: str) -> None:
    wording.printable(text).encode()
    assert wording.one_line(text).splitlines() in ([], [wording.one_line(text)])


@given(told=NOTICES)
def test_every_word_of_a_notice_can_be_encoded(told: Any) -> None:
    words = [wording.title(told), wording.sentence(told), *map(wording.line, told.alerts)]
    words += [str(part) for fact in wording.facts(told) for part in fact]
    assert "\n".join(words).encode()
    assert all(len(word.splitlines()) <= 1 for word in words[:1] + words[2:])
