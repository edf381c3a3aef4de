"""The answers to words that do not count."""

from __future__ import annotations

from app.approvals.decide import Refusal
from app.approvals.records import ApprovalRecord
from app.auth.service import Forbidden
from app.core.errors import Conflict, Invalid, NotFound, Problem


class ApprovalNotFound(NotFound):
    code, title = "approval_not_found", "No such approval"


class ApprovalDecided(Conflict):
    """`extra` says how: {"approval_status", "decided_by", "decided_at"}."""

    code, title = "approval_decided", "Already decided"


class PayloadChanged(Conflict):
    """`extra["payload_hash"]` is that of what is asked now."""

    code, title = "payload_changed", "Not what is asked now"


class AlreadyVoted(Conflict):
    code, title = "already_voted", "Already voted"


class SelfApproval(Forbidden):
    code, title = "self_approval", "Not one's own"


class ArgsNotCanonical(Invalid):
    code, title = "approval_args_not_canonical", "Arguments without a canonical form"


def problem_of(why: Refusal, record: ApprovalRecord) -> Problem:
    """What the caller is told."""
    match why:
        case "not_found":
            problem: Problem = ApprovalNotFound("There is no approval with this id.")
        case "scope":
            problem = Forbidden(f"This needs the scope `{record.scope}`.", extra={"needs": record.scope})
        case "group":
            groups = ", ".join(record.groups)
            problem = Forbidden(f"Only these groups may decide: {groups}.", extra={"needs_groups": record.groups})
        case "self_approval":
            problem = SelfApproval("Who submitted the task may not decide its approvals: somebody else must.")
        case "payload_changed":
            detail = "This is not what is asked now: look at the approval again, and send the hash of what you saw."
            problem = PayloadChanged(detail, extra={"payload_hash": record.payload_hash})
        case "already_voted":
            problem = AlreadyVoted("You approved this already; it takes others too.", extra={"quorum": record.quorum})
        case "decided":
            problem = _decided(record)
    return problem


def _decided(record: ApprovalRecord) -> ApprovalDecided:
    how = {
        "approval_status": record.status,
        "decided_by": record.decided_by,
        "decided_at": record.decided_at,
    }
    return ApprovalDecided(f"It was decided before: {record.status}.", extra=how)
