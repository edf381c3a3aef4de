"""Every command against the real service."""

import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
from cli_service import Service, until
from cli_stub_agent import StubAgent
from typer.testing import CliRunner

from app.cli import deferred
from app.cli.main import app

UNKNOWN = "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def submitted(service: Service, payload: Any, *options: str) -> str:
    return str(service.json("submit", "stub", json.dumps(payload), *options)["id"])


def test_help_and_version() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100"})
    assert shown.exit_code == 0
    order = [
        "submit",
        "watch",
        "tasks",
        "task",
        "cancel",
        "retry",
        "feedback",
        "approvals",
        "schedules",
        "webhooks",
        "explain",
        "bulk",
        "pools",
        "pool",
        "scale",
        "agents",
        "agent",
        "stops",
        "limits",
        "alerts",
        "alert-rules",
        "receivers",
        "silences",
        "notifications",
        "emergency",
        "actions",
        "slo",
        "probes",
        "costs",
        "budgets",
        "prices",
        "models",
    ]
    assert re.findall(r"^│ (\w[\w-]*) ", shown.stdout, re.MULTILINE) == [*order, "serve", "db", "simulate", "key"]
    assert "Exit codes" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("yard 0.")
    for name, text in deferred.HELP.items():
        assert text in CliRunner().invoke(app, [name, "--help"]).stdout


def test_the_first_task(service: Service, log_analyzer: str, tmp_path: Path) -> None:
    log = tmp_path / "dpkg.log"
    lines = [f"2026-11-20 20:25:{n % 60:02} status installed package{n}:amd64 1.{n}-1" for n in range(200)]
    log.write_text("\n".join([*lines, "2026-11-20 20:26:00 startup archives unpack"]))
    done = service.yard("submit", log_analyzer, f"@{log}", "--wait")
    assert done.exit_code == 0, done.stderr
    assert "✓ succeeded" in done.stderr
    assert re.search(r"^lines +201$", done.stdout, re.MULTILINE)
    assert re.search(r"^  status installed .* +200 ", done.stdout, re.MULTILINE)
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_the_result_for_programs(service: Service) -> None:
    task = service.json("submit", "stub", '{"result": {"a": [1, null, "ü"]}}', "--wait")
    assert (task["status"], task["result"]) == ("succeeded", {"a": [1, None, "ü"]})
    assert service.json("task", task["id"]) == task


def test_submit_prints_the_id_alone(service: Service) -> None:
    done = service.yard("submit", "stub", "{}")
    assert UUID.fullmatch(done.stdout.strip())
    assert f"yard watch {done.stdout.strip()}" in done.stderr


def test_options_of_submit(service: Service) -> None:
    options = ["--type", "t", "--priority", "7", "--deadline", "10m", "--run-at", "+1h", "--complexity", "0.9"]
    first = submitted(service, {"n": 1}, *options, "--key", "once-1")
    task = service.json("task", first)
    assert (task["type"], task["priority"], task["complexity"], task["status"]) == ("t", 7, 0.9, "queued")
    assert task["run_at"] is not None
    assert task["start_deadline_at"] is not None
    labelled = submitted(service, {"n": 4}, "--label", "team=search", "--label", "note=a=b")
    assert re.search(r"^labels +note=a=b, team=search$", service.yard("task", labelled).stdout, re.MULTILINE)
    for wrong in (["--label", "team"], ["--label", "=x"], ["--label", "a=1", "--label", "a=2"], ["--label", "A=1"]):
        assert "label" in service.yard("submit", "stub", "1", *wrong).stderr
    one = submitted(service, {"n": 2}, "--key", "once-2")
    assert submitted(service, {"n": 2}, "--key", "once-2") == one
    other = service.yard("submit", "stub", '{"n": 3}', "--key", "once-2")
    assert other.exit_code == 1
    assert other.stderr.startswith("error: ")
    assert service.yard("cancel", first, "--reason", "enough").stdout == f"task {first} is cancelled\n"


def test_text_goes_where_the_pool_wants_it(service: Service) -> None:
    schema = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
    service.json("pool", "put", "texts", json.dumps({"input_schema": schema}))
    accepted = service.yard("submit", "texts", "@-", "--json", stdin="hello\n[1]")
    assert service.json("task", json.loads(accepted.stdout)["id"])["payload"] == {"text": "hello\n[1]"}
    overridden = service.yard("submit", "stub", "plain words", "--field", "words", "--json")
    assert service.json("task", json.loads(overridden.stdout)["id"])["payload"] == {"words": "plain words"}
    unclear = service.yard("submit", "stub", "@-", stdin="hello")
    assert (unclear.exit_code, "--field NAME" in unclear.stderr) == (2, True)
    refused = service.yard("submit", "texts", '{"text": 5}')
    assert refused.exit_code == 1
    assert "text" in refused.stderr
    assert refused.stderr.startswith("error: ")


