"""The examples that work in a limited child: the scanner and the tester, and the limits themselves."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from examples.performance_tester.__main__ import handle as measure
from examples.performance_tester.statistic import percentile
from examples.pools import EXAMPLE_POOLS
from examples.sandbox import Bounds, run_limited
from examples.security_scanner.__main__ import handle as scan
from yardmaster import PermanentError

CONTEXT: Any = SimpleNamespace(progress=lambda percent, message: None)


def check(pool: str, result: dict[str, Any]) -> None:
    """The result keeps the contract of its pool."""
    jsonschema_rs = pytest.importorskip("jsonschema_rs")
    jsonschema_rs.validate(EXAMPLE_POOLS[pool]["output_schema"], result)


async def test_scanner_finds_what_is_dangerous() -> None:
    source = "import subprocess\nsubprocess.call('ls', shell=True)\npassword = 'hunter2'\nx = '\\d'\n"
    result = await scan(CONTEXT, {"source": source})
    check("security_scanner", result)
    found = {(issue["rule"], issue["line"], issue["severity"]) for issue in result["issues"]}
    assert {("B404", 1, "low"), ("B602", 2, "low"), ("B105", 3, "low")} <= found
    assert result["lines"] == 4
    assert sum(result["counts"].values()) == len(result["issues"])
    assert next(issue for issue in result["issues"] if issue["rule"] == "B602")["cwe"] == 78


async def test_scanner_is_silent_about_harmless_source() -> None:
    result = await scan(CONTEXT, {"source": "def add(a, b):\n    return a + b\n", "filename": "add.py"})
    assert (result["issues"], result["filename"]) == ([], "add.py")


@pytest.mark.parametrize(
    ("source", "code", "text"),
    [
        ("x = 1\ndef f(:\n", "syntax_error", "line 2"),
        ("\0", "syntax_error", "line 1"),
        ("(" * 5000, "syntax_error", "line 1"),
        ("-" * 100_000 + "1", "too_complex", ""),
    ],
)
async def test_scanner_names_what_it_cannot_read(source: str, code: str, text: str) -> None:
    with pytest.raises(PermanentError) as caught:
        await scan(CONTEXT, {"source": source})
    assert caught.value.code == code
    assert text in caught.value.message


async def test_tester_times_a_snippet() -> None:
    payload = {"setup": "data = list(range(1000))", "snippet": "sum(data)", "repeat": 20, "number": 100}
    result = await measure(CONTEXT, payload)
    check("performance_tester", result)
    assert (result["runs"], result["number"]) == (20, 100)
    assert 0 < result["min_s"] <= result["p50_s"] <= result["p90_s"] <= result["p99_s"] <= result["max_s"]
    assert result["per_call"]["p50_s"] == pytest.approx(result["p50_s"] / 100)


async def test_tester_chooses_a_number_of_calls() -> None:
    result = await measure(CONTEXT, {"snippet": "1 + 1", "repeat": 3})
    assert result["number"] > 1000
    assert result["per_call"]["p50_s"] < 1e-5


@pytest.mark.parametrize(
    ("snippet", "code", "text"),
    [
        ("1 / 0", "snippet_failed", "ZeroDivisionError: division by zero"),
        ("x = = 1", "snippet_failed", "SyntaxError"),
        ("raise SystemExit(0)", "snippet_failed", "SystemExit"),
        ("import socket; socket.socket()", "snippet_failed", "PermissionError: socket"),
        ("import os; os.fork()", "snippet_failed", "PermissionError: os.fork"),
        ("open('x', 'w')", "snippet_failed", "PermissionError: writing"),
        ("bytearray(2 << 30)", "snippet_failed", "MemoryError"),
        ("import os; os._exit(0)", "limit_exceeded", "512 MiB"),
    ],
)
async def test_tester_names_what_went_wrong(snippet: str, code: str, text: str) -> None:
    with pytest.raises(PermanentError) as caught:
        await measure(CONTEXT, {"snippet": snippet, "repeat": 1, "number": 1})
    assert caught.value.code == code
    assert text in caught.value.message


async def test_tester_times_out_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.performance_tester.__main__.BOUNDS", Bounds(wall_s=1))
    with pytest.raises(PermanentError, match="longer than 1 s") as caught:
        await measure(CONTEXT, {"snippet": "while True: pass", "repeat": 1, "number": 1})
    assert caught.value.code == "timeout"


@pytest.mark.parametrize(
    "payload", [None, {}, {"snippet": " "}, {"snippet": "1", "repeat": 0}, {"snippet": "1", "number": True}]
)
async def test_tester_refuses_bad_payloads(payload: Any) -> None:
    with pytest.raises(PermanentError) as caught:
        await measure(CONTEXT, payload)
    assert caught.value.code == "bad_payload"


async def test_a_child_sees_no_secrets_and_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YARD_API_KEY", "secret")
    finished = await _orphan()
    assert b"secret" not in finished.stdout
    pid = int(finished.stdout.split()[-1])
    for _ in range(100):
        if not _lives(pid):
            return
        await asyncio.sleep(0.02)
    pytest.fail("a child's child lives on")


async def _orphan() -> Any:
    quiet = "stdin=-3, stdout=-3, stderr=-3"
    script = f"import os, subprocess; print(os.environ); print(subprocess.Popen(['sleep', '60'], {quiet}).pid)"
    return await run_limited([sys.executable, "-W", "ignore", "-c", script], bounds=Bounds(wall_s=10))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_flooding_child_is_cut() -> None:
    script = "import sys\nwhile True: sys.stdout.write('x' * 65536)"
    finished = await run_limited([sys.executable, "-c", script], bounds=Bounds(wall_s=20, output_bytes=1 << 20))
    assert (len(finished.stdout), finished.code) == (1 << 20, -9)


async def test_a_cancelled_caller_takes_its_child_along() -> None:
    began = time.monotonic()
    running = asyncio.create_task(run_limited([sys.executable, "-c", "import time; time.sleep(60)"]))
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - began < 10


def test_percentiles_are_nearest_rank() -> None:
    ordered = [float(n) for n in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert percentile([7.0], 0.5) == 7.0


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_child_may_end_before_it_has_read_its_input(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    given = b"x" * (1 << 20)

    async def keep_busy() -> None:  # so that children end while the loop is elsewhere
        while True:
            time.sleep(0.005)
            await asyncio.sleep(0)

    async def run_some() -> None:
        neighbour = asyncio.create_task(keep_busy())
        for _ in range(20):
            assert (await run_limited(["true"])).code == 0
        assert (await run_limited(["true"], stdin=given)).code == 0
        assert (await run_limited(["cat"], stdin=given)).stdout == given
        neighbour.cancel()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run_some())
