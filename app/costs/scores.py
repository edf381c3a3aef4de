"""How good and how fast a model is, from 0 to 1: what is said of it, moved by what is measured. Pure.

What is said (the built-in table, or an operator's numbers) counts as k0 observations; each real one moves the score
towards what it shows (the posterior mean of a beta distribution, Gelman et al., Bayesian Data Analysis, §2.4):

    score = (k0 · said + Σ observed) / (k0 + n)

For quality an observation is an attempt that succeeded (1) or failed (0), or a person's feedback, good (1) or bad (0).
For speed it is how an attempt's duration compares with those of the other models at tasks of the same type. With ρ the
ratio of geometric means, theirs through its own (2: twice as fast), and s the speed said of those others, it shows
s^(1/ρ): as fast as they are shows s, faster goes to 1, slower to 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import exp

QUALITY_K0 = 50.0
SPEED_K0 = 50.0
UNKNOWN_SPEED = 0.8
"""Of models that are measured but not rated, where others are compared with them."""
_LEAST, _MOST = 0.01, 0.99


@dataclass(frozen=True, slots=True)
class Said:
    """Quality and speed, each 0..1. `efficiency`: the tokens that it needs, 1 for as many as the estimate says.

    `good`, `bad`: feedback of people.
    """

    quality: float
    speed: float
    efficiency: float = 1.0
    good: int = 0
    bad: int = 0


TABLE: Mapping[str, Said] = {
    "gpt-5": Said(0.95, 0.8),
    "gpt-4o": Said(0.9, 0.9),
    "claude-opus-4.1": Said(0.92, 0.7),
    "claude-sonnet-3.5": Said(0.88, 0.85),
    "gemini-2.0-flash": Said(0.85, 0.95),
}
"""The models that are rated without anybody's doing."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A model's recent attempts at tasks of one type: how many succeeded and failed, and of the `timed` ones the mean
    natural logarithm of their seconds."""

    model: str
    type: str
    succeeded: int
    failed: int
    timed: int
    mean_log_s: float


@dataclass(frozen=True, slots=True)
class Rating:
    """The scores that count, with how many observations are in each."""

    quality: float
    speed: float
    efficiency: float
    said: Said
    quality_observations: int = 0
    speed_observations: int = 0


def shrunk(said: float, observed: float, count: float, k0: float) -> float:
    """The score after `count` observations that add up to `observed`."""
    return (k0 * said + observed) / (k0 + count)


def rate(said: Mapping[str, Said], measured: Iterable[Measured]) -> dict[str, Rating]:
    """Ratings of all models of `said`. What is measured of others only serves as their comparison."""
    rows = list(measured)
    succeeded: defaultdict[str, int] = defaultdict(int)
    tried: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        succeeded[row.model] += row.succeeded
        tried[row.model] += row.succeeded + row.failed
    shown = speeds(said, rows)
    ratings = {}
    for model, words in said.items():
        good, count = succeeded[model] + words.good, tried[model] + words.good + words.bad
        total, timed = shown.get(model, (0.0, 0))
        ratings[model] = Rating(
            quality=shrunk(words.quality, good, count, QUALITY_K0),
            speed=shrunk(words.speed, total, timed, SPEED_K0),
            efficiency=words.efficiency,
            said=words,
            quality_observations=count,
            speed_observations=timed,
        )
    return ratings


def speeds(said: Mapping[str, Said], measured: Iterable[Measured]) -> dict[str, tuple[float, int]]:
    """By model, the sum of what its timed attempts show, and their number. A type of one model alone shows nothing.

    A type's sums are made once, and a model's own part is taken out of them.
    """
    sums: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    for row in measured:
        if row.timed > 0:
            mine = sums[row.type][row.model]
            mine[0] += row.timed
            mine[1] += row.timed * row.mean_log_s
    shown: dict[str, tuple[float, int]] = {}
    for models in sums.values():
        count = sum(timed for timed, _ in models.values())
        logs = sum(log for _, log in models.values())
        speed = sum(timed * _said_speed(said, model) for model, (timed, _) in models.items())
        for model, (timed, log) in models.items():
            others = count - timed
            if others <= 0 or len(models) == 1:
                continue
            theirs = min(_MOST, max(_LEAST, (speed - timed * _said_speed(said, model)) / others))
            # Bounded so that a clock that jumped cannot overflow.
            slower = exp(max(-50.0, min(50.0, log / timed - (logs - log) / others)))
            total, so_far = shown.get(model, (0.0, 0))
            shown[model] = (total + timed * theirs**slower, so_far + int(timed))
    return shown


def _said_speed(said: Mapping[str, Said], model: str) -> float:
    return said[model].speed if model in said else UNKNOWN_SPEED