def test_too_large_is_said_before_sending(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"x" * (1024 * 1024 + 1))
    assert "larger than the 1 MiB" in service.yard("submit", "stub", f"@{file}", "--field", "t").stderr
    file.write_bytes(b"\n" * (1024 * 1024 - 10))  # two bytes each in JSON
    escaped = service.yard("submit", "stub", f"@{file}", "--field", "t")
    assert escaped.exit_code == 2
    assert "has 2 MiB as JSON" in escaped.stderr


def test_a_failed_task(service: Service) -> None:
    done = service.yard("submit", "stub", '{"do": "fail"}', "--wait")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "✗ failed" in done.stderr
    assert "there is nothing to do" in done.stderr
    task_id = UUID.search(done.stderr)[0]  # type: ignore[index]
    assert "there is nothing to do" in service.yard("task", task_id).stdout
    assert task_id in service.yard("tasks", "--status", "failed", "--pool", "stub").stdout
    assert re.fullmatch(rf"task {task_id} is (queued|running)\n", service.yard("retry", task_id).stdout)
    until(lambda: service.json("task", task_id)["status"] == "failed")
    assert service.yard("watch", task_id, "--json").exit_code == 1


def test_waiting_for_a_while_only(service: Service) -> None:
    service.stub.gate.clear()
    began = time.monotonic()
    done = service.yard("submit", "stub", '{"do": "hold"}', "--wait=1")
    assert 1 <= time.monotonic() - began < 6
    assert (done.exit_code, done.stdout) == (1, "")
    task_id = re.search(r"yard watch (\S+)", done.stderr)[1]  # type: ignore[index]
    assert "not finished yet, running" in done.stderr
    service.stub.gate.set()
    watched = service.yard("watch", task_id)
    assert (watched.exit_code, watched.stdout.splitlines()[-1]) == (0, "held and released")
    assert service.yard("submit", "stub", "{}", "--wait=soon").exit_code == 2
    assert service.yard("submit", "stub", "{}", "--wait=").exit_code == 2


def test_cancel_reaches_the_agent(service: Service) -> None:
    service.stub.gate.clear()
    task_id = submitted(service, {"do": "hold"})
    until(lambda: service.json("task", task_id)["status"] == "running")
    assert service.json("cancel", task_id)["status"] == "cancelled"
    until(lambda: task_id in service.stub.cancelled)
    service.stub.gate.set()
    again = service.yard("retry", task_id)
    assert again.exit_code == 1
    assert again.stderr.startswith("error: ")


def test_watch_as_lines(service: Service) -> None:
    task_id = submitted(service, {"do": "stream", "pause_s": 1.0})
    done = service.yard("watch", task_id)
    assert done.exit_code == 0
    assert re.search(r"^\d\d:\d\d:\d\d  progress +100 % part 4 of 4$", done.stdout, re.MULTILINE)
    assert "word4" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.endswith("answer  all four parts\nparts   4\n")


