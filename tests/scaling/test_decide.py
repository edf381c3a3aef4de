"""What is decided, and the words for it, situation by situation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from app.scaling.decide import STALE_S, Decision, Demand, History, decide
from app.scaling.policy import Floor, ScalePolicy

NOW = 1_800_000_000.0
CALM = Demand(at=NOW, slots=1, desired=10, ready=10, arrivals_per_s=0.08, service_s=120.0, running=9)
"""9.6 busy slots, of which 14 keep P(wait > 30 s) ≤ 5 %."""
REST = Demand(at=NOW, slots=1, desired=4, ready=4, service_s=120.0)
FEW = History(((NOW - 10.0, 1),), NOW - 10.0)
"""Little was recommended so far: nothing holds a pool up."""


def policy(**values: Any) -> ScalePolicy:
    return ScalePolicy(**{"min": 1, "max": 100, **values})


def judged(demand: Demand | None, history: History = FEW, now: float = NOW, **values: Any) -> Decision:
    return decide(policy(**values), demand, history, now)


def said(decision: Decision) -> tuple[int, str]:
    return decision.desired, decision.code


def test_the_reason_says_it_with_the_numbers() -> None:
    decision = judged(CALM)
    assert decision.reason == "10 → 14: 0.08 tasks/s × 120 s = 9.6 busy slots; 14 keep P(wait > 30 s) ≤ 5 %"
    assert (decision.desired, decision.recommended, decision.code) == (14, 14, "queue_wait")
    assert decision.workings == pytest.approx(
        {
            "offered_load": 9.6,
            "erlang_slots": 14,
            "wait_share": 0.04504752,
            "to_come": 0.0,
            "backlog": 0.0,
            "drain_slots": 0.0,
            "slots_needed": 14.0,
            "load_replicas": 14,
            "running_replicas": 9,
            "lower": 9,
            "upper": 100,
            "window_max": 14,
        }
    )


@pytest.mark.parametrize(("load", "slots"), [(2, 5), (10, 15), (20, 26), (60, 67), (120, 128), (240, 249)])
def test_the_checkpoints(load: float, slots: int) -> None:
    for each in (1, 2, 7):
        demand = replace(CALM, arrivals_per_s=load / 120.0, slots=each, desired=1, ready=1, running=0)
        assert judged(demand, max=500).desired == math.ceil(slots / each)


class TestBacklog:
    def test_it_is_worked_off_beside_what_comes(self) -> None:
        demand = replace(CALM, service_s=30.0, arrivals_per_s=0.32, running=10, queued=40)
        decision = judged(demand)
        # 12 slots for 9.6 busy ones; of the 40 queued, the 2.4 to spare take 4.8 in 60 s; 35.2 · 30 s / 60 s more.
        assert decision.workings["backlog"] == pytest.approx(35.2)
        assert decision.workings["drain_slots"] == pytest.approx(17.6)
        assert said(decision) == (30, "queue_wait")
        assert "18 more work off 36 of 40 queued" in decision.reason

    def test_tasks_longer_than_the_time_to_drain_need_one_slot_each(self) -> None:
        decision = judged(replace(CALM, running=10, queued=40))
        assert decision.workings["drain_slots"] == decision.workings["backlog"] == pytest.approx(37.8)

    def test_free_slots_take_theirs_in_a_moment(self) -> None:
        assert judged(replace(CALM, running=4, queued=6)).workings["drain_slots"] == 0.0

    def test_starting_slots_count_as_capacity_to_come(self) -> None:
        demand = replace(CALM, desired=14, ready=2, running=2, queued=24, oldest_s=120.0)
        assert said(judged(demand)) == (14, "queue_wait")  # each of 12 takes one at once and one 120 s later

    def test_what_they_cannot_take_calls_for_more(self) -> None:
        demand = replace(CALM, desired=14, ready=2, running=2, queued=100, oldest_s=120.0)
        assert judged(demand).desired > 80


class TestUnknownService:
    def test_each_task_may_need_a_slot(self) -> None:
        demand = Demand(at=NOW, slots=2, desired=1, ready=1, queued=5, running=2)
        assert said(judged(demand)) == (4, "queue_wait")

    def test_a_guess_takes_a_sane_step(self) -> None:
        demand = Demand(at=NOW, slots=1, desired=0, ready=0, queued=1_000)
        assert said(judged(demand, max=1_000, min=0)) == (4, "first_task")
        assert judged(replace(demand, desired=4, ready=0), max=1_000).desired == 4  # not while they only start
        assert judged(replace(demand, desired=4, ready=4), max=1_000).desired == 8
        assert "8 replicas to begin with" in judged(replace(demand, desired=4, ready=4), max=1_000).reason

    def test_a_service_of_no_time_is_unknown(self) -> None:
        assert judged(replace(CALM, service_s=0.0, queued=3)).desired == 12


class TestUtilization:
    @pytest.mark.parametrize(
        ("running", "desired"), [(17, 11), (20, 13), (16, 10), (4, 10), (3, 3), (1, 1), (0, 1)], ids=str
    )
    def test_above_80_percent_up_and_below_20_percent_down(self, running: int, desired: int) -> None:
        demand = Demand(at=NOW, slots=2, desired=10, ready=10, running=running)
        assert judged(demand, policy="utilization", tolerance=0.0).desired == desired

    def test_it_grows_by_one_at_least(self) -> None:
        demand = Demand(at=NOW, slots=1, desired=1, ready=1, running=1)
        decision = judged(demand, policy="utilization")
        assert decision.reason == "1 → 2: 1 of 1 slots busy, 100 %; above 80 % it grows"

    def test_starting_ones_count(self) -> None:
        demand = Demand(at=NOW, slots=1, desired=13, ready=10, running=10)
        assert judged(demand, policy="utilization").desired == 13

    def test_queued_work_and_nothing_ready(self) -> None:
        demand = Demand(at=NOW, slots=1, desired=0, ready=0, queued=3)
        assert said(judged(demand, policy="utilization", min=0)) == (1, "first_task")
        assert judged(replace(demand, desired=3), policy="utilization", min=0).desired == 3

    def test_all_busy_and_more_queued_is_above_any_limit(self) -> None:
        demand = Demand(at=NOW, slots=1, desired=4, ready=4, running=4, queued=1)
        assert judged(demand, policy="utilization", high=1.0).desired == 5


class TestBlind:
    @pytest.mark.parametrize(
        "change",
        [
            {"at": NOW - STALE_S - 1.0},
            {"at": NOW + STALE_S + 1.0},
            {"at": math.nan},
            {"arrivals_per_s": math.nan},
            {"arrivals_per_s": -1.0},
            {"service_s": math.inf},
            {"service_cv": math.nan},
            {"oldest_s": -5.0},
            {"queued": -1},
            {"running": -1},
            {"slots": 0},
            {"tokens_per_task": math.inf},
            {"forecast_per_s": math.nan},
        ],
        ids=str,
    )
    def test_numbers_that_cannot_be_change_nothing(self, change: dict[str, Any]) -> None:
        history = History(((NOW - 5.0, 1),), NOW - 900.0)
        decision = judged(replace(REST, **change), history)
        assert said(decision) == (4, "frozen")
        assert decision.history == history
        assert decision.reason.startswith("stays at 4: ")

    def test_the_reason_names_the_culprit(self) -> None:
        assert "the numbers are 90 s old" in judged(replace(REST, at=NOW - 90.0)).reason
        assert "arrivals_per_s was measured as nan" in judged(replace(REST, arrivals_per_s=math.nan)).reason

    def test_numbers_just_fresh_enough_count(self) -> None:
        assert judged(replace(CALM, at=NOW - STALE_S)).code == "queue_wait"

    def test_without_any_the_highest_of_the_window_stays(self) -> None:
        history = History(((NOW - 20.0, 7), (NOW - 10.0, 5)), NOW)
        assert said(judged(None, history)) == (7, "frozen")

    def test_the_operator_s_bounds_and_calendar_hold_all_the_same(self) -> None:
        stale = replace(REST, at=NOW - 90.0)
        assert said(judged(stale, min=6)) == (6, "frozen")
        assert said(judged(stale, max=3)) == (3, "frozen")
        assert said(judged(stale, schedule=(Floor("* * * * *", 60.0, 9),))) == (9, "frozen")


class TestByHand:
    def test_nothing_is_decided(self) -> None:
        decision = judged(replace(CALM, queued=500), policy="manual")
        assert said(decision) == (10, "manual")
        assert decision.reason == "stays at 10: this pool is scaled by hand"

    def test_it_is_not_taken_back_at_once_when_the_policy_changes(self) -> None:
        left = judged(REST, policy="manual").history
        assert said(judged(replace(REST, at=NOW + 100.0), left, NOW + 100.0)) == (4, "down_window")
        assert said(judged(replace(REST, at=NOW + 300.0), left, NOW + 300.0)) == (1, "min")

    def test_what_people_asked_for_counts_as_recommended(self) -> None:
        history = History(((NOW - 200.0, 2), (NOW - 100.0, 20)), NOW)
        assert said(judged(replace(CALM, desired=20), history)) == (20, "down_window")


class TestForecast:
    def test_it_may_only_raise(self) -> None:
        raised = judged(replace(CALM, forecast_per_s=0.5), forecast=True)
        assert said(raised) == (67, "forecast")
        assert "0.5 tasks/s are expected as on earlier days, which need 67 slots" in raised.reason
        assert said(judged(replace(CALM, forecast_per_s=0.001), forecast=True)) == (14, "queue_wait")

    def test_it_counts_only_where_it_is_asked_for(self) -> None:
        assert judged(replace(CALM, forecast_per_s=0.5)).desired == 14


class TestBounds:
    def test_a_floor_of_the_calendar(self) -> None:
        decision = judged(CALM, schedule=(Floor("* * * * *", 60.0, 20),))
        assert said(decision) == (20, "schedule")
        assert decision.recommended == 14
        assert decision.reason.endswith("; the schedule asks for 20 now")

    def test_a_floor_that_an_answer_to_an_alert_raises(self) -> None:
        decision = judged(replace(CALM, raised=20))
        assert said(decision) == (20, "raised")
        assert decision.reason.endswith("; the answer to an alert asks for 20 for a while")
        assert judged(replace(CALM, raised=5)).desired == 14
        assert judged(replace(CALM, raised=20), schedule=(Floor("* * * * *", 60.0, 25),)).code == "schedule"
        assert judged(replace(CALM, desired=20), decision.history).desired == 14

    def test_a_floor_ends_with_its_time_not_with_a_window(self) -> None:
        left = judged(CALM, schedule=(Floor("* * * * *", 60.0, 20),)).history
        assert judged(replace(CALM, desired=20), left).desired == 14

    @pytest.mark.parametrize(
        ("limit", "use", "slots"),
        [
            ({"tokens_per_min": 10_000}, {"tokens_per_task": 2_000}, "10"),
            ({"requests_per_min": 24}, {"requests_per_task": 4}, "12"),
            (
                {"requests_per_min": 24, "tokens_per_min": 10_000},
                {"requests_per_task": 4, "tokens_per_task": 2_000},
                "10",
            ),
        ],
    )
    def test_more_than_the_provider_s_rate_keeps_busy_cannot_help(
        self, limit: dict[str, Any], use: dict[str, Any], slots: str
    ) -> None:
        decision = judged(replace(CALM, queued=50, **use), **limit)
        assert said(decision) == (int(slots), "provider_limit")
        assert f"keep {slots} slots busy: more replicas cannot help" in decision.reason
        assert decision.recommended > 50

    def test_the_provider_s_limit_takes_nothing_from_what_runs(self) -> None:
        demand = replace(CALM, tokens_per_task=2_000, running=10, queued=50)
        assert judged(demand, tokens_per_min=500).desired == 10

    def test_usage_that_was_never_seen_limits_nothing(self) -> None:
        assert judged(CALM, tokens_per_min=1, requests_per_min=1).desired == 14

    def test_the_budget(self) -> None:
        decision = judged(CALM, replica_usd_per_hour=0.3, max_usd_per_hour=3.6)
        assert said(decision) == (12, "budget")
        assert decision.reason.endswith("; 3.6 USD/h pay for 12 at 0.3 each")
        assert judged(CALM, replica_usd_per_hour=0.3, max_usd_per_hour=1.0).desired == 9  # nothing that runs is evicted
        assert judged(CALM, replica_usd_per_hour=0.3, max_usd_per_hour=1.0, min=11).desired == 11

    def test_the_quota_and_max_are_hard(self) -> None:
        assert said(judged(replace(CALM, quota=12))) == (12, "quota")
        assert said(judged(replace(CALM, quota=5))) == (5, "quota")
        assert said(judged(replace(CALM, quota=-1), min=3)) == (0, "quota")
        assert said(judged(CALM, max=12)) == (12, "max")
        assert said(judged(CALM, max=5)) == (5, "max")

    def test_min_holds_against_the_budget_and_the_provider(self) -> None:
        demand = replace(CALM, tokens_per_task=1_000.0)
        bounds: dict[str, Any] = {"tokens_per_min": 10, "replica_usd_per_hour": 1.0, "max_usd_per_hour": 2.0}
        assert said(judged(demand, min=20, **bounds)) == (20, "min")

    def test_money_holds_against_the_calendar(self) -> None:
        floors = (Floor("* * * * *", 60.0, 50),)
        assert judged(CALM, schedule=floors, replica_usd_per_hour=1.0, max_usd_per_hour=15.0).desired == 15


class TestSteadiness:
    def test_a_small_change_is_not_made(self) -> None:
        decision = judged(replace(CALM, desired=13, ready=13))
        assert said(decision) == (13, "tolerance")
        assert decision.reason.startswith("stays at 13: ")
        assert said(judged(replace(CALM, desired=13, ready=13), tolerance=0.0)) == (14, "queue_wait")

    def test_but_where_the_queue_would_only_grow(self) -> None:
        demand = replace(CALM, arrivals_per_s=2.0, desired=239, ready=239, running=239)
        assert said(judged(demand, max=500)) == (249, "queue_wait")

    def test_but_for_bounds(self) -> None:
        demand = replace(CALM, desired=13, ready=13)
        assert said(judged(demand, min=14)) == (14, "queue_wait")
        assert said(judged(demand, max=12)) == (12, "max")

    def test_down_only_to_the_highest_of_the_window(self) -> None:
        history = History(((NOW - 299.0, 8), (NOW - 10.0, 3)), NOW)
        decision = judged(replace(CALM, arrivals_per_s=0.01, running=1), history)
        assert said(decision) == (8, "down_window")
        assert decision.reason.endswith("; 8 were needed within the last 300 s")
        assert judged(replace(CALM, arrivals_per_s=0.01, running=1), history, down_window_s=100.0).desired == 4

    def test_a_pool_nobody_watched_is_watched_for_a_window_first(self) -> None:
        first = judged(REST, History())
        assert said(first) == (4, "down_window")
        later = judged(replace(REST, at=NOW + 300.0), first.history, NOW + 300.0)
        assert later.desired == 1

    def test_no_window_no_wait(self) -> None:
        assert judged(REST, History(), down_window_s=0.0).desired == 1

    def test_steps(self) -> None:
        assert said(judged(CALM, max_up=2)) == (12, "max_up")
        assert said(judged(REST, max_down=1)) == (3, "max_down")
        assert said(judged(replace(CALM, desired=0, ready=0, running=0, queued=1), max_up=1, min=0)) == (1, "max_up")

    def test_bounds_beat_steps(self) -> None:
        assert judged(CALM, max=3, max_down=1).desired == 3
        assert judged(CALM, min=30, max_up=1).desired == 30


class TestZero:
    IDLE = History(((NOW - 200.0, 0),), NOW - 301.0)

    def test_only_after_the_idle_time(self) -> None:
        gone = judged(REST, self.IDLE, min=0)
        assert said(gone) == (0, "idle")
        assert gone.reason == "4 → 0: nothing comes and nothing runs; no work for 301 s"
        waits = judged(REST, replace(self.IDLE, busy_at=NOW - 299.0), min=0)
        assert said(waits) == (1, "not_idle_yet")
        assert waits.reason.endswith("; idle for 299 s, and to zero only after 300 s")

    def test_never_where_min_is_more(self) -> None:
        assert judged(REST, self.IDLE, min=2).desired == 2

    @pytest.mark.parametrize("work", [{"queued": 1}, {"running": 1}], ids=str)
    def test_never_with_work(self, work: dict[str, Any]) -> None:
        decision = judged(replace(REST, **work), self.IDLE, min=0, tolerance=0.0)
        assert decision.desired == 1
        assert decision.history.busy_at == NOW

    def test_the_first_task_brings_it_back_at_once(self) -> None:
        empty = Demand(at=NOW, slots=4, desired=0, ready=0, arrivals_per_s=0.001, service_s=20.0, queued=1)
        assert said(judged(empty, self.IDLE, min=0)) == (1, "first_task")
        assert said(judged(replace(empty, queued=0, arrivals_per_s=0.0), self.IDLE, min=0))[0] == 0

    def test_the_last_replica_goes_after_the_idle_time_though_something_came_minutes_ago(self) -> None:
        one = replace(REST, desired=1, ready=1, arrivals_per_s=1 / 300, service_s=0.1)
        history = History(((NOW - 2.0, 1),), NOW - 60.0)
        assert said(judged(one, history, min=0, idle_s=59.0)) == (0, "idle")
        assert said(judged(one, history, min=0, idle_s=61.0))[0] == 1
        assert said(judged(one, history, min=1, idle_s=59.0))[0] == 1
        assert said(judged(replace(one, queued=1), history, min=0, idle_s=59.0))[0] == 1

    def test_idle_counts_from_the_first_look(self) -> None:
        first = judged(REST, History(), min=0, down_window_s=0.0)
        assert said(first) == (1, "not_idle_yet")
        assert first.history.busy_at == NOW


class TestHistory:
    def test_only_what_can_still_be_the_highest_is_kept(self) -> None:
        history = History(((NOW - 400.0, 99), (NOW - 250.0, 3), (NOW - 200.0, 20), (NOW - 100.0, 14)), NOW)
        assert judged(CALM, history).history.recommended == ((NOW - 200.0, 20), (NOW, 14))

    def test_entries_of_the_same_five_seconds_become_one(self) -> None:
        history = History(((NOW - 60.0, 30), (NOW - 58.0, 29), (NOW - 20.0, 15)), NOW)
        assert judged(CALM, history).history.recommended == ((NOW - 58.0, 30), (NOW - 20.0, 15), (NOW, 14))

    def test_it_stays_small_through_a_day_of_falling_load(self) -> None:
        history = History()
        for tick in range(2_000):
            at = NOW + tick * 5.0
            demand = replace(CALM, at=at, arrivals_per_s=(2_000 - tick) / 100.0)
            history = decide(policy(max=5_000, down_window_s=86_400.0), demand, history, at).history
        assert len(history.recommended) <= 62

    def test_a_clock_that_went_back_does_not_hold_it_up_for_long(self) -> None:
        ahead = History(((NOW + 86_400.0, 8),), NOW + 86_400.0)
        first = judged(replace(REST, desired=8), ahead)
        assert first.desired == 8
        later = judged(replace(REST, desired=8, at=NOW + 300.0), first.history, NOW + 300.0)
        assert later.desired == 1


def test_absurd_numbers_end_in_the_bounds() -> None:
    demand = replace(CALM, arrivals_per_s=1e300, service_s=1e300, queued=10**12, service_cv=1e9)
    decision = judged(demand)
    assert said(decision) == (100, "max")
    assert decision.recommended == 1_000_000


def test_a_surge_that_just_began_asks_for_no_more_than_is_in_sight() -> None:
    """Ten tasks of two minutes that came at once need ten slots, whatever rate that was."""
    batch = Demand(
        at=NOW,
        slots=1,
        desired=0,
        ready=0,
        arrivals_per_s=0.7,
        usual_per_s=0.0,
        came_lately=10.0,
        service_s=120.0,
        queued=10,
    )
    assert judged(batch, min=0).desired == 20
    steady = replace(batch, usual_per_s=0.7, queued=0, running=80, desired=90, ready=90)
    assert judged(steady).recommended == judged(replace(steady, usual_per_s=None)).recommended == 92
