"""Recorded attempts: what is read, what is refused, and whether what was true is found again."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dispatch.simulator import recorded, sizes
from app.dispatch.simulator.engine import Simulation
from app.dispatch.simulator.recorded import Fleet
from app.dispatch.simulator.trace import BadTrace, Recorded, listed, read
from app.dispatch.simulator.world import SimAgent
from tests.dispatch.simulator.worlds import built_in, watched


def line(**fields: Any) -> str:
    return json.dumps({"at": 1.0, "type": "code", "seconds": 2.0, "ok": True} | fields)


def test_what_is_read() -> None:
    found = read([line(), "", line(at=2, agent="a", version="v2", complexity=0.25, thread_id="t", ok=False) + "\n"])
    assert found == [Recorded(1.0, "code", 2.0), Recorded(2.0, "code", 2.0, False, 0.25, "t", "a", "v2")]
    assert read(['{"at": 3, "seconds": 1}']) == [Recorded(3.0, "task", 1.0)]
    early, late = read([line(at="2026-11-20T20:25:00Z"), line(at="2026-11-20T20:25:30")])
    assert late.at_s - early.at_s == 30.0


def test_when_an_attempt_began() -> None:
    queued = read([line(), line(started=5)])
    assert [(a.at_s, a.begin_s, a.end_s) for a in queued] == [(1.0, 1.0, 3.0), (1.0, 5.0, 7.0)]
    (iso,) = read([line(at="2026-11-20T20:25:00Z", started="2026-11-20T20:26:00Z")])
    assert iso.begin_s - iso.at_s == 60.0
    waited, unqueued = listed([item(), item(queued_at=None)])
    assert (waited.begin_s - waited.at_s, unqueued.begin_s - unqueued.at_s) == (1.0, 0.0)
    assert waited.begin_s == unqueued.at_s


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "line 2 is not JSON"),
        ("[" * 100_000, "line 2 is not JSON"),
        ("[1]", "line 2 is not a JSON object"),
        (line(at="noon"), 'line 2 has an "at" that is no time'),
        (line(at=None), 'line 2 has no number as "at"'),
        (line(at="2026-11-20"), "line 2 has a time of another kind than those before"),
        (line(started="2026-11-20T20:25:00Z"), "line 2 has a time of another kind than those before"),
        (line(started="noon"), 'line 2 has a "started" that is no time'),
        (line(started=-1), 'line 2 has a "started" that is out of range'),
        (line(seconds="2"), 'line 2 has no number as "seconds"'),
        (line(seconds=-1), 'line 2 has a "seconds" that is out of range'),
        (line(seconds=True), 'line 2 has no number as "seconds"'),
        ('{"at": 1, "seconds": NaN}', 'line 2 has a "seconds" that is out of range'),
        ('{"at": Infinity, "seconds": 1}', 'line 2 has a "at" that is out of range'),
        (line(complexity=2), 'line 2 has a "complexity" that is out of range'),
        (line(ok="yes"), 'line 2 has an "ok" that is neither true nor false'),
        (line(agent=7), 'line 2 has a "agent" that is no text'),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(BadTrace, match=problem):
        read([line(), text])


@given(st.text() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_any_line_is_read_or_refused(text: str) -> None:
    with pytest.raises(BadTrace):
        read([text, text])


def test_an_empty_trace_is_refused() -> None:
    with pytest.raises(BadTrace, match="no attempt"):
        read(["", "  \n"])


def item(**fields: Any) -> dict[str, Any]:
    return {
        "task_id": "t1", "type": "code", "complexity": 0.5, "thread_id": None, "agent_id": "a1", "version": "v1",
        "outcome": "succeeded", "queued_at": "2026-11-20T20:25:00Z", "started_at": "2026-11-20T20:25:01Z",
        "finished_at": "2026-11-20T20:25:03Z", "seconds": 2.0,
    } | fields  # fmt: skip


def test_what_the_service_lists() -> None:
    running = item(outcome=None, finished_at=None, seconds=None)
    unsaying = [running, item(outcome="refused"), item(outcome="failed", counted=False)]
    found = listed([item(), item(task_id="t2", outcome="failed", queued_at=None, version=None), *unsaying])
    assert [(a.task, a.ok, a.agent, a.version, a.seconds) for a in found] == [
        ("t1", True, "a1", "v1", 2.0),
        ("t2", False, "a1", "", 2.0),
    ]
    with pytest.raises(BadTrace, match="no attempt ended"):
        listed([running])
    with pytest.raises(BadTrace, match="attempt of task t1 has"):
        listed([item(queued_at="?")])


def history(rng: random.Random, count: int) -> list[Recorded]:
    """Two types, two versions, ten agents: version b is 3 times slower at y, agent a0 2 times at all, a1 fails."""
    found = []
    for number in range(count):
        place = rng.randrange(10)
        kind, version = rng.choice("xy"), "a" if place < 5 else "b"
        slower = (3.0 if (kind, version) == ("y", "b") else 1.0) * (2.0 if place == 0 else 1.0)
        seconds = sizes.drawn(4.0, rng)[0] * slower
        ok = rng.random() >= (0.7 if place == 1 else 0.01)
        found.append(Recorded(number / 2, kind, seconds if ok else 0.1, ok, agent=f"a{place}", version=version))
    return found


def test_what_was_true_is_found_again() -> None:
    known = recorded.factors(history(random.Random(1), 8000))

    def slower(kind: str, agent: str) -> float:
        version = "a" if agent < "a5" else "b"
        return known.kinds[kind, version] * known.agents[agent]

    assert slower("y", "a7") / slower("y", "a2") == pytest.approx(3.0, rel=0.2)
    assert slower("x", "a7") / slower("x", "a2") == pytest.approx(1.0, rel=0.2)
    assert slower("x", "a0") / slower("x", "a3") == pytest.approx(2.0, rel=0.2)
    assert set(known.faults) == {"a1"}
    assert known.faults["a1"].share == pytest.approx(0.7, abs=0.05) and known.faults["a1"].after < 0.2
    assert known.base_failure == pytest.approx(0.01, abs=0.005) and known.failing == {}


def test_the_recorded_agent_would_need_its_recorded_time() -> None:
    attempts = history(random.Random(2), 500)
    known = recorded.factors(attempts)
    for attempt in attempts:
        if attempt.ok:
            slower = known.kinds[attempt.type, attempt.version] * known.agents[attempt.agent]
            assert known.size_s(attempt) * slower == pytest.approx(attempt.seconds)


def test_a_retried_task_is_one_arrival_of_the_size_that_succeeded() -> None:
    tries = [
        Recorded(15.0, "x", 3.0, True, agent="b", task="t"),
        Recorded(10.0, "x", 0.1, False, agent="a", task="t"),
        Recorded(12.0, "x", 3.0, True, agent="b", task="u"),
    ]
    world = recorded.world(tries, 1)
    assert [task.at_s for task in world.arrivals] == [0.0, 2.0]
    assert world.arrivals[0].size_s == world.arrivals[1].size_s == pytest.approx(3.0)


def test_the_fleet_is_the_recorded_one_or_like_it() -> None:
    attempts = [Recorded(0.0, "x", 5.0, agent=name) for name in ("b", "a", "a")]
    assert [(a.id, a.slots) for a in recorded.world(attempts, 1).agents] == [("a", 2), ("b", 2)]
    five = recorded.world(attempts, 1, Fleet(5, 7)).agents
    assert [(a.id, a.slots) for a in five] == [("a", 7), ("b", 7), ("a-2", 7), ("b-2", 7), ("a-3", 7)]
    assert len(recorded.world([Recorded(0.0, "x", 1.0)], 1, Fleet(3, 1)).agents) == 3


def test_slots_are_counted_by_when_attempts_ran_not_by_when_they_queued() -> None:
    """200 tasks queued at once, done one after the other by two agents; ends are rounded up to what comes next."""
    attempts = [
        Recorded(1e9 + n / 1000, "x", 1.0004, agent=f"a{n % 2}", started_s=1e9 + 1.0 + n // 2) for n in range(200)
    ]
    world = recorded.world(attempts, 1)
    assert [(agent.id, agent.slots) for agent in world.agents] == [("a0", 1), ("a1", 1)]
    assert world.arrivals[-1].at_s == pytest.approx(0.199, abs=1e-6)


def at_work(pool: Sequence[SimAgent], at_s: float) -> set[str]:
    return {agent.id for agent in pool if agent.joins_s <= at_s < agent.leaves_s}


def test_agents_that_replaced_each_other_are_there_in_turn() -> None:
    """Two agents for 100 s, then two others, ten times over; clocks do not start at 0."""
    attempts = [
        Recorded(5e8 + n / 2, "x", 0.95, agent=f"g{n // 200}-{n % 2}", started_s=5e8 + n / 2) for n in range(2000)
    ]
    world = recorded.world(attempts, 1)
    assert len(world.agents) == 20
    for generation in range(10):
        assert at_work(world.agents, 100 * generation + 50) == {f"g{generation}-0", f"g{generation}-1"}
    for task, attempt in zip(world.arrivals, attempts, strict=True):
        assert attempt.agent in at_work(world.agents, task.at_s)
    tally = Simulation(world, built_in("least_connections"), seed=1).run()
    assert tally.succeeded == 2000
    asked = recorded.world(attempts, 1, Fleet(agents=2)).agents
    assert [(agent.joins_s, agent.leaves_s) for agent in asked] == [(0.0, math.inf)] * 2


def visits(agent: str, *times: float) -> list[Recorded]:
    return [Recorded(at_s, "x", 10.0, agent=agent) for at_s in times]


@pytest.mark.parametrize(
    ("times", "left"),
    [
        ((1870.0, 1880.0, 1895.0), False),  # 95 s before the end: less than 5 %
        ((1860.0, 1870.0, 1880.0), True),
        ((0.0, 1000.0, 1100.0), False),  # it was idle for as long before
        ((0.0, 500.0, 800.0), True),
    ],
)
def test_an_agent_left_that_was_idle_for_unusually_long(times: tuple[float, ...], left: bool) -> None:
    attempts = visits("a", *times) + visits("b", *(20.0 * n for n in range(101)))
    agents = {agent.id: agent for agent in recorded.world(attempts, 1).agents}
    assert agents["a"].leaves_s == (times[-1] + 10.0 if left else math.inf)
    assert agents["b"].leaves_s == math.inf


def test_in_a_short_record_nobody_leaves() -> None:
    attempts = visits("a", 0.0) + visits("b", 30.0, 65.0)
    assert [agent.leaves_s for agent in recorded.world(attempts, 1).agents] == [math.inf] * 2


def test_a_history_can_be_simulated() -> None:
    attempts = history(random.Random(3), 2000)
    tally = Simulation(recorded.world(attempts, 1), built_in("least_connections"), seed=1).run()
    assert tally.succeeded > 0.98 * tally.arrived and tally.unfinished == 0


RECORDS = st.builds(
    Recorded,
    st.floats(0, 1e6),
    st.sampled_from("xy"),
    st.floats(0, 1e4),
    st.booleans(),
    agent=st.sampled_from(["", "a", "b"]),
    version=st.sampled_from(["", "v"]),
    started_s=st.none() | st.floats(0, 2e6),
    task=st.sampled_from([None, "t", "u"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=30))
def test_any_record_makes_a_world(attempts: list[Recorded]) -> None:
    tally = Simulation(recorded.world(attempts, 1), watched()[0], seed=1).run()
    assert tally.succeeded + tally.failed + tally.unfinished == tally.arrived > 0
