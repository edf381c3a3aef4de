"""The agent: payload {"log": text} or {"lines": [text]} → the analysis (see `analysis.analyze`)."""

from typing import Any

from examples.log_analyzer.analysis import analyze
from yardmaster import Agent, Context, PermanentError

agent = Agent("log_analyzer", slots=4)


@agent.task
def handle(ctx: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Analyse one log. PermanentError "empty_log" without lines, "bad_payload" for another shape."""
    lines = [line for line in _lines(payload) if line.strip()]
    if not lines:
        raise PermanentError("empty_log", "the log has no lines")
    return analyze(lines, progress=ctx.progress, stopped=ctx.cancelled.is_set)


def _lines(payload: Any) -> list[str]:
    fields = payload if isinstance(payload, dict) else {}
    log, lines = fields.get("log"), fields.get("lines")
    if isinstance(log, str):
        return log.splitlines()
    if isinstance(lines, list) and all(isinstance(line, str) for line in lines):
        return lines
    raise PermanentError("bad_payload", 'the payload must have "log" (text) or "lines" (a list of texts)')


if __name__ == "__main__":
    agent.run()
