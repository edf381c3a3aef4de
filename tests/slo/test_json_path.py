"""Paths into JSON: where they lead, what is no path, and that they are bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.slo.json_path import MAX_NODES, BadPath, read_path

DOCUMENT: dict[str, Any] = {
    "items": [{"id": 1, "tags": ["a", "b"]}, {"id": 2}, {"name": "no id"}],
    "a key": {"b'": [10, 20, 30], "": "empty", "~/": "odd", "0": "zero"},
    "größe": None,
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", [DOCUMENT]),
        ("", [DOCUMENT]),
        ("$.items[0].id", [1]),
        ("$.items[-1].name", ["no id"]),
        ("$['a key'][\"b'\"][1]", [20]),
        (r"$['a key']['b\''][-3]", [10]),
        ("$['a key']['b\\''][3]", []),
        ("$['a key']['b\\''][-4]", []),
        ("$.items[*].id", [1, 2]),
        ("$.items.*.id", [1, 2]),
        ("$.items[*].tags[*]", ["a", "b"]),
        ("$['a key'].*", [[10, 20, 30], "empty", "odd", "zero"]),
        ("$.größe", [None]),
        ("$.items.id", []),
        ("$.nothing.at.all", []),
        ("$['a key'][0]", []),
        ("/items/0/id", [1]),
        ("/items/-1", []),
        ("/items/00", []),
        ("/a key/0", ["zero"]),
        ("/a key/", ["empty"]),
        ("/a key/~0~1", ["odd"]),
        ("/größe", [None]),
        ("/items/0/id/x", []),
    ],
)
def test_paths_lead_to_nodes(path: str, found: list[Any]) -> None:
    assert list(read_path(path).find(DOCUMENT)) == found


@pytest.mark.parametrize(
    "text",
    ["items", "$items", "$.", "$..id", "$[0:2]", "$[?@.id==1]", "$[01]", "$[-0]", "$['a]", "$[ 0 ]", "$.1a", "/a~2",
     "/a~", "$" + ".a" * 51, "/a" * 51, "$" + ".a" * 600],
)  # fmt: skip
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(BadPath):
        read_path(text)


def test_the_message_says_where() -> None:
    with pytest.raises(BadPath, match="character 8"):
        read_path("$.items[?@.id]")


def test_a_path_is_bounded() -> None:
    wide = [[0] * 1_000] * 1_000
    assert len(read_path("$[*][*]").find(wide)) == MAX_NODES


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=20,
)


def nodes(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Every node with its JSON Pointer."""
    found = [(path, value)]
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        found += nodes(child, path + "/" + str(key).replace("~", "~0").replace("/", "~1"))
    return found


@given(values)
def test_every_node_is_found_by_its_pointer(value: Any) -> None:
    for path, node in nodes(value):
        assert list(read_path(path).find(value)) == [node]
