"""The log analyzer on logs as dpkg, syslog, nginx and structured programs write them."""

import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from examples.log_analyzer.__main__ import handle
from examples.log_analyzer.analysis import StoppedError, analyze
from examples.log_analyzer.bursts import find_bursts
from examples.log_analyzer.moments import Clock
from examples.log_analyzer.parsing import level_of, parse
from yardmaster import PermanentError

PACKAGES = ["libc6", "libstdc++6", "openssl", "python3.11-minimal", "tzdata", "zlib1g", "ca-certificates-java"]
VERSIONS = ["2.36-9+deb12u10", "1:9.2p1-2", "2025b-0+deb12u1", "12.2.0-14", "1.0", "7~git20", "252.38-1~deb12u1"]


def dpkg_log(packages: int, seed: int = 1) -> Iterator[str]:
    """What dpkg writes while it installs so many packages."""
    rng, at = random.Random(seed), datetime(2026, 10, 16, 23, 4, tzinfo=UTC)
    for number in range(packages):
        at += timedelta(seconds=rng.choice([0, 0, 1]))
        arch, version = rng.choice(["amd64", "all"]), rng.choice(VERSIONS)
        name = f"{rng.choice(PACKAGES)}{rng.choice(['', f'-{number}'])}:{arch}"
        stamp = at.strftime("%Y-%m-%d %H:%M:%S")
        yield f"{stamp} install {name} <none> {version}"
        for state in ("half-installed", "unpacked"):
            yield f"{stamp} status {state} {name} {version}"
        yield f"{stamp} configure {name} {version} <none>"
        for state in ("half-configured", "installed"):
            yield f"{stamp} status {state} {name} {version}"


def run(lines: list[str]) -> dict[str, Any]:
    return analyze(lines, progress=lambda percent, message: None, stopped=lambda: False)


def forms(result: dict[str, Any]) -> dict[str, int]:
    return {item["template"]: item["count"] for item in result["templates"]}


def test_dpkg_packages_and_versions_become_parameters() -> None:
    result = run(list(dpkg_log(400)))
    assert forms(result) == {
        "install <PKG> <none> <VERSION>": 400,
        "configure <PKG> <VERSION> <none>": 400,
        **{f"status {state} <PKG> <VERSION>": 400
           for state in ("half-installed", "unpacked", "half-configured", "installed")},
    }  # fmt: skip
    assert result["lines"] == 2400
    assert result["first_at"].startswith("2026-10-16T23:04:0")
    assert result["levels"] == {"none": 2400}
    assert result["templates"][0]["share"] == pytest.approx(1 / 6, abs=1e-4)


@pytest.mark.skipif(not Path("/var/log/dpkg.log").exists(), reason="not a Debian machine")
def test_this_machine_s_dpkg_log() -> None:
    lines = [line for line in Path("/var/log/dpkg.log").read_text().splitlines() if line.strip()]
    if not lines:
        pytest.skip("the log is empty")
    result = run(lines)
    assert sum(item["count"] for item in result["templates"]) == len(lines)
    assert result["template_count"] <= 40
    assert any("<PKG>" in form for form in forms(result))


def test_syslog_templates_levels_and_rare_lines() -> None:
    rng = random.Random(2)
    users = [f"{a}{b}" for a in ("al", "bo", "ca", "da", "ed") for b in ("ice", "b", "rol", "ve")]
    lines = [
        f"Oct 16 23:{n // 60:02}:{n % 60:02} web-1 sshd[{rng.randint(100, 9999)}]: "
        f"Failed password for {rng.choice(users)} from 10.0.{n % 9}.{n % 250} port {rng.randint(1024, 65000)} ssh2"
        for n in range(300)
    ]
    lines += [f"Oct 16 23:30:{n:02} web-2 app[7]: user {user} logged in" for n, user in enumerate(users)]
    lines.append("Oct 16 23:31:00 web-2 app[7]: ERROR disk /dev/sda1 is full")
    result = run(lines)
    assert forms(result) == {
        "sshd[<NUM>]: Failed password for <*> from <IP> port <NUM> ssh2": 300,
        "app[<NUM>]: user <*> logged in": 20,
        "app[<NUM>]: ERROR disk <PATH> is full": 1,
    }
    assert result["levels"] == {"none": 320, "error": 1}
    assert result["rare"] == ["Oct 16 23:31:00 web-2 app[7]: ERROR disk /dev/sda1 is full"]


