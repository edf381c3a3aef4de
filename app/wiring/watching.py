"""The part that watches: signals, rules and the states of alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard


class Watching(Part):
    """Signals, rules, states of alerts."""

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
