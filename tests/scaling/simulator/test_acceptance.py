"""What the product's default policy must show beside the others."""

from __future__ import annotations

from functools import cache

import pytest

from app.cli.scaling_comparison import Report
from app.scaling.simulator import traces
from app.scaling.simulator.compare import Comparison, Found
from app.scaling.simulator.equal_hours import equal_verdict
from app.scaling.simulator.policies import DEFAULT, Builder, parsed
from app.settings import ScalingSettings

SEEDS = tuple(range(1, 6))
"""With three, a median is a matter of luck; the command takes nine."""
WAIT_S = 30.0

pytestmark = pytest.mark.timeout(400)


@cache
def found() -> list[Found]:
    compared = Comparison(
        [parsed(name) for name in DEFAULT],
        list(traces.TRACES),
        traces.Generated(traces.Limits(), None),
        Builder({}, ScalingSettings().decide_interval_s),
        equal_hours=True,
    )
    for _ in compared.run(SEEDS, processes=2):
        pass
    return compared.found


def test_queue_wait_lets_fewer_tasks_wait_at_equal_replica_hours() -> None:
    """On four of the five traces, against each of HPA, KPA and KEDA with no fewer replica-hours than its own."""
    verdicts = [equal_verdict(one.trace, one.measures(WAIT_S)[0], one.equal, WAIT_S) for one in found()]
    assert sum(one.wins for one in verdicts) >= 4, {one.trace: dict(one.standings) for one in verdicts}


def test_the_others_have_no_less_to_spend_and_nobody_loses_a_task() -> None:
    assert [one.trace for one in found()] == list(traces.TRACES)
    for one in found():
        mine, *others = one.measures(WAIT_S)
        equals = [equal.measures(WAIT_S) for equal in one.equal]
        assert [equal.kind for equal in one.equal] == ["hpa", "kpa", "keda"]
        for measures in equals:
            assert measures is not None and measures.replica_hours >= mine.replica_hours
        assert all(measures is None or measures.lost == 0 for measures in (mine, *others, *equals))


def test_the_report_names_what_is_lost() -> None:
    report = Report(found(), {}, "queue_wait", WAIT_S, None, SEEDS)
    for one in report.equal:
        better = [rival.kind for rival in one.rivals if rival.measures.violations < one.mine.violations]  # type: ignore[union-attr]
        assert better == one.verdict.those("more")
        assert any(line.startswith("  loses in long waits: ") for line in one.losses()) == bool(better)
        assert all(f"{kind} (" in one.sentence() for kind in better)
