"""What an approval says: all of what will run, and nothing that looks like something else."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.clicks import Click, tell
from app.alerts.question import (
    APPROVE,
    MOST_ARGS,
    REJECT,
    Facts,
    button_value,
    message,
    read_button,
    shown_args,
    visible,
)
from app.approvals.refusals import AlreadyVoted, ApprovalDecided, PayloadChanged, SelfApproval
from app.core.errors import Problem

SOME = "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10"
AT = datetime(2026, 1, 2, tzinfo=UTC)
FACTS = Facts(
    id=UUID(int=1), task_id=UUID(int=2), pool="ops", step="s1", action="shell", args='{"cmd":"ls"}', edited=False,
    payload_hash="a" * 64, risk=None, submitted_by="ci", status="pending", scope="approvals:decide", groups=(),
    quorum=1, votes=0, escalations=0, expires_at=AT, decided_at=None, decided_by=None, decided_from=None, reason="",
    face="pending",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(value=JSON)
def test_what_is_shown_is_json_of_the_same_value_in_characters_that_can_be_seen(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > MOST_ARGS or any("\ud800" <= char <= "\udfff" for char in text):
        return
    shown = shown_args(text)
    assert json.loads(shown) == value
    assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.parametrize(
    ("hidden", "written"),
    [
        ("\u202e", "\\u202e"),
        ("\u200b", "\\u200b"),
        ("\u00a0", "\\u00a0"),
        ("\u3164", "\\u3164"),
        ("\ufe0f", "\\ufe0f"),
        ("\U000e0041", "\\udb40\\udc41"),
        ("\r", "\\u000d"),
        ("\n", "\\u000a"),
        ("\x1b", "\\u001b"),
    ],
)
def test_what_cannot_be_seen_is_written_out(hidden: str, written: str) -> None:
    assert visible(f"a{hidden}b") == f"a{written}b"


@pytest.mark.parametrize("plain", ["", "rm -rf /", "Ünïcode 漢字 😀", "a  b"])
def test_what_can_be_seen_stays(plain: str) -> None:
    assert visible(plain) == plain


def test_a_pending_approval_offers_both_and_only_approving_needs_the_whole() -> None:
    made = message(FACTS)
    assert made.outcome is None
    assert {action.id: action.needs_whole for action in made.actions} == {APPROVE: True, REJECT: False}
    assert all(read_button(action.value) == (FACTS.id, FACTS.payload_hash) for action in made.actions)
    assert ("Expires", AT) in made.fields
    assert ("Expires", "never") in message(replace(FACTS, expires_at=None)).fields


@pytest.mark.parametrize("status", ["approved", "edited", "rejected", "expired", "superseded"])
def test_an_ended_one_offers_nothing(status: str) -> None:
    made = message(replace(FACTS, status=status, decided_by="ann", decided_at=AT, reason="so\u202e"))
    assert made.actions == ()
    assert made.outcome is not None
    assert (made.outcome.by, made.outcome.reason) == ("ann", "so\\u202e")


def test_a_long_action_is_whole_in_its_field() -> None:
    made = message(replace(FACTS, action="x" * 300))
    assert ("Action", "x" * 300) in made.fields
    assert len(made.title) < 150


def test_depth_beyond_what_can_be_indented_is_shown_as_it_is() -> None:
    deep = "[" * 300 + "]" * 300
    assert shown_args(deep) == deep


@given(st.uuids(), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_a_button_brings_back_what_was_shown(approval_id: UUID, payload_hash: str) -> None:
    assert read_button(button_value(replace(FACTS, id=approval_id, payload_hash=payload_hash))) == (
        approval_id, payload_hash,
    )  # fmt: skip


CLICK = Click("U1", FACTS.id, FACTS.payload_hash, True, "C/1", "")
ENDED = replace(FACTS, status="approved", decided_by="ann", decided_from="slack:U2")
OWN, NAMELESS = replace(ENDED, decided_from="slack:U1"), replace(ENDED, decided_by=None)


@pytest.mark.parametrize(
    ("facts", "refusal", "said"),
    [
        (ENDED, None, "You decided: shell is approved."),
        (replace(FACTS, quorum=3, votes=2), None, "Your approval of shell counts: 2 of 3 so far."),
        (ENDED, ApprovalDecided("x"), "Too late: this was already approved by ann."),
        (OWN, ApprovalDecided("x"), "You have decided this already: it is approved."),
        (replace(ENDED, status="expired"), ApprovalDecided("x"), "Too late: this approval has expired."),
        (NAMELESS, ApprovalDecided("x"), "Too late: this was already approved by somebody else."),
        (FACTS, SelfApproval("Not you."), "Not counted: Not you."),
        (FACTS, AlreadyVoted("Again."), "Not counted: Again."),
    ],
)  # fmt: skip
def test_what_somebody_is_told(facts: Facts, refusal: Problem | None, said: str) -> None:
    assert tell(CLICK, facts, refusal) == said


def test_a_changed_payload_asks_to_look_again() -> None:
    assert "Look at it again" in tell(CLICK, FACTS, PayloadChanged("x"))


@pytest.mark.parametrize("value", ["", ":", SOME, f"{SOME}:short", f"x:{'a' * 64}", f"{SOME}:{'-' * 64}"])
def test_other_values_are_no_buttons(value: str) -> None:
    with pytest.raises(ValueError):
        read_button(value)
