"""Reading what an executor says it used."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.costs.quantities import MAX_COUNT, MAX_NAMES, Reported, normal_model, read_usage


def entry(**given: Any) -> dict[str, Any]:
    return {"model": "m", "input_tokens": 10, "output_tokens": 2, **given}


def test_an_entry_is_read_with_its_names_made_ours() -> None:
    given_ = entry(
        model="  gpt-4o\n", cache_read_input_tokens=4, cache_creation_input_tokens=1, reasoning_tokens=1, requests=2,
        seconds=0.5, pages=3, id="chatcmpl-1", details={"audio": 1}, streamed=True, note=None,
    )  # fmt: skip
    assert read_usage(given_) == Reported(
        "gpt-4o", 10, 2,
        {"cached_input_tokens": 4, "cache_write_tokens": 1, "reasoning_tokens": 1, "requests": 2, "seconds": 0.5,
         "pages": 3},
    )  # fmt: skip


def test_counts_may_be_left_out() -> None:
    assert read_usage({"model": "m"}) == Reported("m", 0, 0, {})
    assert read_usage(entry(cached_input_tokens=3, cache_read_tokens=3)) == Reported(
        "m", 10, 2, {"cached_input_tokens": 3}
    )


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        (None, "not an object"), ([], "not an object"), ({}, "model"), ({"model": 1}, "model"),
        ({"model": " \t"}, "empty"), (entry(input_tokens=-1), "from 0 up"), (entry(input_tokens=1.5), "whole"),
        (entry(output_tokens=True), "whole"), (entry(output_tokens=math.nan), "whole"),
        (entry(output_tokens="5"), "whole"), (entry(output_tokens=None), "whole"),
        (entry(input_tokens=MAX_COUNT + 1), "more than"), (entry(input_tokens=10**5000), "more than"),
        (entry(seconds=-0.5), "negative"), (entry(seconds=math.nan), "finite"), (entry(seconds=math.inf), "finite"),
        (entry(seconds=1e13), "more than"), (entry(reasoning_tokens=1.0), "whole"), (entry(requests=0.5), "whole"),
        (entry(requests=True), "not a number"), (entry(reasoning_tokens="3"), "not a number"),
        (entry(**{"a b": 1}), "no name"), (entry(**{"x" * 65: 1}), "no name"), (entry(**{"": 1}), "no name"),
        (entry(cache_read_tokens=3, cached_input_tokens=4), "twice"),
        (entry(**{f"n{i}": i for i in range(MAX_NAMES + 1)}), "more than 32"),
    ],
)  # fmt: skip
def test_what_cannot_be_true_is_one_sentence(given_: Any, says: str) -> None:
    wrong = read_usage(given_)
    assert isinstance(wrong, str) and says in wrong and len(wrong) < 200


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = plain | st.lists(plain, max_size=2) | st.dictionaries(st.text(max_size=3), plain, max_size=2)
names = st.sampled_from(["model", "input_tokens", "output_tokens", "requests", "seconds", "cache_read_tokens"])


@given(st.dictionaries(names | st.text(max_size=70), values, max_size=40) | values)
def test_whatever_comes_only_counts_that_can_be_true_are_kept(given_: Any) -> None:
    read = read_usage(given_)
    if isinstance(read, str):
        return
    assert read.model == normal_model(read.model) and 0 < len(read.model) <= 200
    assert len(read.quantities) <= MAX_NAMES
    for count in (read.input_tokens, read.output_tokens, *read.quantities.values()):
        assert type(count) in (int, float) and math.isfinite(count) and 0 <= count <= MAX_COUNT
