"""The seam for signals: what a reader is told and what it answers.

A reader is called by one manager at a time, in a transaction of its own that is read only, and answers within seconds
however long the history is. It raises what the database raises: whoever calls makes an `error` of that for every
series, so that one broken signal silences no other. It answers with a reading for each series that it knows of now: a
number, or `no_data` where the series is there and there was nothing to measure. A series that it does not mention has
vanished.

Series are labelled by what makes them: `pool`, `tenant`, or the key of a label of tasks. A signal that cannot be split
so says which it can (`by`); one with none of the three has labels of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from app.alerts.reading import Reading
from app.core.db import HotConnection

type Memo = dict[str, Any]
"""What readers of one pass leave for each other."""

type Dimension = Literal["pool", "tenant", "label"]

WINDOW_S = 300.0
"""Signals about what happened are about the last so many seconds, unless their name says otherwise."""


@dataclass(frozen=True, slots=True)
class By:
    """What makes a series. `key`: the label's, where the dimension is `label`. `memo`: of the pass."""

    dimension: Dimension = "pool"
    key: str = ""
    memo: Memo = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        return f"label:{self.key}" if self.dimension == "label" else self.dimension

    @classmethod
    def of(cls, text: str, memo: Memo | None = None) -> By:
        """As a rule writes it: pool, tenant, label:KEY."""
        dimension, _, key = text.partition(":")
        shared = {} if memo is None else memo
        if dimension == "label":
            return cls("label", key, shared)
        return cls("tenant" if dimension == "tenant" else "pool", memo=shared)


type Read = Callable[[HotConnection, By, datetime], Awaitable[Sequence[Reading]]]


@dataclass(frozen=True, slots=True)
class Signal:
    """`unit` and `text` are for people. `now`, which readers are called with, is database time."""

    name: str
    unit: str
    text: str
    read: Read
    by: frozenset[Dimension] = frozenset()
