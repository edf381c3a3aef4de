"""`yard simulate scaling` from the command line."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from paged_service import serving
from typer.testing import CliRunner, Result

from app.cli import scaling_comparison
from app.cli.main import app
from app.scaling.simulator import policies
from app.scaling.simulator.traces import TRACES

SHORT = ["--hours", "0.25"]
TWO = ["--policy", "queue_wait", "--policy", "keda"]


def yard(*args: str, url: str = "") -> Result:
    environment = {"COLUMNS": "140", "YARD_URL": url, "YARD_API_KEY": "k" if url else ""}
    return CliRunner().invoke(app, ["simulate", "scaling", *args], env=environment)


def numbers(*args: str, url: str = "") -> Any:
    result = yard(*args, "--json", url=url)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_all_traces_with_verdicts_and_a_summary() -> None:
    result = yard(*SHORT)
    assert result.exit_code == 0, result.stderr
    for name in TRACES:
        assert re.search(rf"^{name}, .*: [\d,]+ tasks in 15 min, 2–60 replicas × \d slots", result.stdout, re.MULTILINE)
    lines = result.stdout.splitlines()
    assert re.match(r"policy +long waits +share % +p50 s +p95 s +max s +replica-h +changes/h$", lines[2])
    assert [line.split()[0] for line in lines[4:8]] == ["queue_wait", "hpa", "kpa", "keda"]
    assert len(re.findall(r"^(?:wins|does not win): queue_wait has ", result.stdout, re.MULTILINE)) == 5
    assert re.search(r"at equal or fewer replica-hours, on \d of 5 traces", plain(result.stdout))
    assert plain(result.stdout).count(" than hpa: both on ") == 1
    equal = result.stdout[result.stdout.index("At equal replica-hours: ") :]
    assert re.search(r"^trace +policy +target +long waits +replica-h$", equal, re.MULTILINE)
    for name in TRACES:
        assert re.search(rf"^{name}: (?:wins|ties|does not win): queue_wait has \d+", equal, re.MULTILINE)
    assert re.search(r"than every baseline at equal replica-hours on \d of 5 traces", plain(equal))


def test_baselines_at_equal_replica_hours_as_numbers() -> None:
    args = ["--trace", "step", *SHORT, "--seeds", "2"]
    found = numbers(*args)
    (trace,) = found["traces"]
    equal = trace["equal_hours"]
    assert [one["policy"] for one in equal["policies"]] == list(equal["long_waits"]) == ["hpa", "kpa", "keda"]
    mine = trace["policies"][0]
    for one in equal["policies"]:
        assert 0.2 <= one["target"] <= 1.5 and one["measures"]["replica_hours"] >= mine["replica_hours"]
        standing = equal["long_waits"][one["policy"]]
        difference = mine["violations"] - one["measures"]["violations"]
        assert standing == ("tie" if difference == 0 else "fewer" if difference < 0 else "more")
    assert equal["wins"] == (set(equal["long_waits"].values()) == {"fewer"})
    assert found["won_at_equal_hours"] == (["step"] if equal["wins"] else [])
    without = numbers(*args, "--defaults-only")
    assert without["traces"][0]["equal_hours"] is None and without["traces"][0]["policies"] == trace["policies"]


@pytest.mark.parametrize(
    "args",
    [["--defaults-only", *TWO], ["--policy", "queue_wait", "--policy", "utilization"], ["--policy", "queue_wait"]],
)
def test_nothing_at_equal_replica_hours(args: list[str]) -> None:
    result = yard("--trace", "burst", *SHORT, "--seeds", "1", *args)
    assert result.exit_code == 0 and "At equal replica-hours" not in result.stdout


def test_no_long_waits_on_either_side_is_a_tie() -> None:
    result = yard("--trace", "step", *SHORT, "--seeds", "1", *TWO, "--wait-s", "9999")
    assert "step: ties: queue_wait has 0, as many as keda (0)." in plain(result.stdout)


def test_a_baseline_that_cannot_spend_as_much() -> None:
    args = ["--policy", "queue_wait:min=60", "--policy", "keda", "--min", "1", "--max", "60"]
    result = yard("--trace", "step", *SHORT, "--seeds", "1", *args)
    assert "no target from 0.2 to 1.5 lets keda spend as much" in plain(result.stdout), result.stdout


def test_numbers_are_the_same_again_and_medians_of_seeds() -> None:
    first, second = (numbers("--trace", "burst", *SHORT, "--seeds", "3", *TWO) for _ in range(2))
    assert first == second
    assert (first["seeds"], first["complete"], first["judged"]) == ([1, 2, 3], True, "queue_wait")
    (trace,) = first["traces"]
    assert trace["pool"] == {"min": 2, "max": 60, "slots": 3, "cold_start_s": 60.0}
    assert [policy["policy"] for policy in trace["policies"]] == ["queue_wait", "keda"]
    assert all(policy["lost"] == 0 and policy["tasks"] > 100 for policy in trace["policies"])
    assert set(trace["fewer_long_waits"]) == {"keda"}


def test_what_if() -> None:
    what = ["--trace", "step", *SHORT, "--policy", "queue_wait"]
    few = numbers(*what, "--max", "3", "--usd", "0.5")["traces"][0]
    many = numbers(*what, "--max", "30")["traces"][0]
    assert few["policies"][0]["violations"] > many["policies"][0]["violations"]
    assert few["policies"][0]["replica_hours"] < many["policies"][0]["replica_hours"]
    assert few["policies"][0]["usd"] == pytest.approx(0.5 * few["policies"][0]["replica_hours"])
    other = numbers(*what, "--min", "4", "--slots", "1", "--cold-start", "5", "--wait-s", "1")
    assert other["traces"][0]["pool"] == {"min": 4, "max": 60, "slots": 1, "cold_start_s": 5.0}
    assert other["wait_s"] == 1.0


def test_ours_against_ours_with_other_parameters() -> None:
    args = ["--trace", "step", *SHORT, "--policy", "queue_wait", "--policy", "queue_wait:wait_s=0,wait_share=0.01"]
    usual, eager = numbers(*args)["traces"][0]["policies"]
    assert eager["policy"] == "queue_wait:wait_s=0,wait_share=0.01"
    assert eager["replica_hours"] > usual["replica_hours"]
    (changed,) = numbers("--trace", "step", *SHORT, "--policy", "queue_wait", "--set", "min=20")["traces"][0][
        "policies"
    ]
    assert changed["replica_hours"] >= 20 * 0.25


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--trace", "stp"], "stp is neither a file nor a trace: did you mean step"),
        (["--policy", "vpa"], "there is no policy 'vpa'"),
        (["--policy", "hpa", "--policy", "hpa"], "given twice"),
        (["--policy", "queue_wait:min=99"], "min is greater than scale.max"),
        (["--set", "wait"], "'wait' is not like wait_s=10"),
        (["--set", "colour=1"], "no parameter 'colour'"),
        (["--wait-share", "3"], "wait_share"),
        (["--min", "9", "--max", "3"], "the least number of replicas, 9, is above the most, 3"),
        (["--from", "24h"], "--from and --pool go together"),
        (["--pool", "p"], "--from and --pool go together"),
        (["--from", "24h", "--pool", "p", "--trace", "step"], "--trace or --from"),
        (["--from", "24h", "--pool", "p", "--hours", "3"], "--hours is for generated traces"),
        (["--from", "soon", "--pool", "p"], "is not a duration"),
        (["--seed", "1", "--seeds", "2"], "--seed or --seeds"),
        (["--plot", "/"], "cannot write /"),
    ],
)
def test_misuse(args: list[str], problem: str) -> None:
    result = yard(*args)
    assert result.exit_code == 2, result.stdout
    assert problem in plain(result.stderr)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_text("at,seconds\n" + "".join(f"{n * 2},{20 + n % 30}\n" for n in range(600)))
    found = numbers("--trace", str(path), "--slots", "2", "--max", "30", *TWO)
    (trace,) = found["traces"]
    assert (trace["trace"], trace["pool"]["slots"], trace["policies"][0]["tasks"]) == ("load.csv", 2, 540)
    assert yard("--trace", str(path), "--trace", "step").exit_code == 2
    assert yard("--trace", str(path), "--hours", "1").exit_code == 2
    path.write_text("at,seconds\n1,x\n")
    bad = yard("--trace", str(path))
    assert bad.exit_code == 1 and 'load.csv: line 2 has no number as "seconds"' in plain(bad.stderr)
    path.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in yard("--trace", str(path)).stderr


def test_a_figure(tmp_path: Path) -> None:
    target = tmp_path / "figure.png"
    result = yard("--trace", "step", *SHORT, *TWO, "--plot", str(target))
    assert result.exit_code == 0 and f"written: {target}" in result.stderr.replace("\n", "")
    assert target.read_bytes().startswith(b"\x89PNG")


def test_an_interruption_shows_what_was_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    build, made = policies.build, []

    def interrupted(*args: Any) -> Any:
        made.append(args)
        if len(made) > 8:  # all are built once beforehand: four runs were done
            raise KeyboardInterrupt
        return build(*args)

    monkeypatch.setattr(policies, "build", interrupted)
    result = yard("--trace", "step", "--trace", "spike", *SHORT, *TWO, "--seeds", "2")
    assert result.exit_code == 130 and "interrupted" in result.stderr
    assert "step, " in result.stdout and "spike, " not in result.stdout


POOL = {
    "name": "p x",
    "slots": 3,
    "scale": {"min": 1, "max": 7, "wait_s": 12.0, "drain_s": 40.0, "replica_usd_per_hour": 2.0, "provider": None},
}


ANSWERS = {"/v1/pools/p%20x": POOL, "/v1/pools/p%20x/scaling": {"cold_start_s": 21.5}}


def minute(number: int) -> dict[str, Any]:
    at = datetime(2026, 11, 20, 8, tzinfo=UTC) + timedelta(minutes=number)
    return {
        "minute": at.isoformat(), "arrivals": 12.0, "finished": 12, "service_mean_s": 30.0, "service_cv": 0.6,
        "queued": 0, "running": 6, "replicas": 3,
    }  # fmt: skip


def test_the_services_own_load() -> None:
    with serving(ANSWERS, "/v1/pools/p%20x/load", minute, 120) as (url, handler):
        found = numbers("--from", "24h", "--pool", "p x", *TWO, url=url)
        (trace,) = found["traces"]
        assert (found["wait_s"], found["replica_usd_per_hour"]) == (12.0, 2.0)
        assert trace["pool"] == {"min": 1, "max": 7, "slots": 3, "cold_start_s": 21.5}
        assert 1200 < trace["policies"][0]["tasks"] < 1400 and trace["policies"][0]["usd"] > 0
        assert [query.get("page_token") for query in handler.asked] == [None, ["50"], ["100"]]
        ago = datetime.now(UTC) - datetime.fromisoformat(handler.asked[0]["from"][0])
        assert timedelta(hours=24) <= ago < timedelta(hours=25)
        assert "pool p x, recorded in the last 24h" in yard("--from", "24h", "--pool", "p x", *TWO, url=url).stdout
        other = numbers("--from", "24h", "--pool", "p x", *TWO, "--max", "20", "--wait-s", "5", url=url)
        assert (other["traces"][0]["pool"]["max"], other["wait_s"]) == (20, 5.0)
        missing = yard("--from", "24h", "--pool", "none", url=url)
        assert missing.exit_code == 1 and "There is no pool of that name" in missing.stderr
    with serving(ANSWERS, "/v1/pools/p%20x/load", minute, 0) as (url, _):
        empty = yard("--from", "24h", "--pool", "p x", url=url)
        assert empty.exit_code == 1 and "pool p x, last 24h: no task came in that time" in empty.stderr


def test_the_legend_says_how_hours_are_counted() -> None:
    assert "until the last task of a leaving replica is done" in scaling_comparison.LEGEND
