"""Random traces through our judgement and through Prometheus itself: the same states at every minute.

Each example is one run of `promtool test rules` over many rules, every one with series of its own. Prometheus says what
is pending and firing (ALERTS) and since when an alert is active (ALERTS_FOR_STATE).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.alerts.decide import judge
from app.alerts.reading import Sample
from app.alerts.rule import Comparison, Rule
from app.alerts.state import State, from_json, to_json
from tests.deploy.promql import promtool

START = datetime(1970, 1, 1, tzinfo=UTC)
"""promtool's clock begins here."""

MINUTES = 24
GONE, MISSING = "stale", "_"
THRESHOLD = 2.0
COMPARISONS: tuple[Comparison, ...] = get_args(Comparison.__value__)


@dataclass(frozen=True)
class Trace:
    """A rule, and its series: a sample a minute, or none (MISSING), or word that the series ended (GONE)."""

    comparison: Comparison
    for_s: int
    keep_firing_for_s: int
    series: tuple[tuple[str, ...], ...]

    def rule(self, number: int) -> Rule:
        return Rule(
            f"T{number}",
            "queue_length",
            self.comparison,
            THRESHOLD,
            for_s=self.for_s,
            keep_firing_for_s=self.keep_firing_for_s,
        )


durations = st.sampled_from([0, 30, 60, 90, 120, 180, 300, 420])
runs = st.tuples(st.sampled_from(["1", "2", "3", "3", "NaN", "Inf", MISSING, GONE]), st.integers(1, 7))


@st.composite
def minutes(draw: st.DrawFn) -> tuple[str, ...]:
    """Values that last a while, as a rule would never get anywhere by tossing coins."""
    found: list[str] = []
    while len(found) < MINUTES:
        value, length = draw(runs)
        # promtool reads a stale mark once; what follows is simply not there
        found += [GONE, *[MISSING] * (length - 1)] if value == GONE else [value] * length
    return tuple(found[:MINUTES])


traces = st.builds(
    Trace, st.sampled_from(COMPARISONS), durations, durations, st.lists(minutes(), min_size=1, max_size=3).map(tuple)
)


@pytest.fixture(scope="module")
def lookback() -> int:
    """For how many minutes the last sample still counts: five, from version 3 on without the fifth itself."""
    found = re.search(r"version (\d+)\.(\d+)", promtool("--version").stdout)
    assert found is not None
    version = (int(found[1]), int(found[2]))
    assert version >= (2, 42), "keep_firing_for needs Prometheus 2.42"
    return 4 if version >= (3, 0) else 5


def seen_at(values: tuple[str, ...], minute: int, lookback: int) -> float | None:
    """What an instant query answers."""
    for value in reversed(values[max(0, minute - lookback) : minute + 1]):
        if value == GONE:
            return None
        if value != MISSING:
            return float(value)
    return None


def ours(trace: Trace, number: int, lookback: int) -> Iterator[dict[str, State]]:
    """The states after every minute; between two of them they are JSON."""
    rule = trace.rule(number)
    stored = "{}"
    for minute in range(MINUTES):
        readings = [
            Sample({"series": str(place)}, value)
            for place, values in enumerate(trace.series)
            if (value := seen_at(values, minute, lookback)) is not None
        ]
        before = {key: from_json(found) for key, found in json.loads(stored).items()}
        states, _ = judge(rule, readings, before, START + timedelta(minutes=minute))
        stored = json.dumps({key: to_json(state) for key, state in states.items()}, allow_nan=False)
        yield states


def series_of(name: str, labels: dict[str, str]) -> str:
    return name + "{" + ", ".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "}"


def samples(states: dict[str, State]) -> Iterator[tuple[str, float]]:
    """Ours, as Prometheus writes them down."""
    for state in states.values():
        if state.active and state.active_at is not None:
            labels = dict(state.labels)
            yield series_of("ALERTS", labels | {"alertstate": "firing" if state.firing else "pending"}), 1.0
            yield series_of("ALERTS_FOR_STATE", labels), (state.active_at - START).total_seconds()


