"""`yard alerts`, `yard alert-rules` and `yard explain alert`."""

import json
from pathlib import Path
from typing import Any

from cli_service import Service, until

RULE: dict[str, Any] = {
    "signal": "queue_length",
    "comparison": ">=",
    "threshold": 0,
    "matchers": ['pool="stub"'],
    "severity": "critical",
    "annotations": {"summary": "{{ $labels.pool }} has {{ $value }} tasks"},
}


def fires(service: Service, name: str) -> dict[str, Any] | None:
    items = service.json("alerts", "--rule", name)["items"]
    return next((item for item in items if item["phase"] == "firing"), None)


def test_a_rule_from_a_file_fires_is_listed_and_explained(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "rule.json"
    file.write_text(json.dumps(RULE))
    made = service.yard("alert-rules", "set", "always", f"@{file}")
    assert made.stdout == 'always: queue_length >= 0, where pool="stub"\n', made.stderr
    until(lambda: fires(service, "always"))
    listed = service.yard("alerts", "--phase", "firing").stdout
    assert "● firing" in listed and "always" in listed and "pool=stub" in listed and "stub has 0 tasks" in listed
    rules = service.yard("alert-rules", "list").stdout
    assert "1 firing" in rules and "success_rate < 0.9" in rules and "tokens_per_hour > 1,000,000" in rules
    shown = service.yard("alert-rules", "show", "always").stdout
    assert "{{ $labels.pool }} has {{ $value }} tasks" in shown and "critical" in shown
    explained = service.yard("explain", "alert", "always").stdout
    assert "queue_length is 0, which is >= 0. It fires since" in explained
    assert "ok → pending" not in explained and "ok → firing" in explained
    assert service.json("explain", "alert", "always")["instances"][0]["finding"] == "violated"
    assert service.yard("alert-rules", "delete", "always").stdout == "the rule always is deleted\n"


def test_why_a_default_does_not_fire(service: Service) -> None:
    shown = service.yard("explain", "alert", "critical_error_rate").stdout
    assert "success_rate < 0.8 for 3 min" in shown
    assert "So it does not fire." in shown


def test_what_is_refused(service: Service) -> None:
    for rule, words in (
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("@/nowhere", "cannot read"),
    ):
        done = service.yard("alert-rules", "set", "mine", rule)
        assert done.exit_code == 2 and words in done.stderr, done.stderr
    done = service.yard("alert-rules", "set", "mine", json.dumps({**RULE, "signal": "nothing", "for_s": 1}))
    assert done.exit_code == 1 and "there is no signal 'nothing'" in done.stderr
    done = service.yard("alert-rules", "set", "mine", json.dumps({**RULE, "for_s": -1, "min_events": -1}))
    assert "for_s" in done.stderr and "min_events" in done.stderr
    for words_ in (["show", "mine"], ["delete", "mine"]):
        assert service.yard("alert-rules", *words_).exit_code == 1


def test_explain_says_what_it_can_explain(service: Service) -> None:
    for words in (["alert"], ["pool"], ["notification"], ["task", "x"]):
        done = service.yard("explain", *words)
        assert done.exit_code == 2 and "yard explain" in done.stderr, done.stderr
    assert service.yard("explain", "alert", "unknown").exit_code == 1
