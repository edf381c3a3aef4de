"""Which policy is for what, and how long an approval stands."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.approvals.policy import Policy, of, shortened
from app.registry.wire import ApprovalsIn

DEFAULT_S = 14_400.0


def stored(**given_: Any) -> dict[str, Any]:
    """What a pool keeps of these."""
    return ApprovalsIn.model_validate(given_).model_dump()


def test_a_pool_without_policies_holds_nothing_and_asks_for_every_action() -> None:
    for approvals in ({}, stored()):
        assert of(approvals, "start", "start", DEFAULT_S) is None
        assert of(approvals, "action", "shell", DEFAULT_S) == Policy(DEFAULT_S)


def test_the_named_action_comes_before_the_star() -> None:
    approvals = stored(actions={"shell": {"quorum": 2}, "*": {"required": False}})
    assert of(approvals, "action", "shell", DEFAULT_S) == Policy(DEFAULT_S, quorum=2)
    assert of(approvals, "action", "mail", DEFAULT_S) == Policy(DEFAULT_S, required=False)
    assert of(approvals, "start", "start", DEFAULT_S) is None


def test_every_field_arrives() -> None:
    given_ = {
        "expires_s": 60, "on_expiry": "escalate", "escalate_to": ["leads", "leads"], "escalate_s": 30,
        "groups": ["sre", "dba", "sre"], "scope": "pools:admin", "quorum": 3, "self_approval": True,
    }  # fmt: skip
    wanted = Policy(60.0, True, "escalate", ("leads",), 30.0, ("sre", "dba"), "pools:admin", 3, True)
    assert of(stored(start=given_), "start", "start", DEFAULT_S) == wanted
    assert of(stored(actions={"shell": given_}), "action", "shell", DEFAULT_S) == wanted


@pytest.mark.parametrize(
    ("given_", "expires_s"), [({}, DEFAULT_S), ({"expires_s": "default"}, DEFAULT_S), ({"expires_s": None}, None),
                              ({"expires_s": 5}, 5.0)],
)  # fmt: skip
def test_never_is_not_the_default(given_: dict[str, Any], expires_s: float | None) -> None:
    policy = of(stored(actions={"*": given_}), "action", "a", DEFAULT_S)
    assert policy is not None
    assert policy.expires_s == expires_s


@given(st.none() | st.floats(1, 1e6), st.none() | st.floats(1, 1e6))
def test_the_asker_may_shorten_and_never_lengthen(policy_s: float | None, wanted_s: float | None) -> None:
    found = shortened(policy_s, wanted_s)
    assert found in (policy_s, wanted_s)
    for bound in (policy_s, wanted_s):
        assert bound is None or (found is not None and found <= bound)


@pytest.mark.parametrize(
    ("policy", "word"),
    [
        ({"quorum": 0}, "quorum"),
        ({"quorum": 21}, "quorum"),
        ({"expires_s": 0}, "expires_s"),
        ({"expires_s": "never"}, "expires_s"),
        ({"groups": ["a b"]}, "groups"),
        ({"groups": [f"g{n}" for n in range(21)]}, "groups"),
        ({"scope": "everything"}, "scope"),
        ({"on_expiry": "shrug"}, "on_expiry"),
        ({"on_expiry": "escalate"}, "needs groups in escalate_to"),
        ({"on_expiry": "escalate", "escalate_to": ["a"], "expires_s": None}, "never expires"),
        ({"escalate_to": ["a"]}, "need on_expiry"),
        ({"escalate_s": 5}, "need on_expiry"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_a_policy_may_not_be(policy: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        stored(actions={"shell": policy})


def test_an_action_has_a_name() -> None:
    for name in ("", "x" * 201):
        with pytest.raises(ValidationError):
            stored(actions={name: {}})
