"""Strict JSON in, compact JSON out.

What we accept is what every consumer behind us can hold: no NaN or infinity, integers within 64 bits, no NUL in text
(PostgreSQL cannot store it), no lone surrogates, at most 254 levels (orjson reads more than it can write).
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from app.core.errors import Invalid, MalformedJson, NullByte

_MAYBE_HUGE = re.compile(rb"\d{19}")
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
MAX_LEVELS = 254


class NumberOutOfRange(Invalid):
    code, title = "number_out_of_range", "Number out of range"


def parse_json(raw: bytes) -> Any:
    """The value of a JSON text; raises MalformedJson, NullByte or NumberOutOfRange."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise MalformedJson(f"The body is not valid JSON: {exc}.") from None
    if raw.count(b"[") + raw.count(b"{") > MAX_LEVELS:
        _refuse_deep(value)
    if b"\\u0000" in raw and _has_null(value):
        raise NullByte("Text with a null byte (\\u0000) cannot be stored.")
    if _MAYBE_HUGE.search(raw):
        _refuse_huge(raw)
    return value


def dump_json(value: object) -> str:
    """Compact JSON text of plain values; datetimes, UUIDs and decimals become strings."""
    return dump_bytes(value).decode()


def dump_bytes(value: object) -> bytes:
    """The same as bytes. `default`: the database driver's UUIDs are of a class of their own."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z, default=str)


def _has_null(value: object) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if "\x00" in item:
                return True
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return False


def _refuse_deep(value: object) -> None:
    try:
        orjson.dumps(value)
    except TypeError:  # its own limit is the one that matters
        raise MalformedJson(f"The body is nested deeper than {MAX_LEVELS} levels.") from None


def _refuse_huge(raw: bytes) -> None:
    def bounded(text: str) -> int:
        if len(text) > 20 or not _INT_MIN <= int(text) <= _INT_MAX:
            raise NumberOutOfRange(f"The integer {text[:24]} does not fit in 64 bits; send it as a string.")
        return 0

    try:
        json.loads(raw, parse_int=bounded)
    except RecursionError:
        raise MalformedJson("The body is nested too deeply.") from None
