"""Which replicas to start, drain and stop: tables, and a fleet that must converge whatever state it starts in."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.scaling.converge import KILL_AFTER_TERM_S, STABLE_S, Actions, Seen, backoff_s, decide, launch_hash

GRACE_S = 30.0


def seen(number: int, state: str = "running", **fields: object) -> Seen:
    values: dict[str, object] = {"alive": state != "backoff", "running": 0, "since_s": 10.0, "crashes": 0}
    return Seen(UUID(int=number), state, **{**values, **fields})  # type: ignore[arg-type]


def ids(*numbers: int) -> tuple[UUID, ...]:
    return tuple(UUID(int=number) for number in numbers)


@pytest.mark.parametrize(
    ("desired", "replicas", "actions"),
    [
        (0, [], Actions()),
        (3, [], Actions(create=3)),
        (2, [seen(1), seen(2)], Actions()),
        (3, [seen(1), seen(2, "backoff")], Actions(create=1)),
        (1, [seen(1, running=1), seen(2)], Actions(drain=ids(2))),
        (1, [seen(1, since_s=5), seen(2, since_s=99)], Actions(drain=ids(2))),
        (1, [seen(1, running=3), seen(2, running=2)], Actions(drain=ids(2))),
        (1, [seen(1), seen(2, "backoff")], Actions(forget=ids(2))),
        (0, [seen(1, running=5)], Actions(drain=ids(1))),
        (1, [seen(1, alive=False)], Actions(crashed=ids(1))),
        (0, [seen(1, alive=False)], Actions(forget=ids(1))),
        (1, [seen(1), seen(2, alive=False)], Actions(forget=ids(2))),
        (1, [seen(1, "backoff", due=True)], Actions(restart=ids(1))),
        (1, [seen(1, "backoff", due=False)], Actions()),
        (1, [seen(1, crashes=2, since_s=STABLE_S + 1)], Actions(stable=ids(1))),
        (1, [seen(1, crashes=2, since_s=STABLE_S - 1)], Actions()),
        (1, [seen(1, "draining")], Actions(create=1, terminate=ids(1))),
        (0, [seen(1, "draining", running=1)], Actions()),
        (0, [seen(1, "draining", running=1, since_s=GRACE_S + 1)], Actions(terminate=ids(1))),
        (0, [seen(1, "draining", since_s=GRACE_S + KILL_AFTER_TERM_S + 1)], Actions(kill=ids(1))),
        (0, [seen(1, "draining", asked_s=KILL_AFTER_TERM_S - 1)], Actions()),
        (0, [seen(1, "draining", asked_s=KILL_AFTER_TERM_S + 1)], Actions(kill=ids(1))),
        (0, [seen(1, "draining", running=1, asked_s=KILL_AFTER_TERM_S + 1)], Actions()),
        (0, [seen(1, "draining", running=1, since_s=GRACE_S + 1, asked_s=1)], Actions()),
        (0, [seen(1, "draining", alive=False)], Actions(forget=ids(1))),
        (2, [seen(1, current=False), seen(2, current=False)], Actions(replace=ids(1))),
        (2, [seen(1, current=False, running=1), seen(2, current=False)], Actions(replace=ids(2))),
        (2, [seen(1, current=False), seen(2, current=False, ready=False)], Actions(replace=ids(2))),
        (2, [seen(1), seen(2, current=False, running=3)], Actions(replace=ids(2))),
        (2, [seen(1, ready=False), seen(2, current=False)], Actions()),
        (2, [seen(1, "draining", running=1), seen(2, current=False)], Actions(create=1)),
        (2, [seen(1, "backoff"), seen(2, current=False)], Actions()),
        (2, [seen(1, alive=False), seen(2, current=False)], Actions(crashed=ids(1))),
        (1, [seen(1, "backoff", current=False)], Actions(restart=ids(1))),
        (1, [seen(1, since_s=99), seen(2, current=False, since_s=5)], Actions(drain=ids(2))),
        (0, [seen(1, current=False)], Actions(drain=ids(1))),
    ],
)
def test_table(desired: int, replicas: list[Seen], actions: Actions) -> None:
    assert decide(desired, replicas, GRACE_S) == actions


@pytest.mark.parametrize(("crashes", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (5000, 60)])
def test_backoff_doubles_to_a_minute(crashes: int, seconds: float) -> None:
    assert backoff_s(crashes) == seconds


replicas = st.lists(
    st.builds(
        Seen,
        st.just(UUID(int=0)),
        st.sampled_from(["running", "draining", "backoff"]),
        st.booleans(),
        st.integers(0, 3),
        st.floats(0, 200),
        st.integers(0, 5),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.none() | st.floats(0, 30),
    ),
    max_size=8,
).map(lambda found: [replace(item, id=UUID(int=n + 1)) for n, item in enumerate(found)])


@given(st.integers(0, 8), replicas)
def test_one_pass_never_exceeds_and_never_does_two_things_to_one(desired: int, found: list[Seen]) -> None:
    actions = decide(desired, found, GRACE_S)
    staying = {item.id for item in found if item.state != "draining"} - set(actions.drain) - set(actions.forget)
    assert len(staying) + actions.create == desired
    assert actions.create == 0 or not actions.drain
    once = [
        *actions.crashed, *actions.restart, *actions.drain, *actions.replace, *actions.terminate, *actions.kill,
        *actions.forget,
    ]  # fmt: skip
    assert len(once) == len(set(once))
    assert len(actions.replace) <= 1
    busy = {item.id: item.running for item in found if item.state == "running" and item.alive}
    left = [running for id_, running in busy.items() if id_ not in actions.drain]
    assert not actions.drain or not left or max(busy[id_] for id_ in actions.drain) <= min(left), "idle ones first"


def step(found: list[Seen], actions: Actions, numbers: count[int]) -> list[Seen]:
    """A second of a host that does what it is told, and whose tasks end."""
    after = []
    for item in found:
        changes: dict[str, object] = {}
        if item.id in actions.crashed:
            changes = {"state": "backoff", "alive": False, "since_s": 0.0, "crashes": item.crashes + 1}
        elif item.id in actions.restart:
            changes = {"state": "running", "alive": True, "since_s": 0.0, "current": True, "ready": False}
        elif item.id in (*actions.drain, *actions.replace):
            changes = {"state": "draining", "since_s": 0.0}
        elif item.id in (*actions.terminate, *actions.kill):
            changes = {"alive": False}
        if item.id not in actions.forget:
            moved = replace(item, ready=True)
            moved = replace(moved, **changes)  # type: ignore[arg-type]
            after.append(replace(moved, since_s=moved.since_s + 1, running=max(0, item.running - 1), due=True))
            if item.asked_s is not None:
                after[-1] = replace(after[-1], asked_s=item.asked_s + 1)
    new = [Seen(UUID(int=next(numbers)), "running", True, 0, 0.0, 0, ready=False) for _ in range(actions.create)]
    return after + new


def working(found: list[Seen]) -> int:
    """How many run and do not leave."""
    return sum(item.state == "running" and item.alive for item in found)


@settings(max_examples=200)
@given(st.integers(0, 8), replicas)
def test_it_converges_and_then_rests(desired: int, found: list[Seen]) -> None:
    numbers = count(1000)
    for _ in range(40):
        before = working(found)
        found = step(found, decide(desired, found, GRACE_S), numbers)
        assert working(found) >= min(before, desired - 1), "a replacement takes one at a time"
        assert sum(item.state == "running" and item.alive for item in found) <= max(desired, 8)
    assert len(found) == desired
    assert all(item.state == "running" and item.alive and item.current for item in found)
    resting = decide(desired, [replace(item, crashes=0) for item in found], GRACE_S)
    assert resting == Actions()


@given(st.integers(1, 6), st.integers(1, 6))
def test_a_launch_that_never_gets_ready_costs_one_replica(desired: int, rounds: int) -> None:
    numbers = count(1000)
    found = [seen(n + 1, current=False) for n in range(desired)]
    for _ in range(10 + rounds):
        found = step(found, decide(desired, found, GRACE_S), numbers)
        found = [replace(item, ready=False) if item.current else item for item in found]
    assert sum(not item.current for item in found) == desired - 1


def test_a_launch_has_a_name_of_its_own() -> None:
    launch = {"kind": "process", "command": ["a", "b"], "env": {"x": "1", "y": "2"}}
    assert launch_hash(launch) == launch_hash({"env": {"y": "2", "x": "1"}, "command": ["a", "b"], "kind": "process"})
    others = [{**launch, "command": ["a b"]}, {**launch, "env": {"x": "1"}}, {**launch, "env": {"x": "1", "y": "3"}}]
    assert len({launch_hash(other) for other in [launch, *others]}) == 4
