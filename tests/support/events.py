"""Following a task by server-sent events, as a browser reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Heard:
    """One event; `id` is empty where none was sent."""

    name: str
    data: Any
    id: str


def parse(lines: Iterable[str]) -> Iterator[Heard]:
    """Events of a stream's lines; comments are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if not line:
            if "data" in fields:
                yield Heard(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id", ""))
            fields = {}
        elif name:
            fields[name] = value.removeprefix(" ")


def followed(client: httpx.Client, task_id: str, **headers: str) -> list[Heard]:
    """Every event until the stream ends."""
    with client.stream("GET", f"/v1/tasks/{task_id}/events", headers=headers) as response:
        assert response.status_code == 200
        return list(parse(response.iter_lines()))
