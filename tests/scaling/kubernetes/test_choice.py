"""Which pods leave, and how far the scale may be lowered; against a ReplicaSet that takes pods as the real one does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.scaling.backends.kubernetes.choice import DOOMED_COST, Plan, Worker, deletion_rank, plan
from app.scaling.backends.kubernetes.pods import Pod

NOW, GRACE_S = 1000.0, 30.0


def worker(name: str, *, running: int = 0, since: float = 0.0, status: str = "idle", **pod: Any) -> Worker:
    """A pod with a working agent, unless told otherwise."""
    works = status in ("idle", "busy")
    return Worker(Pod(name, uid=name, **pod), UUID(int=1) if status else None, status, works, running, since)


def leaving(name: str, *, running: int = 0, at: float = NOW, status: str = "draining", **pod: Any) -> Worker:
    return worker(name, running=running, status=status, leaving_since=at, **pod)


def planned(wanted: int, replicas: int, *workers: Worker, rolling: bool = False, ceiling: int | None = None) -> Plan:
    return plan(wanted, replicas, workers, rolling=rolling, now=NOW, grace_s=GRACE_S, ceiling=ceiling)


def test_nothing_to_do() -> None:
    assert planned(2, 2, worker("a"), worker("b")) == Plan(2, 2)


def test_more_are_wanted_so_the_scale_rises_at_once() -> None:
    assert planned(5, 2, worker("a"), worker("b")) == Plan(2, 5)


def test_the_quota_bounds_what_is_added_and_takes_nothing_away() -> None:
    assert planned(5, 2, worker("a"), worker("b"), ceiling=4) == Plan(2, 4, short=1)
    assert planned(5, 2, worker("a"), worker("b"), ceiling=0) == Plan(2, 2, short=3)


def test_idle_ones_leave_first_the_oldest_agent_before_the_others() -> None:
    found = planned(
        1, 3, worker("a", running=1, since=1), worker("b", since=9), worker("c", since=5), worker("d", since=7)
    )
    assert found == Plan(3, 3)  # four where three are wanted: the cluster is still at it
    found = planned(2, 4, worker("a", running=1), worker("b", since=9), worker("c", since=5), worker("d", since=7))
    assert found.mark == ("c", "d")


def test_the_least_busy_leave_where_all_are_busy_and_names_decide_between_equals() -> None:
    assert planned(1, 3, worker("a", running=3), worker("b", running=1), worker("c", running=1)).mark == ("b", "c")
    assert planned(2, 3, worker("c"), worker("a"), worker("b")).mark == ("a",)


def test_pods_that_are_not_ready_leave_before_idle_ones() -> None:
    found = planned(1, 3, worker("a"), worker("b", ready=False, status=""), worker("c", status="failed"))
    assert found.mark == ("b", "c")


def test_pods_that_were_never_made_are_given_up_first() -> None:
    assert planned(2, 5, worker("a"), worker("b")) == Plan(5, 2)
    assert planned(1, 3, worker("a"), worker("b")) == Plan(3, 2, mark=("a",))


def test_the_scale_is_lowered_by_those_that_are_drained() -> None:
    found = planned(1, 3, leaving("a"), leaving("b", running=1), worker("c", running=1))
    assert found == Plan(3, 2, doom=("a",))


def test_one_whose_agent_came_back_is_drained_again() -> None:
    found = planned(1, 2, leaving("a", status="idle"), worker("b"))
    assert found == Plan(2, 2, mark=("a",))


def test_a_pod_whose_agent_was_drained_by_somebody_is_replaced() -> None:
    drained = worker("a", status="draining")
    assert planned(2, 2, drained, worker("b")) == Plan(2, 3, mark=("a",))
    gone = leaving("a")
    assert planned(2, 3, gone, worker("b"), worker("c", ready=False, status="")) == Plan(3, 3)
    assert planned(2, 3, gone, worker("b"), worker("c")) == Plan(3, 2, doom=("a",))


def test_those_that_leave_stay_leaving_when_more_are_wanted_again() -> None:
    assert planned(3, 3, leaving("a", running=1), worker("b"), worker("c")) == Plan(3, 4)


def test_the_scale_waits_while_a_replica_set_would_take_another() -> None:
    found = planned(2, 3, leaving("a"), worker("b", running=1, ready=False), worker("c"))
    assert found == Plan(3, 3)


def test_an_unready_pod_that_leaves_too_does_not_stand_in_the_way() -> None:
    found = planned(1, 3, leaving("a"), leaving("b", ready=False, status=""), worker("c"))
    assert found == Plan(3, 1, doom=("a", "b"))


def test_nobody_is_chosen_while_the_last_step_is_not_through() -> None:
    assert planned(2, 3, leaving("a"), worker("b"), worker("c"), worker("d")) == Plan(3, 3)


def test_nobody_is_chosen_in_a_rollout_unless_all_shall_go() -> None:
    both = worker("a", template="1"), worker("b", template="2")
    assert planned(1, 2, *both, rolling=True) == Plan(2, 2)
    assert planned(3, 2, *both, rolling=True) == Plan(2, 3)
    assert planned(0, 2, *both, rolling=True) == Plan(2, 2, mark=("a", "b"))
    assert planned(0, 2, leaving("a"), leaving("b", running=1), rolling=True) == Plan(2, 2)
    assert planned(0, 2, leaving("a"), leaving("b"), rolling=True) == Plan(2, 0, doom=("a", "b"))


def test_what_still_runs_at_the_end_of_the_grace_is_evicted_then_taken() -> None:
    early = leaving("a", running=1, at=NOW - GRACE_S + 1)
    late = replace(early, pod=replace(early.pod, leaving_since=NOW - GRACE_S))
    assert planned(0, 1, early) == Plan(1, 1)
    assert planned(0, 1, late) == Plan(1, 1, evict=("a",))
    assert planned(0, 1, replace(late, running=0)) == Plan(1, 0, doom=("a",))


def test_a_pod_that_kubernetes_ends_has_its_grace_too() -> None:
    ending = worker("a", running=1, status="draining", ends_at=NOW + 31)
    assert planned(1, 1, ending, worker("b")).evict == ()
    assert planned(1, 1, replace(ending, pod=replace(ending.pod, ends_at=NOW + 30)), worker("b")).evict == ("a",)


WORKERS = st.builds(
    Worker,
    st.builds(
        Pod,
        name=st.uuids().map(str),
        template=st.just("1"),
        phase=st.sampled_from(["Running", "Running", "Pending", "Unknown", "Succeeded"]),
        assigned=st.booleans(),
        ready=st.booleans(),
        cost=st.sampled_from([0, 0, DOOMED_COST, -5000, 7]),
        leaving_since=st.sampled_from([None, None, NOW - 60, NOW - 5]),
        ends_at=st.sampled_from([None, None, None, NOW + 40]),
    ),
    st.just(UUID(int=1)),
    st.sampled_from(["", "starting", "idle", "busy", "draining", "failed"]),
    st.booleans(),
    st.integers(0, 2),
    st.floats(0, 100),
)
FLEETS = st.lists(WORKERS, max_size=8, unique_by=lambda item: item.pod.name)


def taken(workers: list[Worker], found: Plan) -> set[str]:
    """Whom a ReplicaSet may take when the plan was carried out, at the worst."""
    pods = [
        replace(item.pod, cost=DOOMED_COST if item.pod.name in found.doom else item.pod.cost)
        for item in workers
        if item.pod.active
    ]
    ranks = sorted(deletion_rank(item) for item in pods)
    number = max(0, len(pods) - found.replicas)
    if number == 0 or found.replicas >= found.before:
        return set()
    return {item.name for item in pods if deletion_rank(item) <= ranks[number - 1]}


@given(FLEETS, st.integers(0, 10), st.integers(0, 10), st.booleans(), st.none() | st.integers(0, 10))
def test_only_the_drained_are_ever_taken(
    workers: list[Worker], wanted: int, replicas: int, rolling: bool, ceiling: int | None
) -> None:
    found = planned(wanted, replicas, *workers, rolling=rolling, ceiling=ceiling)
    drained = {item.pod.name for item in workers if item.drained}
    assert taken(workers, found) <= drained
    assert set(found.doom) <= drained


@given(FLEETS, st.integers(0, 10), st.integers(0, 10), st.none() | st.integers(0, 10))
def test_the_scale_never_falls_below_what_is_wanted_nor_rises_above_what_is_needed(
    workers: list[Worker], wanted: int, replicas: int, ceiling: int | None
) -> None:
    found = planned(wanted, replicas, *workers, ceiling=ceiling)
    assert found.replicas >= min(replicas, wanted)
    assert found.replicas <= max(replicas, wanted + sum(item.leaves for item in workers))
    if ceiling is not None:
        assert found.replicas <= max(replicas, ceiling)


@given(st.integers(0, 8), st.integers(0, 8), st.data())
def test_passes_over_a_steady_cluster_end_where_they_should(start: int, wanted: int, data: st.DataObject) -> None:
    """Tasks end, drained pods go, new ones come: then exactly the wanted are left, and none of the busy went."""
    workers = [worker(f"p{number}", running=data.draw(st.integers(0, 2)), since=number) for number in range(start)]
    replicas = start
    for turn in range(20):
        found = planned(wanted, replicas, *workers)
        assert not {item.pod.name for item in workers if item.running} & set(found.doom)
        replicas = found.replicas
        workers = [
            leaving(item.pod.name, running=item.running) if item.pod.name in found.mark else item for item in workers
        ]
        workers = [replace(item, running=0) if item.leaves and turn > 5 else item for item in workers]
        gone = set(found.doom) if found.replicas < found.before else set()
        workers = [item for item in workers if item.pod.name not in gone]
        workers += [worker(f"n{turn}-{number}") for number in range(replicas - len(workers))]
    assert len(workers) == replicas == wanted
    assert not any(item.leaves for item in workers)