def rules_file(found: list[Trace]) -> dict[str, Any]:
    rules = [
        {
            "alert": f"T{number}",
            "expr": f'm{{trace="{number}"}} {trace.comparison} {THRESHOLD}',
            "for": f"{trace.for_s}s",
            "keep_firing_for": f"{trace.keep_firing_for_s}s",
            "labels": {"severity": "warning", "trace": ""},
        }
        for number, trace in enumerate(found)
    ]
    return {"groups": [{"name": "g", "rules": rules}]}


def expectations(found: list[Trace], lookback: int) -> list[dict[str, Any]]:
    """A query for every minute and the answer it should have."""
    by_trace = [list(ours(trace, number, lookback)) for number, trace in enumerate(found)]
    return [
        {
            "expr": '{__name__=~"ALERTS|ALERTS_FOR_STATE"}',
            "eval_time": f"{minute}m",
            "exp_samples": [
                {"labels": labels, "value": value} for states in by_trace for labels, value in samples(states[minute])
            ],
        }
        for minute in range(MINUTES)
    ]


def differences(folder: Path, found: list[Trace], expected: list[dict[str, Any]]) -> str:
    """What promtool says; "" if it sees it alike."""
    inputs = [
        {"series": f'm{{trace="{number}", series="{place}"}}', "values": " ".join(values)}
        for number, trace in enumerate(found)
        for place, values in enumerate(trace.series)
    ]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules_file(found)))
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": expected}
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (folder / "test.yaml").write_text(yaml.safe_dump(document))
    done = promtool("test", "rules", folder / "test.yaml")
    return "" if done.returncode == 0 else done.stdout + done.stderr


@settings(
    max_examples=12,
    phases=(Phase.reuse, Phase.generate),  # what differs is printed; every step of a search for less is a process
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(found=st.lists(traces, min_size=12, max_size=24))
def test_prometheus_sees_the_same_states(found: list[Trace], lookback: int, tmp_path: Path) -> None:
    assert differences(tmp_path, found, expectations(found, lookback)) == ""


KNOWN = Trace(
    ">",
    for_s=120,
    keep_firing_for_s=180,
    series=(
        ("1", "3", "3", "3", "3", *("1",) * 2, "3", *("1",) * 16),
        ("3", "3", "1", "3", *(MISSING,) * 20),
        ("3", "3", "3", GONE, *(MISSING,) * 20),
    ),
)


def test_a_trace_worked_out_by_hand(lookback: int, tmp_path: Path) -> None:
    """The first fires at its third, recovers, fires again and is kept three minutes; the second is pending twice and
    fires on a sample that is looked back at; the third is gone and kept."""
    phases = [{state.labels["series"]: state.phase for state in states.values()} for states in ours(KNOWN, 0, lookback)]
    first = ["ok", "pending", "pending", "firing", "firing", "recovering", "recovering", "firing"]
    first += ["recovering"] * 3 + ["resolved"]
    assert [found.get("0", "ok") for found in phases[:12]] == first
    kept = 3 + lookback  # the last minute at which the sample of minute 3 counts
    second = [
        "pending",
        "pending",
        "ok",
        "pending",
        "pending",
        *["firing"] * (kept - 4),
        *["recovering"] * 3,
        "resolved",
    ]
    assert [found.get("1", "ok") for found in phases[: kept + 5]] == second
    assert [found.get("2", "ok") for found in phases[:7]] == ["pending"] * 2 + ["firing"] + ["recovering"] * 3 + [
        "resolved"
    ]
    assert differences(tmp_path, [KNOWN], expectations([KNOWN], lookback)) == ""


@pytest.mark.parametrize("wrong", ["one too many", "one too few", "a minute late"])
def test_a_difference_would_be_seen(wrong: str, lookback: int, tmp_path: Path) -> None:
    expected = expectations([KNOWN], lookback)
    if wrong == "one too many":
        expected[20]["exp_samples"].append({"labels": 'ALERTS{alertname="T0"}', "value": 1})
    elif wrong == "one too few":
        expected[2]["exp_samples"].pop()
    else:
        expected[3]["exp_samples"] = expected[2]["exp_samples"]
    assert "FAILED" in differences(tmp_path, [KNOWN], expected)
