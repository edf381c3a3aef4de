"""The child of the tester: a job from stdin, the timings (or the snippet's error) to stdout, as JSON.

Job: {"snippet","setup","repeat","number" (0: as many calls as take about 10 ms)}.
Answer: {"times": [seconds a run], "number"} or {"error": "ValueError: …"}.
Needs the standard library only: it runs by path, isolated from the agent's packages' settings.
"""

import io
import json
import os
import sys
import time
import timeit
import traceback
from typing import Any

RUN_S = 0.01
BUDGET_S = 10.0
FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.kill",
    "ctypes.",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    """Read, time, answer. The snippet's own output goes nowhere."""
    job = json.loads(sys.stdin.buffer.read())
    answers = os.fdopen(os.dup(1), "wb")
    _silence()
    sys.addaudithook(_guard)
    try:
        answer = measure(job)
    except BaseException as error:
        answer = {"error": _last_line(error)}
    answers.write(json.dumps(answer).encode())
    answers.flush()


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Time the job's snippet; it stops early, with fewer runs, when BUDGET_S is used up."""
    timer = timeit.Timer(job["snippet"], job["setup"] or "pass", globals={"__name__": "snippet"})
    number = job["number"] or _calibrate(timer)
    times: list[float] = []
    end = time.perf_counter() + BUDGET_S
    while len(times) < job["repeat"] and (not times or time.perf_counter() < end):
        times.append(timer.timeit(number))
    return {"times": times, "number": number}


def _calibrate(timer: timeit.Timer) -> int:
    """How many calls take about RUN_S; also warms up."""
    number = 1
    while (taken := timer.timeit(number)) < RUN_S:
        number = max(number + 1, min(number * 10, int(number * RUN_S / max(taken, 1e-9)) + 1))
    return number


def _guard(event: str, details: tuple[Any, ...]) -> None:
    """Refuse sockets, processes and writing: a snippet is to be timed, nothing else."""
    if event.startswith(FORBIDDEN):
        raise PermissionError(f"{event} is not allowed in a snippet")
    if event == "open" and isinstance(details[2], int) and details[2] & WRITING:
        raise PermissionError("writing files is not allowed in a snippet")


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    sys.stdin = io.StringIO()


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()[:1000]


if __name__ == "__main__":
    main()
