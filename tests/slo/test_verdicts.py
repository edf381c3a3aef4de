"""Verdicts: people before judges, one version a series, and late ones as long as their bucket is open."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.slo.budget import Counts
from app.slo.verdicts import Mark, Series, Settling, Source, Verdict, effective, is_good, mark, tally
from app.slo.windows import EPOCH

TASK = uuid4()
V1, V2 = Series("rubric", "1"), Series("rubric", "2")
OTHER = Series("style", "1")
HALF = Decimal("0.5")
FINISHED = EPOCH + timedelta(seconds=90)
HOUR = Settling(3_600)
"""The bucket of FINISHED ends at 120 s, so it settles at 3,720 s."""
LATE = EPOCH + timedelta(days=1)


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def said(
    good: bool | None, seconds: float = 100, series: Series = V1, source: Source = "judge", number: int = 0
) -> Verdict:
    label = {True: "good", False: "bad", None: "funny"}[good]
    return Verdict(UUID(int=number), TASK, series, source, at(seconds), None, label)


@pytest.mark.parametrize(
    ("label", "score", "good"),
    [
        ("good", "0", True),
        ("fail", "1", False),
        (None, "0.5", True),
        (None, "0.499", False),
        ("verbose", "0.9", True),
        ("verbose", None, None),
        (None, None, None),
    ],
)
def test_a_label_says_it_else_the_score(label: str | None, score: str | None, good: bool | None) -> None:
    verdict = Verdict(uuid4(), TASK, V1, "judge", at(0), None if score is None else Decimal(score), label)
    assert is_good(verdict, HALF) is good


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], "unscored"),
        ([said(True)], "good"),
        ([said(False)], "bad"),
        # The newest of a series; of one moment the one with the greater id.
        ([said(False, 200), said(True, 100)], "bad"),
        ([said(False, number=2), said(True, number=1)], "bad"),
        # Another version, and another evaluator, is another series.
        ([said(True, series=V2)], "unscored"),
        ([said(True, series=OTHER)], "unscored"),
        ([said(False), said(True, 200, V2)], "bad"),
        # A person outranks a judge that speaks later, whatever the series.
        ([said(False, 100, OTHER, "human"), said(True, 200)], "bad"),
        ([said(False, 100, OTHER, "human"), said(True, 150, V2, "human"), said(False, 200)], "good"),
        # A comment takes nothing away.
        ([said(True), said(None, 200, V1, "human")], "good"),
        ([said(None, 200)], "unscored"),
        # To the last moment before the bucket settles.
        ([said(True), said(False, 3_719.999)], "bad"),
        ([said(True), said(False, 3_720)], "good"),
        ([said(True), said(False, 3_720, source="human")], "good"),
    ],
)
def test_which_verdict_counts(verdicts: list[Verdict], expected: Mark) -> None:
    for heard in (verdicts, verdicts[::-1]):
        found = mark(heard, V1, finished_at=FINISHED, now=LATE, settling=HOUR, pass_score=HALF)
        assert found == expected


def test_a_task_without_a_verdict_is_pending_until_its_bucket_settles() -> None:
    def found(now: datetime) -> Mark:
        return mark([], V1, finished_at=FINISHED, now=now, settling=HOUR, pass_score=HALF)

    assert (found(FINISHED), found(at(3_719)), found(at(3_720))) == ("pending", "pending", "unscored")


def test_a_late_verdict_opens_its_bucket_until_it_settles() -> None:
    assert HOUR.reopened(FINISHED, at(3_719)) == at(60)
    assert HOUR.reopened(FINISHED, at(3_720)) is None
    assert Settling(0).reopened(FINISHED, at(119)) == at(60)
    assert Settling(0).reopened(FINISHED, at(120)) is None


verdicts = st.builds(
    Verdict,
    st.uuids(),
    st.just(TASK),
    st.sampled_from([V1, V2, OTHER]),
    st.sampled_from(["human", "judge"]),
    st.integers(90, 5_000).map(at),
    st.one_of(st.none(), st.decimals(0, 1, places=1)),
    st.sampled_from([None, "good", "bad", "correct", "incorrect", "pass", "fail", "odd"]),
)


@given(st.lists(verdicts, max_size=12, unique_by=lambda verdict: verdict.id), verdicts, st.integers(0, 5_000))
def test_what_was_said_later_or_by_others_changes_nothing(
    heard: list[Verdict], more: Verdict, settle_after_s: int
) -> None:
    settling = Settling(settle_after_s)
    settles_at = settling.settles_at(FINISHED)
    found = effective(heard, V1, settles_at=settles_at, pass_score=HALF)
    then = effective([*heard, more], V1, settles_at=settles_at, pass_score=HALF)
    if then is not found:
        assert then is more
        assert settling.reopened(FINISHED, more.at) is not None
        assert more.source == "human" or more.series == V1
        assert found is None or found.source == "judge" or more.source == "human"
        if found is not None and found.source == more.source:
            assert more.at >= found.at


@given(st.lists(st.sampled_from(["good", "bad", "unscored", "pending"])))
def test_marks_are_counted_once_each(marks: list[Mark]) -> None:
    found = tally(marks)
    assert found == sum((Counts(**{each: 1}) for each in marks), Counts())
    assert found.valid + found.unscored + found.pending == len(marks)
