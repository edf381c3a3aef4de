"""The others' formulas, against tables worked out by hand from their documentation."""

from __future__ import annotations

import pytest

from app.scaling.demand import Counts
from app.scaling.simulator.baselines import hpa, keda, kpa
from app.scaling.simulator.lens import Reading, Size
from app.scaling.simulator.world import Bounds

BOUNDS = Bounds(1, 100, 4, 30.0)


def seen(at_s: float, running: int, queued: int = 0) -> Reading:
    return Reading(at_s, Counts(queued=queued, running=running), running)


@pytest.mark.parametrize(
    ("busy", "ready", "starting", "expected"),
    [
        (32, 10, 0, 10),  # 80 %: as it should be
        (35, 10, 0, 10),  # 87.5 %: ratio 1.09, within the tolerance
        (36, 10, 0, 12),  # 90 %: ratio 1.125 → 11.25
        (40, 10, 0, 13),  # all busy: 12.5
        (29, 10, 0, 10),  # 72.5 %: ratio 0.906
        (28, 10, 0, 9),  # 70 %: ratio 0.875 → 8.75
        (0, 10, 0, 0),
        (40, 10, 1, 13),  # 12.5 for 11 pods: ratio 1.136
        (40, 10, 2, 12),  # for 12: ratio 1.04, within the tolerance
        (40, 10, 5, 15),  # for 15 it would have to shrink: it stays
        (16, 10, 5, 5),  # less: starting pods are left out
        (0, 0, 3, 3),  # no pod has metrics
    ],
)
def test_hpa(busy: int, ready: int, starting: int, expected: int) -> None:
    assert hpa.recommended(busy, ready, starting, slots=4) == expected


@pytest.mark.parametrize(("current", "expected"), [(1, 5), (3, 7), (4, 8), (5, 10), (20, 40)])
def test_what_one_sync_of_hpa_may_add(current: int, expected: int) -> None:
    assert hpa.most_after(current) == expected


def test_hpa_shrinks_to_the_highest_of_five_minutes() -> None:
    behaviour = hpa.Behaviour([])
    assert behaviour.limited(10, 10, 0.0) == 10
    assert behaviour.limited(7, 10, 15.0) == 10
    assert behaviour.limited(5, 10, 285.0) == 10
    assert behaviour.limited(5, 10, 300.0) == 7
    assert behaviour.limited(5, 7, 316.0) == 5
    assert behaviour.limited(30, 5, 331.0) == 10  # up at once, twice as many


def test_hpa_without_metrics_and_without_pods() -> None:
    scaler = hpa.Hpa(BOUNDS)
    assert scaler.desired(None, Size(7, 5), 15.0) == 7
    assert scaler.desired(None, Size(0, 0), 15.0) == 1
    assert scaler.desired(seen(15.0, 20), Size(5, 5), 15.0) == 7
    assert hpa.Hpa(Bounds(0, 5, 4, 1.0)).desired(seen(15.0, 0), Size(1, 1), 15.0) == 1
    assert hpa.Hpa(BOUNDS, target=0.5).desired(seen(15.0, 20), Size(5, 5), 15.0) == 10


@pytest.mark.parametrize(
    ("concurrency", "ready", "expected"),
    [(0.0, 0, 0), (0.1, 0, 1), (2.8, 1, 1), (2.9, 1, 2), (28.0, 4, 10), (28.1, 4, 11), (2.8, 9, 4), (0.0, 1, 0),
     (1e6, 2, 2000)],
)  # fmt: skip
def test_kpa(concurrency: float, ready: int, expected: int) -> None:
    """A pod's target is 0.7 · 4 = 2.8; at least half the ready ones stay, at most 1000 times as many come."""
    assert kpa.recommended(concurrency, 4, ready) == expected


@pytest.mark.parametrize(
    ("concurrency", "ready", "expected"), [(28.0, 5, True), (25.2, 5, False), (25.3, 5, True), (2.9, 0, True)]
)
def test_kpa_panics_at_twice_the_pods(concurrency: float, ready: int, expected: bool) -> None:
    assert kpa.panics(concurrency, 4, ready) is expected


def test_kpa_takes_the_mean_of_a_minute_and_in_a_panic_that_of_six_seconds() -> None:
    scaler = kpa.Kpa(BOUNDS)
    for step in range(1, 31):
        assert scaler.desired(seen(2.0 * step, 14), Size(5, 5), 2.0 * step) == 5
    # 28 for one reading: 14.5 in the minute, (14 + 14 + 28) / 3 in six seconds: 7 pods, no panic
    assert scaler.desired(seen(62.0, 28), Size(5, 5), 62.0) == 6
    # 20 more are queued: (14 + 28 + 48) / 3 = 30 asks for 11 pods, twice as many
    assert scaler.desired(seen(64.0, 28, 20), Size(5, 5), 64.0) == 11
    # the panic has an end a minute after its last cause, and does not shrink before
    assert scaler.desired(seen(66.0, 0), Size(11, 5), 66.0) == 11
    for step in range(34, 63):
        assert scaler.desired(seen(2.0 * step, 0), Size(11, 11), 2.0 * step) == 11
    # 0 on average, but at most half of the ready ones go
    assert scaler.desired(seen(126.0, 0), Size(11, 11), 126.0) == 5


def test_kpa_keeps_the_last_pod_for_a_while_and_changes_nothing_without_metrics() -> None:
    scaler = kpa.Kpa(Bounds(0, 9, 4, 1.0))
    assert scaler.desired(None, Size(3, 3), 2.0) == 3
    assert scaler.desired(seen(4.0, 0), Size(1, 1), 4.0) == 1
    assert scaler.desired(seen(32.0, 0), Size(1, 1), 32.0) == 1
    assert scaler.desired(seen(34.0, 0), Size(1, 1), 34.0) == 0


@pytest.mark.parametrize(
    ("length", "current", "expected"),
    [(0, 0, 0), (1, 0, 1), (8, 2, 2), (9, 2, 3), (40, 10, 10), (43, 10, 10), (45, 10, 12), (35, 10, 9), (36, 10, 10)],
)
def test_keda(length: int, current: int, expected: int) -> None:
    """A pod's target is 4 tasks; 36 ÷ 40 is within the tolerance, 35 ÷ 40 is not."""
    assert keda.recommended(length, current, 4.0) == expected


def test_keda_counts_what_waits_and_what_runs() -> None:
    scaler = keda.Keda(BOUNDS)
    assert scaler.desired(seen(15.0, 8, 12), Size(2, 2), 15.0) == 5
    assert scaler.desired(None, Size(3, 3), 30.0) == 3


def test_keda_wakes_a_pool_when_it_polls_and_sends_it_to_sleep_after_five_minutes() -> None:
    scaler = keda.Keda(Bounds(0, 9, 4, 1.0))
    assert scaler.desired(seen(15.0, 0), Size(0, 0), 15.0) == 0
    assert scaler.desired(seen(30.0, 0, 3), Size(0, 0), 30.0) == 0  # polled every 30 s
    assert scaler.desired(seen(45.0, 0, 3), Size(0, 0), 45.0) == 1
    replicas = {at: scaler.desired(seen(at, 0), Size(1, 1), at) for at in range(60, 361, 15)}
    assert [at for at, count in replicas.items() if count == 0] == [345]  # nothing since the poll at 45 s
