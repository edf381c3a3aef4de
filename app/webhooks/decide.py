"""What follows from a receiver's answer, and when to try again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

type Verdict = Literal["delivered", "retry", "failed", "gone"]

WAITS_FOR_US = (429, 503)
GONE = 410


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The wait after try n is first_s · factor^(n−1), at most max_s, spread by ±jitter (a share, 0..1)."""

    first_s: float
    factor: float
    max_s: float
    max_tries: int
    jitter: float = 0.1


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered: `status` None when it did not. `text`: the start of the body, or what went wrong."""

    status: int | None
    text: str = ""
    retry_after: str | None = None


def verdict(answer: Answer, tries: int, policy: RetryPolicy) -> Verdict:
    """What becomes of a delivery after its try number `tries`."""
    if answer.status is not None and 200 <= answer.status < 300:
        return "delivered"
    if answer.status == GONE:
        return "gone"
    return "retry" if tries < policy.max_tries else "failed"


def delay_s(answer: Answer, tries: int, policy: RetryPolicy, now: datetime, spread: float) -> float:
    """Seconds until the next try. `spread` is a random number in −1..1; a 429 or 503 may ask for more, up to max_s."""
    exponent = min(tries - 1, 64)  # beyond, a float overflows; max_s holds long before
    planned = min(policy.max_s, policy.first_s * policy.factor**exponent) * (1 + policy.jitter * spread)
    if answer.status in WAITS_FOR_US and answer.retry_after is not None:
        return max(planned, min(policy.max_s, retry_after_s(answer.retry_after, now)))
    return planned


def retry_after_s(value: str, now: datetime) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110: a number of seconds, or a date); 0 for anything else."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())
