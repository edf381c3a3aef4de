"""Whether an object of the cluster still is as it was applied. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

_KEYS = ("mountPath", "name", "topologyKey")
_UNITS = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}


def covers(live: Any, wanted: Any, *, quantities: bool = False) -> bool:
    """Whether `live` has every field of `wanted` with its value; others may have added theirs.

    Entries of lists are found by what names them, as server-side apply does; under `resources` 0.5 is 500m.
    """
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            key in live and covers(live[key], value, quantities=quantities or key == "resources")
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(live, list) and _covers_list(live, wanted, quantities)
    if quantities and isinstance(wanted, str) and isinstance(live, str):
        return _quantity(live) == _quantity(wanted)
    return bool(live == wanted)


def _covers_list(live: Sequence[Any], wanted: Sequence[Any], quantities: bool) -> bool:
    for key in _KEYS:
        if all(isinstance(item, Mapping) and key in item for item in wanted):
            found = {item[key]: item for item in live if isinstance(item, Mapping) and key in item}
            return all(item[key] in found and covers(found[item[key]], item, quantities=quantities) for item in wanted)
    return len(live) == len(wanted) and all(
        covers(one, other, quantities=quantities) for one, other in zip(live, wanted, strict=True)
    )


def _quantity(text: str) -> Decimal | str:
    number = text.rstrip("EPTGMKkimun")
    try:
        return Decimal(number) * _UNITS[text[len(number) :]]
    except (InvalidOperation, KeyError):
        return text
