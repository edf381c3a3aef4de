"""`yard probes` against the real service."""

import json
import re
from pathlib import Path
from typing import Any

from cli_service import Service, until


def test_a_probe_from_a_file_to_its_removal(service: Service, tmp_path: Path) -> None:
    task = {"pool": "stub", "payload": {"do": "echo", "result": {"answer": 42}}, "labels": {"team": "search"}}
    check = {"kind": "json", "path": "$.answer", "value": 42}
    file = tmp_path / "golden.json"
    file.write_text(
        json.dumps(
            {
                **task,
                "checks": [check],
                "every_s": 3600,
                "fail_after": 1,
                "of_last": 1,
                "budget": {"unit": "requests", "limit": "50"},
            }
        )
    )
    made = service.yard("probes", "set", "golden", f"@{file}")
    assert made.exit_code == 0, made.stderr
    assert re.match(r"probe golden: next run in \d", made.stdout), made.stdout
    task_id = service.yard("probes", "run", "golden").stdout.strip()

    def judged() -> Any:
        found = service.json("probes", "show", "golden")
        return found if found["state"] != "undecided" else None

    found = until(judged)
    assert (found["state"], found["last_runs"][0]["task_id"]) == ("passing", task_id)
    shown = service.yard("probes", "show", "golden").stdout
    for expected in (
        "state",
        "passing",
        "every",
        "3600 s, with an answer within 10 s",
        "team=search",
        task_id,
        "$.answer",
    ):
        assert expected in shown, shown
    table = service.yard("probes", "list").stdout
    assert re.search(r"^golden +stub +passing +3600 s +\d+\.\d{3} s +in ", table, re.M), table
    assert service.yard("probes", "delete", "golden").stdout == "probe golden is removed\n"
    gone = service.yard("probes", "show", "golden")
    assert gone.exit_code == 1
    assert "no probe" in gone.stderr


def test_what_is_wrong_is_said_with_its_place(service: Service) -> None:
    bad = {"pool": "stub", "checks": [{"kind": "regex", "pattern": "("}]}
    refused = service.yard("probes", "set", "bad", json.dumps(bad))
    assert refused.exit_code == 1
    assert "checks[0].pattern" in refused.stderr
    assert service.yard("probes", "set", "bad", "{").exit_code == 2
    assert service.yard("probes", "set", "bad", "@/no/such/file").exit_code == 2
