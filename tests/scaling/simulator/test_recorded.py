"""Recorded load: files, minutes, and the worlds they make."""

from __future__ import annotations

from statistics import fmean, pstdev
from typing import Any

import pytest

from app.scaling.simulator import recorded, traces
from app.scaling.simulator.world import Bounds, Task

BOUNDS = Bounds(1, 9, 4, 30.0)


@pytest.mark.parametrize(
    "lines",
    [
        ['{"at": 5, "seconds": 2.5}', "", '{"at": 1.5, "seconds": 60, "type": "code", "ok": true}'],
        ["at,seconds", "5,2.5", "1.5,60"],
        ["type, seconds, at", 'code,"2.5",5', "code,60,1.5"],
        ['{"at":"1970-01-01T00:00:05Z","seconds":2.5}', '{"at":"1970-01-01T01:00:01.5+01:00","seconds":60}'],
        ["at,seconds", "1970-01-01T00:00:05,2.5", "1970-01-01T00:00:01.5Z,60"],
    ],
)
def test_a_file_is_read(lines: list[str]) -> None:
    assert recorded.read(lines) == [Task(1.5, 60.0), Task(5.0, 2.5)]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "there is no arrival in it"),
        (["", " "], "there is no arrival in it"),
        (["at,seconds"], "there is no arrival in it"),
        (["time,seconds", "1,2"], "neither JSON lines nor CSV"),
        (['{"at":1,"seconds":2}', "nonsense"], "line 2 is not JSON"),
        (['{"at":1,"seconds":2}', "[1]"], "line 2 is not a JSON object"),
        (['{"at":1}'], 'line 1 has no number as "seconds"'),
        (['{"seconds":1}'], 'line 1 has no number as "at"'),
        (["at,seconds", "1,2", "noon,2"], 'line 3 has an "at" that is no time'),
        (["at,seconds", "1,x"], 'line 2 has no number as "seconds"'),
        (["at,seconds", "1"], 'line 2 has no number as "seconds"'),
        (["at,seconds", "1,-2"], 'line 2 has a "seconds" that is out of range'),
        (["at,seconds", "nan,2"], 'line 2 has an "at" that is no time'),
        (['{"at":true,"seconds":2}'], 'line 1 has no number as "at"'),
    ],
)
def test_a_file_that_is_no_trace(lines: list[str], problem: str) -> None:
    with pytest.raises(recorded.BadTrace, match=problem):
        recorded.read(lines)


def minute(number: int, arrivals: float, mean_s: float | None = 40.0, cv: float | None = 0.5) -> dict[str, Any]:
    return {
        "minute": f"2026-11-20T{number // 60:02}:{number % 60:02}:00Z", "arrivals": arrivals, "finished": 3,
        "service_mean_s": mean_s, "service_cv": cv, "queued": 0, "running": 2, "replicas": 1,
    }  # fmt: skip


def test_minutes_become_tasks() -> None:
    tasks = recorded.spread(recorded.minutes([minute(n, 20.25) for n in range(200)]), 1)
    assert len(tasks) == 4050  # a quarter is carried on
    begin = 1_795_132_800.0
    per_minute = [sum(begin + 60 * n <= task.at_s < begin + 60 * (n + 1) for task in tasks) for n in (0, 3, 199)]
    assert per_minute == [20, 21, 21]
    times = [task.service_s for task in tasks]
    assert fmean(times) == pytest.approx(40, rel=0.03) and pstdev(times) / fmean(times) == pytest.approx(0.5, rel=0.1)
    assert tasks == sorted(tasks, key=lambda task: task.at_s)
    assert tasks != recorded.spread(recorded.minutes([minute(n, 20.25) for n in range(200)]), 2)


def test_a_minute_in_which_nothing_ended_takes_the_times_of_the_one_before() -> None:
    items = [minute(0, 5, None, None), minute(1, 5, 10.0, 0.0), minute(2, 5, None, None), minute(3, 5, 20.0, 0.0)]
    tasks = recorded.spread(recorded.minutes(reversed(items)), 1)
    assert [task.service_s for task in tasks] == pytest.approx([10.0] * 15 + [20.0] * 5)


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ([], "no task came"),
        ([minute(0, 0.0)], "no task came"),
        ([minute(0, 5, None)], "nobody knows how long"),
        ([minute(0, 3e6)], "take less of it"),
    ],
)
def test_minutes_that_say_too_little(items: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(recorded.BadTrace, match=problem):
        recorded.minutes(items)


def test_the_world_of_a_record() -> None:
    world = recorded.world("mine", [Task(1000.0 + n, 8.0) for n in range(1001)], BOUNDS, 3)
    assert (world.begins_at, world.duration_s, world.count_from_s) == (1000.0, 1000.0, 100.0)
    assert world.tasks[0].at_s == 0.0 and world.replicas == 3  # 8 busy slots are 80 % of 2.5
    alone = recorded.world("one", [Task(5.0, 2.0)], BOUNDS, 1)
    assert (alone.duration_s, alone.replicas) == (60.0, 1)


@pytest.mark.parametrize("name", list(traces.TRACES))
def test_generated_traces_are_what_they_say(name: str) -> None:
    trace, world = traces.TRACES[name], traces.world(name, 1)
    assert world == traces.world(name, 1) != traces.world(name, 2)
    assert world.duration_s == traces.WARM_UP_S + 3600 * trace.hours and world.bounds.slots == trace.slots
    times = [task.service_s for task in world.tasks]
    assert fmean(times) == pytest.approx(trace.service_s, rel=0.1)
    assert 20 <= trace.service_s <= 120 and 2 <= trace.slots <= 4 and 20 <= trace.cold_start_s <= 60
    assert all(world.count_from_s <= gap.start_s < gap.end_s <= world.duration_s for gap in world.gaps)
    assert bool(world.gaps) == (name == "lossy")


def test_limits_of_a_generated_trace() -> None:
    world = traces.world("step", 1, traces.Limits(min=3, max=4, slots=9, cold_start_s=0.0), hours=1.0)
    assert (world.bounds, world.duration_s) == (Bounds(3, 4, 9, 0.0), traces.WARM_UP_S + 3600)
    assert world.replicas == 3
