"""Which verdict of a task counts, and until when. Pure.

A series is one evaluator in one version: another version judges otherwise, so its verdicts are another series and are
never mixed in. People outrank judges, whatever series is asked for. Of equals the newest counts. A verdict may come
late: it counts as long as its task's bucket has not settled, and such a bucket is counted anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

from app.slo.budget import Counts
from app.slo.windows import BUCKET_S, bucket_of

type Source = Literal["human", "judge"]
type Mark = Literal["good", "bad", "unscored", "pending"]

SOURCES: tuple[Source, ...] = ("human", "judge")
GOOD_LABELS = ("good", "correct", "pass")
BAD_LABELS = ("bad", "incorrect", "fail")
"""Labels that are a verdict by themselves, before the score. Any other says nothing about good or bad."""


@dataclass(frozen=True, slots=True)
class Series:
    """One evaluator in one version."""

    evaluator: str
    version: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an evaluator said about a task's result. `score`: 0 to 1. `id` rises with time, to tell equals apart."""

    id: UUID
    task_id: UUID
    series: Series
    source: Source
    at: datetime
    score: Decimal | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Settling:
    """Until when verdicts count: `settle_after_s` behind the end of the bucket in which the task finished."""

    settle_after_s: int
    width_s: int = BUCKET_S

    def bucket(self, finished_at: datetime) -> datetime:
        """The beginning of the task's bucket."""
        return bucket_of(finished_at, self.width_s)

    def settles_at(self, finished_at: datetime) -> datetime:
        """The first moment at which a verdict about the task comes too late."""
        return self.bucket(finished_at) + timedelta(seconds=self.width_s + self.settle_after_s)

    def reopened(self, finished_at: datetime, said_at: datetime) -> datetime | None:
        """The bucket that a verdict makes us count again; None: it comes too late, and is kept but not counted."""
        return self.bucket(finished_at) if said_at < self.settles_at(finished_at) else None


def is_good(verdict: Verdict, pass_score: Decimal) -> bool | None:
    """What it says: by its label, else by its score; None where it says neither."""
    if verdict.label in GOOD_LABELS:
        return True
    if verdict.label in BAD_LABELS:
        return False
    return None if verdict.score is None else verdict.score >= pass_score


def effective(
    verdicts: Iterable[Verdict], series: Series, *, settles_at: datetime, pass_score: Decimal
) -> Verdict | None:
    """The one that counts, of all verdicts about one task; None: there is none.

    One that says neither good nor bad is as none: a person who only writes a comment does not take a judge's verdict
    away.
    """
    heard = [
        verdict
        for verdict in verdicts
        if verdict.at < settles_at
        and (verdict.source == "human" or verdict.series == series)
        and is_good(verdict, pass_score) is not None
    ]
    return max(heard, key=lambda verdict: (verdict.source == "human", verdict.at, verdict.id), default=None)


def mark(
    verdicts: Iterable[Verdict],
    series: Series,
    *,
    finished_at: datetime,
    now: datetime,
    settling: Settling,
    pass_score: Decimal,
) -> Mark:
    """What a finished task counts as at `now`."""
    settles_at = settling.settles_at(finished_at)
    found = effective(verdicts, series, settles_at=settles_at, pass_score=pass_score)
    if found is None:
        return "pending" if now < settles_at else "unscored"
    return "good" if is_good(found, pass_score) else "bad"


def tally(marks: Iterable[Mark]) -> Counts:
    """Marks as counts."""
    found = {"good": 0, "bad": 0, "unscored": 0, "pending": 0}
    for each in marks:
        found[each] += 1
    return Counts(**found)
