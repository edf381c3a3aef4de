"""The agent: payload {"log": text} → a report (see `handle`).

With STEP_LOG in its environment, each step appends a line "{step} {task_id}" to that file when it begins.
"""

import os
from pathlib import Path
from typing import Any

from examples.incident_responder import commands, evidence
from yardmaster import Agent, ApprovalExpired, ApprovalRejected, Context, PermanentError

agent = Agent("incident_responder", slots=4)


@agent.task
async def handle(ctx: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Respond to one log: find, propose, ask, look.

    Shape: {"findings","proposal" ({"command","why","risk"} or null),"decision" ({"status","by","reason"} or null),
    "run" ({"command","exit_code","stdout","stderr"} or null)}. PermanentError "bad_payload", "empty_log",
    "bad_command" (of an edited approval).
    """
    lines = _lines(payload)
    findings = await ctx.step("mine", _mine, ctx, lines)
    proposal = await ctx.step("propose", _propose, ctx, findings)
    if proposal is None:
        return _report(findings)
    try:
        decision = await ctx.approve("shell", {"command": proposal["command"]}, risk=proposal["risk"])
    except (ApprovalRejected, ApprovalExpired) as error:
        return _report(findings, proposal, error.decision)
    outcome = await ctx.step("run", _run, ctx, commands.checked(decision.args))
    return _report(findings, proposal, decision, outcome)


def _mine(ctx: Context, lines: list[str]) -> dict[str, Any]:
    _note(ctx, "mine")
    return evidence.mine(lines, ctx.progress, ctx.cancelled.is_set)


def _propose(ctx: Context, findings: dict[str, Any]) -> dict[str, Any] | None:
    _note(ctx, "propose")
    return commands.propose(findings["suspicions"])


async def _run(ctx: Context, command: list[str]) -> dict[str, Any]:
    _note(ctx, "run")
    return await commands.run(command)


def _note(ctx: Context, step: str) -> None:
    path = os.environ.get("STEP_LOG")
    if path:
        with Path(path).open("a") as file:
            file.write(f"{step} {ctx.task_id}\n")


def _report(findings: Any, proposal: Any = None, decision: Any = None, outcome: Any = None) -> dict[str, Any]:
    said = decision and {"status": decision.status, "by": decision.decided_by, "reason": decision.reason}
    return {"findings": findings, "proposal": proposal, "decision": said, "run": outcome}


def _lines(payload: Any) -> list[str]:
    log = payload.get("log") if isinstance(payload, dict) else None
    if not isinstance(log, str):
        raise PermanentError("bad_payload", 'the payload must have "log" (text)')
    lines = [line for line in log.splitlines() if line.strip()]
    if not lines:
        raise PermanentError("empty_log", "the log has no lines")
    return lines


if __name__ == "__main__":
    agent.run()
