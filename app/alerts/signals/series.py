"""What makes the series of a signal: the pools there are, the tenants that have keys, the values of a label.

A pool or a tenant that a query says nothing of is there all the same. Nobody keeps a list of a label's values: one that
the query does not find is not mentioned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import asyncpg

from app.alerts.signals.base import By, Dimension
from app.auth.callers import PROBES_TENANT
from app.core.db import HotConnection

MAX_VALUES = 1_000
"""Values of a label that are told of: those with the most. A rule may be about as many series."""

_KNOWN = {"pool": "SELECT name FROM pools", "tenant": "SELECT DISTINCT tenant FROM api_keys"}
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_]")


def label_name(by: By) -> str:
    """The label that tells the series apart. Keys of tasks' labels may have other characters than names of labels: they
    become _, and one that begins with a digit gets a _ before it."""
    if by.dimension != "label":
        return by.dimension
    name = _NOT_IN_A_NAME.sub("_", by.key)
    return f"_{name}" if name[:1].isdigit() else name


def labels_of(by: By, series: str) -> dict[str, str]:
    """The labels of one series."""
    return {label_name(by): series}


def grouped(dimension: Dimension) -> str:
    """How a statement of (series, how much, ...) ends that `split` is given."""
    return f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {MAX_VALUES}" if dimension == "label" else "GROUP BY 1"


def key_of(by: By) -> tuple[str, ...]:
    """The argument that a statement split by a label takes beyond the others."""
    return (by.key,) if by.dimension == "label" else ()


async def split(connection: HotConnection, by: By, statement: str, *values: Any) -> Mapping[str, asyncpg.Record | None]:
    """What the statement, whose rows name their `series`, says of each; None: it is there, and nothing was said of it.

    Rows of pools that are gone are left out, so are values of a label that are empty and the tenant of probes."""
    found: dict[str, asyncpg.Record | None] = {
        row["series"]: row for row in await connection.fetch(statement, *values, *key_of(by)) if row["series"]
    }
    if by.dimension == "label":
        return found
    known = [row[0] for row in await connection.fetch(_KNOWN[by.dimension])]
    if by.dimension == "pool":
        return {name: found.get(name) for name in known}
    return {name: found.get(name) for name in {**dict.fromkeys(known), **found} if name != PROBES_TENANT}
