"""The target at which a baseline spends as much as the judged policy, and the verdict that comes of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scaling.simulator import equal_hours, policies, traces
from app.scaling.simulator.compare import Comparison, Found
from app.scaling.simulator.equal_hours import HIGHEST, LOWEST, MOST_TRIED, Equal, Search, equal_verdict
from app.scaling.simulator.tally import Measures, Tally


def searched(hours: float, spent: Callable[[int], float], start: int = 80) -> Search:
    search = Search(hours, start)
    while (target := search.following()) is not None:
        assert target not in search.spent and LOWEST <= target <= HIGHEST
        search.tell(target, spent(target))
    return search


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (40.0, 100),
        (50.0, 80),
        (49.9, 80),
        (53.3, 75),
        (30.0, 133),
        (26.7, 149),
        (20.0, 150),
        (199.0, 20),
        (300.0, None),
    ],
)
def test_the_highest_target_that_spends_enough(hours: float, expected: int | None) -> None:
    assert searched(hours, lambda target: 4000 / target).best == expected


@given(st.integers(25, 145), st.integers(25, 145), st.floats(0.2, 3.0))
def test_any_hours_that_fall_steadily(start: int, at: int, power: float) -> None:
    """Found to a hundredth, or nearly so where the tries are used up."""

    def spent(target: int) -> float:
        return 40.0 * math.pow(at / target, power)

    search = searched(40.0, spent, start)
    assert search.tried <= MOST_TRIED
    assert search.best is not None and at - 8 <= search.best <= at


def test_hours_that_break_off_and_hours_that_never_change() -> None:
    assert searched(42.0, lambda target: 4000 / target if target <= 90 else 6.0).best == 90
    assert searched(42.0, lambda _: 42.0).best == HIGHEST
    assert searched(42.0, lambda _: 41.9).best is None


def test_who_is_a_rival() -> None:
    def kinds(*names: str) -> list[str]:
        return equal_hours.rivals([policies.parsed(name) for name in names])

    assert kinds(*policies.DEFAULT) == ["hpa", "kpa", "keda"]
    assert kinds("queue_wait", "kpa:target=0.5", "utilization", "kpa") == ["kpa"]
    assert kinds("hpa", "hpa:target=0.5", "keda") == ["keda"]
    assert kinds("queue_wait") == []


def tally(late: int, hours: float = 10.0) -> Tally:
    found = Tally(arrived=100, finished=100, replica_s=3600 * hours, counted_s=3600.0)
    found.waits_s.extend([31.0] * late + [0.0] * (100 - late))
    return found


def measured(late: float) -> Measures:
    return Measures("queue_wait", 100, late, late / 100, 0.0, 1.0, 2.0, 10.0, 5.0, None, 0)


@pytest.mark.parametrize(
    ("mine", "others", "standings", "wins"),
    [
        (3, [4, 5], ["fewer", "fewer"], True),
        (3, [4, 3], ["fewer", "tie"], False),
        (0, [0, 1], ["tie", "fewer"], False),
        (3, [2, 4], ["more", "fewer"], False),
        (3, [None, 4], ["unmatched", "fewer"], False),
        (3, [], [], False),
    ],
)
def test_a_verdict(mine: int, others: list[int | None], standings: list[str], wins: bool) -> None:
    equal = [
        Equal(kind, None) if late is None else Equal(kind, 0.8, [tally(late)])
        for kind, late in zip(("hpa", "kpa"), others, strict=False)
    ]
    verdict = equal_verdict("step", measured(mine), equal, 30.0)
    assert (list(verdict.standings.values()), verdict.wins) == (standings, wins)


def compared(names: list[str], *, processes: int = 1, seeds: int = 2) -> list[Found]:
    comparison = Comparison(
        [policies.parsed(name) for name in names],
        ["step", "burst"],
        traces.Generated(traces.Limits(), 0.25),
        policies.Builder({}, 5.0),
        equal_hours=True,
    )
    for _ in comparison.run(range(1, seeds + 1), processes):
        pass
    return comparison.found


def test_several_processes_find_the_same() -> None:
    alone, shared = compared(["queue_wait", "keda"]), compared(["queue_wait", "keda"], processes=2)
    assert alone == shared and [one.trace for one in alone] == ["step", "burst"]
    assert [len(runs) for one in alone for runs in one.runs.values()] == [2, 2, 2, 2]


def test_what_is_found_depends_on_the_judged_hours_and_not_on_the_targets_given() -> None:
    usual, given_ = compared(["queue_wait", "kpa"]), compared(["queue_wait", "kpa:target=0.755"])
    for one, other in zip(usual, given_, strict=True):
        assert one.measures(30.0)[1] != other.measures(30.0)[1]
        found = [one.equal[0].measures(30.0), other.equal[0].measures(30.0)]
        assert all(each is not None and each.replica_hours >= one.measures(30.0)[0].replica_hours for each in found)
