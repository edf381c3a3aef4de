"""OpenSLO files: what they say becomes objectives, and what cannot be served is refused by its path."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from app.slo.objective import DAY_S, Objective, Scope, WindowSpec, faults
from app.slo.openslo import BadOpenSlo, read
from app.slo.openslo_out import write
from app.slo.openslo_window import duration_of
from tests.slo.objectives import objectives

DOCUMENTS = Path(__file__).with_name("documents")


def refused(text: str) -> list[tuple[str, str]]:
    with pytest.raises(BadOpenSlo) as caught:
        read(text)
    assert (caught.value.status, caught.value.code) == (422, "openslo_invalid")
    errors = caught.value.extra["errors"]
    assert isinstance(errors, list)
    return [(error["path"], error["message"]) for error in errors]


def test_a_file_with_a_service_a_source_an_indicator_and_two_objectives() -> None:
    assert read((DOCUMENTS / "search.yaml").read_text()) == [
        Objective(
            "search-availability",
            "availability",
            Decimal("0.9995"),
            WindowSpec("rolling", 28 * DAY_S),
            Scope("acme", "search", "team", "search"),
            description="Whoever asks gets an answer.",
        ),
        Objective(
            "search-is-quick",
            "latency",
            Decimal("0.95"),
            WindowSpec("week", None, "Europe/Berlin"),
            Scope(pool="search"),
            threshold_s=Decimal("12.5"),
            queue_wait=False,
        ),
    ]


def test_an_accuracy_objective_by_its_bad_events() -> None:
    assert read((DOCUMENTS / "accuracy.yaml").read_text()) == [
        Objective(
            "triage-is-right",
            "accuracy",
            Decimal("0.9"),
            WindowSpec("month", None, "America/New_York"),
            Scope(pool="triage"),
            evaluator="triage-rubric",
            version="2026-10",
            pass_score=Decimal("0.7"),
            coverage_floor=Decimal("0.25"),
            settle_after_s=172_800,
        )
    ]


def test_a_file_for_another_system_is_refused_as_a_whole_with_every_reason() -> None:
    found = refused((DOCUMENTS / "prometheus.yaml").read_text())
    assert sorted(path for path, _ in found) == [
        "documents[0].spec.connectionDetails",
        "documents[0].spec.type",
        "documents[1].spec.alertPolicies",
        "documents[1].spec.budgetingMethod",
        "documents[1].spec.indicator.spec.ratioMetric.good.metricSource.type",
        "documents[1].spec.indicator.spec.ratioMetric.total.metricSource.type",
        "documents[1].spec.objectives",
        "documents[1].spec.timeWindow[0].duration",
        "documents[2].kind",
    ]
    reasons = dict(found)
    assert "only Yardmaster is served" in reasons["documents[0].spec.type"]
    assert "only Occurrences" in reasons["documents[1].spec.budgetingMethod"]
    assert "alert rules" in reasons["documents[2].kind"]


@settings(max_examples=150)
@given(st.lists(objectives(), min_size=1, max_size=4, unique_by=lambda item: item.name))
def test_what_is_written_is_read_as_it_was(items: list[Objective]) -> None:
    text = write(items)
    assert read(text) == items
    assert write(read(text)) == text


PLAIN = write([Objective("o", "availability", Decimal("0.99"))])
SLOW = write([Objective("o", "latency", Decimal("0.99"), threshold_s=Decimal(30))])
ACCURATE = write([Objective("o", "accuracy", Decimal("0.99"), evaluator="e", version="1")])
SPEC = "documents[0].spec"
SLOW_SOURCE = f"{SPEC}.indicator.spec.thresholdMetric.metricSource"
SOURCE = f"{SPEC}.indicator.spec.ratioMetric.good.metricSource"


@pytest.mark.parametrize(
    ("text", "old", "new", "path"),
    [
        (PLAIN, "openslo/v1\n", "openslo/v1alpha\n", "documents[0].apiVersion"),
        (PLAIN, "kind: SLO", "kind: Objective", "documents[0].kind"),
        (PLAIN, "metadata:\n  name: o\n", "", "documents[0].metadata"),
        (PLAIN, "metadata:\n  name: o\n", "metadata: {name: 5}\n", "documents[0].metadata.name"),
        (PLAIN, "metadata:\n  name: o\n", "metadata: {name: 'a b'}\n", "documents[0].metadata.name"),
        (PLAIN, "metadata:\n  name: o\n", "metadata: {name: o, nmae: o}\n", "documents[0].metadata.nmae"),
        (PLAIN, "kind: SLO\n", "kind: SLO\nstatus: {}\n", "documents[0].status"),
        (PLAIN, "  service: tasks\n", "", f"{SPEC}.service"),
        (PLAIN, "  service: tasks\n", "  servce: x\n  service: y\n", f"{SPEC}.servce"),
        (PLAIN, "Occurrences", "Timeslices", f"{SPEC}.budgetingMethod"),
        (PLAIN, "Occurrences", "RatioTimeslices", f"{SPEC}.budgetingMethod"),
        (PLAIN, "target: 0.99", "target: 1", f"{SPEC}.objectives[0].target"),
        (PLAIN, "target: 0.99", "target: 0", f"{SPEC}.objectives[0].target"),
        (PLAIN, "target: 0.99", "target: .nan", f"{SPEC}.objectives[0].target"),
        (PLAIN, "target: 0.99", "target: '0.99'", f"{SPEC}.objectives[0].target"),
        (PLAIN, "target: 0.99", "targetPercent: 100", f"{SPEC}.objectives[0].targetPercent"),
        (PLAIN, "target: 0.99", "target: 0.9\n    targetPercent: 90", f"{SPEC}.objectives[0].targetPercent"),
        (PLAIN, "target: 0.99", "displayName: x", f"{SPEC}.objectives[0].target"),
        (PLAIN, "target: 0.99", "target: 0.9\n    op: lte", f"{SPEC}.objectives[0].op"),
        (PLAIN, "target: 0.99", "target: 0.9\n    value: 1", f"{SPEC}.objectives[0].value"),
        (PLAIN, "target: 0.99", "target: 0.9\n    timeSliceTarget: 1", f"{SPEC}.objectives[0].timeSliceTarget"),
        (PLAIN, "- target: 0.99", "- target: 0.99\n  - target: 0.9", f"{SPEC}.objectives"),
        (PLAIN, "objectives:\n  - target: 0.99", "objectives: []", f"{SPEC}.objectives"),
        (PLAIN, "- target: 0.99", "- text", f"{SPEC}.objectives[0]"),
        (PLAIN, "duration: 30d", "duration: 30", f"{SPEC}.timeWindow[0].duration"),
        (PLAIN, "duration: 30d", "duration: 30s", f"{SPEC}.timeWindow[0].duration"),
        (PLAIN, "duration: 30d", "duration: 1M", f"{SPEC}.timeWindow[0].duration"),
        (PLAIN, "duration: 30d", "duration: 30m", f"{SPEC}.timeWindow[0].duration"),
        (PLAIN, "isRolling: true", "isRolling: false", f"{SPEC}.timeWindow[0].isRolling"),
        (PLAIN, "isRolling: true", "isRolling: yes please", f"{SPEC}.timeWindow[0].isRolling"),
        (PLAIN, "Window:\n  - duration: 30d\n    isRolling: true", "Window: []", f"{SPEC}.timeWindow"),
        (PLAIN, "isRolling: true\n", "isRolling: true\n  - duration: 7d\n", f"{SPEC}.timeWindow"),
        (PLAIN, "  budgetingMethod", "  alertPolicies: [{}]\n  budgetingMethod", f"{SPEC}.alertPolicies"),
        (PLAIN, "  indicator:", "  indicatorRef: other\n  indicator:", f"{SPEC}.indicator"),
        (PLAIN, "counter: true", "counter: false", f"{SPEC}.indicator.spec.ratioMetric.counter"),
        (PLAIN, "counter: true", "raw: {}", f"{SPEC}.indicator.spec.ratioMetric.raw"),
        (PLAIN, "counter: true", "rawType: success", f"{SPEC}.indicator.spec.ratioMetric.rawType"),
        (PLAIN, "counter: true", "bad: {metricSource: {}}", f"{SPEC}.indicator.spec.ratioMetric"),
        (PLAIN, "ratioMetric:", "thresholdMetric: {}\n      ratioMetric:", f"{SPEC}.indicator.spec"),
        (PLAIN, "type: Yardmaster", "type: Prometheus", f"{SOURCE}.type"),
        (PLAIN, "type: Yardmaster", "metricSourceRef: nowhere", f"{SOURCE}.metricSourceRef"),
        (PLAIN, "kind: availability", "kind: uptime", f"{SOURCE}.spec.kind"),
        (PLAIN, "kind: availability", "threshold_s: 5", f"{SOURCE}.spec.threshold_s"),
        (SLOW, "op: lte", "op: gte", f"{SPEC}.objectives[0].op"),
        (SLOW, "op: lte\n    ", "", f"{SPEC}.objectives[0].op"),
        (SLOW, "    value: 30\n", "", f"{SPEC}.objectives[0].value"),
        (SLOW, "value: 30", "value: 0", f"{SPEC}.objectives[0].value"),
        (SLOW, "kind: latency", "kind: accuracy", f"{SPEC}.indicator.spec.thresholdMetric"),
        (SLOW, "queue_wait: true", "pool: '?'", f"{SLOW_SOURCE}.spec.pool"),
        (SLOW, "queue_wait: true", "queue_wait: 1", f"{SLOW_SOURCE}.spec.queue_wait"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused_by_its_path(text: str, old: str, new: str, path: str) -> None:
    assert old in text
    found = refused(text.replace(old, new, 1))
    assert path in [where for where, _ in found]
    # Nothing else but what follows from it: the other half of the ratio, or a value that is missing then.
    assert all(where.startswith(SPEC) or where == path for where, _ in found)


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("version: '1'", "version: 1", "version"),
        ("version: '1'", "version: ''", "version"),
        ("evaluator: e\n", "label: {}\n", "evaluator"),
        ("pass_score: 0.5", "pass_score: 1.5", "pass_score"),
        ("coverage_floor: 0", "coverage_floor: half", "coverage_floor"),
        ("settle_after_s: 0", "settle_after_s: 0.5", "settle_after_s"),
        ("settle_after_s: 0", "settle_after_s: -1", "settle_after_s"),
        ("settle_after_s: 0", "queue_wait: false", "queue_wait"),
        ("settle_after_s: 0", "label: {a: b, c: d}", "label"),
        ("settle_after_s: 0", "label: {a: 5}", "label.a"),
        ("settle_after_s: 0", "label: {5: a}", "label"),
        ("settle_after_s: 0", "label: {A: a}", "label"),
    ],
)
def test_faults_of_what_is_counted(old: str, new: str, path: str) -> None:
    assert old in ACCURATE
    assert f"{SOURCE}.spec.{path}" in [where for where, _ in refused(ACCURATE.replace(old, new))]


def test_both_parts_of_a_ratio_are_about_the_same_tasks() -> None:
    other = PLAIN.replace("kind: availability", "kind: availability\n              pool: a", 1)
    assert [where for where, _ in refused(other)] == [f"{SPEC}.indicator.spec.ratioMetric.total"]


def test_documents_refer_to_each_other_by_name() -> None:
    text = (DOCUMENTS / "search.yaml").read_text()
    missing = refused(text.replace("indicatorRef: search-succeeds", "indicatorRef: other"))
    assert missing == [("documents[3].spec.indicatorRef", "there is no SLI 'other' in the file")]
    twice = refused(PLAIN + PLAIN)
    assert [where for where, _ in twice] == ["documents[1].metadata.name"]


def test_calendar_windows_begin_where_they_do() -> None:
    text = write([Objective("o", "availability", Decimal("0.99"), WindowSpec("month", None, "Asia/Tokyo"))])
    where = f"{SPEC}.timeWindow[0]"
    for old, new, path in (
        ("'2024-01-01 00:00:00'", "2024-01-02 00:00:00", f"{where}.calendar.startTime"),
        ("'2024-01-01 00:00:00'", "2024-01-01 12:30:00", f"{where}.calendar.startTime"),
        ("'2024-01-01 00:00:00'", "2024-01-01", f"{where}.calendar.startTime"),
        ("'2024-01-01 00:00:00'", "2024-01-01T00:00:00Z", f"{where}.calendar.startTime"),
        ("'2024-01-01 00:00:00'", "'2024-13-01 00:00:00'", f"{where}.calendar.startTime"),
        ("Asia/Tokyo", "Mars/Olympus", f"{where}.calendar.timeZone"),
        ("timeZone: Asia/Tokyo", "timezone: Asia/Tokyo", f"{where}.calendar.timeZone"),
        ("duration: 1M", "duration: 1Q", f"{where}.duration"),
        ("isRolling: false", "isRolling: true", f"{where}.isRolling"),
    ):
        assert old in text
        assert path in [found for found, _ in refused(text.replace(old, new))]
    week = text.replace("duration: 1M", "duration: 1w").replace("'2024-01-01 00:00:00'", "2024-02-01 00:00:00")
    assert [found for found, _ in refused(week)] == [f"{where}.calendar.startTime"]


def test_without_a_window_it_is_30_days() -> None:
    text = PLAIN.replace("  timeWindow:\n  - duration: 30d\n    isRolling: true\n", "")
    assert [item.window for item in read(text)] == [WindowSpec("rolling", 30 * DAY_S)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no SLO"),
        ("---\n---\n", "no SLO"),
        ("kind: [", "line 1"),
        ("just text", "an object"),
        ("[]", "an object"),
        ("a: &x [1]\nb: *x\n", "line 2: aliases"),
        ("a: 1\na: 2\n", "line 2: 'a' is there twice"),
        ("a: {<<: {b: 1}}\n", "plain text"),
        ("[1]: 2\n", "plain text"),
        ("!!python/object/apply:os.system ['true']", "constructor"),
        ("a: 2026-13-45\n", "month"),
        ("[" * 5_000, "nested too deep"),
        ("a: " + "x" * 140_000, "bytes"),
        ("a: 1\n---\n" * 101, "documents"),
        ("a: \x00", "special characters"),
    ],
)
def test_what_is_no_yaml_of_ours_is_refused_in_a_sentence(text: str, message: str) -> None:
    began = time.monotonic()
    found = refused(text)
    assert message in found[0][1]
    assert len(found[0][1]) <= 300
    assert time.monotonic() - began < 30


def test_an_alias_that_would_grow_into_gigabytes_is_refused_at_once() -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    assert "aliases" in refused(f"l0: &l0 [x]\n{levels}\n")[0][1]


@given(st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(
        st.sampled_from(["apiVersion", "kind", "metadata", "spec", "name", "objectives", "indicator", "timeWindow"]),
        inner, max_size=5)),
    max_leaves=15,
), st.sampled_from(["SLO", "SLI", "DataSource"]))  # fmt: skip
def test_whatever_a_document_holds_it_is_read_or_refused(value: object, kind: str) -> None:
    document = {"apiVersion": "openslo/v1", "kind": kind, "metadata": {"name": "o"}, "spec": value}
    try:
        found = read(yaml.safe_dump(document))
    except BadOpenSlo:
        return
    assert all(list(faults(item)) == [] for item in found)


@pytest.mark.parametrize(
    ("seconds", "text"), [(60, "1m"), (3_600, "1h"), (5_400, "90m"), (DAY_S, "1d"), (90_000, "25h")]
)
def test_durations_are_written_in_the_largest_unit_that_fits(seconds: int, text: str) -> None:
    assert duration_of(seconds) == text
