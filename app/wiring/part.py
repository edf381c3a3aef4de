"""A part of a manager: what one room of the house adds to it, built by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

from fastapi import APIRouter

from app.core.leader import Leader
from app.core.loop import Loop

if TYPE_CHECKING:
    from app.wiring import Yard


class Part:
    """Building does no I/O. `open` comes before the loops start, `close` after they have ended; both are called once.

    `topics`: what to call when any manager notifies a topic (`core.wake`). `wire`: modules of JSON shapes, for the
    examples in the OpenAPI document. `tags`: (name, description) of OpenAPI tags.
    """

    tags: tuple[tuple[str, str], ...] = ()
    wire: tuple[ModuleType, ...] = ()

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.loops: list[Loop] = []
        self.leaders: list[Leader] = []
        self.topics: dict[str, Callable[[str], None]] = {}

    def routers(self) -> list[APIRouter]:
        """The part's routes."""
        return []

    def first_routers(self) -> list[APIRouter]:
        """Routes that must be looked at before those of the tasks. Few: every submission goes by them."""
        return []

    async def open(self) -> None:
        """Connect what must be connected."""

    async def close(self) -> None:
        """Undo `open`."""

    def leader(self, name: str) -> Leader:
        """A lease of this manager's, given back at the stop."""
        leader = Leader(self.yard.db, self.yard.clock, name, str(self.yard.me))
        self.leaders.append(leader)
        return leader
