"""Annotations: what they may say, what is refused and where, and that Prometheus would write the same."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.alerts.templates import CUT, MAX_INPUT_BYTES, MAX_OUTPUT_BYTES, NO_VALUE, BadTemplate, Template
from tests.deploy.promql import promtool

LABELS = {"pool": "research", "agent": "a-1"}


def render(text: str, value: float | None = 0.25) -> str:
    return Template.parse(text).render(LABELS, value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain } text }} { %", "plain } text }} { %"),
        ("{{ $labels.pool }}/{{$labels.agent}}", "research/a-1"),
        ("{{ $labels.nothing }}.", "."),
        ("{{ $value }}", "0.25"),
        ("{{\n $value\n| humanizePercentage\t}}", "25%"),
        ("{{ humanizeDuration $value }}", "250ms"),
        ("{{ humanize $value | toUpper }}", "250M"),
        ("{{ $labels.pool | toUpper | toLower | toUpper }}", "RESEARCH"),
        ('{{ printf "%.1f of %%" $value }}', "0.2 of %"),
        ('{{ $labels.pool | printf "<%10s>" }}', "<  research>"),
        ('{{ printf "%v" $labels.pool }}', "research"),
        ("{{ $value | humanizePercentage | toUpper }} {{ $value }}", "25% 0.25"),
    ],
)
def test_table(text: str, shown: str) -> None:
    assert render(text) == shown


def test_without_a_value_it_says_so() -> None:
    assert render("{{ $value | humanize }} {{ $labels.pool }}", None) == f"{NO_VALUE} research"


def test_what_a_label_says_is_no_template() -> None:
    labels = {"pool": "{{ $labels.pool }}{{ $value }}"}
    assert Template.parse("{{ $labels.pool }}").render(labels, 1) == "{{ $labels.pool }}{{ $value }}"


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("{{ $value", 1, 1, "{{ is not closed"),
        ("a\n b {{ $valu }}", 2, 7, "'$valu' is not understood"),
        ("{{ }}", 1, 4, "is missing"),
        ("{{}}", 1, 3, "is missing"),
        ("{{ humanize }}", 1, 13, "is missing"),
        ("{{ if $value }}x{{ end }}", 1, 4, "no function 'if'"),
        ("{{ range query }}", 1, 4, "no function 'range'"),
        ("{{ template $value }}", 1, 4, "no function 'template'"),
        ("{{ $labels.pool.__class__ }}", 1, 4, "is not understood"),
        ("{{ $labels }}", 1, 4, "is not understood"),
        ("{{ $value.real }}", 1, 4, "is not understood"),
        ("{{ $labels.pool[0] }}", 1, 16, "is not understood"),
        ("{{ $labels.pool() }}", 1, 16, "is not understood"),
        ("{{ .Labels.pool }}", 1, 4, "is not understood"),
        ("{{ $x := $value }}", 1, 4, "is not understood"),
        ("{{ {{ $value }} }}", 1, 4, "is not understood"),
        ("{{ $value | }}", 1, 13, "name of a function is missing"),
        ("{{ $value | exec }}", 1, 13, "no function 'exec'"),
        ("{{ $value $value }}", 1, 11, "out of place"),
        ("{{ $value humanize }}", 1, 11, "out of place"),
        ("{{ humanize humanize $value }}", 1, 13, "is missing here"),
        ("{{ $labels.pool | humanize }}", 1, 19, "humanize takes a number, and this is a text"),
        ("{{ $value | toUpper }}", 1, 13, "toUpper takes a text, and this is a number"),
        ("{{ $value | humanize | humanize }}", 1, 24, "humanize takes a number"),
        ("{{ printf $value }}", 1, 11, "printf takes a format"),
        ('{{ printf "%d" $value }}', 1, 11, "printf takes a format"),
        ('{{ printf "%s" $value }}', 1, 16, "printf takes a text"),
        ('{{ printf "%f" $labels.pool }}', 1, 16, "printf takes a number"),
        ('{{ printf "%f %f" $value }}', 1, 11, "printf takes a format"),
        ('{{ printf "%999999f" $value }}', 1, 11, "printf takes a format"),
        ('{{ printf "%.999f" $value }}', 1, 11, "printf takes a format"),
        ('{{ printf "%*f" $value }}', 1, 11, "printf takes a format"),
        ('{{ printf "nothing" $value }}', 1, 11, "printf takes a format"),
        ('{{ "text" }}', 1, 4, "is missing here"),
        ("x" * (MAX_INPUT_BYTES + 1), 1, 1, "longer than 4096 bytes"),
        ("é" * (MAX_INPUT_BYTES // 2 + 1), 1, 1, "longer than 4096 bytes"),
        ("{{" * 1_000_000, 1, 1, "longer than 4096 bytes"),
    ],
)
def test_what_is_no_template_is_refused_with_its_place(text: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(BadTemplate) as refused:
        Template.parse(text)
    assert (refused.value.line, refused.value.column) == (line, column)
    assert reason in refused.value.reason
    assert str(refused.value).startswith(f"line {line}, column {column}: ")
    assert len(str(refused.value)) < 300


def test_four_kibibytes_are_a_template_and_eight_are_the_most_it_shows() -> None:
    assert len(Template.parse("x" * MAX_INPUT_BYTES).render({}, 0)) == MAX_INPUT_BYTES
    many = Template.parse("{{ $labels.pool }}" * (MAX_INPUT_BYTES // 18))
    assert many.render({"pool": "é" * 10}, 0) == "é" * 10 * (MAX_INPUT_BYTES // 18)
    for long in ("é" * 1_000_000, "é" * 25, "🙂" * 33):
        shown = many.render({"pool": long}, 0)
        assert shown.endswith(CUT)
        assert MAX_OUTPUT_BYTES - 4 < len(shown.encode()) <= MAX_OUTPUT_BYTES
        assert set(shown[:-1]) == set(long)


pieces = st.sampled_from(
    [
        "{{",
        "}}",
        "{",
        "}",
        "$value",
        "$labels.",
        "pool",
        "|",
        '"',
        "%",
        "%.2f",
        "printf",
        "humanize",
        " ",
        "\n",
        "é",
        ".",
    ]
)


@given(st.lists(pieces | st.characters(), max_size=30).map("".join), st.floats(), st.text(max_size=20))
def test_any_text_is_refused_or_rendered(text: str, value: float, label: str) -> None:
    try:
        template = Template.parse(text)
    except BadTemplate as refused:
        lines = text.split("\n")
        assert 1 <= refused.line <= len(lines)
        assert 1 <= refused.column <= len(lines[refused.line - 1]) + 1
    else:
        shown = template.render({"pool": label}, value)
        assert len(shown.encode(errors="replace")) <= MAX_OUTPUT_BYTES
        assert "{{" in text or shown == text


FORMS = {
    "plain": "{{ $value }}",
    "humanize": "{{ $value | humanize }}",
    "humanize1024": "{{ humanize1024 $value }}",
    "duration": "{{ $value | humanizeDuration }}",
    "percentage": "{{ $value | humanizePercentage }}",
    "timestamp": "{{ $value | humanizeTimestamp }}",
    "f": '{{ printf "%.2f" $value }}|{{ printf "%+12f" $value }}|{{ printf "%5.0f%%" $value }}',
    "e": '{{ printf "%e" $value }}|{{ $value | printf "%+.1e" }}|{{ printf "%20.3e" $value }}',
    "g": '{{ printf "%g" $value }}|{{ printf "%.3g" $value }}|{{ printf "%+15g" $value }}',
    "v": '{{ printf "%v" $value }}|{{ printf "%30v" $value }}',
    "label": '{{ $labels.nothing }}|{{ printf "%6s" $labels.n }}|{{ $labels.n | printf "%v" | toUpper }}',
    "lower": "{{ toLower $labels.n }}",
}

LARGEST = 9e18
"""Prometheus counts seconds in 64 bits, and writes nonsense for what does not fit."""

OFTEN = [0.0, -0.0, 1.0, -1.0, 0.9999, 999.96, 999.95, 1000.0, 1024.0, 1e6, 999_999.5, 100_000.0, 1e-4, 0.00001, 1e15]
OFTEN += [59.99, 60.0, 3600.0, 86_399.0, 86_400.0, 90_061.5, 1435065584.128, -1435065584.128, 1234567.25, 1e18]
OFTEN += [math.inf, -math.inf, math.nan, 5e-324, 1e-25, 9_223_372_036.0, 9_223_372_037.0, -1.5, 0.5, 2.5, 1e-3, 1e-6]

values = st.floats(-LARGEST, LARGEST) | st.floats(-1, 1) | st.floats(0, 1e7) | st.integers(-(10**7), 10**7).map(float)


def as_promtool_reads(value: float) -> str:
    return "NaN" if math.isnan(value) else "Inf" if value == math.inf else "-Inf" if value == -math.inf else repr(value)


def differences(folder: Path, found: list[float]) -> str:
    """What promtool writes otherwise; "" for nothing. Times that Prometheus cannot write are left out."""
    rules, tests, inputs = [], [], []
    for number, value in enumerate(found):
        labels = {"n": f"{number}xY"}
        forms = {
            key: text
            for key, text in FORMS.items()
            if key != "timestamp" or abs(value * 1e9) < 2**63 or not math.isfinite(value)
        }
        shown = {key: Template.parse(text).render(labels, value) for key, text in forms.items()}
        rules.append({"alert": f"A{number}", "expr": f'm{{n="{number}xY"}}', "annotations": forms})
        inputs.append({"series": f'm{{n="{number}xY"}}', "values": as_promtool_reads(value)})
        alert: dict[str, Any] = {"exp_labels": labels, "exp_annotations": shown}
        tests.append({"eval_time": "0m", "alertname": f"A{number}", "exp_alerts": [alert]})
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}, allow_unicode=True))
    document = {
        "rule_files": ["rules.yaml"],
        "tests": [{"interval": "1m", "input_series": inputs, "alert_rule_test": tests}],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(document, allow_unicode=True, width=1_000_000))
    done = promtool("test", "rules", folder / "test.yaml")
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_prometheus_writes_the_numbers_alike_that_matter(tmp_path: Path) -> None:
    assert differences(tmp_path, OFTEN) == ""


@settings(
    max_examples=8,
    phases=(Phase.reuse, Phase.generate),  # what differs is printed; every step of a search for less is a process
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(found=st.lists(values, min_size=30, max_size=60))
def test_prometheus_writes_any_number_alike(found: list[float], tmp_path: Path) -> None:
    assert differences(tmp_path, found) == ""
