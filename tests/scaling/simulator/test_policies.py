"""Policies as they are asked for, verdicts, and the figure."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from app.scaling.simulator import policies, traces
from app.scaling.simulator.compare import Comparison, Found, verdict
from app.scaling.simulator.figure import png
from app.scaling.simulator.ours import Ours
from app.scaling.simulator.policies import BadPolicy, Contender
from app.scaling.simulator.tally import Measures
from app.scaling.simulator.world import Bounds

BOUNDS = Bounds(2, 20, 3, 30.0)


def test_a_policy_with_parameters() -> None:
    found = policies.parsed("queue_wait:wait_s=10,max=12,max_up=null")
    assert found == Contender(
        "queue_wait:wait_s=10,max=12,max_up=null", "queue_wait", {"wait_s": 10, "max": 12, "max_up": None}
    )
    scale = policies.scale_policy(found, {"wait_s": 60.0, "drain_s": 30.0}, BOUNDS)
    assert (scale.min, scale.max, scale.wait_s, scale.drain_s, scale.policy) == (2, 12, 10.0, 30.0, "queue_wait")


def test_what_is_set_holds_for_ours_only_and_under_what_is_named() -> None:
    given = {"wait_s": 10, "tolerance": 0.2}
    assert policies.with_settings(policies.parsed("utilization:wait_s=5"), given).params == {
        "wait_s": 5,
        "tolerance": 0.2,
    }
    assert policies.with_settings(policies.parsed("hpa"), given).params == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("manual", "there is no policy 'manual'; there are queue_wait"),
        ("hpa:wait_s=3", "hpa has no parameter 'wait_s'; it has target"),
        ("hpa:target=0", "target is a share"),
        ("kpa:target=true", "target is a share"),
        ("queue_wait:nonsense", "is not like wait_s=10"),
        ("queue_wait:colour=3", "queue_wait has no parameter 'colour'"),
        ("queue_wait:forecast=true", "no parameter 'forecast'"),
    ],
)
def test_policies_that_are_none(text: str, problem: str) -> None:
    with pytest.raises(BadPolicy, match=problem):
        policies.parsed(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("queue_wait:min=30", "min is greater"),
        ("queue_wait:wait_share=2", "wait_share: "),
        ("queue_wait:wait_s=x", "wait_s"),
    ],
)
def test_parameters_that_do_not_fit(text: str, problem: str) -> None:
    with pytest.raises(BadPolicy, match=problem):
        policies.scale_policy(policies.parsed(text), {}, BOUNDS)


def test_ours_decide_by_what_the_product_measures() -> None:
    compared = Comparison(
        [policies.parsed("queue_wait")],
        ["step"],
        lambda name, seed: traces.world(name, seed, hours=0.5),
        lambda contender, world: _kept(policies.build(contender, {}, world, 5.0)),
    )
    for _ in compared.run([1]):
        pass
    last = _KEPT[-1].last
    assert last is not None and "tasks/s" in last.reason and last.desired >= 2


_KEPT: list[Ours] = []


def _kept(made: object) -> Ours:
    assert isinstance(made, Ours)
    _KEPT.append(made)
    return made


def measured(policy: str, violations: float, hours: float) -> Measures:
    return Measures(policy, 100, violations, violations / 100, 0.0, 1.0, 2.0, hours, 5.0, None, 0)


def test_a_verdict() -> None:
    found = [measured("a", 5, 10.0), measured("b", 6, 10.0), measured("c", 9, 9.0), measured("d", 5, 20.0)]
    one = verdict("step", "a", found)
    assert (one.beaten, one.wins) == (["b"], False)
    assert one.fewer == {"b": True, "c": True, "d": False} and one.thrifty == {"b": True, "c": False, "d": True}
    assert verdict("step", "a", found[:2]).wins and not verdict("step", "a", found[:1]).wins


def found_of(names: list[str], traces_: list[str]) -> list[Found]:
    compared = Comparison(
        [policies.parsed(name) for name in names],
        traces_,
        lambda name, seed: traces.world(name, seed, hours=0.25),
        lambda contender, world: policies.build(contender, {}, world, 5.0),
    )
    for _ in compared.run([1]):
        pass
    return compared.found


@pytest.mark.parametrize("names", [["lossy"], ["step", "lossy"]])
def test_the_figure(names: list[str]) -> None:
    found = found_of(["hpa", "keda"], names)
    content = png(found, "title", {"step": "a note"})
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (1500, 100 + 310 * len(names))
    assert content == png(found, "title", {"step": "a note"}) != png(found, "other", {"step": "a note"})


def test_a_figure_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        png([], "title", {})


def test_what_is_not_finished_is_not_found() -> None:
    compared = Comparison(
        [policies.parsed("hpa"), policies.parsed("keda")],
        ["step", "spike"],
        lambda name, seed: replace(traces.world(name, seed, hours=0.25), tasks=()),
        lambda contender, world: policies.build(contender, {}, world, 5.0),
    )
    steps = compared.run([1])
    for _ in range(4):
        next(steps)
    assert [one.trace for one in compared.found] == ["step"]
