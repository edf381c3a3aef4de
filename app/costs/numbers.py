"""Numbers of JSON: `true` and `false` are none, though Python takes them for 1 and 0."""

from __future__ import annotations

from pydantic import BeforeValidator


def _no_flag(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")  # noqa: TRY004 - pydantic wants a ValueError
    return value


NO_FLAG = BeforeValidator(_no_flag)
"""For a numeric field that takes what looks like a number."""
