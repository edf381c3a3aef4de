"""What is approved has one hash, however it is written, and no other payload has the same."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.approvals.payload import NotCanonical, payload_hash, read

SAFE = 2**53 - 1
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-SAFE, SAFE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def test_the_hash_is_that_of_the_canonical_form() -> None:
    canonical = b'{"action":"shell","args":{"a":1,"command":["df","-h"],"\xc3\xa9":null}}'
    wanted = hashlib.sha256(canonical).hexdigest()
    assert payload_hash("shell", {"é": None, "command": ["df", "-h"], "a": 1.0}) == wanted


@given(st.text(max_size=10).filter(lambda text: "\x00" not in text), json_values)
def test_writing_and_reading_it_again_changes_no_hash(action: str, args: Any) -> None:
    stored, found = read(action, orjson.dumps(args, option=orjson.OPT_SORT_KEYS).decode())
    assert found == payload_hash(action, args) == payload_hash(action, orjson.loads(stored))
    assert read(action, stored) == (stored, found)


@given(st.dictionaries(st.text(max_size=5), st.integers(-9, 9), min_size=1, max_size=4), st.data())
def test_any_change_changes_the_hash(args: dict[str, int], data: st.DataObject) -> None:
    before = payload_hash("a", args)
    name = data.draw(st.sampled_from(sorted(args)))
    assert payload_hash("a", {**args, name: args[name] + 1}) != before
    assert payload_hash("a", {other: value for other, value in args.items() if other != name}) != before
    assert payload_hash("b", args) != before


@pytest.mark.parametrize(
    "args",
    [2**53, -(2**53), [2**64], float("nan"), float("inf"), "\ud800", {"\udfff": 1}, {"a": {"b": "\ud83d"}}, {1: 2}],
    ids=repr,
)
def test_what_has_no_canonical_form(args: Any) -> None:
    with pytest.raises(NotCanonical):
        payload_hash("a", args)


def test_what_has_none_as_text() -> None:
    deep = "[" * 2000 + "]" * 2000
    for args_json in ("", "{", "NaN", '"\\ud800"', "9007199254740993", deep, '{"a":1} x'):
        with pytest.raises(NotCanonical):
            read("a", args_json)
    for action in ("a\x00b", "\ud800"):
        with pytest.raises(NotCanonical):
            read(action, "{}")


def test_a_name_given_twice_is_shown_as_it_would_run() -> None:
    stored, found = read("shell", '{"command": "ls", "command": "rm"}')
    assert stored == '{"command":"rm"}'
    assert found == payload_hash("shell", {"command": "rm"})
