"""What we accept is what every consumer behind us can hold."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import Invalid, MalformedJson, NullByte, Problem
from app.core.jsonbody import MAX_LEVELS, NumberOutOfRange, dump_bytes, dump_json, parse_json

BIG = 2**63


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"{}", {}),
        (b" [1, 2.5, -0] ", [1, 2.5, 0]),
        (b'"\\u00e9\xc3\xa9"', "éé"),
        (b"9223372036854775807", BIG - 1),
        (b"-9223372036854775808", -BIG),
        (b'"92233720368547758080000"', "92233720368547758080000"),
        (b"1.00000000000000000000000001", 1.0),
        (b'{"a": {"a": null}, "b": true}', {"a": {"a": None}, "b": True}),
        (b'"\\\\u0000"', "\\u0000"),
        (b"[" * MAX_LEVELS + b"]" * MAX_LEVELS, None),
        (b"[" * MAX_LEVELS + b"1" * 19 + b"]" * MAX_LEVELS, None),
    ],
)
def test_accepted(text: bytes, value: Any) -> None:
    parsed = parse_json(text)
    assert value is None or parsed == value


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", MalformedJson),
        (b"{", MalformedJson),
        (b"{} {}", MalformedJson),
        (b"NaN", MalformedJson),
        (b"-Infinity", MalformedJson),
        (b"1e999", MalformedJson),
        (b"01", MalformedJson),
        (b"\xff", MalformedJson),
        (b'"\\ud800"', MalformedJson),
        (b"\xef\xbb\xbf{}", MalformedJson),
        (b"[" * 100_000, MalformedJson),
        (b"[" * (MAX_LEVELS + 1) + b"]" * (MAX_LEVELS + 1), MalformedJson),
        (b'"a\\u0000"', NullByte),
        (b'{"a\\u0000": 1}', NullByte),
        (b'[[{"x": ["\\u0000"]}]]', NullByte),
        (b"9223372036854775808", NumberOutOfRange),
        (b"-9223372036854775809", NumberOutOfRange),
        (b'{"a": [18446744073709551616]}', NumberOutOfRange),
        (b"1" * 5000, Problem),
        (b"1" * 100, NumberOutOfRange),
    ],
)
def test_refused(text: bytes, error: type[Problem]) -> None:
    with pytest.raises(error) as caught:
        parse_json(text)
    assert caught.value.status in (400, 422)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-BIG, BIG - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=25,
)


def same(a: object, b: object) -> bool:
    """Equal and of the same kinds: 1 is not 1.0, and not True."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return a == b


@given(values, st.booleans())
def test_what_json_writes_we_read_and_back(value: Any, ascii_only: bool) -> None:
    assert same(parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()), value)
    assert same(json.loads(dump_json(value)), value)
    assert same(parse_json(dump_bytes(value)), value)


fragments = st.lists(
    st.sampled_from(['"', "\\u0000", "\\ud800", "{", "}", "[", "]", ":", ",", "1", "9" * 19, "e9", "-", ".", "é", "a"]),
    max_size=12,
).map(lambda parts: "".join(parts).encode())


@given(st.binary(max_size=60) | fragments)
def test_any_bytes_are_a_value_that_json_agrees_on_or_a_problem(raw: bytes) -> None:
    try:
        value = parse_json(raw)
    except (MalformedJson, Invalid):
        return
    assert same(value, json.loads(raw))
    assert "\x00" not in json.dumps(value, ensure_ascii=False)
