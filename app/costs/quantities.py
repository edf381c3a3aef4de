"""What an executor says it used, read strictly: a count that cannot be true must not become money."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

MAX_COUNT = 10**12
"""A larger count of anything in one entry is a mistake."""
MAX_NAMES = 32
MAX_MODEL = 200
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

SYNONYMS = {
    "cache_read_tokens": "cached_input_tokens",
    "cache_read_input_tokens": "cached_input_tokens",
    "cached_tokens": "cached_input_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
}
"""Other names for the same thing, as providers and libraries have them."""
_OWN = frozenset({"model", "input_tokens", "output_tokens"})


@dataclass(frozen=True, slots=True)
class Reported:
    """One usage entry. `quantities`: everything else that was counted, by name.

    `cached_input_tokens` and `cache_write_tokens` are part of `input_tokens`, `reasoning_tokens` part of
    `output_tokens`; `seconds` and what agents name themselves may be fractions.
    """

    model: str
    input_tokens: int
    output_tokens: int
    quantities: dict[str, int | float]


def normal_model(name: str) -> str:
    """A model's name without white space around it and without control characters, at most 200 characters."""
    return _CONTROL.sub(" ", name).strip()[:MAX_MODEL].rstrip()


def normal_quantity(name: str) -> str:
    """The name by which a quantity is kept and priced."""
    return SYNONYMS.get(name, name)


def read_usage(entry: object) -> Reported | str:
    """A usage entry, or one sentence that says what is wrong with it.

    Counts of tokens and requests are whole; every quantity is finite, from 0 to 10^12. What is not a number (texts,
    lists, objects, flags) has no unit price and is left out, unless its name says that it is a count: then it is wrong.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("model"), str):
        return 'A usage entry is not an object with "model".'
    model = normal_model(entry["model"])
    if not model:
        return 'The "model" of a usage entry is empty.'
    counts = [entry.get("input_tokens", 0), entry.get("output_tokens", 0)]
    for count in counts:
        if type(count) is not int or count < 0:
            return "Token counts are whole numbers from 0 up."
        if count > MAX_COUNT:
            return f"No entry has more than {MAX_COUNT} tokens."
    quantities = {} if entry.keys() <= _OWN else _quantities(entry)
    if isinstance(quantities, str):
        return quantities
    return Reported(model, counts[0], counts[1], quantities)


def _quantities(entry: Mapping[object, object]) -> dict[str, int | float] | str:
    found: dict[str, int | float] = {}
    for key, value in entry.items():
        if key in _OWN or value is None:
            continue
        name = normal_quantity(str(key))
        if not _is_number(value):
            if _is_count(name):
                return f"{_shown(name)} is not a number."
            continue
        wrong = _wrong(name, value)
        if wrong is not None:
            return wrong
        if found.get(name, value) != value:
            return f"{_shown(name)} is reported twice, as {found[name]} and {value}."
        found[name] = value
        if len(found) > MAX_NAMES:
            return f"A usage entry has more than {MAX_NAMES} quantities."
    return found


def _wrong(name: str, value: int | float) -> str | None:
    if _NAME.fullmatch(name) is None:
        return f"{_shown(name)} is no name of a quantity (letters, digits, _ . -; at most 64)."
    if isinstance(value, float) and not math.isfinite(value):
        return f"{_shown(name)} is not finite."
    if value < 0:
        return f"{_shown(name)} is negative."
    if value > MAX_COUNT:
        return f"{_shown(name)} is more than {MAX_COUNT}."
    if _is_count(name) and type(value) is not int:
        return f"{_shown(name)} is not a whole number."
    return None


def _is_number(value: object) -> TypeGuard[int | float]:
    return type(value) in (int, float)


def _is_count(name: str) -> bool:
    return name.endswith("_tokens") or name == "requests"


def _shown(name: str) -> str:
    return repr(name[:64])
