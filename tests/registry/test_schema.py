"""A pool's contract: errors name the path, a bad schema is named, nothing is fetched."""

from __future__ import annotations

from typing import Any

import pytest

from app.registry.contract import MAX_ERRORS, BadSchema, Schema

LINES: dict[str, Any] = {
    "type": "object",
    "required": ["lines"],
    "properties": {"lines": {"type": "array", "items": {"type": "string"}}, "a/b~c": {"type": "integer"}},
    "additionalProperties": False,
}


def test_no_schema_accepts_everything() -> None:
    values: list[object] = [None, 1, "x", [], {"a": object}]
    assert [Schema(None).errors(value) for value in values] == [[]] * 5


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({"lines": []}, []),
        ({"lines": ["a", 1, "b", None]}, ["/lines/1", "/lines/3"]),
        ({"lines": [], "a/b~c": "x"}, ["/a~1b~0c"]),
        ({}, [""]),
        ([], [""]),
        ({"lines": [], "more": 1}, [""]),
        ({"lines": "x", "a/b~c": 1.5}, ["/a~1b~0c", "/lines"]),
    ],
)
def test_paths_are_json_pointers(value: Any, paths: list[str]) -> None:
    found = Schema(LINES).errors(value)
    assert sorted(error["path"] for error in found) == paths
    assert all(error["message"] for error in found)


def test_errors_are_bounded_in_number_and_length() -> None:
    found = Schema(LINES).errors({"lines": [1] * 1000, "x" * 5000: 1})
    assert len(found) == MAX_ERRORS and all(len(error["message"]) <= 300 for error in found)


def test_references_inside_the_schema_work() -> None:
    schema = Schema({"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}})
    assert schema.errors([1, 2]) == [] and [e["path"] for e in schema.errors([1, "x"])] == ["/1"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "no-such-type"},
        {"type": 5},
        {"properties": []},
        {"minimum": "x"},
        {"pattern": "("},
        {"required": "a"},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"$ref": "https://example.invalid/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/$defs/missing"},
    ],
)
def test_a_bad_schema_is_refused_by_name_and_nothing_is_fetched(schema: dict[str, Any]) -> None:
    with pytest.raises(BadSchema) as caught:
        Schema(schema, "input_schema")
    assert caught.value.detail.startswith("input_schema: ")
    assert caught.value.extra["errors"][0]["path"] == "input_schema"  # type: ignore[index]
