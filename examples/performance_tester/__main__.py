"""The agent: payload {"snippet": text, "setup"?: text, "repeat"?: int, "number"?: int} → percentiles."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from examples.performance_tester.statistic import summarize
from examples.sandbox import Bounds, Finished, run_limited
from yardmaster import Agent, Context, PermanentError

agent = Agent("performance_tester", slots=4)

BENCH = Path(__file__).with_name("bench.py")
BOUNDS = Bounds(wall_s=20, cpu_s=15, memory_mib=512, file_kib=0, output_bytes=1 << 20)
MAX_REPEAT, MAX_NUMBER = 1000, 10_000_000


@agent.task
async def handle(ctx: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Time one snippet: `repeat` runs (default 50) of `number` calls each (default: as many as take ~10 ms).

    Shape: {"runs","number","p50_s","p90_s","p99_s","mean_s","stdev_s","min_s","max_s","per_call":{the same
    per call}} in seconds. PermanentError "snippet_failed" with the traceback's last line, "timeout",
    "limit_exceeded" or "bad_payload".
    """
    job = _job(payload)
    watching = asyncio.create_task(_report_time(ctx))
    try:
        command = [sys.executable, "-I", "-B", str(BENCH)]
        finished = await run_limited(command, stdin=json.dumps(job).encode(), bounds=BOUNDS)
    except TimeoutError as error:
        raise PermanentError("timeout", f"the snippet ran longer than {BOUNDS.wall_s:g} s") from error
    finally:
        watching.cancel()
    answer = _answer(finished)
    ctx.progress(100, f"{len(answer['times'])} runs timed")
    return summarize(answer["times"], answer["number"])


async def _report_time(ctx: Context) -> None:
    """Progress by time: how far the snippet is only the child knows."""
    for second in range(int(BOUNDS.wall_s)):
        ctx.progress(100 * second / BOUNDS.wall_s, f"timing for {second} s")
        await asyncio.sleep(1)


def _job(payload: Any) -> dict[str, Any]:
    fields = payload if isinstance(payload, dict) else {}
    snippet, setup = fields.get("snippet"), fields.get("setup", "")
    if not isinstance(snippet, str) or not snippet.strip() or not isinstance(setup, str):
        raise PermanentError("bad_payload", 'the payload must have "snippet" (text); "setup" is text')
    repeat = _count(fields, "repeat", 50, MAX_REPEAT)
    return {"snippet": snippet, "setup": setup, "repeat": repeat, "number": _number(fields)}


def _number(fields: dict[str, Any]) -> int:
    return _count(fields, "number", 0, MAX_NUMBER) if fields.get("number") is not None else 0


def _count(fields: dict[str, Any], name: str, default: int, most: int) -> int:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise PermanentError("bad_payload", f'"{name}" must be an integer from 1 to {most}')
    return value


def _answer(finished: Finished) -> dict[str, Any]:
    try:
        answer = json.loads(finished.stdout)
    except ValueError:
        answer = None
    if finished.code != 0 or not isinstance(answer, dict):
        limits = f"{BOUNDS.cpu_s} s of processor time, {BOUNDS.memory_mib} MiB"
        raise PermanentError("limit_exceeded", f"the snippet ended its process (limits: {limits})")
    if "error" in answer:
        raise PermanentError("snippet_failed", str(answer["error"]))
    return answer


if __name__ == "__main__":
    agent.run()
