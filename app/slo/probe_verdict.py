"""What a probe's task says about the agents, and what its last runs say about now. Pure.

    passed   every check was met in time
    failed   a check was not met, or there was no answer in time
    error    nobody knows: the task could not be made or could not start for a reason that is not the agents'

An error is never the same as well, nor as failed: it takes a place among the last runs and says neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.slo import probe_checks, probe_timing
from app.slo.probe_checks import Answer, Check, Checked, Judgement
from app.slo.probe_records import Outcome

TIMED_OUT = "probe_timeout"
LATE: Mapping[str, str] = {
    TIMED_OUT: "There was no answer in time.",
    "probe_stopped": "A stop kept it from running.",
    "probe_unfunded": "It waited for money: a budget of probes has no room.",
    "probe_restrained": "A pause of its pool, or emergency mode, kept it from starting.",
    "probe_held": "It waited for people to approve its start.",
}
"""Codes with which a task that ran out of time is cancelled, by what kept it."""
_NO_FAULT = {"budget_exhausted", "budget_stopped"}
TIMEOUT_CHECK = "timeout"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a probe's task ended; `seconds` from submission. `status` None: it is no longer there."""

    status: str | None
    result: object = None
    seconds: float = 0.0
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run came to."""

    outcome: Outcome
    reason: str = ""
    checks: Sequence[Checked] = ()
    latency_s: float | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A judged run, of a planned time."""

    planned_at: datetime
    outcome: Outcome
    reason: str = ""
    latency_s: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a probe's last runs say, and why. Of those undecided, `broken`: the newest run was an error; `stale`: there
    was none, or none lately."""

    judgement: Judgement
    why: str = ""
    broken: bool = False
    stale: bool = False


def why_late(status: str, *, parked: bool, stopped: bool, restrained: bool) -> str:
    """With which code to cancel a task whose time has run out. `restrained`: nothing of its kind starts now; what runs
    goes on."""
    if stopped:
        return "probe_stopped"
    if status == "held":
        return "probe_held"
    if restrained and status == "queued":
        return "probe_restrained"
    return "probe_unfunded" if parked else TIMED_OUT


def verdict(checks: Sequence[Check], timeout_s: float, ended: Ended) -> Verdict:
    """What the run of a task came to that has ended."""
    if ended.status is None:
        return Verdict("error", "Its task is no longer there.")
    code = ended.error_code or ""
    if ended.status == "expired" or (ended.status == "cancelled" and code == TIMED_OUT):
        late = Checked(TIMEOUT_CHECK, False, f"there was no answer within {timeout_s:g} s")
        return Verdict("failed", LATE[TIMED_OUT], (late,))
    if ended.status == "cancelled" and code in LATE:
        return Verdict("error", LATE[code])
    if ended.status == "cancelled" or code in _NO_FAULT:
        return Verdict("error", _said("Its task was cancelled" if ended.status == "cancelled" else code, ended))
    found = probe_checks.run(checks, Answer(ended.status, ended.result, ended.seconds))
    if ended.status == "succeeded":
        in_time = ended.seconds <= timeout_s
        why = "" if in_time else f"the answer took {ended.seconds:.3f} s, more than {timeout_s:g} s"
        found.append(Checked(TIMEOUT_CHECK, in_time, why))
    wrong = next((item for item in found if not item.passed), None)
    if wrong is None:
        return Verdict("passed", "", found, ended.seconds)
    reason = _said(wrong.why, ended) if ended.status != "succeeded" else f"{wrong.check}: {wrong.why}"
    return Verdict("failed", reason[: probe_checks.MAX_WHY], found, ended.seconds)


def standing(
    runs: Sequence[Seen], *, fail_after: int, of_last: int, every_s: int, timeout_s: float, now: datetime
) -> Standing:
    """Whether the probe is failing: `fail_after` of its last `of_last` judged runs (newest first) did."""
    if not runs:
        return Standing("undecided", "it has not run yet", stale=True)
    newest = runs[0]
    if now - newest.planned_at > timedelta(seconds=probe_timing.stale_after_s(every_s, timeout_s)):
        why = f"it has not run since {newest.planned_at:%Y-%m-%d %H:%M:%S} UTC"
        return Standing("undecided", why, stale=True)
    history = [None if run.outcome == "error" else run.outcome == "passed" for run in runs]
    judgement = probe_checks.judge(history, fail_after, of_last)
    if judgement == "failing":
        return Standing(judgement, next(run.reason for run in runs if run.outcome == "failed"))
    if judgement == "passing":
        return Standing(judgement)
    if newest.outcome == "error":
        return Standing(judgement, newest.reason, broken=True)
    known = sum(passed is not None for passed in history)
    return Standing(judgement, f"{known} of its last {of_last} runs passed or failed: too few to say")


def _said(what: str, ended: Ended) -> str:
    message = ended.error_message or ended.error_code or ""
    return f"{what}: {message}"[: probe_checks.MAX_WHY] if message else f"{what}."
