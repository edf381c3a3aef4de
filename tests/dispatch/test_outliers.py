"""Outliers: who is ejected, for how long, how many at once, and who never is."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.balancers.base import Outcome
from app.dispatch.outliers import Ejection, Limits, Outliers
from app.settings import BalancerSettings

OK = Outcome(ok=True, seconds=0.1)
FAILED = Outcome(ok=False, seconds=0.1)
LIMITS = Limits()


def feed(outliers: Outliers, agent_id: str, outcomes: str, now: float, members: int = 10) -> Ejection | None:
    """Tell of outcomes, "." for success and "x" for failure, all at `now`; the first ejection."""
    for letter in outcomes:
        ejection = outliers.finished(agent_id, OK if letter == "." else FAILED, members, now)
        if ejection is not None:
            return ejection
    return None


def test_the_settings_default_to_the_limits() -> None:
    assert Limits.of(BalancerSettings()) == LIMITS


@pytest.mark.parametrize(
    ("outcomes", "others", "reason"),
    [
        ("xxxxx", "", "5 failures in a row"),
        ("." * 50 + "xxxxx", "", "5 failures in a row"),
        ("xxxx.xxxx.xxxx", "", None),
        ("xxxx", "", None),
        (".xxx" * 5, "." * 40, "75% of its attempts failed lately, 0% of the others'"),
        (".xxx" * 4, "." * 40, None),  # fewer than 20 attempts
        ("..x" * 10, "." * 40, None),  # a third of its attempts
        (".xxx" * 5, "x." * 40, "75% of its attempts failed lately, 50% of the others'"),
        (".xxx" * 5, "xxx." * 40, None),  # as the others
        ("xxxxxx", "x." * 40, None),  # half of the others' fail: six in a row are one in 64
        ("x" * 10, "x." * 40, "10 failures in a row"),
        ("x" * 19, "x" * 40, None),
        ("x" * 200, "x" * 40, None),  # nobody stands out where all fail
    ],
)
def test_who_is_ejected(outcomes: str, others: str, reason: str | None) -> None:
    outliers = Outliers(LIMITS)
    for n, letter in enumerate(others):
        feed(outliers, f"other-{n % 9}", letter, 0.0)
    before = dict(outliers.ejected(0.0))
    ejection = feed(outliers, "a", outcomes, 0.0)
    assert ejection == (None if reason is None else Ejection(30.0, reason))
    assert dict(outliers.ejected(0.0)) == before | ({} if reason is None else {"a": (30.0, reason)})


@pytest.mark.parametrize("silent", [{"counted": False}, {"agents_fault": False}, {"counted": False, "ok": True}])
def test_what_is_not_the_agents_fault_ejects_nobody(silent: dict[str, bool]) -> None:
    outliers, outcome = Outliers(LIMITS), Outcome(**{"ok": False, "seconds": 0.1, **silent})
    assert [outliers.finished("a", outcome, 10, n / 10) for n in range(500)] == [None] * 500
    feed(outliers, "a", "xxxx", 50.0)
    outliers.finished("a", outcome, 10, 50.0)
    assert feed(outliers, "a", "x", 50.0) is not None  # nor does it end a run


def test_old_failures_weigh_less() -> None:
    """18 attempts are too few, and half an hour later they do not count any more."""
    outliers = Outliers(LIMITS)
    assert feed(outliers, "a", "xx." * 6, 0.0) is None
    assert feed(outliers, "a", "xx." * 3, 1800.0) is None
    assert feed(outliers, "a", "xx." * 4, 1800.0) is not None


def test_it_returns_after_its_time() -> None:
    outliers = Outliers(LIMITS)
    feed(outliers, "a", "xxxxx", 10.0)
    assert outliers.ejected(15.0) == {"a": (25.0, "5 failures in a row")}
    assert outliers.ejected(39.9) == {"a": (pytest.approx(0.1), "5 failures in a row")}
    assert outliers.ejected(40.0) == {}


def test_it_is_out_again_at_once_if_it_fails_again_and_longer() -> None:
    outliers, now = Outliers(LIMITS), 0.0
    ejection = feed(outliers, "a", "xxxxx", now)
    seconds = []
    while ejection is not None and len(seconds) < 12:
        seconds.append(ejection.seconds)
        now += ejection.seconds + 100.0  # however long until the trial
        ejection = feed(outliers, "a", "x", now)
    assert seconds == [30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 210.0, 240.0, 270.0, 300.0, 300.0, 300.0]


def test_a_success_ends_the_trial() -> None:
    outliers = Outliers(LIMITS)
    feed(outliers, "a", "xxxxx", 0.0)
    assert feed(outliers, "a", ".xxxx", 31.0) is None
    assert feed(outliers, "a", "x", 31.0) == Ejection(60.0, "5 failures in a row")


@pytest.mark.parametrize(
    ("behaved_s", "seconds"), [(0.0, 120.0), (29.0, 120.0), (31.0, 90.0), (61.0, 60.0), (900.0, 30.0)]
)
def test_good_time_is_forgiven_ejection_by_ejection(behaved_s: float, seconds: float) -> None:
    """After three ejections and a trial that succeeded."""
    outliers = Outliers(LIMITS)
    feed(outliers, "a", "xxxxx", 0.0)
    feed(outliers, "a", "x", 31.0)
    feed(outliers, "a", "x", 92.0)
    feed(outliers, "a", ".", 200.0)
    assert feed(outliers, "a", "xxxxx", 200.0 + behaved_s) == Ejection(seconds, "5 failures in a row")


def test_attempts_begun_before_the_return_say_nothing() -> None:
    outliers = Outliers(LIMITS)
    feed(outliers, "a", "xxxxx", 100.0)
    slow = Outcome(ok=False, seconds=60.0)
    assert outliers.finished("a", slow, 10, 110.0) is None
    assert outliers.finished("a", slow, 10, 135.0) is None  # begun at 75, returned at 130
    assert outliers.finished("a", slow, 10, 190.5) is not None  # begun at 130.5


def test_a_trial_in_an_outage_of_the_whole_pool_ejects_nobody() -> None:
    outliers = Outliers(LIMITS)
    feed(outliers, "a", "xxxxx", 0.0)
    for n in range(60):
        feed(outliers, f"other-{n % 9}", "x", 31.0)
    assert feed(outliers, "a", "xxxx", 31.0) is None


@pytest.mark.parametrize(
    ("members", "most"), [(1, 0), (2, 0), (3, 0), (4, 1), (9, 2), (10, 3), (100, 30), (1_000, 300)]
)
def test_never_more_than_the_share_of_the_pool(members: int, most: int) -> None:
    outliers = Outliers(Limits(interval_s=1e-3))  # a short memory: each agent's failures stand alone
    for n in range(members):
        feed(outliers, f"a{n}", "xxxxx", n / 100, members)
    assert len(outliers.ejected(members / 100)) == most


def test_when_the_pool_shrinks_some_return_early() -> None:
    outliers = Outliers(Limits(interval_s=1e-3))
    for n in range(3):
        feed(outliers, f"a{n}", "xxxxx", float(n))
    for n in range(9, 4, -1):
        outliers.left(f"a{n}")
    assert set(outliers.ejected(3.0)) == {"a2"}  # of five members; who was due first came back
    assert feed(outliers, "a0", "x", 4.0, members=5) is None
    outliers.left("a2")
    assert outliers.ejected(4.0) == {}


def test_one_that_left_and_returns_is_new() -> None:
    outliers = Outliers(LIMITS)
    feed(outliers, "a", "xxxxx", 0.0)
    outliers.left("a")
    assert outliers.ejected(0.0) == {}
    assert feed(outliers, "a", "xxxx", 0.0) is None
    assert feed(outliers, "a", "x", 0.0) == Ejection(30.0, "5 failures in a row")


def test_memory_is_bounded_by_the_pool_even_if_told_of_those_who_left() -> None:
    outliers = Outliers(LIMITS)
    feed(outliers, "bad", "xxxxx", 0.0)
    for n in range(5_000):
        outliers.finished(f"late-{n}", OK, 10, 1.0)
    assert len(outliers._records) <= 11
    assert set(outliers.ejected(2.0)) == {"bad"}
    assert "bad" in outliers._records  # so that its next ejection is longer


def test_a_healthy_pool_ejects_almost_nobody() -> None:
    """100 agents, 300,000 attempts of which 5 % fail: five in a row come about 0.1 times."""
    events, outliers = random.Random(8), Outliers(LIMITS)
    ejections = 0
    for n in range(300_000):
        outcome = Outcome(ok=events.random() >= 0.05, seconds=1.0)
        ejections += outliers.finished(f"a{events.randrange(100)}", outcome, 100, n / 200) is not None
    assert ejections <= 2


def test_the_sick_are_found_among_the_healthy_and_no_others() -> None:
    """Of 50 agents two always fail and two fail 70 % of the time; all are used alike while they are in."""
    events, outliers = random.Random(8), Outliers(LIMITS)
    sick = {"a0": 1.0, "a1": 1.0, "a2": 0.7, "a3": 0.7}
    spoiled, ejected = 0, set[str]()
    for n in range(50_000):
        now, name = n / 50, f"a{events.randrange(50)}"
        if name in outliers.ejected(now):
            continue
        ok = events.random() >= sick.get(name, 0.02)
        spoiled += not ok and name in sick
        if outliers.finished(name, Outcome(ok, seconds=0.01), 50, now) is not None:
            ejected.add(name)
    assert ejected == set(sick)
    assert spoiled < 400  # 3,400 if nobody were ejected


STEPS = st.sampled_from([0.0, 0.0, 0.01, 1.0, 29.0, 31.0, 86_400.0, -1.0, -40.0, -1e6])
STORY = st.lists(
    st.tuples(
        st.integers(0, 11), STEPS, st.sampled_from("xxxx.ul"), st.sampled_from([1, 5, 10, 12]), st.floats(0, 600)
    ),
    max_size=120,
)


@given(story=STORY)
def test_whatever_happens_the_bounds_hold(story: list[tuple[int, float, str, int, float]]) -> None:
    """x failure, . success, u not counted, l left; the clock stands, jumps and steps back."""
    outliers, now = Outliers(Limits(consecutive=2)), 1_000.0
    longest = 0.0
    for number, step, what, members, seconds in story:
        now += step
        before = outliers.ejected(now)
        if what == "l":
            outliers.left(f"a{number}")
        else:
            ejection = outliers.finished(f"a{number}", Outcome(what == ".", seconds, what != "u"), members, now)
            if ejection is not None:
                assert what == "x"
                assert f"a{number}" not in before
                assert 30.0 <= ejection.seconds <= 300.0
                longest = max(longest, ejection.seconds)
            assert len(outliers.ejected(now)) <= math.floor(0.3 * members + 1e-9)
        for left_s, reason in outliers.ejected(now).values():
            assert 0.0 < left_s <= longest
            assert reason


@given(gaps=st.lists(st.floats(0, 29), min_size=1, max_size=20))
def test_each_ejection_is_longer_than_the_last_up_to_the_longest(gaps: list[float]) -> None:
    """While the agent fails its trials and is not well for 30 s."""
    outliers, now = Outliers(LIMITS), 0.0
    ejection = feed(outliers, "a", "xxxxx", now)
    for number, gap in enumerate(gaps, start=1):
        assert ejection is not None
        assert ejection.seconds == min(30.0 * number, 300.0)
        now += ejection.seconds + 0.2 + gap
        ejection = feed(outliers, "a", "x", now)


def test_a_clock_that_stands_still_still_ejects_and_one_that_returns_does_not_hold_for_ever() -> None:
    outliers = Outliers(LIMITS)
    assert feed(outliers, "a", "xxxxx", 1e9) is not None
    assert outliers.ejected(0.0)["a"][0] == 30.0  # the clock was set back by years
    assert outliers.ejected(30.0) == {}
