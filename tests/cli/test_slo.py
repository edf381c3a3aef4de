"""`yard slo` and `yard feedback` against a real service."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cli_service import Service, until

FILE = """apiVersion: openslo/v1
kind: SLO
metadata: {{name: {name}}}
spec:
  service: stub
  indicator:
    metadata: {{name: succeeds}}
    spec:
      ratioMetric:
        counter: true
        good: {{metricSource: {{type: Yardmaster, spec: {{kind: availability, pool: {pool}, label: {{suite: slo}}}}}}}}
        total: {{metricSource: {{type: Yardmaster, spec: {{kind: availability, pool: {pool}, label: {{suite: slo}}}}}}}}
  timeWindow: [{{duration: 30d, isRolling: true}}]
  budgetingMethod: Occurrences
  objectives: [{{target: {target}}}]
"""


# Only its own tasks: those of other tests fail as they please.
def document(name: str, *, pool: str = "stub", target: float = 0.99) -> str:
    return FILE.format(name=name, pool=pool, target=target)


def test_a_file_is_tried_applied_shown_and_deleted(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "objectives.yaml"
    file.write_text("---\n".join([document("stub-works"), document("stub-always", target=0.999)]))
    tried = service.yard("slo", "apply", str(file), "--dry-run")
    assert tried.exit_code == 0, tried.stderr
    assert re.search(r"^stub-works +created$", tried.stdout, re.M), tried.stdout
    assert "nothing was changed" in tried.stdout
    assert service.json("slo", "list")["items"] == []
    applied = service.yard("slo", "apply", str(file))
    assert applied.exit_code == 0, applied.stderr
    assert re.search(r"^stub-always +created$", applied.stdout, re.M), applied.stdout
    again = service.yard("slo", "apply", "-", stdin=file.read_text()).stdout
    assert len(re.findall(r"unchanged$", again, re.M)) == 2, again
    assert service.yard("submit", "stub", '{"a": 1}', "--label", "suite=slo", "--wait").exit_code == 0

    def counted() -> bool:
        standing = service.json("slo", "show", "stub-works")["standing"]
        return bool(standing["counts"]["good"] and standing["counted"]["complete"])

    until(counted)
    listed = service.yard("slo", "list", columns=160).stdout
    assert re.search(r"^stub-works +healthy +░{12} +0\.0 % +99 % +100 % +0×", listed, re.M), listed
    shown = service.yard("slo", "show", "stub-works").stdout
    assert "99 % succeed, last 30 d" in shown
    assert re.search(r"^slow_ticket \(3 d / 6 h\) +insufficient evidence +0× +0× +1× +warn", shown, re.M), shown
    written = service.yard("slo", "show", "stub-works", "--openslo")
    assert service.yard("slo", "apply", "-", stdin=written.stdout).stdout.rstrip().endswith("unchanged")
    for name in ("stub-works", "stub-always"):
        assert service.yard("slo", "delete", name).stdout == f"the objective {name} is deleted\n"
    assert service.yard("slo", "show", "stub-works").exit_code == 1


def test_what_is_refused_is_said_with_its_place(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "objectives.yaml"
    file.write_text("---\n".join([document("one"), document("two", pool="nowhere")]))
    some = service.yard("slo", "apply", str(file))
    assert some.exit_code == 1
    assert re.search(r"^one +created$", some.stdout, re.M), some.stdout
    assert re.search(r"^two +refused +There is no pool 'nowhere'\. \(unknown_pool\)$", some.stdout, re.M), some.stdout
    assert "1 of 2 objectives were refused" in some.stderr
    assert service.yard("slo", "delete", "one").exit_code == 0
    file.write_text(document("one").replace("Occurrences", "Timeslices"))
    wrong = service.yard("slo", "apply", str(file))
    assert wrong.exit_code == 1
    assert "documents[0].spec.budgetingMethod" in wrong.stderr
    assert service.yard("slo", "apply", str(tmp_path / "none.yaml")).exit_code == 2


def test_feedback_is_given_and_listed(service: Service) -> None:
    done = json.loads(service.yard("submit", "stub", '{"a": 1}', "--wait", "--json").stdout)
    task = done["id"]
    said = service.yard("feedback", task, "good", "--comment", "Just right.")
    assert (said.exit_code, said.stdout) == (0, "noted: good by human\n")
    judge = ("--source", "judge", "--evaluator", "rubric", "--version", "3")
    assert service.yard("feedback", task, "--score", "0.4", *judge).stdout == "noted: 0.4 by rubric\n"
    listed = service.yard("feedback", task).stdout
    assert re.search(r"0\.4 +rubric +3 +judge", listed), listed
    assert re.search(r"good +human +1 +human +Just right\.", listed), listed
    assert service.yard("feedback", task, "good", "--source", "judge").exit_code == 1
    assert service.yard("feedback", task, "--score", "2").exit_code == 2
    unknown = service.yard("feedback", "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10", "good")
    assert unknown.exit_code == 1
