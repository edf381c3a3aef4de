"""What the SDK takes as storable, the manager can read, and the other way round."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import Problem
from app.core.jsonbody import dump_json, parse_json
from yardmaster import PermanentError
from yardmaster.outcome import failed
from yardmaster.storable import MAX_LEVELS, UnstorableError, encode_storable

EDGES = [0, -(2**63), 2**63 - 1, -(2**63) - 1, 2**63, 2**64, 10**30, 1e300, "9" * 30, "\0", "\\u0000", "\ud800", None]
VALUES = st.recursive(
    st.sampled_from(EDGES) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


def _nested(levels: int) -> Any:
    value: Any = []
    for level in range(levels - 1):
        value = {"x": value} if level % 2 else [value]
    return value


def _managed(value: Any) -> bool:
    """Whether the manager can read it as a step's result."""
    try:
        parse_json(json.dumps({"name": "a", "result": value}, ensure_ascii=False).encode())
    except (Problem, UnicodeEncodeError):
        return False
    return True


def _taken(value: Any) -> bool:
    try:
        encode_storable(value)
    except UnstorableError:
        return False
    return True


@given(VALUES)
def test_the_manager_takes_what_the_agent_takes(value: Any) -> None:
    assert _taken(value) == _managed(value)


@pytest.mark.parametrize("value", [*EDGES, {"\0": 1}, {2**70: 1}, [float("nan")]], ids=ascii)
def test_at_the_edges_too(value: Any) -> None:
    assert _taken(value) == _managed(value)


@pytest.mark.parametrize("levels", [1, MAX_LEVELS - 1, MAX_LEVELS, MAX_LEVELS + 1, 900, 200_000])
def test_as_deep_as_the_manager_reads_and_writes(levels: int) -> None:
    value = _nested(levels)
    assert _taken(value) == (levels < MAX_LEVELS)
    if levels < 1000:
        assert _managed(value) == (levels < MAX_LEVELS)
    if levels == MAX_LEVELS - 1:
        dump_json({"result": value})
        with pytest.raises(UnstorableError, match="deeper than 252"):
            encode_storable(value, levels=252)


def test_an_author_s_words_are_made_readable() -> None:
    for error in (ValueError("a\0b\ud800"), PermanentError("x", "a\0b\ud800")):
        message = failed(error, 100).message
        assert message.endswith("a\ufffdb?")
        parse_json(json.dumps(message).encode())
