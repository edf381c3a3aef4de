"""The part that tells people: receivers, silences, groups, notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard


class Notifying(Part):
    """Receivers, silences, notifications."""

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
