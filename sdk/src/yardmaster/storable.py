"""JSON as every store behind the manager can hold it.

The manager refuses integers beyond 64 bits (signed), text with NUL, lone surrogates and deep nesting, but only when
an answer arrives: by then the work is done, and each further try would do it again. So it is refused here first.
"""

import json
import re
from typing import Any

MAX_LEVELS = 254
"""Levels of nesting in one event, its own object included."""
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_MAYBE_HUGE = re.compile(rb"\d{19}")


class UnstorableError(ValueError):
    """The value can't be held; the text says why and begins with a verb."""


def encode(value: Any) -> bytes:
    """Strict JSON (no NaN, no lone surrogates); TypeError, ValueError or RecursionError when impossible."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def encode_storable(value: Any, *, levels: int = MAX_LEVELS - 1) -> bytes:
    """The value as JSON of at most `levels` levels, all of which the manager can hold. UnstorableError."""
    try:
        data = encode(value)
        if _suspect(data, levels):
            _check(json.loads(data), levels)
    except RecursionError as error:
        raise UnstorableError(f"is nested deeper than {levels} levels") from error
    except UnstorableError:
        raise
    except (TypeError, ValueError) as error:
        raise UnstorableError(f"is not JSON: {error}") from error
    return data


def _suspect(data: bytes, levels: int) -> bool:
    """Whether it may break a bound: most values are cleared without a walk."""
    return b"\\u0000" in data or data.count(b"[") + data.count(b"{") > levels or _MAYBE_HUGE.search(data) is not None


def _check(value: Any, levels: int) -> None:
    stack = [(value, 1)]
    while stack:
        item, level = stack.pop()
        if isinstance(item, dict | list):
            if level > levels:
                raise UnstorableError(f"is nested deeper than {levels} levels")
            inner = [*item, *item.values()] if isinstance(item, dict) else item
            stack.extend((part, level + 1) for part in inner)
        elif isinstance(item, str) and "\0" in item:
            raise UnstorableError("has text with a NUL character, which can't be stored")
        elif isinstance(item, int) and not _INT_MIN <= item <= _INT_MAX:
            raise UnstorableError("has an integer that doesn't fit in 64 bits (signed): make it text")