def test_watch_for_programs(service: Service) -> None:
    task_id = submitted(service, {"do": "stream", "pause_s": 1.0})
    done = service.yard("watch", task_id, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["type"] == "snapshot"
    assert "task.succeeded" in [event["type"] for event in events]
    assert events[-1]["type"] == "result"
    assert events[-1]["data"]["result"] == {"answer": "all four parts", "parts": 4}
    assert "small: 1,200 in, 34 out" in service.yard("task", task_id).stdout


def test_lists(service: Service) -> None:
    ids = [submitted(service, {"n": n}) for n in range(3)]
    assert [task["id"] for task in service.json("tasks", "--limit", "3")["items"]] == ids[::-1]
    page = service.json("tasks", "--limit", "2")
    assert page["next_page_token"]
    for columns in (200, 80, 60):
        shown = service.yard("tasks", "--limit", "3", columns=columns).stdout
        assert all(task_id in shown for task_id in ids)
    assert "ago" in service.yard("tasks").stdout


def test_pools(service: Service) -> None:
    pools = service.json("pools")["items"]
    assert "stub" in [pool["name"] for pool in pools]
    row = re.search(r"^stub .*$", service.yard("pools").stdout, re.MULTILINE)
    assert row is not None
    assert "does as it is told" in row[0]
    assert "0–10" in row[0]
    shown = service.yard("pool", "show", "stub").stdout
    assert re.search(r"^balancer +ai_optimized$", shown, re.MULTILINE)
    assert service.json("pool", "show", "stub")["slots"] == 50
    wrong = service.yard("pool", "put", "wrong", '{"slots": 0, "colour": 1}')
    assert wrong.exit_code == 1
    assert "slots: " in wrong.stderr
    assert "colour: " in wrong.stderr
    assert service.yard("pool", "put", "wrong", "@/no/such").exit_code == 2
    assert service.yard("pool", "put", "wrong", "no json").exit_code == 2


def test_scale(service: Service, log_analyzer: str) -> None:
    assert service.json("scale", log_analyzer, "1")["desired"] == 1
    calmed = service.yard("scale", log_analyzer, "1", "--reason", "calm")
    assert calmed.stdout.startswith(f"pool {log_analyzer}: 1 wanted")
    refused = service.yard("scale", log_analyzer, "99")
    assert refused.exit_code == 1
    assert service.yard("scale", log_analyzer, "-1").exit_code == 2
    assert service.yard("scale", "nowhere", "1").exit_code == 1


def test_agents(service: Service) -> None:
    assert service.agent_id in service.yard("agents", "--pool", "stub", columns=80).stdout
    with StubAgent() as spare:
        body = {"pool": "stub", "url": spare.url}
        headers = {"Authorization": f"Bearer {service.key}"}
        added = httpx.post(f"{service.url}/v1/agents", json=body, headers=headers, trust_env=False).json()["id"]
        drained = service.yard("agent", "drain", added)
        assert drained.exit_code == 0
        assert re.match(rf"agent {added} is (draining|gone), 0 running$", drained.stdout)
    assert service.yard("agents", "--status", "asleep").exit_code == 2
    assert service.yard("agent", "drain", UNKNOWN).exit_code == 1


def test_keys(service: Service) -> None:
    made = service.yard("key", "create", "ci", "--scope", "tasks:read", "--scope", "tasks:read", "--expires", "30d")
    key = made.stdout.strip()
    assert key.startswith("yk_")
    assert "expires in 30 d" in made.stderr
    as_ci = ["--key", key]
    assert service.yard(*as_ci, "tasks").exit_code == 0
    forbidden = service.yard(*as_ci, "key", "list")
    assert (forbidden.exit_code, forbidden.stdout) == (1, "")
    assert forbidden.stderr.endswith("(forbidden)\n")
    listed = next(item for item in service.json("key", "list")["items"] if item["name"] == "ci")
    assert listed["scopes"] == ["tasks:read"]
    assert service.yard("key", "revoke", listed["id"]).stdout == f"key {listed['id']} (ci) is revoked\n"
    assert re.search(rf"^{listed['id']} .*revoked", service.yard("key", "list").stdout, re.MULTILINE)
    until(lambda: service.yard(*as_ci, "tasks").exit_code == 1)
    for wrong in ([], ["--scope", "all"], ["--scope", "admin", "--expires", "soon"]):
        assert service.yard("key", "create", "x", *wrong).exit_code == 2


def test_other_things_wrong(service: Service, tmp_path: Path) -> None:
    missing = service.yard("task", UNKNOWN)
    assert missing.exit_code == 1
    assert re.fullmatch(r"error: .*\([a-z_]+\)\n", missing.stderr)
    assert service.yard("task", "1234").exit_code == 2
    assert service.yard("submit", "nowhere", "{}").exit_code == 1
    assert service.yard("submit", "../keys", "{}", "--wait").exit_code == 1
    assert service.yard("--key", "no-key", "pools").exit_code == 1
    for option in (["--url", "http://127.0.0.1:1"], ["--url", "http://service.invalid"]):
        away = service.yard(*option, "--key", "k", "pools")
        assert (away.exit_code, away.stdout) == (3, "")
        assert away.stderr.startswith(f"error: cannot reach the service at {option[1]}")
    environment = {"YARD_URL": service.url, "YARD_API_KEY": ""}
    no_key = CliRunner().invoke(app, ["--data", str(tmp_path), "pools"], env=environment)
    assert no_key.exit_code == 3
    assert "yard key create" in no_key.stderr
    elsewhere = service.yard("--url", service.stub.url, "--key", "k", "submit", "stub", "{}")
    assert elsewhere.exit_code == 1
    assert elsewhere.stderr == "error: the server's answer has no 'id': is it Yardmaster, and of this release?\n"
