"""The agent: payload {"source": text, "filename"?: text} → the findings (see `handle`)."""

import json
import sys
from pathlib import Path
from typing import Any

from examples.sandbox import Bounds, Finished, run_limited
from yardmaster import Agent, Context, PermanentError

agent = Agent("security_scanner", slots=4)

SCAN = Path(__file__).with_name("scan.py")
BOUNDS = Bounds(wall_s=60, cpu_s=50, memory_mib=1024, file_kib=0)


@agent.task
async def handle(ctx: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Scan one source.

    Shape: {"filename", "lines", "issues": [{"rule","name","severity","confidence","line","text","cwe"}],
    "counts": {"low","medium","high"}}. PermanentError "syntax_error" (with the line) for what isn't Python,
    "too_complex" for a source that exhausts the scanner, "bad_payload" for another shape.
    """
    source, filename = _read(payload)
    ctx.progress(10, "scanning")
    files = {"source.py": source.encode("utf-8", "surrogatepass")}
    try:
        finished = await run_limited([sys.executable, "-I", str(SCAN)], files=files, bounds=BOUNDS)
    except TimeoutError as error:
        raise PermanentError("too_complex", f"the scan took longer than {BOUNDS.wall_s:g} s") from error
    report = _report(finished)
    ctx.progress(100, f"{len(report['issues'])} issues")
    return {"filename": filename, "lines": len(source.splitlines()), **report}


def _read(payload: Any) -> tuple[str, str]:
    fields = payload if isinstance(payload, dict) else {}
    source, filename = fields.get("source"), fields.get("filename", "source.py")
    if not isinstance(source, str) or not isinstance(filename, str):
        raise PermanentError("bad_payload", 'the payload must have "source" (text); "filename" is text')
    return source, filename


def _report(finished: Finished) -> dict[str, Any]:
    if finished.code != 0:
        last = finished.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise PermanentError("too_complex", f"the scanner could not finish: {last or finished.code}")
    report: dict[str, Any] = json.loads(finished.stdout)
    if "syntax_error" in report:
        raise PermanentError("syntax_error", report["syntax_error"])
    return report


if __name__ == "__main__":
    agent.run()
