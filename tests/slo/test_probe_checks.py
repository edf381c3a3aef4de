"""Checks of golden tasks, and k of n."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.slo.declared_checks import BadCheck, read_checks
from app.slo.probe_checks import Answer, judge, run

RESULT = {"answer": "Root cause: disk full", "items": [{"id": 1}, {"id": 7}], "score": 0.5, "ok": True, "big": 2**60}


def passes(check: dict[str, Any], result: object = RESULT, seconds: float = 1.0) -> bool:
    status, found = run(read_checks([check]), Answer("succeeded", result, seconds))
    assert status.passed
    assert found.passed == (found.why == "")
    return found.passed


@pytest.mark.parametrize(
    ("check", "passed"),
    [
        ({"path": "$.answer"}, True),
        ({"path": "$.nothing"}, False),
        ({"path": "$.nothing", "op": "absent"}, True),
        ({"path": "$.answer", "op": "absent"}, False),
        ({"path": "$.items[*].id", "value": 7}, True),
        ({"path": "$.items[*].id", "value": 8}, False),
        ({"path": "$.items[*].id", "op": "not_equals", "value": 8}, True),
        ({"path": "$.items[*].id", "op": "not_equals", "value": 7}, False),
        ({"path": "$.nothing", "op": "not_equals", "value": 7}, False),
        ({"path": "/score", "value": 0.5}, True),
        ({"path": "/items/0/id", "value": 1.0}, True),
        # In JSON true is no number.
        ({"path": "/ok", "value": 1}, False),
        ({"path": "/ok", "value": True}, True),
        ({"path": "/items/0/id", "value": True}, False),
        ({"path": "/ok", "op": "gte", "value": 0}, False),
        ({"path": "/big", "value": 2**60 + 1}, False),
        ({"path": "/items", "value": [{"id": 1}, {"id": 7.0}]}, True),
        ({"path": "/items", "value": [{"id": True}, {"id": 7}]}, False),
        ({"path": "/answer", "op": "contains", "value": "disk"}, True),
        ({"path": "/answer", "op": "contains", "value": 5}, False),
        ({"path": "/items", "op": "contains", "value": {"id": 7}}, True),
        ({"path": "/score", "op": "contains", "value": 0.5}, False),
        ({"path": "/score", "op": "lt", "value": 0.5}, False),
        ({"path": "/score", "op": "lte", "value": 0.5}, True),
        ({"path": "/score", "op": "gt", "value": 0.5}, False),
        ({"path": "/score", "op": "gte", "value": 0.5}, True),
        ({"path": "$.items[*].id", "op": "gt", "value": 6}, True),
        ({"path": "/answer", "op": "gt", "value": 0}, False),
    ],
)
def test_json_checks(check: dict[str, Any], passed: bool) -> None:
    assert passes({"kind": "json", **check}) is passed


@pytest.mark.parametrize(
    ("path", "pattern", "passed"),
    [
        ("$.answer", "^Root cause: ", True),
        ("$.answer", "disk", True),
        ("$.answer", "^disk", False),
        ("$.answer", "(?i)DISK FULL$", True),
        ("$.answer", r"\d", False),
        ("$.score", ".*", False),
        ("$.nothing", ".*", False),
    ],
)
def test_regex_checks(path: str, pattern: str, passed: bool) -> None:
    assert passes({"kind": "regex", "path": path, "pattern": pattern}) is passed


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "^(a|a?)+$", "(.*a){12}b"])
def test_a_pattern_takes_linear_time(pattern: str) -> None:
    began = time.monotonic()
    assert not passes({"kind": "regex", "pattern": pattern}, "a" * 100_000 + "!")
    # A backtracking engine would take years; this one is busy for milliseconds.
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("schema", "passed"),
    [
        ({"type": "object", "required": ["answer"]}, True),
        ({"type": "object", "required": ["other"]}, False),
        ({"properties": {"score": {"maximum": 0.4}}}, False),
        ({"$defs": {"n": {"type": "number"}}, "properties": {"score": {"$ref": "#/$defs/n"}}}, True),
        ({}, True),
        (False, False),
    ],
)
def test_schema_checks(schema: object, passed: bool) -> None:
    assert passes({"kind": "schema", "schema": schema}) is passed


def test_latency_checks() -> None:
    check = {"kind": "latency", "max_s": 2}
    assert passes(check, seconds=2.0)
    assert not passes(check, seconds=2.001)


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_what_did_not_succeed_is_not_looked_at(status: str) -> None:
    found = run(read_checks([{"kind": "json", "path": "$"}]), Answer(status, RESULT, 1))
    assert [(each.check, each.passed, each.why) for each in found] == [("status", False, f"the task {status}")]


def test_every_check_is_told_with_a_reason_of_bounded_length() -> None:
    declared = [
        {"kind": "json", "path": "$", "value": "y"},
        {"kind": "schema", "schema": {"const": "z" * 5_000}},
        {"kind": "regex", "path": "$", "pattern": "y" * 900},
        {"kind": "latency", "max_s": 5},
    ]
    found = run(read_checks(declared), Answer("succeeded", "x" * 100_000, 1))
    assert [each.check for each in found] == ["status", "json $ equals", "schema", "regex $", "latency"]
    assert [each.passed for each in found] == [True, False, False, False, True]
    assert all(len(each.why) <= 300 for each in found)


@pytest.mark.parametrize(
    ("check", "path"),
    [
        ("text", "checks[0]"),
        ({}, "checks[0].kind"),
        ({"kind": "python"}, "checks[0].kind"),
        ({"kind": ["json"]}, "checks[0].kind"),
        ({"kind": "latency"}, "checks[0].max_s"),
        ({"kind": "latency", "max_s": True}, "checks[0].max_s"),
        ({"kind": "latency", "max_s": 0}, "checks[0].max_s"),
        ({"kind": "latency", "max_s": float("inf")}, "checks[0].max_s"),
        ({"kind": "latency", "max_s": 1, "min_s": 0}, "checks[0].min_s"),
        ({"kind": "json", "path": 1}, "checks[0].path"),
        ({"kind": "json", "path": "$..x"}, "checks[0].path"),
        ({"kind": "json", "op": "like", "value": 1}, "checks[0].op"),
        ({"kind": "json", "op": ["lt"], "value": 1}, "checks[0].op"),
        ({"kind": "json", "op": "equals"}, "checks[0].value"),
        ({"kind": "json", "op": "exists", "value": 1}, "checks[0].value"),
        ({"kind": "json", "op": "lt", "value": "1"}, "checks[0].value"),
        ({"kind": "regex", "pattern": ""}, "checks[0].pattern"),
        ({"kind": "regex", "pattern": "("}, "checks[0].pattern"),
        ({"kind": "regex", "pattern": "(?=a)a"}, "checks[0].pattern"),
        ({"kind": "regex", "pattern": r"(a)\1"}, "checks[0].pattern"),
        ({"kind": "regex", "pattern": "((a{1000}){1000}){1000}"}, "checks[0].pattern"),
        ({"kind": "schema"}, "checks[0].schema"),
        ({"kind": "schema", "schema": {"type": "thing"}}, "checks[0].schema"),
        ({"kind": "schema", "schema": {"$ref": "https://example.com/schema.json"}}, "checks[0].schema"),
    ],
)
def test_what_is_no_check_is_refused_by_its_place(check: object, path: str) -> None:
    with pytest.raises(BadCheck) as caught:
        read_checks([check])
    assert [error["path"] for error in caught.value.extra["errors"]] == [path]  # type: ignore[attr-defined]
    assert (caught.value.status, caught.value.code) == (422, "probe_check_invalid")


def test_all_faults_are_told_and_checks_are_bounded() -> None:
    with pytest.raises(BadCheck) as caught:
        read_checks([{}, {"kind": "json"}, {"kind": "latency", "max_s": -1}])
    assert len(caught.value.extra["errors"]) == 2  # type: ignore[arg-type]
    for wrong in ({}, [{"kind": "json"}] * 51):
        with pytest.raises(BadCheck):
            read_checks(wrong)


@given(history=st.lists(st.sampled_from([True, False, None]), max_size=12), n=st.integers(1, 8), data=st.data())
def test_a_probe_fails_when_k_of_the_last_n_did_and_passes_when_that_cannot_be(
    history: list[bool | None], n: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, n))
    found = judge(history, k, n)
    last = (history + [None] * n)[:n]
    worst = sum(passed is not True for passed in last)
    best = last.count(False)
    assert (found == "failing") == (best >= k)
    assert (found == "passing") == (worst < k)
    assert judge([*last, False, False], k, n) == found


@pytest.mark.parametrize(
    ("history", "k", "n", "expected"),
    [
        ([], 1, 1, "undecided"),
        ([None], 1, 1, "undecided"),
        ([False], 2, 3, "undecided"),
        ([False, True, False], 2, 3, "failing"),
        ([True, True], 2, 3, "passing"),
        ([True, True, False, False], 2, 3, "passing"),
        ([None, None, True], 2, 3, "undecided"),
    ],
)
def test_k_of_n(history: list[bool | None], k: int, n: int, expected: str) -> None:
    assert judge(history, k, n) == expected


@pytest.mark.parametrize(("k", "n"), [(0, 3), (4, 3)])
def test_k_is_from_1_to_n(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="k of n"):
        judge([], k, n)
