"""Labels of a task: short texts by name, to say whose work it is (`team`, `project`). Costs are told apart by them, and
budgets may be about one. Sub-tasks carry those of the task that called them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated

import orjson
from pydantic import AfterValidator, WithJsonSchema

MAX_LABELS = 16
MAX_VALUE = 255
KEY = r"^[a-z0-9][a-z0-9._/-]{0,62}$"
VALUE = rf"^[^\x00-\x1f\x7f-\x9f]{{0,{MAX_VALUE}}}$"

_KEY, _VALUE = re.compile(KEY[1:-1]), re.compile(VALUE[1:-1])


def checked(labels: dict[str, str]) -> dict[str, str]:
    """The same labels; raises ValueError, for people, for what is no label."""
    if len(labels) > MAX_LABELS:
        raise ValueError(f"a task has at most {MAX_LABELS} labels, not {len(labels)}")
    for key, value in labels.items():
        if _KEY.fullmatch(key) is None:
            raise ValueError(
                f"the key {key[:80]!r} is not 1 to 63 of a-z, 0-9, '.', '_', '/' and '-', with a letter or digit first"
            )
        if _VALUE.fullmatch(value) is None:
            raise ValueError(f"the value of {key!r} is longer than {MAX_VALUE}, or has control characters")
    return labels


Labels = Annotated[
    dict[str, str],
    AfterValidator(checked),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_LABELS,
            "propertyNames": {"pattern": KEY},
            "additionalProperties": {"type": "string", "pattern": VALUE},
        }
    ),
]
"""As a field of a request's body."""


@lru_cache(maxsize=1024)
def labels_of(text: str | None) -> Mapping[str, str]:
    """From the JSON text of a task's row; not to be changed. Few sets of labels are in use at a time: each is read
    once."""
    return MappingProxyType({} if text is None else orjson.loads(text))