def test_access_log_requests_levels_and_a_burst() -> None:
    at = datetime(2026, 10, 16, tzinfo=UTC)
    lines = []
    for second in range(0, 1800, 5):
        for n in range(30 if 900 <= second < 920 else 1):
            stamp = (at + timedelta(seconds=second)).strftime("%d/%b/%Y:%H:%M:%S +0000")
            status = 500 if 900 <= second < 920 else 200
            lines.append(f'10.0.0.{n} - - [{stamp}] "GET /users/{second + n}?q=1 HTTP/1.1" {status} 512 "-" "curl"')
    result = run(lines)
    assert forms(result) == {"GET /users/<ID> 200": 356, "GET /users/<ID> 500": 120}
    assert result["levels"] == {"info": 356, "error": 120}
    (burst,) = result["bursts"]
    assert (burst["start"], burst["lines"]) == ("2026-10-16T00:15:00+00:00", 120)
    assert burst["mostly"] == "GET /users/<ID> 500"
    assert burst["times_normal"] > 10


def test_a_scanners_thousand_paths_stay_few_templates() -> None:
    lines = [f'1.2.3.4 - - [16/Oct/2026:00:00:00 +0000] "GET /x{n:04x}y HTTP/1.1" 404 0' for n in range(1000)]
    assert run(lines)["template_count"] <= 41


def test_json_lines() -> None:
    lines = [f'{{"ts":"2026-10-16T00:00:0{n}Z","level":"warn","msg":"slow query {n} ms"}}' for n in range(5)]
    result = run(lines)
    assert forms(result) == {"slow query <DURATION>": 5}
    assert (result["levels"], result["last_at"]) == ({"warning": 5}, "2026-10-16T00:00:04+00:00")


@pytest.mark.parametrize(
    ("line", "moment", "rest"),
    [
        ("2026-10-16 23:04:00 status x", "2026-10-16T23:04:00", "status x"),
        ("2026-10-16T23:04:00.5Z boom", "2026-10-16T23:04:00.500000+00:00", "boom"),
        ("[2026-10-16 23:04:00,123] boom", "2026-10-16T23:04:00.123000", "boom"),
        ("2026/10/16 23:04:00 [error] x", "2026-10-16T23:04:00", "[error] x"),
        ("Oct  6 23:04:00 host x", "2026-10-06T23:04:00", "host x"),
        ("Dec 31 23:59:59 host x", "2025-12-31T23:59:59", "host x"),
        ("1792191840 x", "2026-10-16T23:04:00+00:00", "x"),
        ("1792191840500 x", "2026-10-16T23:04:00.500000+00:00", "x"),
        ("update-alternatives 2026-10-16 23:04:00: run", "2026-10-16T23:04:00", "update-alternatives run"),
        ("[   12.345678] usb 1-1: new", None, "usb 1-1: new"),
        ("2026-13-45 99:00:00 x", None, "2026-13-45 99:00:00 x"),
        ("no time here", None, "no time here"),
    ],
)
def test_moments(line: str, moment: str | None, rest: str) -> None:
    found, left = Clock(datetime(2026, 11, 1, tzinfo=UTC)).split(line)
    assert (found.isoformat() if found else None, left) == (moment, rest)


@pytest.mark.parametrize(
    ("message", "level"),
    [("ERROR x", "error"), ("[warn] x", "warning"), ("0 errors found", None), ("level=debug x", "debug"),
     ("app: fatal: no", "critical"), ("terror: x", None)],
)  # fmt: skip
def test_levels(message: str, level: str | None) -> None:
    assert level_of(message) == level


def test_even_traffic_has_no_burst() -> None:
    assert find_bursts([float(n) for n in range(5000)]) == []


def test_rubbish_is_survived() -> None:
    lines = ["\x00\x01", "{" * 5000, "9" * 10_000, "\ud800", "<>", "%" * 300, "1e999 x", "[[[[", "a" * 100_000]
    assert run(lines)["lines"] == len(lines)
    assert len(list(parse(lines))) == len(lines)


def _context() -> Any:
    return SimpleNamespace(progress=lambda percent, message: None, cancelled=threading.Event())


def test_the_task_reads_both_payloads_and_refuses_others() -> None:
    assert handle(_context(), {"log": "a\n\nb\n"})["lines"] == handle(_context(), {"lines": ["a", "b"]})["lines"]
    for payload, code in (({"log": " \n"}, "empty_log"), ({"lines": []}, "empty_log"), ({"log": 5}, "bad_payload")):
        with pytest.raises(PermanentError) as caught:
            handle(_context(), payload)
        assert caught.value.code == code


def test_a_cancelled_analysis_stops() -> None:
    context = _context()
    context.cancelled.set()
    with pytest.raises(StoppedError):
        handle(context, {"log": "a"})
