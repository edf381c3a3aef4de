"""How long work waits for one of c slots: the queue M/M/c, first come first served.

Load a = λ·S is the mean number of busy slots (erlang): λ arrivals a second, each holding a slot for S seconds.

Sources: A. K. Erlang, "Solution of some problems in the theory of probabilities of significance in automatic telephone
exchanges" (1917), the formulas B and C; L. Kleinrock, Queueing Systems, vol. 1 (1975), §3.5; D. Gross and C. M. Harris,
Fundamentals of Queueing Theory, §2.3, the distribution of the wait. For work that varies more than exponential service
does, A. M. Lee and P. A. Longton (1959): the wait of M/G/c is about (1 + CV²)/2 times that of M/M/c.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

NEGLIGIBLE = 1e-17
"""A term this small beside a sum that is at least 1 changes none of its digits."""


def wait_probability(slots: int, load: float) -> float:
    """C(c, a): the share of arrivals that find all `slots` busy. 1 where load ≥ slots (the queue grows without end)."""
    if load <= 0.0:
        return 0.0
    if slots <= load:
        return 1.0
    # More slots cannot make less than nothing of it.
    blocked = next(blocked for count, blocked in _blocking(load) if count >= slots or blocked == 0.0)
    return _waiting(slots, load, blocked)


def wait_tail(slots: int, load: float, service_s: float, t_s: float, cv: float = 1.0) -> float:
    """P(W > t) = C(c, a)·exp(−(c − a)·t/S): the share of arrivals that wait longer than `t_s` seconds.

    `cv`: the standard deviation of the service time over its mean. Above 1 the wait is (1 + CV²)/2 times as long; below
    1 nothing is taken off.
    """
    if slots <= load:
        return 1.0 if load > 0.0 else 0.0
    return wait_probability(slots, load) * _still_waiting(slots, load, service_s, t_s, cv)


def slots_for(load: float, service_s: float, t_s: float, share: float, cv: float = 1.0) -> int:
    """The fewest slots with P(W > `t_s`) ≤ `share` (0 < share); 0 where there is no load. Takes O(√load) steps.

    With S = 120 s, T = 30 s and 5 %, load 2 needs 5 slots, 10 → 15, 20 → 26, 60 → 67, 120 → 128, 240 → 249.
    """
    if load <= 0.0:
        return 0
    for slots, blocked in _blocking(load):
        if slots <= load:
            continue
        waiting = _waiting(slots, load, blocked)
        if waiting * _still_waiting(slots, load, service_s, t_s, cv) <= share:
            return slots
    raise AssertionError("more slots always shorten the wait")


def _blocking(load: float) -> Iterator[tuple[int, float]]:
    """(c, B(c, a)) from the first c ≥ a on, without end: B(c) = a·B(c−1) / (c + a·B(c−1)), which adds and multiplies
    positive numbers only, so that no digits are lost."""
    slots = math.ceil(load)
    blocked = _blocking_at(slots, load)
    while True:
        yield slots, blocked
        slots += 1
        blocked = load * blocked / (slots + load * blocked)


def _blocking_at(slots: int, load: float) -> float:
    """B(c, a) as 1/B = Σ c·(c−1)···(c−j+1)/aʲ for j = 0 … c: for c next to a all but O(√a) terms are negligible."""
    term = total = 1.0
    for left in range(slots, 0, -1):
        term *= left / load
        total += term
        if term < NEGLIGIBLE * total:
            break
    return 1.0 / total


def _waiting(slots: int, load: float, blocked: float) -> float:
    """C(c, a) = B / (1 − ρ·(1 − B)), ρ = a/c < 1."""
    return blocked / (1.0 - load / slots * (1.0 - blocked))


def _still_waiting(slots: int, load: float, service_s: float, t_s: float, cv: float) -> float:
    """P(W > t | W > 0), with slots > load."""
    stretch = max(1.0, (1.0 + cv * cv) / 2.0)
    return math.exp(-(slots - load) * t_s / (service_s * stretch))
