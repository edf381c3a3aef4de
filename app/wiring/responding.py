"""The part that acts on alerts: emergency mode and the other automatic responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard


class Responding(Part):
    """Actions, emergency mode."""

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
