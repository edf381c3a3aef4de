"""The figure: a PNG of the size that is promised, for any number of strategies."""

from __future__ import annotations

import struct

import pytest

from app.dispatch.simulator.figure import png
from app.dispatch.simulator.tally import Measures


def measured(number: int, curve_s: tuple[float, ...] | None = None) -> Measures:
    curve = curve_s if curve_s is not None else tuple(0.1 + (number + 1) * step / 100 for step in range(1000))
    return Measures(f"strategy_{number}", 10, 1, 2, 3.0 + number, 0.99, 0, 0, 1, 0, 0, 0, 0.0, curve)


def size(content: bytes) -> tuple[int, int]:
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


@pytest.mark.parametrize("count", [1, 4, 10])
def test_its_size(count: int) -> None:
    assert size(png([measured(n) for n in range(count)], "uniform", "strategy_0")) == (1200, 600)


def test_it_is_the_same_for_the_same_numbers() -> None:
    found = [measured(0), measured(1)]
    assert png(found, "title") == png(found, "title") != png(found, "other")


def test_equal_latencies_and_none() -> None:
    same = (1.0,) * 1000
    assert size(png([measured(0, same), measured(1, ())], "one value")) == (1200, 600)
    with pytest.raises(ValueError, match="nothing to draw"):
        png([measured(0, ())], "title")
