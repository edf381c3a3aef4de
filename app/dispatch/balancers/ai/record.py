"""How much slower than its class an agent is, and how much more often it fails, from its own results.

Four sums that decay, so that what was long ago counts little:

    spent     seconds of each answer ÷ the seconds usual for the task's type and the agent's class
    answers   how many
    excess    failures beyond the usual rate, among the last attempts
    attempts  how many these are, at most EXCESS_WINDOW

slowness = (PRIOR + spent) ÷ (PRIOR + answers), drawn towards 1 by CERTAINTY standard errors: what may be noise moves
nothing. Service times of agents are heavy-tailed, so the noise of a few answers is large.
"""

from __future__ import annotations

import math

from app.dispatch.balancers.ai.breaker import Breaker

PRIOR = 4.0
"""Answers at normal speed that every agent starts with."""

MOST_SPENT = 6.0
"""One answer counts at most as so many usual ones: a single huge task does not make an agent slow."""

VARIANCE = 1.7
"""Squared coefficient of variation of service times within a type: a lognormal one whose p99 is 10 x its median."""

CERTAINTY = 2.0
"""Standard errors by which slowness must differ from 1 to count."""

MOST_BELIEVED = 2.0
"""An operator's weight makes an agent at most so many times faster or slower, until its answers show."""

EXCESS_PRIOR = 10.0
"""Attempts without excess failures that every agent starts with."""

EXCESS_WINDOW = 30.0
"""Attempts over which the excess is taken: a good past must not hide that an agent fails now."""

EXCESS_MEMORY = 2.0
"""Failures are remembered for so many times as long as seconds: to try a failing agent anew costs tasks."""

EXCESS_AT_LEAST = 0.1
"""Excess failure rates below this are not told from chance, and cost nothing."""

WARM_UP_S = 60.0
WARM_UP_COST = 2.0
"""A new agent counts as 1 + WARM_UP_COST times slower, falling to 1 over WARM_UP_S."""


class Record:
    """One agent's. `slowness` and `excess_rate` are kept ready for choices; times in seconds of the caller's clock."""

    __slots__ = (
        "answers", "at", "attempts", "breaker", "cls", "compares_from", "excess", "excess_rate", "id", "peer",
        "peer_trips", "seen", "slowness", "spent", "threads", "version", "warm_since", "weight",
    )  # fmt: skip

    def __init__(self, agent_id: str, version: str, cls: str, now: float) -> None:
        self.id = agent_id
        self.version = version
        self.cls = cls
        self.weight = 5.0
        self.breaker = Breaker()
        self.at = now
        self.spent = self.answers = self.excess = self.attempts = 0.0
        self.peer = (0.0, 0.0, 0.0, 0.0)  # the other managers' four sums
        self.peer_trips = 0
        self.seen = 0  # counted attempts of this manager since the agent joined
        self.slowness = 1.0
        self.excess_rate = 0.0
        self.warm_since: float | None = None
        self.compares_from = math.inf  # those who join from then on count as new beside it
        self.threads: set[str] | None = None

    def decay(self, now: float, memory_s: float) -> None:
        """Bring the sums to `now`. A clock that steps back decays nothing."""
        elapsed = now - self.at
        if elapsed == 0.0:
            return
        self.at = now
        if elapsed < 0.0:
            return
        left, kept = faded(elapsed, memory_s)
        self.spent *= left
        self.answers *= left
        self.excess *= kept
        self.attempts *= kept
        spent, answers, excess, attempts = self.peer
        if attempts:
            self.peer = (spent * left, answers * left, excess * kept, attempts * kept)

    def count(self, ok: bool, ratio: float, usual_rate: float) -> None:
        """Add a result: its seconds are `ratio` times the usual ones, and usually `usual_rate` of them fail."""
        self.seen += 1
        if self.attempts > EXCESS_WINDOW - 1.0:
            self.excess *= (EXCESS_WINDOW - 1.0) / self.attempts
            self.attempts = EXCESS_WINDOW - 1.0
        self.attempts += 1.0
        self.excess += (not ok) - usual_rate
        if ok:
            self.answers += 1.0
            self.spent += min(ratio, MOST_SPENT)

    def judge(self, usual_weight: float) -> None:
        """Make `slowness` and `excess_rate` from the sums and the operator's weight, against what is usual."""
        self.slowness, self.excess_rate = self.judged(usual_weight, 1.0, 1.0)

    def judged(self, usual_weight: float, left: float, kept: float) -> tuple[float, float]:
        """What `slowness` and `excess_rate` would be with the sums faded by these factors."""
        spent, answers, excess, attempts = self.peer
        slow = slowness(
            left * (self.spent + spent), left * (self.answers + answers), believed(self.weight, usual_weight)
        )
        rate = kept * (self.excess + excess) / (EXCESS_PRIOR + kept * (self.attempts + attempts))
        return slow, rate if rate > EXCESS_AT_LEAST else 0.0

    def readmit(self, now: float) -> None:
        """The agent passed its trial: it starts slowly, with half of the blame. A trial of long ago, told after a
        restart, does not shorten a warm-up that began since."""
        self.excess *= 0.5
        if self.warm_since is None or now > self.warm_since:
            self.warm_since = now

    def warmth_then(self, now: float) -> float:
        """`warmth` at the time of a result, which may be long ago: before the warm-up began it was 1."""
        if self.warm_since is None or not 0.0 <= now - self.warm_since < WARM_UP_S:
            return 1.0
        return self.warmth(now)

    def warmth(self, now: float) -> float:
        """The factor by which the agent counts as slower for being new, 1 where it is not. `now` is the present."""
        if self.warm_since is None:
            return 1.0
        age = now - self.warm_since
        if age >= WARM_UP_S:
            self.warm_since = None
            return 1.0
        if age < 0.0:  # the clock stepped back
            self.warm_since = now
            age = 0.0
        return 1.0 + WARM_UP_COST * (1.0 - age / WARM_UP_S)


def faded(elapsed: float, memory_s: float) -> tuple[float, float]:
    """What is left of the sums of times and of failures after `elapsed` seconds, as factors."""
    return math.exp(-elapsed / memory_s), math.exp(-elapsed / (EXCESS_MEMORY * memory_s))


def believed(weight: float, usual: float) -> float:
    """The slowness that an operator's weight suggests where `usual` is the mean of the pool."""
    return min(MOST_BELIEVED, max(1.0 / MOST_BELIEVED, usual / weight))


def slowness(spent: float, answers: float, prior: float = 1.0) -> float:
    """The module's formula; `prior` is what the first PRIOR answers are taken to show, and matters no longer than they.

    Always positive and finite for sums that are.
    """
    count = PRIOR + answers
    distance = math.log((PRIOR * prior + spent) / count)
    expected = math.log(prior) * PRIOR / count
    noise = CERTAINTY * math.sqrt(VARIANCE / count)
    if distance > expected + noise:
        return math.exp(distance - noise)
    if distance < expected - noise:
        return math.exp(distance + noise)
    return math.exp(expected)
