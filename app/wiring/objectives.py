"""The part of objectives: SLOs, feedback, burn rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard


class Objectives(Part):
    """SLOs and feedback."""

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
