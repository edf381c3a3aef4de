"""`yard simulate balancer` from the command line."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_service import ROOT, YARD, plain_environment
from paged_service import serving
from typer.testing import CliRunner, Result

from app.cli import comparison, simulate
from app.cli.main import app
from app.dispatch.balancers.registry import BUILT_IN
from app.dispatch.simulator.scenarios import SCENARIOS
from app.dispatch.simulator.tally import Measures

SMALL = ["--agents", "5", "--slots", "2", "--minutes", "1"]
TWO = ["--strategy", "round_robin", "--strategy", "least_connections"]


def yard(*args: str, columns: int = 120) -> Result:
    environment = {"COLUMNS": str(columns), "YARD_URL": "", "YARD_API_KEY": ""}
    return CliRunner().invoke(app, ["simulate", "balancer", *args], env=environment)


def numbers(*args: str) -> Any:
    result = yard(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_the_table() -> None:
    result = yard("--scenario", "uneven", *SMALL, *TWO)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("uneven: 5 agents × 2 slots, 85 % load, 1 min, 1 manager, 1 seed: ")
    for title in ("strategy", "p50 s", "p90 s", "p99 s", "goodput %", "wasted %", "wait s", "max/mean load"):
        assert title in lines[2]
    assert [row.split()[0] for row in lines[4:6]] == ["round_robin", "least_connections"]
    assert re.search(r"^\w+: the lowest p99, [\d.]+ s, among those within 0.2 % of the best goodput", lines[7])


def test_the_numbers_are_the_same_again_and_all_strategies_are_there() -> None:
    first, second = (numbers("--scenario", "skills+bursty", *SMALL, "--seeds", "2") for _ in range(2))
    assert [strategy["strategy"] for strategy in first["strategies"]] == list(BUILT_IN)
    for found in (first, second):
        for strategy in found["strategies"]:
            assert strategy.pop("choice_us") > 0
            assert 0 < strategy["p50_s"] <= strategy["p90_s"] <= strategy["p99_s"]
            assert strategy["errors"] == 0 and 0 < strategy["goodput"] <= 1
    assert first == second
    assert (first["scenario"], first["seeds"], first["agents"], first["complete"]) == ("skills+bursty", [1, 2], 5, True)
    assert first["recommended"] in BUILT_IN
    assert numbers("--scenario", "skills+bursty", *SMALL, "--seed", "3", *TWO)["strategies"] != first["strategies"][:2]


def test_several_managers() -> None:
    found = numbers("--scenario", "everything", *SMALL, "--managers", "3")
    assert found["managers"] == 3
    assert all(strategy["errors"] == 0 for strategy in found["strategies"])


def test_the_scenarios_are_listed() -> None:
    shown = yard("--scenario", "list", columns=200).stdout
    helped = re.sub(r"\s+", " ", yard("--help", columns=200).stdout)
    for name, scenario in SCENARIOS.items():
        assert re.search(rf"^{name} +{re.escape(scenario.text)}$", shown, re.MULTILINE)
        assert f"{name}: {scenario.text}" in helped


@pytest.mark.parametrize(
    ("args", "code", "problem"),
    [
        (["--strategy", "least_conections"], 2, "unknown strategy 'least_conections': did you mean least_connections?"),
        (["--scenario", "uneven+blackhole"], 2, "unknown scenario 'blackhole': did you mean black_hole?"),
        (["--scenario", ""], 2, "unknown scenario ''"),
        (["--agents", "0"], 2, "greater than or equal to 1"),
        (["--load", "nan"], 2, "--load"),
        (["--load", "7"], 2, "less than or equal to 2"),
        (["--agents", "10000", "--slots", "1000"], 2, "more than 5,000,000 tasks"),
        (["--seed", "1", "--seeds", "2"], 2, "not both"),
        (["--pool", "p"], 2, "--pool goes with --from"),
        (["--from", "24h"], 2, "--from needs --pool"),
        (["--from", "soon", "--pool", "p"], 2, "'soon' is not a duration"),
        (["--from", "1h", "--pool", "p", "--trace", "x"], 2, "not both"),
        (["--trace", "x", "--load", "0.5"], 2, "bring recorded ones"),
        (["--trace", "/nowhere/x"], 1, "cannot read /nowhere/x: No such file"),
        (["--png", "/nowhere/x.png"], 2, "cannot write /nowhere/x.png"),
    ],
)
def test_what_is_refused(args: list[str], code: int, problem: str) -> None:
    result = yard(*args)
    assert result.exit_code == code
    assert problem in re.sub(r"[│\s]+", " ", result.stderr)
    assert result.stdout == ""


def trace_of(folder: Path, lines: list[str]) -> str:
    path = folder / "trace.jsonl"
    path.write_text("\n".join(lines))
    return str(path)


def attempt(number: int, **fields: Any) -> str:
    agent = f"a{number % 4}"
    return json.dumps(
        {"at": number / 2, "type": "code", "seconds": 1 + number % 7, "ok": True, "agent": agent} | fields
    )


def test_a_trace(tmp_path: Path) -> None:
    path = trace_of(tmp_path, [attempt(number) for number in range(200)])
    found = numbers("--trace", path, *TWO)
    assert (found["recorded"], found["attempts"], found["agents"]) == ("trace.jsonl", 200, 4)
    assert {strategy["tasks"] for strategy in found["strategies"]} == {180}
    assert numbers("--trace", path, *TWO, "--agents", "2", "--slots", "3")["slots"] == 3
    assert "200 recorded tasks in 100 s, 4 agents" in yard("--trace", path, *TWO).stdout


def test_agents_that_came_and_went(tmp_path: Path) -> None:
    lines = [attempt(n, agent=f"a{n // 500}", seconds=0.4, started=n / 2) for n in range(1000)]
    path = trace_of(tmp_path, lines)
    result = yard("--trace", path, *TWO)
    assert "2 agents (at most 1 at once) × 1 slot" in re.sub(r"\s+", " ", result.stdout)
    assert "started" not in result.stderr
    found = numbers("--trace", path, *TWO)
    assert (found["agents"], found["agents_at_once"], found["slots"]) == (2, 1, 1)


def test_slots_of_a_trace_without_starts_are_said_to_be_a_guess(tmp_path: Path) -> None:
    path = trace_of(tmp_path, [attempt(number) for number in range(200)])
    text = 'no line says when its attempt "started"'
    assert text in re.sub(r"\s+", " ", yard("--trace", path, *TWO).stderr)
    assert text not in re.sub(r"\s+", " ", yard("--trace", path, *TWO, "--slots", "3").stderr)


def test_a_trace_that_is_none(tmp_path: Path) -> None:
    for lines, problem in (
        ([attempt(0), "{}"], "line 2 has no number"),
        ([attempt(0), "not JSON"], "line 2 is not JSON"),
        ([""], "there is no attempt in it"),
    ):
        result = yard("--trace", trace_of(tmp_path, lines))
        assert result.exit_code == 1
        assert f"trace.jsonl: {problem}" in result.stderr
    (tmp_path / "trace.jsonl").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in yard("--trace", str(tmp_path / "trace.jsonl")).stderr


POOL = {
    "name": "p x",
    "slots": 3,
    "timeout_s": 20.0,
    "max_attempts": 2,
    "retry": {"initial_s": 0.5, "max_s": 5.0, "factor": 2.0, "jitter": 0.0},
}


def recorded_item(number: int) -> dict[str, Any]:
    queued = datetime(2026, 11, 20, 20, tzinfo=UTC) + timedelta(seconds=number)
    seconds = 1.0 + number % 5
    return {
        "task_id": f"t{number}", "type": "code", "complexity": 0.5, "thread_id": None, "agent_id": f"a{number % 3}",
        "version": "v1", "outcome": "failed" if number % 40 == 7 else "succeeded", "queued_at": queued.isoformat(),
        "started_at": queued.isoformat(), "finished_at": (queued + timedelta(seconds=seconds)).isoformat(),
        "seconds": seconds,
    }  # fmt: skip


def from_service(url: str, *args: str) -> Result:
    environment = {"COLUMNS": "120", "YARD_URL": url, "YARD_API_KEY": "k"}
    return CliRunner().invoke(app, ["simulate", "balancer", *args], env=environment)


def test_the_services_own_attempts() -> None:
    with serving({"/v1/pools/p%20x": POOL}, "/v1/pools/p%20x/attempts", recorded_item, 120) as (url, handler):
        result = from_service(url, "--from", "24h", "--pool", "p x", *TWO, "--json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        assert (found["attempts"], found["agents"], found["slots"], found["timeout_s"]) == (120, 3, 3, 20.0)
        assert [query.get("page_token") for query in handler.asked] == [None, ["50"], ["100"]]
        ago = datetime.now(UTC) - datetime.fromisoformat(handler.asked[0]["since"][0])
        assert timedelta(hours=24) <= ago < timedelta(hours=25)
        missing = from_service(url, "--from", "24h", "--pool", "none")
        assert missing.exit_code == 1 and "There is no pool of that name" in missing.stderr
    with serving({"/v1/pools/p%20x": POOL}, "/v1/pools/p%20x/attempts", recorded_item, 0) as (url, _):
        empty = from_service(url, "--from", "24h", "--pool", "p x")
        assert empty.exit_code == 1 and "pool p x, last 24h: no attempt ended in that time" in empty.stderr


def test_a_figure_is_written(tmp_path: Path) -> None:
    target = tmp_path / "figure.png"
    result = yard(*SMALL, *TWO, "--png", str(target))
    assert result.exit_code == 0 and f"written: {target}" in re.sub(r"\n", "", result.stderr)
    assert target.read_bytes().startswith(b"\x89PNG")


def test_an_interruption_shows_what_was_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    build = simulate._build

    def interrupted(name: str, rng: Any) -> Any:
        built.append(name)
        if len(built) > 1:
            raise KeyboardInterrupt
        return build(name, rng)

    monkeypatch.setattr(simulate, "_build", interrupted)
    result = yard(*SMALL, *TWO)
    assert result.exit_code == 130
    assert "round_robin" in result.stdout and "least_connections  " not in result.stdout
    assert "interrupted" in result.stderr


def test_help_of_the_root_imports_nothing_heavy() -> None:
    code = "import sys; from app.cli.main import app; sys.exit(bool({'matplotlib', 'sqlalchemy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=plain_environment(), check=True)
    assert YARD[0] == sys.executable


def measured(name: str, p99_s: float, goodput: float = 1.0) -> Measures:
    return Measures(name, 10, 1.0, 2.0, p99_s, goodput, 0, 0, 1, 0, 0, 0, 0.0, (1.0, 2.0))


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            [measured("a", 5), measured("b", 5), measured("c", 5)],
            "a: the lowest p99, 5.0 s, among those within 0.2 % of the best goodput; "
            "all others differ by less than 2 %.",
        ),
        ([], "No task finished, so that no strategy can be recommended."),
        ([measured("a", 5)], "a: the lowest p99, 5.0 s, among those within 0.2 % of the best goodput."),
        (
            [measured("a", 5), measured("b", 5.05), measured("c", 9), measured("d", 1, 0.9)],
            "a: the lowest p99, 5.0 s, among those within 0.2 % of the best goodput; b differs by less than 2 %; "
            "c is the slowest with 9.0 s; d loses more tasks.",
        ),
        (
            [measured("a", 5), measured("b", 5), measured("c", 5), measured("d", 1, 0.9), measured("e", 2, 0.8)],
            "a: the lowest p99, 5.0 s, among those within 0.2 % of the best goodput; b and c differ by less than 2 %; "
            "d and e lose more tasks.",
        ),
    ],
)
def test_the_sentence(found: list[Measures], text: str) -> None:
    assert comparison.sentence(found) == text


def test_remarks() -> None:
    fine, late = measured("fine", 1.0), replace(measured("late", 1.0), backlog=0.1, errors=3)
    assert comparison.remarks([fine]) == []
    broke, grew = comparison.remarks([fine, late])
    assert broke.startswith("late broke its contract 3 times")
    assert grew.startswith("With late the queue grew")
