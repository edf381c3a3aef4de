"""Power of two choices: of two agents drawn at random, the less loaded.

Against one random choice this shrinks the greatest load from order log n / log log n to order log log n (Mitzenmacher,
"The power of two choices in randomized load balancing", 2001), at a cost that does not depend on the pool's size.
"""

from __future__ import annotations

import random

from app.dispatch.balancers.base import Offer, TaskView
from app.dispatch.balancers.passive import Passive


class P2C(Passive):
    """Lower in_flight / slots of two; equals are picked from at random. Remembers nothing."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def choose(self, task: TaskView, offer: Offer, now: float) -> str:
        drawn = offer.draw(self._rng, 2)
        one, other = drawn[0], drawn[-1]
        difference = one.in_flight / one.slots - other.in_flight / other.slots
        if difference == 0:
            return self._rng.choice((one, other)).id
        return one.id if difference < 0 else other.id
