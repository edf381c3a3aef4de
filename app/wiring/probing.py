"""The part of synthetic probes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard


class Probing(Part):
    """Synthetic probes."""

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
