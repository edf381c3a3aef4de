"""Named places at which a process can be made to die, so that tests see what a crash there leaves behind.

Off, and a single look at a dict that is empty, unless YARD_FAILPOINTS names some: `settle.written=3,suspend.written`
kills the process (SIGKILL) the third time it comes by the first place, the first time by the second. For tests only.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

VARIABLE = "YARD_FAILPOINTS"


def parse(text: str) -> dict[str, int]:
    """How many times each place is passed before it kills: `name[=count]`, joined by commas. ValueError if not so."""
    points = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, count = part.partition("=")
        points[name] = int(count or "1")
        if points[name] < 1:
            raise ValueError(f"{VARIABLE}: {part!r} counts from 1")
    return points


class Failpoints:
    """`die` ends the process, at once and without any clean-up."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._left = parse(environment.get(VARIABLE, ""))

    def reach(self, name: str) -> None:
        """The process has come to this place."""
        if not self._left or name not in self._left:
            return
        self._left[name] -= 1
        if self._left[name] == 0:
            self.die()

    def die(self) -> None:
        """SIGKILL to ourselves."""
        os.kill(os.getpid(), signal.SIGKILL)


_points = Failpoints(os.environ)
reach = _points.reach
